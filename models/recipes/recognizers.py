"""Training of the embedded recognisers: ``python -m veilbench.models.recipes.recognizers`` (``make embedded-weights``).

Small versions of the four architectures learn synthetic people with an ArcFace head (Deng et al., CVPR 2019):
first under strong augmentation, then under weak augmentation with a small logit scale.  The smaller the scale, the
lower the cosines of strangers must be to satisfy the loss, and the lower the thresholds.  These are then measured on
impostor pairs of people that nothing else uses, and true accept rates on yet other people.
Everything is seeded; an interrupted training goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from veilbench.datasets.synthetic import Split, render_shots
from veilbench.files import file_sha256, replacing

from ..recognizers.base import InputSpec, Recognizer
from ..recognizers.state_dict import StateDictRecognizer, build_backbone
from .training import WORLD_SEED, Examples, fit, half, one_cycle

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "recognizers"
EMBEDDED = Path(__file__).resolve().parents[1] / "embedded"
NAMES = ("embedded_ir152", "embedded_irse50", "embedded_facenet", "embedded_mobile_face")
FARS = (0.1, 0.01, 0.001)
TRAIN_PEOPLE, TRAIN_SHOTS = 2400, 10
CALIBRATION_PEOPLE, CALIBRATION_SHOTS = 600, 2
EVALUATION_PEOPLE, EVALUATION_SHOTS = 200, 6
PEOPLE_PER_JOB = 25
MARGIN = 0.4


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of the training: a one-cycle schedule of its own."""

    name: str
    epochs: int
    scale: float
    strength: float
    learning_rate: float


PHASES = (Phase("learn", 12, 24.0, 1.0, 4e-3), Phase("spread", 6, 8.0, 0.3, 3e-3))


class ArcFaceHead(nn.Module):
    """Logits of an additive angular margin: ``scale * cos(angle + margin)`` for the true class.

    Beyond ``pi - margin`` the cosine would rise again; there the margin is subtracted linearly, as the authors do.

    Args:
        embedding: length of the embeddings.
        classes: number of people.
        margin: in radians.
        scale: of the logits.
    """

    def __init__(self, embedding: int, classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, embedding) * 0.01)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Logits ``B x classes`` from embeddings ``B x D`` of any norm and labels ``B``."""
        cosines = F.linear(F.normalize(embeddings), F.normalize(self.weight))
        true = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        with_margin = torch.where(
            true > math.cos(math.pi - self.margin),
            (true.acos() + self.margin).cos(),
            true - self.margin * math.sin(self.margin),
        )
        return self.scale * cosines.scatter(1, labels[:, None], with_margin)


def augment(images: Tensor, strength: float) -> Tensor:
    """Random mirror, small rotation, zoom and shift, exposure, colour cast, blur, noise and one gray patch.

    Args:
        images: ``B x 3 x H x W`` in ``[0, 1]``.
        strength: of everything but the mirror; 1 is strong, 0 nothing.

    Returns:
        The same shape and range.
    """
    count, _, height, width = images.shape
    angle = (torch.rand(count) - 0.5) * 0.25 * strength
    zoom = 1 + (torch.rand(count) - 0.5) * 0.16 * strength
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)  # noqa: PLR2004
    shift = (torch.rand(count, 2) - 0.5) * 0.16 * strength
    rows = torch.stack([angle.cos() * zoom * mirror, -angle.sin() * zoom, shift[:, 0]], 1)
    columns = torch.stack([angle.sin() * zoom * mirror, angle.cos() * zoom, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([rows, columns], 1), [count, 3, height, width], align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    gain = torch.exp((torch.randn(count, 1, 1, 1) * 0.12 + torch.randn(count, 3, 1, 1) * 0.05) * strength)
    images = images * gain + torch.randn(count, 1, 1, 1) * 0.04 * strength
    blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.lerp(images, blurred, torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.4 * strength))
    images = images + torch.randn_like(images) * torch.rand(count, 1, 1, 1) * 0.05 * strength
    return _patch(images, strength).clamp(0, 1)


def _patch(images: Tensor, strength: float) -> Tensor:
    """A gray rectangle of up to a third of the side, on up to half of the images."""
    count, _, height, width = images.shape
    y, x = torch.arange(height)[None, :, None] / height, torch.arange(width)[None, None, :] / width
    centre, half = torch.rand(count, 2, 1, 1), torch.rand(count, 2, 1, 1) / 6
    inside = ((y - centre[:, 0]).abs() < half[:, 0]) & ((x - centre[:, 1]).abs() < half[:, 1])
    inside &= torch.rand(count, 1, 1) < 0.5 * strength
    return torch.where(inside[:, None], torch.rand(count, 1, 1, 1), images)


class RecognizerTraining(pl.LightningModule):
    """A backbone under an ArcFace head; AdamW with a one-cycle schedule.

    Args:
        backbone: the network to train.
        input_spec: how it looks at photos.
        head: turns its embeddings into logits.
        learning_rate: highest rate of the cycle.
        strength: of the augmentation.
    """

    def __init__(
        self,
        backbone: nn.Module,
        input_spec: InputSpec,
        head: ArcFaceHead,
        *,
        learning_rate: float,
        strength: float,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.input_spec = input_spec
        self.head = head
        self.learning_rate = learning_rate
        self.strength = strength

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        photos, labels = batch
        seen = augment(photos.float() / 255, self.strength)
        logits = self.head(self.backbone(self.input_spec.prepare(seen)), labels)
        loss = F.cross_entropy(logits, labels)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.parameters(), self.learning_rate, 0.02)


def rendered(split: Split, people: int, shots: int, cache: Path) -> Tensor:
    """Photos of the first ``people`` of a split, ``people x shots x 3 x 64 x 64`` ``uint8``; kept in ``cache``."""
    path = cache / f"{split.name.lower()}_{people}x{shots}.pt"
    if path.is_file():
        stored: Tensor = torch.load(path, weights_only=True)
        return stored
    numbers = list(split.value[:people])
    jobs = [numbers[start : start + PEOPLE_PER_JOB] for start in range(0, people, PEOPLE_PER_JOB)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        photos = torch.cat(list(pool.map(_render_people, jobs, [shots] * len(jobs))))
    with replacing(path) as temporary:
        torch.save(photos, temporary)
    return photos


def _render_people(people: list[int], shots: int) -> Tensor:
    photos = render_shots(
        WORLD_SEED, [person for person in people for _ in range(shots)], list(range(shots)) * len(people)
    )
    return photos.reshape(len(people), shots, *photos.shape[1:])


def train(name: str, work: Path) -> None:
    """Train one recogniser, write its weights, its thresholds and its card."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    photos = rendered(Split.TRAIN, TRAIN_PEOPLE, TRAIN_SHOTS, work)
    labels = torch.arange(TRAIN_PEOPLE).repeat_interleave(TRAIN_SHOTS)
    data = Examples(photos.flatten(0, 1), labels)
    pl.seed_everything(WORLD_SEED, verbose=False)
    backbone = build_backbone(config["kind"], config["arch"])
    head = ArcFaceHead(config["arch"]["embedding"], TRAIN_PEOPLE, MARGIN, PHASES[0].scale)
    for phase in PHASES:
        head.scale = phase.scale
        module = RecognizerTraining(
            backbone,
            InputSpec(**config["input"]),
            head,
            learning_rate=phase.learning_rate,
            strength=phase.strength,
        )
        print(f"phase {phase.name}", flush=True)  # noqa: T201
        fit(module, data, work / name / phase.name, phase.epochs)
    EMBEDDED.mkdir(exist_ok=True)
    save_file(half(backbone.state_dict()), EMBEDDED / f"{name}.safetensors")
    measure(name, work)


def measure(name: str, work: Path) -> None:
    """Calibrate the thresholds of shipped weights, write them into the config, and write what was measured."""
    path = CONFIGS / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    weights = (path.parent / config["weights"]).resolve()
    recognizer = StateDictRecognizer(network=config["kind"], weights=weights, arch=config["arch"])
    recognizer.input_spec = InputSpec(**config["input"])
    recognizer.to("cuda" if torch.cuda.is_available() else "cpu")
    strangers = embed(recognizer, rendered(Split.CALIBRATION, CALIBRATION_PEOPLE, CALIBRATION_SHOTS, work))
    thresholds = {far: round(float(impostor_quantile(strangers, far)), 6) for far in FARS}
    people = embed(recognizer, rendered(Split.EVALUATION, EVALUATION_PEOPLE, EVALUATION_SHOTS, work))
    same, different = genuine(people), impostors(people)
    report = {
        "parameters": sum(parameter.numel() for parameter in recognizer.parameters()),
        "training": f"{TRAIN_PEOPLE} people x {TRAIN_SHOTS} photos, "
        f"{' + '.join(str(phase.epochs) for phase in PHASES)} epochs",
        "sha256": file_sha256(weights),
        "thresholds": {f"{far:g}": threshold for far, threshold in thresholds.items()},
        "tar": {f"{far:g}": float((same > threshold).float().mean()) for far, threshold in thresholds.items()},
        "far_on_evaluation": {
            f"{far:g}": float((different > threshold).float().mean()) for far, threshold in thresholds.items()
        },
        "genuine_pairs": len(same),
        "impostor_pairs": len(different),
    }
    for far, threshold in thresholds.items():
        text = re.sub(rf"^  {far:g}: .*$", f"  {far:g}: {threshold:.6f}", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    (EMBEDDED / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_card()
    print(json.dumps({name: report}, indent=2), flush=True)  # noqa: T201


@torch.no_grad()
def embed(recognizer: Recognizer, photos: Tensor) -> Tensor:
    """Embeddings ``people x shots x D``, on the CPU, of ``people x shots x 3 x H x W`` ``uint8`` photos."""
    embeddings = [recognizer(person.to(recognizer.device).float() / 255).cpu() for person in photos]
    return torch.stack(embeddings)


def impostors(embeddings: Tensor) -> Tensor:
    """Cosines of all pairs of photos of different people, one-dimensional."""
    people, shots = embeddings.shape[:2]
    flat, owner = embeddings.flatten(0, 1), torch.arange(people).repeat_interleave(shots)
    different = (owner[:, None] < owner[None, :]).nonzero(as_tuple=True)
    return (flat @ flat.T)[different]


def genuine(embeddings: Tensor) -> Tensor:
    """Cosines of all pairs of photos of the same person, one-dimensional."""
    shots = embeddings.shape[1]
    first, second = torch.triu_indices(shots, shots, 1)
    cosines = embeddings @ embeddings.transpose(1, 2)
    return cosines[:, first, second].flatten()


def impostor_quantile(embeddings: Tensor, far: float) -> Tensor:
    """The cosine that a share ``far`` of impostor pairs exceeds."""
    cosines = impostors(embeddings).sort().values
    return cosines[math.ceil((1 - far) * len(cosines)) - 1]


def write_card() -> None:
    """Collect the measurements beside the weights into a card that people read."""
    reports = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(EMBEDDED.glob("*.json"))}
    rates = [f"{far:g}" for far in FARS]
    head = ["recogniser", "parameters", "trained on", *(f"TAR at FAR {rate}" for rate in rates)]
    head += [f"threshold at FAR {rate}" for rate in rates] + ["measured FAR at 0.01"]
    rows = [
        [name, f"{report['parameters']:,}", report["training"]]
        + [f"{report['tar'][rate]:.3f}" for rate in rates]
        + [f"{report['thresholds'][rate]:.3f}" for rate in rates]
        + [f"{report['far_on_evaluation']['0.01']:.4f}"]
        for name, report in reports.items()
    ]
    first = next(iter(reports.values()))
    table = [head, ["---"] * 3 + ["---:"] * (len(head) - 3), *rows]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    (EMBEDDED / "README.md").write_text(
        "# Embedded recognisers\n\n"
        "Small networks of the four architectures of the literature, trained on synthetic faces. They recognise "
        "nobody real, and nothing measured with them is a result about real faces.\n\n"
        + "\n".join(lines)
        + f"\n\nThresholds: all impostor pairs of {CALIBRATION_PEOPLE} people x {CALIBRATION_SHOTS} photos. True "
        f"accept rates and the measured FAR: {first['genuine_pairs']:,} genuine and {first['impostor_pairs']:,} "
        f"impostor pairs of {EVALUATION_PEOPLE} other people. Neither group was trained on, and neither occurs in a "
        "benchmark. "
        "Half precision, measured as shipped.\n\n"
        "Made by `make embedded-weights` (see `models/recipes/recognizers.py`). Licence: Apache-2.0, like the code.\n",
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description="Train the embedded recognisers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; all by default: {', '.join(NAMES)}")
    parser.add_argument("--work", type=Path, default=Path("results/recipes"), help="photos and checkpoints")
    parser.add_argument("--measure", action="store_true", help="only measure the weights that are there")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown recogniser {unknown[0]!r}; choose from {', '.join(NAMES)}")
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.names or NAMES:
        print(f"{name}", flush=True)  # noqa: T201
        (measure if options.measure else train)(name, options.work)


if __name__ == "__main__":
    main()
