"""The folder that keeps the user's weights: ``NAME.safetensors`` and, beside each, a card ``NAME.json``.

Weights are looked for in this order: the path in a recogniser's config; then, for a config without one, this folder:
``VEILBENCH_WEIGHTS`` where that is set, else ``veilbench/weights`` in the user's data folder (``XDG_DATA_HOME``).
Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from platformdirs import user_data_path

from veilbench.errors import WeightsError, shown
from veilbench.files import file_sha256, write_bytes

VARIABLE = "VEILBENCH_WEIGHTS"
SAFETENSORS, JSON = ".safetensors", ".json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # leads out of no folder


@dataclass(frozen=True, slots=True)
class About:
    """What a recogniser's config says of its weights.

    Attributes:
        name: of the recogniser.
        licence: of the weights.
        training_data: what they were trained on.
        description: what the recogniser is and where its weights are to be had.
    """

    name: str
    licence: str
    training_data: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What is known about kept weights.

    Attributes:
        sha256: of the kept file.
        source: where the original is from: a package with its version and file, or the user's file.
        source_sha256: of the original, file by file.
        licence: of the weights, in words.
        training_data: what they were trained on, one line.
        remark: anything else a reader of a table should know; may be empty.
    """

    sha256: str
    source: str
    source_sha256: dict[str, str]
    licence: str
    training_data: str
    remark: str = ""


def weights_folder() -> Path:
    """Where weights are kept; it need not exist."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().resolve() if named else user_data_path("veilbench", appauthor=False) / "weights"


def weights_file(name: str) -> Path:
    """Where the weights of that name are, or would be.  Raises :class:`WeightsError` for what is no name."""
    if not NAME.fullmatch(name):
        raise WeightsError(f"{shown(name)!r} is no name of weights; use letters, digits, - and _")
    return weights_folder() / f"{name}{SAFETENSORS}"


def kept(name: str) -> Path | None:
    """The file of kept weights; None where there are none of that name."""
    if not NAME.fullmatch(name):
        return None
    path = weights_file(name)
    return path if path.is_file() else None


def kept_names() -> list[str]:
    """Names of all weights in the folder, by their files; hidden ones (of a write that was killed) are none."""
    found = {path.stem for suffix in (SAFETENSORS, JSON) for path in weights_folder().glob(f"*{suffix}")}
    return sorted(name for name in found if NAME.fullmatch(name))


def read_card(name: str) -> Card:
    """The card of kept weights.

    Raises:
        WeightsError: when it is missing or damaged.
    """
    path = weights_file(name).with_suffix(JSON)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        card = Card(**content)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: missing; {_again(name)}") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a card of weights ({shown(str(error), 80)}); {_again(name)}") from error
    values = {field.name: getattr(card, field.name) for field in fields(card)}
    hashes = values.pop("source_sha256")
    if not isinstance(hashes, dict) or not all(
        isinstance(value, str) for value in [*values.values(), *hashes.values()]
    ):
        raise WeightsError(f"{path}: not a card of weights (a value is not text); {_again(name)}")
    return card


def keep(name: str, content: bytes, card: Card) -> bool:
    """Write weights and their card, each whole or not at all.

    Args:
        name: of the recogniser.
        content: of the safetensors file.
        card: whose ``sha256`` is that of ``content``.

    Returns:
        False where the same weights were there already.

    Raises:
        WeightsError: when others of that name are there, or the folder cannot be written.
    """
    path = weights_file(name)
    there = path.exists()
    if there and file_sha256(path) != card.sha256:
        raise WeightsError(
            f"{path}: other weights are kept under this name already; see `veilbench weights list`, and remove them "
            f"with `veilbench weights remove {name}` to have these instead"
        )
    try:
        if not there:
            write_bytes(path, content)
        described = json.dumps(asdict(card), indent=2, ensure_ascii=False)
        write_bytes(path.with_suffix(JSON), f"{described}\n".encode())
    except OSError as error:
        raise WeightsError(
            f"{path.parent}: cannot be written ({error.strerror}); make room, or set {VARIABLE} to another folder"
        ) from error
    return not there


def fault(name: str) -> str | None:
    """What is wrong with kept weights: missing, without a card, or of another hash than their card says."""
    path = weights_file(name)
    try:
        card = read_card(name)
    except WeightsError as error:
        return str(error)
    try:
        found = file_sha256(path)
    except FileNotFoundError:
        return f"{path}: missing, its card alone is there; {_again(name)}"
    except (OSError, ValueError) as error:
        return f"{path}: cannot be read ({shown(str(error), 80)})"
    if found != card.sha256:
        return (
            f"{path}: changed since it was kept (sha256 {found[:12]}, its card says {card.sha256[:12]}); "
            f"run `veilbench weights remove {name}`, and {_again(name)}"
        )
    return None


def remove(name: str) -> list[Path]:
    """Delete kept weights and their card.

    Returns:
        The deleted files.

    Raises:
        WeightsError: when there are none of that name, or they cannot be deleted.
    """
    path = weights_file(name)
    gone = []
    for one in (path, path.with_suffix(JSON)):
        with suppress(FileNotFoundError):
            try:
                one.unlink()
            except (PermissionError, IsADirectoryError) as error:
                raise WeightsError(f"{one}: cannot be deleted ({error.strerror}); delete it yourself") from error
            gone.append(one)
    if not gone:
        there = ", ".join(kept_names()) or "none"
        raise WeightsError(f"no weights {name!r} are kept in {path.parent}; kept: {there}")
    return gone


def _again(name: str) -> str:
    return f"get or add {name} again"
