"""What counts as a success, on both sides of the threshold."""

from __future__ import annotations

import pandas as pd

from veilbench.metrics.verification import dodged, impersonated


def test_the_threshold_itself_is_neither() -> None:
    """The literature's comparisons are strict on both sides."""
    numbers = pd.Series([0.1, 0.25, 0.4])
    assert impersonated(numbers, 0.25).tolist() == [False, False, True]
    assert dodged(numbers, 0.25).tolist() == [True, False, False]
