"""Packing a comparison for others: rows, provenance, tables, chosen photos, and a script that recomputes the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from veilbench.errors import UserError, did_you_mean, shown

from ..engine import schema
from ..engine.intact import sealed
from ..engine.results import Results
from .archive import write_archive
from .places import Places
from .staging import Chosen, stage
from .verify import verify_stored

ABOUT, SCRIPT, README = "export.json", "recompute.py", "README.txt"
TEXT = """{suite}: a comparison by veilbench {version}

suites/{folder}/
  leaderboard.csv, .md  a row for each goal, countermeasure and method: protection success rates with intervals and n
  items.csv, .parquet   a row for each decision: photo, judge, cosine, threshold, success, image quality, cost
  pairs.csv             paired tests of every two methods
  psr.csv, cells.csv    rates by judge and false accept rate; cost, commit and hardware by protection
  manifest.json         what was asked: protocol, methods, recognisers with thresholds, data set, versions
store/                  what these are made of: rows of every score, records of every image; {photos}

export.json has the sha256 of every file.  To recompute the leaderboard's rates and intervals from items.csv:

  python recompute.py             (Python 3.11 with numpy, nothing else)

To look at it with veilbench:  veilbench import FILE.zip
Photos are known by the ids that their files had where the comparison was run; no path of that machine is in here.
"""


def export(
    results: Results, to: Path, console: Console, images: int, ids: Collection[str], sources: bool
) -> Sequence[str]:
    """Write a comparison into a zip.  The same results give the same bytes.

    Args:
        results: of the comparison.
        to: the archive.
        console: for how far it is.
        images: protected photos of the first so many sources are packed.
        ids: and of these.
        sources: the clean photos of those, too.

    Returns:
        Lines to print.

    Raises:
        UserError: when results are incomplete or not what they were, or an id is unknown.
    """
    chosen = Chosen(_chosen(results, images, ids), sources)
    findings = verify_stored(results, console)
    if findings.differences:
        what, problem = next(iter(findings.differences.items()))
        raise UserError(f"not exported: {what}: {problem}; `veilbench verify {results.folder}` shows all that differs")
    places = Places([results.store.root, results.folder, Path(results.manifest.file).parent])
    with TemporaryDirectory() as folder, console.status("packing"):
        copy = stage(results, Path(folder), chosen, places)
        files = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
        contents = {name: path.read_bytes() for name, path in files.items() if not path.name.startswith(".")}
    photos = sum(name.endswith(".png") for name in contents)
    contents |= {README: _readme(copy, photos), SCRIPT: Path(__file__).with_name(SCRIPT).read_bytes()}
    contents[ABOUT] = _about(copy, contents)
    for name, data in contents.items():
        places.check(name, data)
    write_archive(to, contents)
    return [
        f"wrote {to} ({len(contents)} files, {to.stat().st_size / 1e6:.1f} MB): {_told(photos, chosen)}",
        "photos' ids, which are their files' names, stand in its rows; paths of this machine do not",
    ]


def _chosen(results: Results, images: int, ids: Collection[str]) -> frozenset[str]:
    items = results.manifest.dataset.items
    for one in ids:
        if one not in items:
            raise UserError(f"--image {shown(one)}: no source has this id; {did_you_mean(one, items)}")
    return frozenset([*items[:images], *ids])


def _readme(copy: Results, photos: int) -> bytes:
    packed = f"{photos} photos" if photos else "no photos"
    version, folder = copy.manifest.origin.get("veilbench", "?"), copy.folder.name
    return TEXT.format(suite=copy.name, version=version, folder=folder, photos=packed).encode()


def _about(copy: Results, contents: dict[str, bytes]) -> bytes:
    """What the archive is, and the hash of every other file in it."""
    about = {
        schema.EXPORT.key: schema.EXPORT.version,
        "suite": copy.manifest.suite,
        "comparison": copy.manifest.comparison,
        "folder": copy.folder.name,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())},
    }
    return (json.dumps(sealed(about), indent=1, sort_keys=True) + "\n").encode()


def _told(photos: int, chosen: Chosen) -> str:
    """What of photos is in it."""
    if not photos:
        return "rows and tables, no photos (--images N or --image ID packs protected ones)"
    return (
        f"rows, tables and {photos} photos, {'clean source photos among them' if chosen.sources else 'all protected'}"
    )
