"""``veilbench prepare --align``: a copy of a data set whose photos are framed as FFHQ frames faces.

WeakenDiff aligns its sources so before it protects them, by 68 landmarks of dlib's; here MTCNN's five points do: eyes
and corners of the mouth are all that the frame is made of (Karras et al., CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from veilbench.datasets.photo_files import list_photos, pick, some
from veilbench.datasets.photos import read_photo, write_png
from veilbench.datasets.preparation import Layout, count_of_photos, first_folder, read_names
from veilbench.errors import DataError
from veilbench.models.detectors.mtcnn import find_face
from veilbench.models.ffhq import Frame, align

SIDE = 256  # pixels, as WeakenDiff's


def align_copy(
    layout: Layout, source: Path, to: Path, names: Path | None = None, size: int = SIDE
) -> tuple[int, list[str]]:
    """Align the photos of a copy, other photos and makeup photos alike; targets and masks stay what they are.

    Args:
        layout: of the data set.
        source: the copy.
        to: gets folders of the same names, with a PNG for each photo.
        names: a text file with one source's file name a line; all by default.
        size: side of the aligned photos in pixels.

    Returns:
        How many sources there are now, and what was done, a line for each folder.

    Raises:
        DataError: in one line, for photos that cannot be read or in which no face is found, after all others were
            written; and when ``to`` is the copy itself.
    """
    if to.resolve() == source.resolve():
        raise DataError(f"--align {to}: the copy itself, whose photos would be replaced; name another folder")
    listed = None if names is None else read_names(names)
    count, lines, problems = 0, [], []
    for folder in _folders(layout, source):
        photos = list_photos(folder, "--from")
        if listed is not None:
            photos = _listed(photos, listed, folder, folder.name in layout.sources)
        count = count or len(photos)
        failed = _align_folder(photos, to / folder.name, size)
        lines.append(f"aligned {len(photos) - len(failed)} of {len(photos)} photos of {folder.name}")
        problems += failed
    if problems:
        many = count_of_photos(len(problems))
        raise DataError(f"{source}: {many} cannot be aligned: {some(problems, '; ')}; name the others with --list")
    return count, lines


def _folders(layout: Layout, source: Path) -> list[Path]:
    """Those of a copy that hold photos of faces, the sources' first."""
    further = (source / name for name in (layout.others, layout.references) if name is not None)
    return [first_folder(source, layout.sources), *(folder for folder in further if folder.is_dir())]


def _listed(photos: Mapping[str, Path], names: Iterable[str], folder: Path, required: bool) -> dict[str, Path]:
    """The sources that a list names, and of other folders the photos of the same stems."""
    if required:
        return {path.stem: path for path in pick(photos, list(names), folder, "--list")}
    stems = {Path(name).stem for name in names}
    return {stem: path for stem, path in photos.items() if stem in stems}


def _align_folder(photos: Mapping[str, Path], to: Path, size: int) -> list[str]:
    """Align photos.  Returns a complaint for each that cannot be."""
    problems = []
    to.mkdir(parents=True, exist_ok=True)
    for stem, path in photos.items():
        try:
            photo = read_photo(path)
        except DataError as error:
            problems.append(str(error))
            continue
        face = find_face(photo)
        if face is None:
            problems.append(f"{path.name}: no face found")
            continue
        write_png(to / f"{stem}.png", align(photo, Frame.of_points(face.points), size))
    return problems
