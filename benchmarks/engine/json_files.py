"""JSON files that are written whole, and tell when they are damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veilbench.files import write_bytes

from .intact import sealed, tell, unsealed


def write_json(path: Path, content: Mapping[str, Any], *, in_order: bool = False) -> None:
    """Write atomically and sealed: readers see the old file or the new one, and damage.

    Keys are sorted, but for those ``in_order``, which stay in the order given.
    """
    write_bytes(path, (json.dumps(sealed(content), indent=1, sort_keys=not in_order) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The content; None where there is no file, or a damaged one, which is named."""
    try:
        content: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    found = unsealed(content)
    if found is None:
        tell(path, "not what was written")
    return found


def write_error(path: Path, error: str) -> None:
    """Record why something failed."""
    write_json(path, {"error": error})


def read_error(path: Path) -> str:
    """Why something failed, or an empty string."""
    return str((read_json(path) or {}).get("error", ""))
