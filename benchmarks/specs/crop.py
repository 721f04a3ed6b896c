"""What recognisers look at, as suites and callers say it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from veilbench.boxes import check_fractions
from veilbench.registry import Number


def _has_area(value: Any) -> Any:
    if not isinstance(value, str):
        check_fractions(value)
    return value


CropRule = Annotated[
    Literal["recognizer", "whole", "detected", "source_box", "aligned"] | tuple[Number, Number, Number, Number],
    AfterValidator(_has_area),
]
"""See :class:`veilbench.models.crops.Crop`."""
