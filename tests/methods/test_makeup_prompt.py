"""The makeup prompt's perspective against torchvision's, its loss against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as torchvision

from veilbench.methods.makeup_prompt import TEMPLATES, MakeupPrompt, in_perspective
from veilbench.models.clip.encoder import ImageTextEncoder

SIDE = 64


def test_perspective_is_that_of_torchvision() -> None:
    """Inside the moved corners; at their border one fills with black before and the other after interpolating."""
    wave = torch.sin(torch.arange(SIDE) / 5)
    images = (0.5 + 0.4 * wave[:, None] * wave.flip(0)[None]).expand(2, 3, SIDE, SIDE)
    corners = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(1))
    ours = in_perspective(images, corners)
    last = SIDE - 1
    starts = [[0, 0], [last, 0], [last, last], [0, last]]
    signs = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    for place in range(2):
        ends = torch.tensor(starts) + signs * 0.5 * corners[place] * last / 2
        theirs = torchvision.perspective(images[place], starts, ends.round().int().tolist())
        inside = (ours[place] > 0.05) & (theirs > 0.05)
        assert inside.float().mean() > 0.3
        # its corners are whole pixels
        assert float((ours[place] - theirs)[inside].abs().mean()) < 0.03


def test_corners_that_stay_change_nothing() -> None:
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.allclose(in_perspective(images, torch.zeros(2, 4, 2)), images, atol=1e-5)


@pytest.fixture(scope="module")
def prompt() -> MakeupPrompt:
    return MakeupPrompt(ImageTextEncoder.load("embedded"), "red lipstick")


@torch.no_grad()
def test_the_loss_is_that_of_its_formula(prompt: MakeupPrompt) -> None:
    images, before = torch.rand(2, 3, SIDE, SIDE), prompt.encoder.embed_images(torch.rand(2, 3, SIDE, SIDE))
    losses = prompt.losses(images, before, torch.zeros(2, 4, 2))

    def unit(vector: np.ndarray) -> np.ndarray:
        found: np.ndarray = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
        return found

    def texts(words: str) -> np.ndarray:
        found: np.ndarray = prompt.encoder.embed_texts([one.format(words) for one in TEMPLATES]).double().numpy()
        return found

    wanted, without = unit(texts("red lipstick").mean(0)), texts("face")
    after = prompt.encoder.embed_images(images).double().numpy()
    for place, start in enumerate(before.double().numpy()):
        query = unit(after[place] - start)
        far = np.exp(unit(without - start) @ query / 0.1).sum()
        near = [np.exp(unit(goal) @ query / 0.1) for goal in (wanted - without.mean(0), wanted - start)]
        expected = np.mean([-np.log(one / (one + far)) for one in near])
        assert float(losses[place]) == pytest.approx(expected, rel=1e-3)
