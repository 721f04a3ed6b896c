"""What counts as a success, on both sides of the threshold."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from veilbench.metrics.psr import dodged, impersonated


@pytest.mark.parametrize("numbers", [pd.Series([0.1, 0.25, 0.4]), torch.tensor([0.1, 0.25, 0.4])], ids=type)
def test_the_threshold_itself_is_neither(numbers: pd.Series[float]) -> None:
    """The literature's comparisons are strict on both sides."""
    assert impersonated(numbers, 0.25).tolist() == [False, False, True]
    assert dodged(numbers, 0.25).tolist() == [True, False, False]
