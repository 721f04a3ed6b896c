"""Thresholds against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from veilbench.metrics.calibration import calibrate


def people(count: int, likeness: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    persons, more = torch.randn(2, count, 16, generator=generator)
    return F.normalize(persons), F.normalize(likeness * persons + more)


@pytest.mark.parametrize(("count", "fars"), [(2, (0.5,)), (7, (0.1, 0.5)), (60, (0.1, 0.01, 0.001))])
def test_as_many_impostors_pass_as_the_rate_allows(count: int, fars: tuple[float, ...]) -> None:
    probes, gallery = people(count, 2.0)
    measured = calibrate(probes, gallery, fars)
    cosines = probes.double().numpy() @ gallery.double().numpy().T
    different = ~np.eye(count, dtype=bool)
    assert measured.people == count
    assert measured.impostors == count * (count - 1) == different.sum()
    assert set(measured.thresholds) == set(fars)
    for far, threshold in measured.thresholds.items():
        assert (cosines[different] > threshold).sum() == int(far * different.sum())
        assert measured.tar[far].value == (np.diagonal(cosines) > threshold).mean()
        assert measured.tar[far].n == count


def test_a_rate_that_so_few_pairs_cannot_show_is_left_out() -> None:
    assert set(calibrate(*people(20, 1.0)).thresholds) == {0.1, 0.01}
    assert set(calibrate(*people(3, 1.0)).thresholds) == set()


def test_one_person_is_no_impostor() -> None:
    with pytest.raises(ValueError, match="1 people with two photos"):
        calibrate(*people(1, 1.0))
