"""ONNX files, checked before any runtime opens them: nothing outside of a file's folder is read, nothing is run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from veilbench.errors import WeightsError, one_line, shown
from veilbench.files import file_sha256

from ..weights import PICKLE, ZIP, first_bytes

OLDEST = 7  # opset: before it broadcasting, and what Reshape and BatchNormalization take, were written otherwise
OWN_DOMAINS = {"", "ai.onnx"}
IMAGE_DIMENSIONS, COLOURS = 4, 3


@dataclass(frozen=True, slots=True)
class Layout:
    """What a network in a file takes and gives.

    Attributes:
        path: of the file.
        opset: version of the operators.
        input: name of the images.
        outputs: names.
        batch: number of images at once; None: any.
        size: ``(height, width)``; None where the file leaves one of them open.
        channels_last: images are ``B x H x W x 3``.
    """

    path: Path
    opset: int
    input: str
    outputs: tuple[str, ...]
    batch: int | None
    size: tuple[int, int] | None
    channels_last: bool


def required(package: str) -> Any:
    """A package that only recognisers in ONNX files need.  Raises :class:`WeightsError` where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        top = package.partition(".")[0]
        raise WeightsError(
            f"the package {top} is needed and cannot be imported ({one_line(error)}); "
            "install what recognisers in ONNX files need: uv pip install 'veilbench[insightface]'"
        ) from error


def read_model(path: Path) -> Any:
    """The ``ModelProto`` in a file.  Weights that it keeps in files beside it are not read, but checked to be there.

    Raises:
        WeightsError: when it is no ONNX file, is cut short, or names a file outside of its folder.
    """
    head = first_bytes(path)
    if head.startswith((ZIP, PICKLE)):
        raise WeightsError(f"{path}: a PyTorch file or a pickle, not ONNX; export the network with torch.onnx.export")
    onnx = required("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of the parser
        raise WeightsError(f"{path}: not an ONNX file, or cut short ({one_line(error)}); get it again") from error
    if not model.graph.node or not model.graph.output:
        raise WeightsError(f"{path}: holds no network, or is cut short; get it again")
    _check_external(path, model)
    return model


def content_sha256(path: Path) -> str | list[str]:
    """Hash of an ONNX file's bytes; with those of the files beside it, where it keeps weights in some.

    Raises:
        WeightsError: as :func:`read_model`.
        OSError: when a file cannot be read.
    """
    digest, stamp = file_sha256(path), path.stat()
    beside = [file_sha256(one) for one in _external_files(path, stamp.st_mtime_ns, stamp.st_size)]
    return [digest, *beside] if beside else digest


@lru_cache(maxsize=256)
def _external_files(path: Path, modified: int, size: int) -> Sequence[Path]:
    del modified, size  # only part of the key
    return _check_external(path, read_model(path))


def read_weights(path: Path, model: Any) -> None:
    """Fill a model with what files beside it hold.

    Raises:
        WeightsError: when one is cut short, or no plain file.
    """
    try:
        required("onnx.external_data_helper").load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # of onnx, which has checks of its own
        raise WeightsError(f"{path}: weights beside it cannot be read ({one_line(error)}); get them again") from error


def _check_external(path: Path, model: Any) -> Sequence[Path]:
    """The files beside ``path`` that hold weights; raises :class:`WeightsError` for any elsewhere."""
    folder = path.parent.resolve()
    found: dict[str, Path] = {}
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if place in found:
            continue
        file = (folder / place).resolve()
        if not place or "\\" in place or Path(place).is_absolute() or folder not in file.parents:
            raise WeightsError(
                f"{path}: keeps weights in {shown(repr(place))}, outside of its folder; such a file is not opened: "
                "save the network as one file (onnx.save with save_as_external_data=False)"
            )
        if not file.is_file():
            raise WeightsError(
                f"{path}: keeps weights in {shown(repr(place))}, which is not beside it; put that file there, too"
            )
        found[place] = file
    return [found[place] for place in sorted(found)]


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors in a protobuf message, wherever a graph may hold them."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)


def layout_of(path: Path, model: Any) -> Layout:
    """What the network of a file takes.

    Raises:
        WeightsError: also when it takes something besides a batch of RGB images in float32.
    """
    graph = model.graph
    opset = next((one.version for one in model.opset_import if one.domain in OWN_DOMAINS), 0)
    if opset < OLDEST:
        raise WeightsError(f"{path}: opset {opset}; export it again with opset {OLDEST} or newer")
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise WeightsError(f"{path}: takes {len(inputs)} inputs ({names}); a recogniser takes photos alone")
    kind = inputs[0].type.tensor_type
    shape = [dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim]
    last = len(shape) == IMAGE_DIMENSIONS and shape[3] == COLOURS and shape[1] != COLOURS
    if len(shape) != IMAGE_DIMENSIONS or shape[3 if last else 1] not in {COLOURS, None}:
        raise WeightsError(f"{path}: takes {_shape_text(shape)}, no RGB images (B x 3 x H x W); is it a recogniser?")
    if kind.elem_type != required("onnx").TensorProto.FLOAT:
        raise WeightsError(f"{path}: takes images that are not float32; save the network in float32")
    height, width = shape[1:3] if last else shape[2:4]
    size = None if height is None or width is None else (height, width)
    outputs = tuple(value.name for value in graph.output)
    return Layout(path, opset, inputs[0].name, outputs, shape[0], size, last)


def _shape_text(shape: list[int | None]) -> str:
    return " x ".join("?" if side is None else str(side) for side in shape) or "a value without shape"
