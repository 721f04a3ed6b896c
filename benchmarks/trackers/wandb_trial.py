"""The run of W&B that its agent started for a trial of a sweep: its id and its sweep are in the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from veilbench.errors import UserError, one_line

from .wandb import PROJECT, kept_lines
from .wandb_mode import finished, run_settings, wandb_mode, wandb_settings


@contextmanager
def trial_run(
    folder: Path, config: Mapping[str, Any], say: Callable[[str], None], *, offline: bool = False
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Begin the run, and end it as failed where something is raised.

    Args:
        folder: where W&B keeps its files, in a folder ``wandb``.
        config: beside what W&B's agent says itself.
        say: prints a line: where a run that was kept offline lies.
        offline: send nothing, whatever W&B's settings are.

    Yields:
        What sets the run's summary.

    Raises:
        UserError: when the run cannot be begun, or the host is gone at its end: nobody would learn what the trial
            gave.
    """
    try:
        mode, settings = wandb_mode(folder, forced_offline=offline), wandb_settings()
        import wandb  # noqa: PLC0415 (slow to import)

        folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=settings.project or PROJECT,
            job_type="trial",
            config=dict(config),
            mode=mode,
            dir=folder,
            settings=run_settings(),
        )
    except Exception as error:
        raise UserError(f"W&B: {one_line(error)}; mend it, or use --tracker offline or none") from error
    with finished(run):
        yield lambda found: run.summary.update(dict(found))
    for line in kept_lines([Path(run.settings.sync_dir)]) if mode == "offline" else ():
        say(line)
