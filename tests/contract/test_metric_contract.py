"""What every metric promises.  A new one is added to ``CASES`` and must pass unchanged."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchmetrics import Metric

from veilbench.metrics import fidelity, psr, realism
from veilbench.metrics.fidelity import MeanPSNR, MeanSSIM
from veilbench.metrics.psr import DodgingPSR, ImpersonationPSR
from veilbench.metrics.realism import FrechetDistance, KernelDistance


class FlatPixels:
    """Features without a network: mean colours of quarters."""

    name = "quarters"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(images, 2).flatten(1)


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    return F.normalize(torch.randn(12, 4)), F.normalize(torch.randn(12, 4))


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(12, 3, 16, 16), torch.rand(12, 3, 16, 16)


Update = Callable[[Any, torch.Tensor, torch.Tensor], None]


def both(metric: Any, first: torch.Tensor, second: torch.Tensor) -> None:
    metric.update(first, second)


def apart(metric: Any, first: torch.Tensor, second: torch.Tensor) -> None:
    metric.update(first, real=True)
    metric.update(second, real=False)


CASES: dict[str, tuple[Callable[[], Metric], Callable[[], tuple[torch.Tensor, torch.Tensor]], Update]] = {
    "ImpersonationPSR": (lambda: ImpersonationPSR(0.2), embeddings, both),
    "DodgingPSR": (lambda: DodgingPSR(0.2), embeddings, both),
    "MeanPSNR": (MeanPSNR, images, both),
    "MeanSSIM": (MeanSSIM, images, both),
    "FrechetDistance": (lambda: FrechetDistance(FlatPixels()), images, apart),
    "KernelDistance": (lambda: KernelDistance(FlatPixels()), images, apart),
}


def test_every_metric_is_here() -> None:
    found = {
        name
        for module in (psr, fidelity, realism)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Metric)
        and value.__module__ == module.__name__
        and name[0] != "_"
    }
    assert found == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_batches_copies_and_resets(name: str) -> None:
    make, draw, update = CASES[name]
    first, second = draw()
    whole, parts = make(), make()
    update(whole, first, second)
    for start in range(0, 12, 5):
        update(parts, first[start : start + 5], second[start : start + 5])
    expected = float(whole.compute())
    assert float(parts.compute()) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert float(pickle.loads(pickle.dumps(parts)).compute()) == pytest.approx(expected, rel=1e-5, abs=1e-7)  # noqa: S301
    parts.reset()
    update(parts, first, second)
    assert float(parts.compute()) == pytest.approx(expected, rel=1e-5, abs=1e-7)
