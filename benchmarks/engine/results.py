"""Results: a comparison's manifest and the store.  All that is shown is made of them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from veilbench.errors import UserError

from ..specs.asked import Asked, read_asked
from . import schema
from .json_files import read_json, write_json
from .manifest import MANIFEST, CellFacts, Manifest, QuestionFacts, ScoreFacts, manifest_of
from .sources import TARGETS_SHOWN, target_name
from .status import Status, status
from .store import Store

if TYPE_CHECKING:
    from .plan import Plan

SECOND = 10**9  # ns; coarser times than that no file system has that results are kept on


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial of a sweep that results are of.

    Attributes:
        sweep: its name.
        number: of the trial in it.
        settings: that were proposed, by parameter.
    """

    sweep: str
    number: int
    settings: Mapping[str, Any]


class Results:
    """A comparison and where its files are.

    Args:
        manifest: what it is.
        store: where its protections and scores are.
        folder: where its tables are, or will be.
        trial: of a sweep, where they are of one.
    """

    def __init__(self, manifest: Manifest, store: Store, folder: Path, trial: Trial | None = None) -> None:
        self.manifest = manifest
        self.store = store
        self.folder = folder
        self.trial = trial

    @classmethod
    def open(cls, folder: Path) -> Results:
        """The results of a comparison's folder, or of a sweep's trial.

        Raises:
            UserError: when it has no manifest, one of another version, or no store above it.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise UserError(f"{folder}: no {MANIFEST} in it; name a suite, or a folder below suites/ of the results")
        root = next((above for above in folder.resolve().parents if (above / "store").is_dir()), None)
        if root is None:
            raise UserError(f"{folder}: no `store` in any folder above it; copy a results folder whole, with its store")
        return cls(manifest, Store(root), folder)

    @property
    def name(self) -> str:
        """Of the suite."""
        return self.manifest.suite

    def items(self, one: CellFacts | QuestionFacts) -> tuple[str, ...]:
        """Ids of the sources that a protection covers, or that a question asks about."""
        return self.manifest.dataset.items if one.items is None else one.items

    def status(self, cell: str) -> Status:
        """How far a protection is."""
        return status(self.store, cell, self.items(self.manifest.cells[cell]))

    def questions(self, cell: str) -> list[QuestionFacts]:
        """What one protection answers."""
        return [question for question in self.manifest.questions if question.cell == cell]

    def row_cells(self, method: str, goal: str) -> list[str]:
        """Ids of the protections behind a row of the leaderboard."""
        asked = self.manifest.questions
        return sorted({one.cell for one in asked if (one.label, one.goal) == (method, goal)})

    def scores(self, treatment: str) -> Iterator[ScoreFacts]:
        """Scores of photos that went through one countermeasure."""
        return (one for one in self.manifest.scores if one.treatment == treatment)

    def source_image(self, item: str) -> Path:
        """Where the clean photo of one of the first sources is kept, for pictures."""
        return self.store.source_image(self.manifest.dataset.digest, item)

    def target_images(self, targets: Sequence[str]) -> list[Path]:
        """Where photos of the first of some targets are kept, for pictures; none where the manifest is an older one."""
        known, digest = self.manifest.dataset.targets, self.manifest.dataset.digest
        asked = [known[name] for name in targets[:TARGETS_SHOWN] if name in known]
        return [self.store.source_image(digest, target_name(sha256)) for sha256 in asked]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a results folder, also one of an older version; None where it has none.

    Raises:
        UserError: when it is of a version that this code does not read.
    """
    content = read_json(folder / MANIFEST)
    if content is None:
        return None
    content = schema.MANIFEST.migrated(
        content, folder / MANIFEST, "use the veilbench that wrote it, or run the suite again"
    )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{folder / MANIFEST}: {where} is not what was written; run the suite again") from error


def write_manifest(results: Results) -> None:
    """Write the manifest into its folder, as the newest of all beside it, also where the clock was set back."""
    path = results.folder / MANIFEST
    newest = max((one.stat().st_mtime_ns for one in path.parents[1].glob(f"*/{MANIFEST}")), default=0)
    # in the suite's order, which is that of tables
    write_json(path, results.manifest.model_dump(mode="json"), in_order=True)
    if path.stat().st_mtime_ns <= newest:
        os.utime(path, ns=(newest + SECOND, newest + SECOND))


def claim(
    plan: Plan, suite: str, settings: list[str] | None, only: list[str] | None, root: Path
) -> tuple[Results, str]:
    """The results of a plan that is about to be run, in a folder that no other comparison shares.

    Args:
        plan: made of the suite.
        suite: name or YAML file.
        settings: texts of ``--set``.
        only: labels of the methods to keep.
        root: folder of all results.

    Returns:
        The results, and a line to print; see :func:`claim_folder`.
    """
    from .provenance import provenance  # noqa: PLC0415 (asks torch)

    manifest, store = manifest_of(plan, read_asked(suite, settings, only), provenance()), Store(root)
    folder, notice = claim_folder(manifest, store)
    return Results(manifest, store, folder), notice


def claim_folder(manifest: Manifest, store: Store) -> tuple[Path, str]:
    """The folder of a comparison, which no other one shares.

    It has the suite's name where nothing was overridden and no other comparison has it already, else the name and a
    hash.

    Returns:
        The folder, and a line to print where it has not the name that one would look for; else an empty string.
    """
    plain = store.suites / manifest.suite
    hashed = store.suites / f"{manifest.suite}-{manifest.comparison[:8]}"
    if _held_by(hashed) not in {"", manifest.comparison}:  # a suite may have such a name
        hashed = store.suites / f"{manifest.suite}-{manifest.comparison}"
    holder = _held_by(plain)
    if holder == manifest.comparison or (not holder and not manifest.overrides and not hashed.exists()):
        return plain, ""
    if manifest.overrides or not holder:
        return hashed, ""
    why = _difference(plain, manifest)
    return hashed, f"{plain} holds another comparison ({why}) and stays as it is; this one is in {hashed}"


def _held_by(folder: Path) -> str:
    """Which comparison a folder belongs to; empty where to none, ``unreadable`` where that cannot be read."""
    try:
        found = read_manifest(folder)
    except UserError:
        return "unreadable"
    return "" if found is None else found.comparison


def _difference(folder: Path, manifest: Manifest) -> str:
    """Why a folder of the same name holds another comparison."""
    try:
        holder = read_manifest(folder)
    except UserError:
        return "of another version of veilbench"
    if holder is None or holder.asked == manifest.asked:
        return "its data or weights differ"
    return "its file differs" if holder.file == manifest.file else f"it is of {holder.file}"


def find_results(suite: str, settings: list[str] | None, only: list[str] | None, root: Path) -> Results:
    """The results that a command asks for.

    Args:
        suite: name or YAML file of a suite, or a folder with a manifest.
        settings: texts of ``--set``, as the run had them.
        only: labels of the methods, as the run had them.
        root: folder of all results.

    Raises:
        UserError: when there are none.
    """
    if (Path(suite) / MANIFEST).is_file():
        return Results.open(Path(suite))
    store = Store(root)
    try:
        asked = read_asked(suite, settings, only)
    except UserError as error:
        raise _with_folders(error, _folders(store, Path(suite).stem)) from error
    found = _folders(store, asked.name)
    mine = [folder for folder, manifest in found.items() if manifest.asked == asked.digest]
    if not mine:
        raise UserError(_nothing(asked, found))
    # the same content in two places, or with other data: the file's own first, then the one written last
    best = max(mine, key=lambda one: (found[one].file == str(asked.path), (one / MANIFEST).stat().st_mtime_ns))
    return Results(found[best], store, best)


def _folders(store: Store, name: str) -> dict[Path, Manifest]:
    """The folders that hold comparisons of suites of that name.

    Raises:
        UserError: when there are some, and this code reads none of them.
    """
    found: dict[Path, Manifest] = {}
    unreadable: list[UserError] = []
    ours = re.compile(rf"{re.escape(name)}(-[0-9a-f]{{8,}})?")
    for folder in sorted(store.suites.glob(f"{glob.escape(name)}*")):
        try:
            manifest = read_manifest(folder) if ours.fullmatch(folder.name) else None
        except UserError as error:
            unreadable.append(error)
            continue
        if manifest is not None and manifest.suite == name:
            found[folder] = manifest
    if unreadable and not found:
        raise unreadable[0]
    return found


def _with_folders(error: UserError, folders: Mapping[Path, Manifest]) -> UserError:
    """A complaint about a suite's file, and where its results are all the same."""
    if not folders:
        return error
    return UserError(f"{error}; its results need no file: name their folder, {' or '.join(map(str, folders))}")


def _nothing(asked: Asked, found: dict[Path, Manifest]) -> str:
    command = " ".join(["veilbench run", asked.name, *asked.overrides])
    if not found:
        return f"suite {asked.name}: nothing is scored yet; run `{command}`"
    known = "; ".join(f"{folder} ({', '.join(one.overrides) or 'as in its file'})" for folder, one in found.items())
    return (
        f"suite {asked.name}: no results of exactly this comparison; there are {known}: name one of these folders, or "
        f"run `{command}` (what is stored is not computed again)"
    )
