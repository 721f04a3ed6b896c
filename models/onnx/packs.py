"""insightface's model packs: folders of ONNX files, told apart by what they take and give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from veilbench.errors import WeightsError

from .files import Layout, layout_of, read_model

SUFFIX = ".onnx"
SMALLEST, STEP = 112, 16  # square sizes from which on insightface takes a network for a recogniser
LANDMARKS = (192, 192)  # and the one that it takes for one of landmarks
DETECTOR_OUTPUTS = 5  # at least


def recogniser_of(model: Path) -> Path:
    """The recogniser's file: ``model`` itself, or the one in the folder of a pack.

    Raises:
        WeightsError: when there is nothing, no recogniser, or more than one.
    """
    return _the(model, "recogniser", is_recogniser)


def detector_of(model: Path) -> Path:
    """The detector's file: ``model`` itself, or the one in the folder of a pack.  Raises as :func:`recogniser_of`."""
    return _the(model, "detector", is_detector)


def is_recogniser(layout: Layout) -> bool:
    """Whether insightface's model zoo takes such a network for a recogniser."""
    if layout.size is None or layout.size == LANDMARKS or len(layout.outputs) != 1 or layout.channels_last:
        return False
    height, width = layout.size
    return height == width and height >= SMALLEST and height % STEP == 0


def is_detector(layout: Layout) -> bool:
    """Whether insightface's model zoo takes such a network for a detector."""
    return len(layout.outputs) >= DETECTOR_OUTPUTS


def _the(model: Path, what: str, fits: Callable[[Layout], bool]) -> Path:
    if not model.exists():
        raise WeightsError(f"{model}: no such file or folder; nothing is downloaded: put the unpacked pack there")
    return _in_folder(model, what, fits) if model.is_dir() else model


def _in_folder(folder: Path, what: str, fits: Callable[[Layout], bool]) -> Path:
    files = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    if not files:
        raise WeightsError(f"{folder}: no {SUFFIX} file in this folder; name the folder of a pack, or one file")
    found, reasons = [], []
    for path in files:
        try:
            layout = layout_of(path, read_model(path))
        except WeightsError as error:  # a pack may hold others, e.g. one with two inputs
            reasons.append(str(error))
            continue
        if fits(layout):
            found.append(path)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise WeightsError(f"{folder}: holds more than one {what} ({names}); name the file of one")
    why = f" ({reasons[0]})" if reasons else ""
    raise WeightsError(f"{folder}: no {what} among its {len(files)} {SUFFIX} files{why}; name the file of one")
