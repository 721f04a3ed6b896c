"""The optimiser against PyTorch's, and images that stand still."""

from __future__ import annotations

import torch

from veilbench.methods.per_image_adamw import PerImageAdamW


def test_equals_pytorch() -> None:
    start, goal = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    expected = start.clone().requires_grad_(True)
    theirs = torch.optim.AdamW([expected], lr=0.03)
    values, ours = start, PerImageAdamW(start, 0.03)
    everyone = torch.ones(3, dtype=torch.bool)
    for _ in range(25):
        theirs.zero_grad()
        ((expected - goal) ** 4).sum().backward()
        theirs.step()
        values = ours.step(values, 4 * (values - goal) ** 3, everyone)
    assert torch.allclose(values, expected.detach(), rtol=1e-12, atol=1e-14)


def test_an_image_that_rests_goes_on_as_if_nothing_had_been() -> None:
    values, gradients = torch.randn(2, 4), torch.randn(6, 2, 4)
    alone, together = PerImageAdamW(values[:1], 0.1), PerImageAdamW(values, 0.1)
    expected, moved = values[:1], values
    for number, gradient in enumerate(gradients):
        rests = number in {0, 3}
        if not rests:
            expected = alone.step(expected, gradient[:1], torch.tensor([True]))
        before = moved
        moved = together.step(
            moved, torch.full((2, 4), torch.nan) if rests else gradient, torch.tensor([not rests, False])
        )
        assert torch.equal(moved[1], before[1])
        assert not rests or torch.equal(moved, before)
    assert torch.equal(moved[:1], expected)
