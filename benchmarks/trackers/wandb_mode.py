"""Whether W&B may send anything from here: for its own settings and login to say.  Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import wandb

HOME_FOLDERS = {  # W&B's variable, and where it writes without it
    "WANDB_CACHE_DIR": ".cache/wandb",
    "WANDB_CONFIG_DIR": ".config/wandb",
    "WANDB_DATA_DIR": ".local/share/wandb",
}

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


def _has_key(settings: wandb.Settings) -> bool:
    """Whether W&B can log in to the host of its settings: asks what ``wandb.init`` asks, without a prompt or a request.

    Raises:
        Exception: W&B's ``AuthenticationError`` when there is a key that cannot be one.
    """
    from wandb.sdk.lib import wbauth  # noqa: PLC0415

    host = wbauth.HostUrl(settings.base_url, app_url=settings.app_url)
    found = wbauth.authenticate_session(host=host, source="veilbench", prompt=False, update_session=False)
    return found is not None
