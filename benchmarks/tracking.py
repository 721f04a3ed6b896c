"""Telling a tracker what was done.  Results never depend on it: they are the same with W&B, offline or without."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

from veilbench.datasets.photos import read_photo
from veilbench.files import write_json

from .collect import collect_protection
from .grid import pairs
from .identity import fingerprint
from .plan import Plan, Protection
from .store import Store, read_json

PROJECT = "veilbench"
SHOWN = 8


class Tracker(ABC):
    """Is told of every protection once all its scores are there."""

    @abstractmethod
    def record(self, plan: Plan, store: Store, protection: Protection) -> None:
        """Track one protection; called again for one that has not changed, it does nothing."""


class NoTracker(Tracker):
    """``--tracker none``."""

    def record(self, plan: Plan, store: Store, protection: Protection) -> None:
        """Do nothing."""
        del plan, store, protection


class WandbTracker(Tracker):
    """One W&B run per protection, grouped by suite; the run's id is the cell's identity, so a repeat updates it.

    Args:
        folder: where W&B keeps its files.
        offline: keep runs on disk (``wandb sync`` uploads them later); by default when there is no key.
        project: W&B project.
    """

    def __init__(self, folder: Path, *, offline: bool | None = None, project: str = PROJECT) -> None:
        self.folder = folder
        self.offline = not _has_key() if offline is None else offline
        self.project = os.environ.get("WANDB_PROJECT", project)

    def record(self, plan: Plan, store: Store, protection: Protection) -> None:
        """Log config, per-image table, picture, cost, scores and the images as an artifact."""
        folder = store.protection(protection.id)
        have = folder.finished()
        finished = [item for item in protection.items if item in have]
        if not finished:
            return
        mode: Literal["offline", "online"] = "offline" if self.offline else "online"
        stamp = fingerprint({"mode": mode, "images": folder.images_stamp(finished), "judged": _judged(plan)})
        marker = folder.path / "tracked.json"
        if (read_json(marker) or {}).get(plan.suite.name) == stamp:
            return
        os.environ.setdefault("WANDB_SILENT", "true")  # its lines would tear the progress bar
        import wandb  # noqa: PLC0415 (slow to import)

        items = collect_protection(plan, store, protection)
        summary = _summary(items, folder.cell)
        if protection.training is not None:
            summary["cost/training_seconds"] = store.training(protection.training.id).record.get("seconds")
        self.folder.mkdir(parents=True, exist_ok=True)
        # a list of all installed packages takes longer than the rest; those that count are in its config
        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_save_requirements=False)
        with wandb.init(
            project=self.project,
            group=plan.suite.name,
            name=protection.id,
            id=protection.id[-64:],
            resume="allow" if mode == "online" else None,
            job_type="protection",
            mode=mode,
            dir=self.folder,
            config={
                "suite": plan.suite.name,
                "label": protection.label,
                "packages": folder.cell.get("packages", {}),
                **protection.spec,
            },
            settings=settings,
        ) as run:
            shown = finished[:SHOWN]
            index = {item: place for place, item in enumerate(plan.items)}
            sources = [plan.dataset[index[item]].image for item in shown]
            picture = pairs(sources, [read_photo(folder.image(item)) for item in shown])
            run.log({"items": wandb.Table(dataframe=items), "images": wandb.Image(picture), **summary})
            artifact = wandb.Artifact(f"protection-{protection.id[-100:]}", type="protection", metadata=protection.spec)
            artifact.add_dir(str(folder.path / "images"))
            run.log_artifact(artifact)
        write_json(marker, {**(read_json(marker) or {}), plan.suite.name: stamp})


def make_tracker(choice: str, folder: Path) -> Tracker:
    """``wandb`` (online with a key, else offline), ``offline`` or ``none``."""
    if choice == "none":
        return NoTracker()
    return WandbTracker(folder, offline=True if choice == "offline" else None)


def _has_key() -> bool:
    """Whether W&B can log in: a key in the environment, or in the netrc file that ``wandb login`` writes."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode in {"offline", "disabled", "dryrun"}:
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return netrc.is_file() and "wandb" in netrc.read_text(encoding="utf-8", errors="replace")


def _judged(plan: Plan) -> dict[str, Any]:
    """What the rows of a protection depend on besides its images."""
    return {
        "protocol": plan.suite.spec.protocol.model_dump(),
        "fidelity": plan.fidelity_score,
        "judges": {
            name: [plan.judge_score(name), {f"{far:g}": value for far, value in config.thresholds.items()}]
            for name, config in plan.suite.recognizers.items()
        },
    }


def _summary(items: Any, cell: dict[str, Any]) -> dict[str, Any]:
    """Scores and costs of a protection as W&B summary values."""
    values: dict[str, Any] = {"cost/warm_up_seconds": cell.get("warm_up_seconds")}
    for kind, amount in cell.get("peak_memory", {}).items():
        values[f"cost/peak_{kind}_bytes"] = amount
    if items.empty:
        return values
    for (goal, target, judge, role), group in items.groupby(["goal", "target", "judge", "role"]):
        name = "/".join(part for part in ("psr", role, goal, target, judge) if part)
        values[name] = float(group["success"].mean())
    images = items.drop_duplicates("item")
    for column in ("psnr", "ssim", "seconds", "forward", "backward"):
        values[f"mean/{column}"] = float(images[column].mean())
    return values
