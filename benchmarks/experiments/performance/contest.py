"""Two implementations over the same networks and faces, to be timed in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from veilbench.datasets.base import FaceBatch
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.methods.base import Goal, Task
from veilbench.methods.weaken_diff import WeakenDiff
from veilbench.models.diffusion.backbone import DiffusionBackbone, stable_diffusion_schedule
from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds
from veilbench.models.recognizers.state_dict import NetworkRecognizer, build_backbone

from ...specs.configs import CONFIGS
from ...specs.recognizers import build_recognizer, load_recognizer_spec
from .plain_weaken_diff import PlainWeakenDiff

SURROGATES, JUDGE = ("irse50", "ir152", "facenet"), "mobile_face"
TARGETS = 4
SD2_SIDE, SD2_TEXT = 256, 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: which networks, and how long the two stages are."""

    name: str
    embedding_iterations: int
    iterations: int


EMBEDDED_CASE = Case("embedded", 20, 35)
SD2_CASE = Case("sd2-shape", 1, 2)
CASES = {case.name: case for case in (EMBEDDED_CASE, SD2_CASE)}


class _FixedText(nn.Module):
    """Stands where the text encoder is, when only shapes matter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.config = type("Config", (), {"hidden_size": width})
        self.register_buffer("prompt", torch.randn(1, 77, width))


class _RandomBackbone(DiffusionBackbone):
    """A backbone without a tokenizer."""

    def empty_text(self, batch: int) -> Tensor:
        prompt: Tensor = self.text.prompt
        return prompt.expand(batch, -1, -1)


def sd2_shaped() -> DiffusionBackbone:
    """Random networks of the shape of Stable Diffusion 2 base."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=SD2_SIDE,
    )
    unet = UNet2DConditionModel(
        sample_size=SD2_SIDE // 8,
        attention_head_dim=(5, 10, 20, 20),
        cross_attention_dim=SD2_TEXT,
        use_linear_projection=True,
    )
    scheduler = stable_diffusion_schedule()
    return _RandomBackbone(vae, unet, _FixedText(SD2_TEXT), None, scheduler)


def recognizers(case: Case) -> list[Recognizer]:
    """Three surrogates and a judge: the embedded ones, or their architectures at full size with random weights."""
    loaded: list[Recognizer] = []
    for name in (*SURROGATES, JUDGE):
        reference = f"embedded_{name}" if case is EMBEDDED_CASE else name
        label, spec = load_recognizer_spec(reference, CONFIGS)
        if case is EMBEDDED_CASE:
            loaded.append(build_recognizer(label, spec))
        else:
            network = build_backbone(spec.kind, spec.arch)
            thresholds = Thresholds(dict(spec.thresholds), "random weights")
            assert spec.input is not None  # noqa: S101 (networks' configs say it)
            loaded.append(NetworkRecognizer(name, network, InputSpec(**spec.input.model_dump()), thresholds))
    return loaded


class Contest:
    """The two implementations over the same networks.

    Args:
        case: which networks, and how long the two stages are.
        group_size: how many images ours takes at once; the plain one knows only single images.
        device: where the networks are.
        options: of ours.
    """

    def __init__(self, case: Case, group_size: int = 1, device: str = "cpu", **options: Any) -> None:
        self.case = case
        self.device = device
        lengths: dict[str, Any] = {"embedding_iterations": case.embedding_iterations, "iterations": case.iterations}
        self.ours = WeakenDiff(group_size=group_size, **lengths | options)
        if case is not EMBEDDED_CASE:
            self.ours.backbone = sd2_shaped()
            self.ours.image_size = self.ours.backbone.image_size
        self.backbone = self.ours.backbone.to(device)
        self.plain = PlainWeakenDiff(self.backbone.vae, self.backbone.unet, self.backbone.scheduler, **lengths)
        *self.surrogates, self.judge = (one.to(device) for one in recognizers(case))
        synthetic = SyntheticFaces(sources=16, targets=TARGETS, size=self.backbone.image_size)
        self.people = torch.stack([synthetic[index].image for index in range(len(synthetic))]).to(device)
        self.targets = synthetic.targets

    def run_ours(self, first: int, target: int, count: int | None = None) -> Tensor:
        """Protected images of some people with ours; of one group unless ``count`` says otherwise."""
        count = count or self.ours.group_size
        self.ours.assign(Task(Goal.IMPERSONATE, self.surrogates, [self.targets[target]]))
        ids = tuple(f"face{number}" for number in range(first, first + count))
        return self.ours.predict_step(FaceBatch(ids, self.people[first : first + count], (None,) * count)).images

    def run_plain(self, first: int, target: int) -> None:
        """Protect one image with the plain implementation, recognisers with weight gradients as it has them."""
        shape = self.backbone.latent_shape(self.backbone.image_size)
        noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(first)).to(self.device)
        task = Task(Goal.IMPERSONATE, self.surrogates, [self.targets[target]])
        goals = [task.target_embeddings(surrogate)[0] for surrogate in self.surrogates]
        looks = [partial(_unpadded, surrogate) for surrogate in self.surrogates]
        for surrogate in self.surrogates:
            surrogate.requires_grad_(True)
        try:
            self.plain.protect(self.people[first : first + 1], noise, self.backbone.empty_text(1), looks, goals)
        finally:
            for surrogate in self.surrogates:
                surrogate.requires_grad_(False)
                surrogate.zero_grad(set_to_none=True)


def _unpadded(surrogate: Recognizer, images: Tensor) -> Tensor:
    """The released code shows a recogniser one image, not a filled-up chunk."""
    return nn.functional.normalize(surrogate.embed(surrogate.prepare(images)))


def timed(function: Any, *arguments: Any) -> float:
    """Seconds of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
