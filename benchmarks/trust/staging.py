"""A results folder that holds one comparison alone, as an export packs it and an import puts it back."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from veilbench.files import write_bytes

from ..engine import schema
from ..engine.checksums import covered, record_checksums
from ..engine.intact import whole_png
from ..engine.json_files import read_json, write_json
from ..engine.results import Results, write_manifest
from ..engine.sources import reference_name, target_name
from ..engine.store import IMPORTED, ProtectionFolder, Store
from .places import Places


@dataclass(frozen=True, slots=True)
class Chosen:
    """Photos to pack: ids of sources whose protected photos are, and whether the clean ones are, too."""

    items: frozenset[str]
    sources: bool


def stage(results: Results, root: Path, chosen: Chosen, places: Places) -> Results:
    """Copy a comparison into an empty folder: without paths, with the chosen photos alone, its tables written anew.

    Args:
        results: of the comparison, checked.
        root: the empty folder.
        chosen: photos.
        places: that are cut out of texts.

    Returns:
        The copy.
    """
    from ..report.write import write_tables  # noqa: PLC0415 (slow to import)

    manifest = places.manifest(results.manifest)
    copy = Results(manifest, Store(root), root / "suites" / results.folder.resolve().name)
    version = {schema.EXPORT.key: schema.EXPORT.version}
    write_json(root / "store" / IMPORTED, {**version, "suite": manifest.suite, "comparison": manifest.comparison})
    write_manifest(copy)
    for cell, facts in manifest.cells.items():
        # what a method gives that changes nothing are the clean photos
        shown = chosen.items if chosen.sources or manifest.methods[facts.label].family != "none" else frozenset()
        _copy_protection(results.store.protection(cell), copy.store.protection(cell), shown, places)
    for path in covered(results):
        _copy(results, copy, path, places)
        _copy(results, copy, path.with_suffix(".error.json"), places)
    for path in _clean_photos(results, chosen):
        write_bytes(root / path.relative_to(results.store.root), path.read_bytes())
    record_checksums(copy)
    write_tables(copy)
    return copy


def _copy(results: Results, copy: Results, path: Path, places: Places) -> None:
    """A file of the store, where there is one; texts in JSON without paths.  Photos are left out."""
    target = copy.store.root / path.relative_to(results.store.root)
    if path.suffix == ".json" and (content := read_json(path)) is not None:
        write_json(target, content if path.name == "spec.json" else places.cut(content))
    elif path.suffix == ".parquet" and path.is_file():
        write_bytes(target, path.read_bytes())


def _copy_protection(
    folder: ProtectionFolder, target: ProtectionFolder, shown: Collection[str], places: Places
) -> None:
    """The records of a protection, and its photos that are shown; its JSON files are copied with the others."""
    records = folder.records()
    target.path.mkdir(parents=True)
    target.append(
        # when a file was written is nobody's business, and would make other bytes of the same results
        [replace(records[item], error=places.without(records[item].error), modified=0) for item in sorted(records)]
    )
    if error := folder.error:
        target.fail(places.without(error))
    for item in sorted(records.keys() & set(shown)):
        if folder.image(item).is_file():
            write_bytes(target.image(item), folder.content(item, records[item]))


def _clean_photos(results: Results, chosen: Chosen) -> Iterable[Path]:
    """Those that are kept of the chosen sources, of the targets, and the makeup references."""
    if not chosen.sources:
        return []
    references = {reference_name(one.reference) for one in results.manifest.cells.values() if one.reference}
    targets = set(map(target_name, results.manifest.dataset.targets.values()))
    paths = [results.source_image(item) for item in sorted(chosen.items | references | targets)]
    return [path for path in paths if path.is_file() and whole_png(path.read_bytes())]
