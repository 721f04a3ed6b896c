"""Checking what a comparison has in the store: images, records, rows, trained networks.  Nothing is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from veilbench.files import file_sha256

from ..engine.checksums import below, checksums_path, covered, read_checksums, row_files
from ..engine.identity import fingerprint
from ..engine.intact import gathered, whole_png
from ..engine.json_files import read_json
from ..engine.kept_rows import reference_cell
from ..engine.manifest import MANIFEST, CellFacts, ScoreFacts
from ..engine.records import ItemRecord
from ..engine.results import Results
from ..engine.schema import STORE
from ..engine.store import ProtectionFolder, stamp_of
from ..engine.training_folder import TrainingFolder
from ..progress import first_of
from .findings import REPLACE, Findings

Advance = Callable[[str, int], None]
"""Called with what is being checked, and with how many images more are."""


def check_store(results: Results, findings: Findings, advance: Advance) -> None:
    """Check all that a comparison's tables and pictures are made of."""
    for cell, facts in results.manifest.cells.items():
        advance(cell, 0)
        with gathered() as named:
            contents = _check_cell(results, cell, facts, findings, advance)
            _check_scores(results, cell, contents, findings)
        findings.damaged(named)
    with gathered() as named:
        _check_shared(results, findings)
        _check_sums(results, findings)
    findings.damaged(named)


def _check_cell(
    results: Results, cell: str, facts: CellFacts, findings: Findings, advance: Advance
) -> Mapping[str, str] | None:
    """A protection's records and images.  Returns the hash of every finished one; None where some differ."""
    folder = results.store.protection(cell)
    folder.damaged()
    folder.name_lost_lines()
    _check_spec(folder.path, findings)
    if facts.training is not None:
        check_training(results.store.training(facts.training), findings)
    records, before = folder.records(), len(findings.differences)
    contents: dict[str, str] = {}
    missing: list[str] = []
    for item in results.items(facts):
        advance(cell, 1)
        record = records.get(item)
        if record is None or (not record.error and not folder.image(item).is_file() and not folder.imported):
            missing.append(item)
        elif not record.error:
            contents[item] = _check_image(folder, record, findings)
    failed = [item for item, record in records.items() if record.error]
    if folder.error or failed:
        findings.leave(folder.path, folder.error or f"{first_of(failed)}: {records[failed[0]].error}")
    if missing and not folder.error:
        findings.differs(folder.path, f"{len(missing)} images without record or file ({first_of(missing)})")
    return contents if len(findings.differences) == before else None


def _check_image(folder: ProtectionFolder, record: ItemRecord, findings: Findings) -> str:
    """An image against its record.  Returns its hash."""
    path = folder.image(record.id)
    if not path.is_file():  # left out of an export
        findings.leave(folder.path, "images that were not exported; their rows are")
        return record.sha256
    data = path.read_bytes()
    content = hashlib.sha256(data).hexdigest()
    findings.checked["images"] += 1
    if not whole_png(data):
        findings.differs(path, "damaged (not a whole PNG)")
    elif not record.sha256:
        findings.leave(folder.path, "its images have no recorded hash; that each is a whole PNG was checked")
    elif content != record.sha256:
        findings.differs(path, "altered: another picture than was recorded", REPLACE)
    return content


def _check_spec(path: Path, findings: Findings) -> None:
    """What a protection or a training is, against the hash in its folder's name."""
    spec = read_json(path / "spec.json")
    if spec is None:
        if not (path / "spec.json").is_file():
            findings.differs(path / "spec.json", "missing")
        return
    findings.checked["records"] += 1
    if not _is_named_after(path.name, {key: value for key, value in spec.items() if key != STORE.key}):
        findings.differs(path / "spec.json", "altered: not what the folder is named after")


def _is_named_after(name: str, spec: Any) -> bool:
    """Whether a name ends in the hash of a spec."""
    try:
        return isinstance(spec, dict) and name.endswith(fingerprint(spec))
    except TypeError:  # what no spec holds
        return False


def check_training(folder: TrainingFolder, findings: Findings) -> None:
    """A trained network against its record."""
    _check_spec(folder.path, findings)
    record = folder.record
    if not record:
        if not (folder.path / "training.json").is_file():
            findings.leave(folder.path, "not trained")
    elif not folder.weights.is_file():
        findings.leave(folder.weights, "not here")
    else:
        findings.checked["weight files"] += 1
        if record.get("weights_sha256") not in (None, file_sha256(folder.weights)):
            findings.differs(folder.weights, "altered: not the weights that training.json records")


def _check_scores(results: Results, cell: str, contents: Mapping[str, str] | None, findings: Findings) -> None:
    """A protection's rows: whole, of the kind that the manifest names, and computed from the images that are there."""
    stamp = stamp_of(contents) if contents else None
    for score in results.manifest.scores:
        path = results.store.score_path(cell, score.id)
        if score.missing:
            continue
        if error := results.store.score_error(cell, score.id):
            findings.leave(path, error)
        elif not path.is_file():
            if contents != {}:
                findings.differs(path, "missing", "`veilbench run` computes it again")
        elif (about := results.store.score_about(cell, score.id)) is not None:
            findings.checked["score files"] += 1
            _check_about(path, score, about, stamp, findings)


def _check_about(
    path: Path, score: ScoreFacts, about: Mapping[str, Any], stamp: str | None, findings: Findings
) -> None:
    """What rows say that they are, against the manifest and the images."""
    if "seal" not in about:
        findings.leave(path, "has no seal (from before there were any, or rewritten): its rows were not checked by it")
    named = (about.get("kind"), about.get("version")) == (score.kind, score.version)
    if not named or not _is_named_after(score.id, about.get("spec")):
        findings.differs(path, "altered: not the score that its name says", REPLACE)
    elif stamp is not None and about.get("stamp") != stamp:
        findings.differs(path, "computed from other images than are there", "`veilbench run` computes it again")


def _check_shared(results: Results, findings: Findings) -> None:
    """What protections share: rows of the clean sources, numbers of whole rows, clean photos."""
    sources = reference_cell(results.manifest.dataset.digest)
    references = {one.reference_id for one in results.manifest.scores if one.reference_id and not one.missing}
    for reference in sorted(references):
        findings.checked["score files"] += results.store.score_about(sources, reference) is not None
    for path in dict.fromkeys(row_files(results)):
        findings.checked["records"] += read_json(path) is not None
    for path in sorted(results.source_image("_").parent.glob("*.png")):
        findings.checked["images"] += 1
        if not whole_png(path.read_bytes()):
            findings.differs(path, "damaged (not a whole PNG)")


def _check_sums(results: Results, findings: Findings) -> None:
    """All of it against what the run recorded."""
    known, manifest = read_checksums(results), results.folder / MANIFEST
    if known is None:
        if not checksums_path(results).is_file():
            findings.leave(checksums_path(results), "no digests of this comparison; `veilbench run` records them")
        return
    findings.checked["digests"] += 1 + len(known.files)
    if file_sha256(manifest) != known.manifest:
        findings.differs(manifest, "altered: not what the run recorded", REPLACE)
    for name, expected in known.files.items():
        path = results.store.root / name
        if not path.is_file():
            findings.differs(path, "missing")
        elif file_sha256(path) != expected:
            findings.differs(path, "altered: not what the run recorded", REPLACE)
    new = [path for path in covered(results) if path.is_file() and below(results, path) not in known.files]
    if new:
        findings.leave(new[0], f"{len(new)} files were not there when the run ended; `veilbench run` records them")
