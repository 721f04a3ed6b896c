"""What the reverse steps of the diffusion model take from an adversarial edit: ``make ablation``.

The paper's claim is that denoising *purifies*: an edit of the latent that fools recognisers is pulled back to clean
faces, and learnt embeddings weaken that.  Two measurements, each with and without learnt embeddings, by the mean cosine
of the surrogates to the target:

``through``
    The edit is searched through the reverse steps, as the method does.  *Before* is the edit carried to the clean
    latent as if the denoiser did not react to it, *after* is what the denoiser makes of it.
``around``
    The edit is searched on the clean latent, without any denoising.  *Before* is that image, *after* the same latent
    taken three steps up and back again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from veilbench.datasets.base import FaceBatch
from veilbench.methods.base import Goal, ItemRandom, Task
from veilbench.methods.per_image_adamw import PerImageAdamW
from veilbench.methods.weaken_diff import NullTextInversion, WeakenDiff

from ..engine.plan import Plan
from ..engine.treating import scoring_device
from ..specs.recognizers import build_recognizer
from ..specs.suite import load_suite

AROUND_ITERATIONS = 35


class Purification:
    """The measurement for one target and one held-out recogniser.

    Args:
        method: WeakenDiff with or without learnt embeddings.
        task: surrogates and target.
        faces: as many as the method's group takes.
    """

    def __init__(self, method: WeakenDiff, task: Task, faces: FaceBatch) -> None:
        self.method = method
        self.task = task
        self.images = faces.images
        shape = method.backbone.latent_shape(method.image_size)
        self.noise = ItemRandom(task.seed, faces.ids, faces.images.device).normal(*shape)
        self.inversion = method.core.invert(self.images, self.noise)

    def through(self) -> dict[str, float]:
        """The method's own edit, with and without the denoiser's reaction."""
        moved, _ = self.method.search(self.inversion, self.images, self.task)
        clean = self._back(self.inversion.latent, self.inversion)
        steps = self.method.core.reverse_steps()
        scale = (steps[-1].alpha_to / steps[0].alpha_from) ** 0.5
        before = self._decoded(clean + scale * (moved - self.inversion.latent))
        return self._row(self._decoded(clean), before, self.method.core.render(moved, self.inversion))

    def around(self) -> dict[str, float]:
        """An edit of the clean latent that never saw the denoiser, then three steps up and back."""
        with torch.no_grad():
            clean = self.method.backbone.encode(self.images, self.noise)
        nothing = replace(self.inversion, latent=clean, embeddings=())
        edited = self._edited(nothing)
        with torch.no_grad():
            empty = self.method.backbone.empty_text(len(clean))
            length, start = self.method.settings.diffusion_steps, self.method.settings.start_step
            up = self.method.backbone.invert(edited, length, length - start, empty)[-1]
        after = self._decoded(self._back(up, self.inversion))
        return self._row(self._decoded(clean), self._decoded(edited), after)

    def _edited(self, inversion: NullTextInversion) -> Tensor:
        """The clean latent after the same optimiser and step size, with the decoder alone behind it."""
        latent, optimizer = inversion.latent, PerImageAdamW(inversion.latent, self.method.settings.learning_rate)
        everyone = torch.ones(len(latent), dtype=torch.bool, device=latent.device)
        for _ in range(AROUND_ITERATIONS):
            leaf = latent.detach().requires_grad_(True)
            loss = -self._cosines(self.method.backbone.decode(leaf))
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            latent = optimizer.step(latent, gradient, everyone)
        return latent

    @torch.no_grad()
    def _back(self, latent: Tensor, inversion: NullTextInversion) -> Tensor:
        for step, text in zip(self.method.core.reverse_steps(), inversion.embeddings, strict=True):
            latent = self.method.backbone.denoise(latent, step, text)
        return latent

    @torch.no_grad()
    def _decoded(self, latent: Tensor) -> Tensor:
        return self.method.backbone.decode(latent)

    def _cosines(self, images: Tensor) -> Tensor:
        """Mean over surrogates of the cosine to the target, ``B``."""
        each = [
            (surrogate(images) * self.task.target_embeddings(surrogate)[:1]).sum(dim=1)
            for surrogate in self.task.surrogates
        ]
        return torch.stack(each).mean(dim=0)

    @torch.no_grad()
    def _row(self, clean: Tensor, before: Tensor, after: Tensor) -> dict[str, float]:
        photo, plain, edited, purified = (
            float(self._cosines(images).mean()) for images in (self.images, clean, before, after)
        )
        return {"photo": photo, "unedited": plain, "before": edited, "after": purified}


def measure(targets: int) -> pd.DataFrame:
    """Both measurements on the embedded comparison's faces, each recogniser held out in turn."""
    plan, device = Plan(load_suite("embedded")), scoring_device()
    recognizers = {name: build_recognizer(name, spec).to(device) for name, spec in plan.suite.recognizers.items()}
    images = torch.stack([plan.dataset[index].image for index in range(len(plan.dataset))]).to(device)
    faces = FaceBatch(plan.items, images, (None,) * len(images))
    rows = []
    for learnt in (True, False):
        for held_out in recognizers:
            surrogates = [one for name, one in recognizers.items() if name != held_out]
            for target in plan.dataset.targets[:targets]:
                method = WeakenDiff(learn_embeddings=learnt, group_size=len(images)).to(device)
                case = Purification(method, Task(Goal.IMPERSONATE, surrogates, [target]), faces)
                label = {"learnt embeddings": learnt, "held_out": held_out, "target": target.name}
                rows += [{"edit": name, **label, **getattr(case, name)()} for name in ("through", "around")]
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description="Measure what denoising takes from adversarial edits.")
    parser.add_argument("--targets", type=int, default=2, help="how many identities to be taken for")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for all results")
    options = parser.parse_args(arguments)
    rows = measure(options.targets)
    folder = options.results / "suites" / "ablation"
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "purification.csv", index=False, float_format="%.6g")
    columns = ["photo", "unedited", "before", "after"]
    summary = rows.groupby(["edit", "learnt embeddings"])[columns].mean()
    summary["kept"] = (summary["after"] - summary["unedited"]) / (summary["before"] - summary["unedited"])
    print(summary.round(3).to_string())  # noqa: T201
    print(f"written: {folder / 'purification.csv'}")  # noqa: T201


if __name__ == "__main__":
    main()
