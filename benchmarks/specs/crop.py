"""What recognisers look at, as suites and callers say it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from veilbench.boxes import CropName, Fractions, check_fractions
from veilbench.registry import Number, parse

from .strict_yaml import load


def _has_area(value: Any) -> Any:
    if not isinstance(value, str):
        check_fractions(value)
    return value


CropRule = Annotated[
    CropName | tuple[Number, Number, Number, Number],
    AfterValidator(_has_area),
]
"""See :class:`veilbench.models.crops.Crop`."""


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")

    crop: CropRule


def read_crop(text: str, where: str) -> CropName | Fractions:
    """A rule that the command line names.  Raises :class:`UserError`, beginning with ``where``, for none."""
    return parse(_Given, {"crop": load(text, where)}, where).crop
