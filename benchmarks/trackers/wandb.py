"""Weights & Biases: one run per protection.  Whether anything is sent is for W&B's own settings and login to say."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilbench.datasets.photos import decode_photo

from ..engine.identity import fingerprint
from ..engine.plan import Plan, Protection, Question
from ..engine.store import ProtectionFolder, Store, read_json, write_json
from ..report.grid import pairs
from ..report.items import collect_protection
from .base import Tracker, Trial
from .wandb_mode import Mode, wandb_mode, wandb_settings

if TYPE_CHECKING:
    import pandas as pd
    import wandb

PROJECT = "veilbench"
SHOWN = 8
LONGEST_TAG = 64  # W&B refuses longer ones


class WandbTracker(Tracker):
    """One W&B run per protection, grouped by suite; the run's id is the cell's identity, so a repeat updates it.

    Args:
        folder: where W&B keeps its files, in a folder ``wandb``.
        offline: send nothing, whatever W&B's settings are (``wandb sync`` uploads the runs later).
        project: W&B project where W&B's settings name none.
    """

    def __init__(self, folder: Path, *, offline: bool = False, project: str = PROJECT) -> None:
        self.folder = folder
        self.forced_offline = offline
        self.project = project
        self._kept: list[Path] = []

    @cached_property
    def mode(self) -> Mode:
        """What happens to runs; see :func:`~.wandb_mode.wandb_mode`."""
        return wandb_mode(self.folder, forced_offline=self.forced_offline)

    @property
    def offline(self) -> bool:
        """Whether runs stay on this machine."""
        return self.mode in {"offline", "disabled"}

    def record(self, plan: Plan, store: Store, protection: Protection, trial: Trial | None = None) -> None:
        """Log config, per-image table, picture, cost, scores and the images as an artifact."""
        if self.mode == "disabled":
            return
        folder = store.protection(protection.id)
        have = folder.finished()
        finished = [item for item in protection.items if item in have]
        if not finished:
            return
        judged = {"mode": self.mode, "images": folder.images_stamp(finished), "judged": _judged(plan)}
        stamp = fingerprint(judged | _trial(trial))
        marker = folder.path / "tracked.json"
        place = f"{plan.suite.name}, sweep {trial.sweep}" if trial else plan.suite.name
        if (read_json(marker) or {}).get(place) == stamp:
            return
        items = collect_protection(plan, store, protection)
        summary = _summary(items, folder.cell)
        if protection.training is not None:
            summary["cost/training_seconds"] = store.training(protection.training.id).record.get("seconds")
        with self._start(plan, protection, folder.cell.get("packages", {}), trial) as run:
            _fill(run, items, _picture(plan, folder, finished), _sortable(summary))
            _attach(run, protection, folder)
        if self.offline:
            self._kept.append(Path(run.settings.sync_dir))
        write_json(marker, {**(read_json(marker) or {}), place: stamp})

    def parting(self) -> list[str]:
        """Where runs that were kept offline lie, and the command that uploads them."""
        if not self._kept:
            return []
        parent = self._kept[0].parent
        word = "run is" if len(self._kept) == 1 else "runs are"
        command = f"wandb sync {shlex.quote(str(parent))}"
        return [f"{len(self._kept)} W&B {word} kept offline in {parent}; to upload: {command}"]

    def _start(self, plan: Plan, protection: Protection, packages: dict[str, str], trial: Trial | None) -> wandb.Run:
        settings = wandb_settings()
        import wandb  # noqa: PLC0415 (slow to import)

        self.folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=settings.project or self.project,
            group=plan.suite.name,
            name=_name(plan, protection),
            tags=_tags(plan, protection, trial),
            id=protection.id[-64:],
            resume=None if self.offline else "allow",
            job_type="protection",
            mode=self.mode,
            dir=self.folder,
            config=_config(plan, protection, packages) | _trial(trial),
            # a list of all installed packages takes longer than the rest; those that count are in its config
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, x_save_requirements=False),
        )


def _fill(run: wandb.Run, items: pd.DataFrame, picture: Any, summary: dict[str, float]) -> None:
    import wandb  # noqa: PLC0415

    run.log({"items": wandb.Table(dataframe=items), "images": wandb.Image(picture)})
    run.summary.update(summary)


def _attach(run: wandb.Run, protection: Protection, folder: ProtectionFolder) -> None:
    import wandb  # noqa: PLC0415

    artifact = wandb.Artifact(f"protection-{protection.id[-100:]}", type="protection", metadata=protection.spec)
    artifact.add_dir(str(folder.path / "images"))
    run.log_artifact(artifact)


def _picture(plan: Plan, folder: ProtectionFolder, finished: list[str]) -> Any:
    """The first sources and what became of them."""
    shown = finished[:SHOWN]
    index = {item: place for place, item in enumerate(plan.items)}
    sources = [plan.dataset[index[item]].image for item in shown]
    return pairs(sources, [decode_photo(data, path) for path, data in folder.contents(shown)])


def _questions(plan: Plan, protection: Protection) -> list[Question]:
    return [question for question in plan.questions if question.protection.id == protection.id]


def _held_out(plan: Plan, protection: Protection) -> list[str]:
    """Recognisers that a method that attacks some was kept from; none for one that attacks none."""
    return [name for name in plan.suite.recognizers if protection.surrogates and name not in protection.surrogates]


def _distinct(words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word]


def _name(plan: Plan, protection: Protection) -> str:
    """``pgd dodge, not arcface``: for people; what differs among the questions of one protection is left out."""
    questions = _questions(plan, protection)
    goals = _distinct(str(question.goal) for question in questions)
    targets = _distinct(question.target for question in questions)
    words = [protection.label, *(part[0] for part in (goals, targets) if len(part) == 1)]
    held_out = _held_out(plan, protection)
    return " ".join(words) + (f", not {', '.join(held_out)}" if held_out else "")


def _tags(plan: Plan, protection: Protection, trial: Trial | None = None) -> list[str]:
    questions = _questions(plan, protection)
    tags = [
        protection.label,
        plan.suite.methods[protection.label].cls.family,
        *(str(question.goal) for question in questions),
        *(f"target {question.target}" for question in questions if question.target),
        *(f"held out {name}" for name in _held_out(plan, protection)),
        *([f"sweep {trial.sweep}", f"trial {trial.number}"] if trial else []),
    ]
    return _distinct(tag[:LONGEST_TAG] for tag in tags)


def _config(plan: Plan, protection: Protection, packages: dict[str, str]) -> dict[str, Any]:
    """The identity of the cell, with names in the place of digests; those are under ``digests``."""
    names = {
        "dataset": plan.suite.dataset.name,
        "targets": list(protection.targets),
        "surrogates": list(protection.surrogates),
        "held_out": _held_out(plan, protection),
    }
    return {
        "suite": plan.suite.name,
        "label": protection.label,
        "packages": packages,
        **protection.spec,
        **names,
        "digests": {key: value for key, value in protection.spec.items() if key in names},
    }


def _trial(trial: Trial | None) -> dict[str, Any]:
    """What a run's config says of the trial that it is of; nothing where it is of none."""
    return {} if trial is None else {"sweep": trial.sweep, "trial": trial.number, "settings": dict(trial.settings)}


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


def _summary(items: pd.DataFrame, cell: dict[str, Any]) -> dict[str, Any]:
    """Scores and costs of a protection.

    ``psr/black_box`` and ``psr/white_box`` are there where one goal is asked: a mean over goals would mean nothing.
    ``psr/<role>/<goal>`` is always there, and ``psr/<role>/<goal>/<target>/<judge>`` tells the parts.
    """
    values: dict[str, Any] = {"cost/warm_up_seconds": cell.get("warm_up_seconds")}
    for kind, amount in cell.get("peak_memory", {}).items():
        values[f"cost/peak_{kind}_bytes"] = amount
    if items.empty:
        return values
    keys = ["role", "goal", "target", "judge"]
    for depth in (2, 4):
        for parts, group in items.groupby(keys[:depth]):
            name = "/".join(part for part in ("psr", *map(str, parts)) if part)
            values[name] = float(group["success"].mean())
    if len(set(items["goal"])) == 1:
        for role, group in items.groupby("role"):
            values[f"psr/{role}"] = float(group["success"].mean())
    images = items.drop_duplicates("item")
    for column in ("psnr", "ssim", "seconds", "forward", "backward"):
        values[column] = float(images[column].mean())
    return values


def _sortable(values: dict[str, Any]) -> dict[str, float]:
    """Without what is not known or infinite (a clean image's PSNR): W&B cannot sort or plot it."""
    return {key: value for key, value in values.items() if value is not None and math.isfinite(value)}
