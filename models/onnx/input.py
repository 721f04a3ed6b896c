"""How a network in an ONNX file is to look at photos: what a config says, as far as the file allows it."""

from __future__ import annotations

from veilbench.errors import WeightsError

from ..recognizers.base import InputSpec
from .files import Layout
from .normalisation import InnerScale


def accepted(
    layout: Layout, scale: InnerScale, given: InputSpec | None, default: InputSpec, origin: str = "the usual"
) -> InputSpec:
    """What is given, else the default.

    Args:
        layout: what the network takes.
        scale: what it does to photos first.
        given: a config's `input`.
        default: for configs without one.
        origin: where the default's mean and std are from, for messages.

    Raises:
        WeightsError: when the network takes another size, or normalises photos itself and would be shown others.
    """
    spec = given or default
    if layout.size is not None and (spec.height, spec.width) != layout.size:
        height, width = layout.size
        raise WeightsError(
            f"{layout.path}: takes photos of {height} x {width}, `input` says {spec.height} x {spec.width}; "
            f"write height: {height}, width: {width}"
        )
    scale.check(layout.path, spec, "`input`'s" if given is not None else origin)
    return spec
