"""Success rates against counting by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from veilbench.metrics.psr import DodgingPSR, ImpersonationPSR, dodged, impersonated


def at_angles(*degrees: float) -> torch.Tensor:
    """Unit vectors at angles from the first axis: their cosines to it are known."""
    return torch.tensor([[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in degrees])


def test_rates_of_known_angles() -> None:
    threshold = math.cos(math.radians(60))
    embeddings, axis = at_angles(0, 30, 59, 61, 90), at_angles(0)
    impersonation, dodging = ImpersonationPSR(threshold), DodgingPSR(threshold)
    for part in (embeddings[:2], embeddings[2:]):
        impersonation.update(part, axis)
        dodging.update(part, axis)
    assert float(impersonation.compute()) == pytest.approx(3 / 5)
    assert float(dodging.compute()) == pytest.approx(2 / 5)
    estimate = impersonation.estimate()
    assert (estimate.value, estimate.n) == (3 / 5, 5)
    assert estimate.low < 3 / 5 < estimate.high


def test_references_may_belong_to_items() -> None:
    embeddings = F.normalize(torch.randn(20, 8))
    references = F.normalize(torch.randn(20, 8))
    metric = ImpersonationPSR(0.1)
    metric.update(embeddings, references)
    expected = sum(float(a @ b) > 0.1 for a, b in zip(embeddings, references, strict=True)) / 20
    assert float(metric.compute()) == pytest.approx(expected)


def test_the_threshold_itself_is_neither() -> None:
    """The literature's comparisons are strict on both sides."""
    column = pd.Series([0.1, 0.25, 0.4])
    assert impersonated(column, 0.25).tolist() == [False, False, True]
    assert dodged(column, 0.25).tolist() == [True, False, False]
