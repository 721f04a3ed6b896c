"""What the recipes share: a seeded Lightning run that resumes, half precision, images, cards."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from ..checkpoints import KeepLast, KeepRandomness

WORLD_SEED = 0


class Examples(Dataset[Any]):
    """Tensors of equal length, handed out a batch at a time.

    Args:
        tensors: each ``N x ...``; an item is one row of each.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        """The rows of ``indices`` of each tensor; called by the loader instead of item by item."""
        return tuple(tensor[indices] for tensor in self.tensors)


def fit(
    module: pl.LightningModule,
    data: Examples,
    folder: Path,
    epochs: int,
    batch_size: int = 64,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> None:
    """Train for some epochs, or for those that an earlier run in ``folder`` left.

    However often it is stopped and called again, weights and random numbers end as if it never was.
    """
    order = torch.Generator().manual_seed(WORLD_SEED)
    sampler, last = RandomSampler(data, generator=order), folder / "last.ckpt"
    batch_size = min(batch_size, len(data))  # few photos are one batch: incomplete ones are left out
    loader = DataLoader(data, batch_size=batch_size, sampler=sampler, drop_last=True, collate_fn=lambda batch: batch)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=1,
        precision=precision,
        gradient_clip_val=5.0,
        callbacks=[KeepRandomness(order), KeepLast(last), PrintLoss()],
        enable_checkpointing=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, ckpt_path=last if last.is_file() else None, weights_only=True)


class PrintLoss(pl.Callback):
    """One line an epoch, of the value that the module logs as ``loss``."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's mean loss."""
        loss = float(trainer.callback_metrics["loss"])
        print(f"epoch {pl_module.current_epoch + 1} of {trainer.max_epochs}: loss {loss:.4f}", flush=True)  # noqa: T201


def one_cycle(module: pl.LightningModule, parameters: Iterable[Tensor], rate: float, weight_decay: float) -> Any:
    """AdamW under a one-cycle schedule over the whole training, as Lightning wants it."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay)
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.2)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are shipped: half precision where they are numbers with a point, contiguous, on the CPU."""
    return {
        key: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for key, tensor in state.items()
    }


def mirrored(images: Tensor) -> Tensor:
    """Each image of ``B x 3 x H x W`` mirrored or not, at random."""
    turned = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5  # noqa: PLR2004
    return torch.where(turned, images.flip(-1), images)


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB; both ``B x 3 x H x W`` in ``[0, 1]``."""
    return -10 * ((images - references) ** 2).flatten(1).mean(dim=1).log10()


def save_image_grid(images: Tensor, columns: int, path: Path) -> None:
    """One picture of ``N x 3 x H x W`` images in ``[0, 1]``, ``columns`` in a row; ``N`` fills the rows."""
    rows = [torch.cat(list(row), dim=2) for row in images.split(columns)]
    picture = (torch.cat(rows, dim=1).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(path, optimize=True)


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write what was measured of the weights in ``folder`` to ``card.json`` there, and print it."""
    text = json.dumps(report, indent=2)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)  # noqa: T201


def card_table(rows: Sequence[tuple[str, str]]) -> str:
    """A Markdown table of two columns."""
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def parameter_count(network: torch.nn.Module) -> int:
    """How many numbers a network has learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def megabytes(folder: Path) -> float:
    """Size of the weights below ``folder``."""
    return round(sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6, 2)


def run_recipe(description: str, train: Callable[[Path], None], measure: Callable[[Path], None]) -> None:
    """The command line of a recipe: train, or only measure the weights that are there.

    Args:
        description: for ``--help``.
        train: given the folder for photos and checkpoints.
        measure: likewise.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, default=Path("results/recipes"), help="photos and checkpoints")
    parser.add_argument("--measure", action="store_true", help="only measure the weights that are there")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (measure if options.measure else train)(options.work)
