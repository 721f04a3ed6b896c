"""Unpacking somebody's export into a results folder of its own, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from veilbench.errors import UserError, shown
from veilbench.files import write_bytes

from ..engine import schema
from ..engine.intact import unsealed
from ..engine.json_files import read_json
from ..engine.lock import hold
from ..engine.results import Results
from .archive import read_archive
from .export import ABOUT

FOLDER = "imported"
GET_AGAIN = "get the archive again, or ask for it to be exported anew"


def import_archive(path: Path, root: Path) -> tuple[Path, bool]:
    """Unpack an archive of :func:`~benchmarks.trust.export.export`.

    It gets a results folder of its own, ``imported/<comparison's folder>-<hash>`` below ``root``: nothing that is there
    is touched.

    Args:
        path: of the archive.
        root: folder of all results.

    Returns:
        The comparison's folder, which commands take in the place of a suite, and False where it was there already, the
        same.

    Raises:
        UserError: for an archive that is damaged, hostile or of another version, or when another export of the same
            comparison was imported.
    """
    place = root / FOLDER
    with hold(place), _scratch(place) as scratch:
        about = _unpack(path, scratch)
        _open(path, scratch, about)
        target = place / f"{about['folder']}-{about['comparison']}"
        comparison = target / "suites" / about["folder"]
        if target.exists():
            if _content(target) != _content(scratch):
                raise UserError(
                    f"{target}: holds another export of this comparison and stays as it is; give another --results, or "
                    "move it away"
                )
            return comparison, False
        scratch.rename(target)
    return comparison, True


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """An empty folder that is removed in the end, with those that a kill left."""
    for left in place.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = place / f".{uuid.uuid4().hex}.tmp"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack(path: Path, scratch: Path) -> dict[str, Any]:
    """Write the files of an archive.  Returns what it says of itself, which all its files agree with."""
    found: dict[str, str] = {}
    for name, data in read_archive(path):
        write_bytes(scratch / name, data)
        found[name] = hashlib.sha256(data).hexdigest()
    about = _about(path, scratch / ABOUT) if ABOUT in found else None
    if about is None:
        raise UserError(f"{path}: without {ABOUT} as it was written, no archive of `veilbench export`; {GET_AGAIN}")
    del found[ABOUT]
    _check_files(path, found, about["files"])
    return about


def _about(path: Path, file: Path) -> dict[str, Any] | None:
    """What an archive says of itself; None for what was not written so."""
    try:
        content = unsealed(json.loads(file.read_bytes()))
    except (ValueError, RecursionError):
        return None
    if content is None:
        return None
    about = schema.EXPORT.migrated(content, path, "use the veilbench that wrote it, or a newer one")
    texts = [about.get(key) for key in ("suite", "comparison", "folder")]
    return about if isinstance(about.get("files"), dict) and all(_is_name(one) for one in texts) else None


def _check_files(path: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raise :class:`UserError` for the first file that is missing, not listed, or other than it was."""
    for name in sorted(found.keys() | expected.keys()):
        problem = "is missing" if name not in found else "is not listed" if name not in expected else "was changed"
        if found.get(name) != expected.get(name):
            raise UserError(f"{path}: {shown(name)} {problem}; {GET_AGAIN}")


def _open(path: Path, scratch: Path, about: Mapping[str, Any]) -> None:
    """Raise :class:`UserError` unless what was unpacked is what it says, with names in it that lead nowhere else."""
    results = Results.open(scratch / "suites" / about["folder"])
    manifest = results.manifest
    if results.store.root != scratch.resolve() or manifest.comparison != about["comparison"]:
        raise UserError(f"{path}: its manifest is of another comparison than {ABOUT}; {GET_AGAIN}")
    trainings = (one.training for one in manifest.cells.values() if one.training is not None)
    scores = (name for one in manifest.scores for name in (one.id, one.reference_id) if name)
    names: Iterable[object] = (*manifest.dataset.items, *manifest.cells, *trainings, *scores, manifest.dataset.digest)
    asked = {(one.label in manifest.methods, one.cell in manifest.cells) for one in manifest.questions}
    if asked != {(True, True)}:
        raise UserError(f"{path}: its manifest asks for what it does not have; {GET_AGAIN}")
    if wrong := next((name for name in names if not _is_name(name)), None):
        raise UserError(f"{path}: {shown(str(wrong))!r} in its manifest is no name of a file; {GET_AGAIN}")


def _is_name(value: object) -> bool:
    """Whether it is text that names a file in a folder and nothing else."""
    return isinstance(value, str) and value not in {"", ".", ".."} and "/" not in value and value.isprintable()


def _content(folder: Path) -> object:
    """What an unpacked archive consists of."""
    return (read_json(folder / ABOUT) or {}).get("files")
