"""``veilbench prepare``: is a local copy of a data set whole?  Nothing is downloaded, copied or changed.

What is missing or too much is counted and named, everything in one line; of a whole copy a record is written.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from veilbench.errors import DataError

from .celebamask import check_masks, find_masks, hq_number, read_mapping, without_numbers
from .photo_files import PhotoFile, check_photos, list_photos, pair_by_stem, pick, some
from .photos import MAX_TEXT_BYTES, read_file, stored_size
from .prepared import Prepared, PreparedItem, read_record, write_record
from .protocol import TARGETS

MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
TARGET_FOLDERS = ("target", "target_images")  # AMT-GAN's and CLIP2Protect's assets, WeakenDiff's repository
TEST_FOLDERS = ("test", "test_images")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set lies on disk.

    Attributes:
        kind: of the data set.
        title: its name, for people.
        sources: names of the folder of photos to protect; the first that is there counts.
        count: how many photos that folder must hold.
        used: how many of them are used: the first by name.
        others: folder of gallery photos of the sources under the same stems; not required.
        references: folder of photos with makeup.
        masks: folder of CelebAMask-HQ masks; not required.
    """

    kind: str
    title: str
    sources: tuple[str, ...]
    count: int
    used: int
    others: str | None = None
    references: str | None = None
    masks: str | None = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was verified.

    Attributes:
        prepared: the verified files.
        record: where they are recorded.
        findings: what there is, and what may need attention, a line each.
    """

    prepared: Prepared
    record: Path
    findings: tuple[str, ...]


@dataclass
class _Survey:
    """What has been seen so far: problems forbid a record, findings do not."""

    problems: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """A :class:`DataError` inside becomes one more problem, so that all are told at once."""
        try:
            yield
        except DataError as error:
            self.problems.append(str(error))


def prepare(
    layout: Layout,
    source: Path,
    to: Path | None = None,
    *,
    names: Path | None = None,
    count: int | None = None,
    use: int | None = None,
    targets: Path | None = None,
) -> Preparation:
    """Verify a local copy and record it.

    Args:
        layout: of the data set.
        source: the folder that holds its folders.
        to: folder for the record, ``<kind>.json``; by default ``source``.
        names: a text file, one photo's file name a line: exactly these are used, whatever else is there.
        count: how many photos there must be, instead of the layout's number; not with ``names``.
        use: how many of them to use, instead of the layout's number (all of them where ``count`` is given).
        targets: the folder that holds ``target`` and ``test``; by default ``source``.

    Raises:
        DataError: in one line, when the copy is not whole, or the record cannot be written.
    """
    if not source.is_dir():
        raise DataError(
            f"{source}: {'is not a folder' if source.exists() else 'does not exist'}; give your copy's folder"
        )
    record = (to or source) / f"{layout.kind}.json"
    survey = _Survey()
    chosen: dict[str, Path] = {}
    with survey.noting():
        chosen = _choose(layout, source, names, count, use, record, survey)
    photos = _checked(chosen, survey)
    others = _others(layout, source, photos, survey)
    masks = _masks(layout, source, photos, survey)
    pairs = _targets(targets or source, survey)
    references = _references(layout, source, survey)
    if survey.problems:
        raise DataError(f"{source}: not a whole copy of {layout.title}: {' | '.join(survey.problems)}")
    items = tuple(PreparedItem(photo, others.get(stem), masks.get(stem, {})) for stem, photo in photos.items())
    prepared = Prepared(layout.kind, items, tuple(pairs), tuple(references.values()))
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_record(record, prepared, source)
    except OSError as error:
        raise DataError(f"{record}: cannot be written ({error.strerror}); choose another folder with --to") from error
    return Preparation(prepared, record, tuple(survey.findings))


def count_of_photos(count: int) -> str:
    """``1 photo``, ``2 photos``."""
    return f"{count} photo{'' if count == 1 else 's'}"


def first_folder(source: Path, names: tuple[str, ...]) -> Path:
    """The first of these folders that a copy has.  Raises :class:`DataError` where it has none of them."""
    for name in names:
        if (source / name).is_dir():
            return source / name
    raise DataError(f"{source}: has no folder {' or '.join(names)}")


def _choose(
    layout: Layout,
    source: Path,
    names: Path | None,
    count: int | None,
    use: int | None,
    record: Path,
    survey: _Survey,
) -> dict[str, Path]:
    """The photos to use, by stem, in order."""
    folder = first_folder(source, layout.sources)
    photos = list_photos(folder, "--from")
    if names is not None:
        if count is not None:
            raise DataError("--count and --list exclude each other: a list says how many there are")
        listed = read_names(names)
        kept = {path.stem: path for path in pick(photos, listed, folder, "--list")}
        chosen = dict(sorted(kept.items())[:use])
    else:
        wanted = layout.count if count is None else count
        if len(photos) != wanted:
            raise DataError(_miscounted(layout, folder, photos, wanted, record))
        chosen = dict(list(photos.items())[: use or (layout.used if count is None else count)])
    left_out = [photos[stem].name for stem in photos if stem not in chosen]
    survey.findings.append(
        f"sources: {len(chosen)} of {len(photos)} in {folder.name}"
        + (f"; left out: {some(left_out)}" if left_out else "")
    )
    return chosen


def read_names(path: Path) -> list[str]:
    """File names, one a line.  Raises :class:`DataError` when there is none, or one is there twice."""
    lines = [line.strip() for line in read_file(path, MAX_TEXT_BYTES).decode("utf-8", "replace").splitlines()]
    names = [line for line in lines if line]
    if not names:
        raise DataError(f"{path}: holds no file name; write one a line")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: listed twice: {some(twice)}; keep one line each")
    return names


def _miscounted(layout: Layout, folder: Path, photos: Mapping[str, Path], wanted: int, record: Path) -> str:
    """How far the number of photos is off; by name where an earlier record knows the names."""
    found, off = len(photos), len(photos) - wanted
    text = f"{folder}: {count_of_photos(found)}, {abs(off)} {'more' if off > 0 else 'fewer'} than {wanted}"
    if record.is_file():
        known = {item.id for item in read_record(record, layout.kind).items}
        for word, stems in (("missing", sorted(known - set(photos))), ("not in it", sorted(set(photos) - known))):
            if stems:
                text += f"; {word}, by the earlier record {record.name}: {some(stems)}"
    return f"{text}; name those to use with --list FILE, or say --count {found} if all of them are meant"


def _checked(chosen: Mapping[str, Path], survey: _Survey) -> dict[str, PhotoFile]:
    """Decode and hash; photos that cannot be used are problems, photos with the same bytes are told."""
    problems: list[str] = []
    files = check_photos(chosen.values(), {}, problems)
    if problems:
        survey.problems.append(f"{count_of_photos(len(problems))} cannot be used: {some(problems, '; ')}")
    same: dict[str, list[str]] = defaultdict(list)
    for file in files:
        same[file.sha256].append(file.path.name)
    copies = [" = ".join(group) for group in same.values() if len(group) > 1]
    if copies:
        survey.findings.append(f"the same file under several names: {some(copies)}")
    return {file.path.stem: file for file in files}


def _others(layout: Layout, source: Path, photos: Mapping[str, PhotoFile], survey: _Survey) -> dict[str, PhotoFile]:
    if layout.others is None or not (source / layout.others).is_dir():
        return {}
    folder = source / layout.others
    partners: dict[str, Path] = {}
    with survey.noting():
        partners = pair_by_stem(photos, list_photos(folder, "--from"), folder)
        survey.findings.append(f"other photos: {len(partners)} in {folder.name}")
    return _checked(partners, survey)


def _masks(
    layout: Layout, source: Path, photos: Mapping[str, PhotoFile], survey: _Survey
) -> dict[str, dict[str, PhotoFile]]:
    """Masks by stem and part.  Every face has skin, so a photo without that mask means an incomplete copy."""
    if layout.masks is None or not (source / layout.masks).is_dir():
        return {}
    folder, mapping = source / layout.masks, {}
    with survey.noting():
        mapping = read_mapping(source / MAPPING) if os.path.lexists(source / MAPPING) else {}
    nameless = without_numbers(list(photos), mapping)
    if nameless:
        survey.problems.append(f"{folder}: {nameless}")
        return {}
    masks: dict[str, dict[str, PhotoFile]] = {}
    skinless, lipless, unsquare, damaged = [], [], [], []
    for stem, photo in photos.items():
        number = hq_number(stem, mapping)
        paths = {} if number is None else find_masks(folder, number)
        height, width = stored_size(photo.path)
        if "skin" not in paths:
            skinless.append(f"{photo.path.name} ({number:05d}_skin.png)")
        elif height != width:
            unsquare.append(f"{photo.path.name} ({height} x {width})")
        else:
            try:
                masks[stem], lips = check_masks(paths)
            except DataError as error:
                damaged.append(str(error))
                continue
            if not lips:
                lipless.append(photo.path.name)
    if skinless:
        survey.problems.append(f"{folder}: no skin mask for {count_of_photos(len(skinless))}: {some(skinless)}")
    if unsquare:
        survey.problems.append(
            f"{count_of_photos(len(unsquare))} not square, so that masks of a square photo do not fit: {some(unsquare)}"
        )
    if damaged:
        survey.problems.append(f"masks of {count_of_photos(len(damaged))} cannot be used: {some(damaged, '; ')}")
    survey.findings.append(
        f"masks: of {count_of_photos(len(masks))}"
        + (f"; no lips visible, so makeup methods will fail on: {some(lipless)}" if lipless else "")
    )
    return masks


def _targets(source: Path, survey: _Survey) -> list[tuple[PhotoFile, PhotoFile]]:
    """The four pairs of the protocol."""
    columns: list[list[PhotoFile]] = []
    for names, files in (
        (TARGET_FOLDERS, [pair.photo for pair in TARGETS]),
        (TEST_FOLDERS, [pair.gallery for pair in TARGETS]),
    ):
        with survey.noting():
            folder = first_folder(source, names)
            missing = [name for name in files if not (folder / name).is_file()]
            if missing:
                raise DataError(f"{folder}: {len(missing)} of {count_of_photos(len(files))} missing: {some(missing)}")
            columns.append(list(_checked({name: folder / name for name in files}, survey).values()))
    if not all(len(column) == len(TARGETS) for column in columns) or len(columns) < 2:  # noqa: PLR2004
        return []
    survey.findings.append(f"targets: {', '.join(file.path.stem for file in columns[0])}")
    return list(zip(*columns, strict=True))


def _references(layout: Layout, source: Path, survey: _Survey) -> dict[str, PhotoFile]:
    if layout.references is None:
        return {}
    photos: dict[str, Path] = {}
    with survey.noting():
        photos = list_photos(first_folder(source, (layout.references,)), "--from")
        survey.findings.append(f"makeup references: {len(photos)} in {layout.references}")
    return _checked(photos, survey)
