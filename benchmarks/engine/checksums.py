"""The hashes of what a run left: they tell what was changed and sealed anew afterwards.

A seal is made of a file's own content: whoever rewrites the file can make another.  A comparison's checksums stand
apart, in ``store/checksums/<comparison>.json``: of rows, their records, and the manifest that leads to them.  Images
are covered by the stamp in the rows that were computed from them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from veilbench.files import file_sha256

from . import schema
from .json_files import read_json, write_json
from .kept_rows import reference_cell, row_key, row_path
from .manifest import MANIFEST
from .results import Results


@dataclass(frozen=True, slots=True)
class Checksums:
    """sha256 of the manifest, and of files by their path below the results folder."""

    manifest: str
    files: Mapping[str, str] = field(default_factory=dict)


def covered(results: Results) -> Iterator[Path]:
    """The files beside images that a comparison's tables and pictures are made of, where they are there or not."""
    store, manifest = results.store, results.manifest
    for cell, facts in manifest.cells.items():
        folder = store.protection(cell).path
        yield from (folder / "spec.json", folder / "cell.json")
        if facts.training is not None:
            training = store.training(facts.training).path
            yield from (training / "spec.json", training / "training.json")
        yield from (store.score_path(cell, score.id) for score in manifest.scores)
    sources = reference_cell(manifest.dataset.digest)
    yield from (store.score_path(sources, one.reference_id) for one in manifest.scores if one.reference_id)
    yield from row_files(results)
    yield from sorted(results.source_image("_").parent.glob("*.png"))


def row_files(results: Results) -> Iterator[Path]:
    """Where the numbers are that all images of a row of the leaderboard, or of one protection, have together."""
    asked = dict.fromkeys((one.label, one.goal) for one in results.manifest.questions)
    together = [[cell] for cell in results.manifest.cells] + [results.row_cells(*row) for row in asked]
    for score in results.manifest.scores:
        for cells in together if any(column.of == "row" for column in score.columns) else ():
            key = row_key(results.store, score.id, score.reference_id, results.manifest.dataset.digest, cells)
            yield row_path(results.store, key)


def below(results: Results, path: Path) -> str:
    """The path of a file as checksums have it: from the results folder."""
    return Path(os.path.relpath(path, results.store.root)).as_posix()


def record_checksums(results: Results) -> None:
    """Keep the checksums of all that is there now; for whoever has just written it and holds the lock."""
    paths = dict.fromkeys(path for path in covered(results) if path.is_file())
    _write(results, {below(results, path): file_sha256(path) for path in paths})


def record_manifest(results: Results) -> None:
    """The same of the manifest alone, which a run writes before all else; of a comparison without any, nothing."""
    known = read_checksums(results)
    if known is not None:
        _write(results, known.files)


def read_checksums(results: Results) -> Checksums | None:
    """What was recorded; None where nothing was (results of an earlier version, a run that never ended) or is damaged.

    Raises:
        UserError: when it is of a version that this code does not read.
    """
    path = checksums_path(results)
    content = read_json(path)
    if content is None:
        return None
    content = schema.CHECKSUMS.migrated(content, path, "use the veilbench that wrote it, or delete it")
    files = content.get("files")
    return Checksums(str(content.get("manifest")), files if isinstance(files, dict) else {})


def checksums_path(results: Results) -> Path:
    """Where a comparison's checksums are."""
    return results.store.root / "store" / "checksums" / f"{results.manifest.comparison}.json"


def _write(results: Results, files: Mapping[str, str]) -> None:
    manifest = file_sha256(results.folder / MANIFEST)
    version = {schema.CHECKSUMS.key: schema.CHECKSUMS.version}
    write_json(checksums_path(results), {**version, "manifest": manifest, "files": dict(files)})
