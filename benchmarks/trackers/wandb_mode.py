"""Whether W&B may send anything from here: for its own settings and login to say.  Imports nothing heavy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from veilbench.errors import UserError

if TYPE_CHECKING:
    import wandb

HOME_FOLDERS = {  # W&B's variable, and where it writes without it
    "WANDB_CACHE_DIR": ".cache/wandb",
    "WANDB_CONFIG_DIR": ".config/wandb",
    "WANDB_DATA_DIR": ".local/share/wandb",
}

PATIENCE = 300.0  # seconds: W&B itself would wait for a host that is gone without end

Mode = Literal["online", "offline", "shared", "disabled"]


def wandb_mode(folder: Path, *, forced_offline: bool = False) -> Mode:
    """What happens to runs: W&B's own mode, or ``offline`` where that would send something and there is no key.

    Args:
        folder: where W&B keeps its files.
        forced_offline: send nothing, whatever W&B's settings are.

    Raises:
        Exception: whatever W&B raises when its settings or its key are not well formed.
    """
    _find_room(folder)
    settings = wandb_settings()
    if settings.mode == "disabled" and not forced_offline:
        return "disabled"
    if forced_offline or settings.mode in {"offline", "dryrun"} or not _has_key(settings):
        settings.mode = "offline"  # of this process: W&B's own telemetry asks it, too
        return "offline"
    return "shared" if settings.mode == "shared" else "online"


def _find_room(folder: Path) -> None:
    """Where W&B cannot write below the home folder, have it write below ``folder`` instead of failing."""
    for variable, usual in HOME_FOLDERS.items():
        try:
            (Path.home() / usual).mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):
            os.environ.setdefault(variable, str(folder.absolute() / "wandb" / usual.replace("/", "_")))


def wandb_settings() -> wandb.Settings:
    """W&B's settings as it resolves them itself: its files here and at home, its environment variables."""
    os.environ.setdefault("WANDB_SILENT", "true")  # its lines would tear the progress bar
    from wandb.sdk import wandb_setup  # noqa: PLC0415 (slow to import; `wandb.setup` would start a process)

    return wandb_setup.singleton().settings


def run_settings() -> wandb.Settings:
    """What every run of ours is begun with: nothing on the terminal, and an end to waiting, W&B's own if it has one."""
    import wandb  # noqa: PLC0415 (slow to import)

    return wandb.Settings(
        console="off",
        silent=True,
        finish_timeout=wandb_settings().finish_timeout or PATIENCE,
        finish_timeout_raises=True,
        x_disable_stats=True,
        x_save_requirements=False,  # takes longer than the rest; the packages that count are in a run's config
    )


@contextmanager
def finished(run: wandb.Run) -> Iterator[None]:
    """A run that ends with the block, as failed where something is raised.

    As a context manager of its own it would print the traceback.

    Raises:
        UserError: when the host has not taken all after the seconds that :func:`run_settings` says.
    """
    done = False
    try:
        yield
        done = True
    finally:
        try:
            run.finish(exit_code=0 if done else 1)
        except TimeoutError as error:
            if done:  # else what was raised tells more
                raise UserError(_left(run)) from error


def _left(run: wandb.Run) -> str:
    settings = run.settings
    return (
        f"{settings.base_url} has not taken all in {settings.finish_timeout:g} s (WANDB_FINISH_TIMEOUT); what it lacks "
        f"is kept: `wandb sync {shlex.quote(settings.sync_dir)}`"
    )


def _has_key(settings: wandb.Settings) -> bool:
    """Whether W&B can log in to the host of its settings: asks what ``wandb.init`` asks, without a prompt or a request.

    Raises:
        Exception: W&B's ``AuthenticationError`` when there is a key that cannot be one.
    """
    from wandb.sdk.lib import wbauth  # noqa: PLC0415

    host = wbauth.HostUrl(settings.base_url, app_url=settings.app_url)
    found = wbauth.authenticate_session(host=host, source="veilbench", prompt=False, update_session=False)
    return found is not None
