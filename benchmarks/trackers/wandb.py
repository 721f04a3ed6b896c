"""Weights & Biases: one run per protection, and one per comparison.

Whether anything is sent is for W&B's own settings and login to say.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..engine.identity import fingerprint
from ..engine.json_files import read_json, write_json
from ..engine.results import Results
from ..engine.store import ProtectionFolder
from ..report.grid import protection_sheet
from ..report.items import collect
from ..report.shown import read_pixels
from .base import Tracker
from .wandb_fields import LONGEST_TAG, board_summary, config, judged, name, summary, tags, trial_fields
from .wandb_mode import Mode, finished, run_settings, wandb_mode, wandb_settings

if TYPE_CHECKING:
    import pandas as pd
    import wandb

PROJECT = "veilbench"


class WandbTracker(Tracker):
    """One W&B run per protection and one per comparison, grouped by suite.

    The id of a run is the identity of its cell or comparison, so that a repeat updates it.

    Args:
        folder: where W&B keeps its files, in a folder ``wandb``.
        offline: send nothing, whatever W&B's settings are (``wandb sync`` uploads the runs later).
        project: W&B project where W&B's settings name none.
    """

    kind = "wandb"

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

    def record(self, results: Results, cell: str) -> None:
        """Log config, per-image table, picture, cost, scores and the images as an artifact."""
        if self.mode == "disabled":
            return
        folder = results.store.protection(cell)
        have = folder.finished()
        finished = [item for item in results.items(results.manifest.cells[cell]) if item in have]
        if not finished:
            return
        about = {"mode": self.mode, "images": folder.images_stamp(finished), "judged": judged(results)}
        stamp = fingerprint(about | trial_fields(results.trial))
        marker = folder.path / "tracked.json"
        place = f"{results.name}, sweep {results.trial.sweep}" if results.trial else results.name
        if (read_json(marker) or {}).get(place) == stamp:
            return
        items = collect(results, cell)
        with self._start(
            results,
            "protection",
            cell,
            name=name(results, cell),
            tags=tags(results, cell),
            config=config(results, cell),
        ) as run:
            _fill(run, {"items": items}, {"images": protection_sheet(results, cell, items)})
            run.summary.update(summary(results, cell, items))
            _attach(run, cell, folder)
        write_json(marker, {**(read_json(marker) or {}), place: stamp})

    def finish(self, results: Results, table: pd.DataFrame) -> None:
        """Log a comparison: leaderboard, grid, trade-off, and every number under a name to sort by."""
        if self.mode == "disabled":
            return
        content = (results.folder / "leaderboard.csv").read_bytes()
        stamp = fingerprint({"mode": self.mode, "table": hashlib.sha256(content).hexdigest()})
        marker = results.folder / "tracked.json"
        if (read_json(marker) or {}).get("stamp") == stamp:
            return
        manifest = results.manifest
        about = {
            "suite": results.name,
            "overrides": list(manifest.overrides),
            "seed": manifest.seed,
            "protocol": manifest.protocol.model_dump(),
            "dataset": manifest.dataset.name,
            "methods": {label: facts.model_dump() for label, facts in manifest.methods.items()},
            "origin": manifest.origin,
        }
        labels = [manifest.dataset.name[:LONGEST_TAG], "comparison"]
        run_id, title = f"{results.folder.name}-{manifest.comparison}", f"{results.folder.name}: leaderboard"
        with self._start(results, "comparison", run_id, name=title, tags=labels, config=about) as run:
            pictures = {one: read_picture(results.folder / f"{one}.png") for one in ("grid", "tradeoff")}
            _fill(run, {"leaderboard": table}, pictures)
            run.summary.update(board_summary(results, table))
        write_json(marker, {"stamp": stamp})

    def closing_lines(self) -> list[str]:
        """Where runs that were kept offline lie, and the command that uploads them."""
        return kept_lines(self._kept)

    @contextmanager
    def _start(self, results: Results, job: str, identity: str, **about: Any) -> Iterator[wandb.Run]:
        settings = wandb_settings()
        import wandb  # noqa: PLC0415 (slow to import)

        self.folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=settings.project or self.project,
            group=results.name,
            id=identity[-64:],
            resume=None if self.offline else "allow",
            job_type=job,
            mode=self.mode,
            dir=self.folder,
            settings=run_settings(),
            **about,
        )
        with finished(run):
            yield run
        if self.offline:
            self._kept.append(Path(run.settings.sync_dir))


def kept_lines(runs: Sequence[Path]) -> list[str]:
    """Where runs that were kept offline lie, and the command that uploads them; no line for none."""
    if not runs:
        return []
    parent = runs[0].parent
    what = "run is" if len(runs) == 1 else "runs are"
    command = f"wandb sync {shlex.quote(str(parent))}"
    return [f"{len(runs)} W&B {what} kept offline in {parent}; to upload: {command}"]


def _fill(run: wandb.Run, tables: Mapping[str, pd.DataFrame], pictures: Mapping[str, Image.Image | None]) -> None:
    import wandb  # noqa: PLC0415

    content: dict[str, Any] = {key: wandb.Table(dataframe=table) for key, table in tables.items()}
    content |= {key: wandb.Image(picture) for key, picture in pictures.items() if picture is not None}
    run.log(content)


def _attach(run: wandb.Run, cell: str, folder: ProtectionFolder) -> None:
    import wandb  # noqa: PLC0415

    spec = read_json(folder.path / "spec.json") or {}
    artifact = wandb.Artifact(f"protection-{cell[-100:]}", type="protection", metadata=spec)
    artifact.add_dir(str(folder.path / "images"))
    run.log_artifact(artifact)


def read_picture(path: Path) -> Image.Image | None:
    """A picture of a comparison's folder; None where there is none."""
    pixels = read_pixels(path)
    return None if pixels is None else Image.fromarray(pixels)
