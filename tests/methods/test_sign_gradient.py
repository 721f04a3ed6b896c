"""PGD, MI-FGSM and TI-DIM against their formulas, on linear recognisers whose gradients are known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.stats import norm
from torch import Tensor, nn

from veilbench.datasets.base import FaceBatch, Target
from veilbench.methods.base import Goal, ItemRandom, Task
from veilbench.methods.gradient import START_NOISE
from veilbench.methods.mi_fgsm import MIFGSM
from veilbench.methods.pgd import PGD
from veilbench.methods.ti_dim import TIDIM, input_diversity, smooth
from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds
from veilbench.models.recognizers.state_dict import NetworkRecognizer

SIDE = 8
Array = NDArray[np.float64]


class Linear(nn.Module):
    """Embeddings that are a matrix times the pixels."""

    def __init__(self, matrix: Array) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(matrix, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.matrix.T


@pytest.fixture
def matrices() -> list[Array]:
    random = np.random.default_rng(0)
    return [random.normal(size=(5, 3 * SIDE * SIDE)) for _ in range(2)]


@pytest.fixture
def surrogates(matrices: list[Array]) -> list[Recognizer]:
    spec = InputSpec(SIDE, SIDE, mean=0.0, std=1.0)
    return [NetworkRecognizer(str(i), Linear(m), spec, Thresholds({}, "none")) for i, m in enumerate(matrices)]


@pytest.fixture
def faces() -> FaceBatch:
    return FaceBatch(("a", "b", "c"), torch.rand(3, 3, SIDE, SIDE), (None,) * 3)


@pytest.fixture
def target() -> Target:
    return Target("t", torch.rand(3, SIDE, SIDE), torch.rand(3, SIDE, SIDE), "t")


def cosine_gradient(matrix: Array, pixels: Array, reference: Array) -> Array:
    """Gradient of ``cos(M x, r)`` with respect to ``x``."""
    embedding = matrix @ pixels
    size, other = np.linalg.norm(embedding), np.linalg.norm(reference)
    cosine = embedding @ reference / (size * other)
    gradient: Array = matrix.T @ (reference / (size * other) - cosine * embedding / size**2)
    return gradient


def momentum_by_hand(matrices: list[Array], start: Array, references: list[Array], sign: float) -> Array:
    """MI-FGSM with budget 0.05, step 0.02, 4 steps and momentum 0.9, in float64."""
    epsilon, step, momentum = 0.05, 0.02, 0.9
    pixels, memory = start.copy(), np.zeros_like(start)
    for _ in range(4):
        gradient = sign * np.mean(
            [cosine_gradient(matrix, pixels, ref) for matrix, ref in zip(matrices, references, strict=True)], axis=0
        )
        memory = momentum * memory + gradient / np.abs(gradient).mean()
        pixels = np.clip(np.clip(pixels + step * np.sign(memory), start - epsilon, start + epsilon), 0, 1)
    return pixels


def test_mi_fgsm_impersonates_by_the_formula(
    matrices: list[Array], surrogates: list[Recognizer], faces: FaceBatch, target: Target
) -> None:
    task = Task(Goal.IMPERSONATE, surrogates, [target])
    method = MIFGSM(epsilon=0.05, step_size=0.02, steps=4, momentum=0.9)
    protected = method.protect(faces, task, ItemRandom(0, faces.ids))
    references = [matrix @ target.image.double().flatten().numpy() for matrix in matrices]
    for image, result in zip(faces.images, protected, strict=True):
        expected = momentum_by_hand(matrices, image.double().flatten().numpy(), references, 1.0)
        np.testing.assert_allclose(result.flatten().numpy(), expected, atol=1e-6)


def test_pgd_starts_at_random_and_follows_the_gradient(
    matrices: list[Array], surrogates: list[Recognizer], faces: FaceBatch, target: Target
) -> None:
    task = Task(Goal.IMPERSONATE, surrogates, [target])
    protected = PGD(epsilon=0.05, step_size=0.02, steps=1).protect(faces, task, ItemRandom(7, faces.ids))
    noise = ItemRandom(7, faces.ids).uniform(-0.05, 0.05, 3, SIDE, SIDE)
    start = torch.minimum(torch.maximum(faces.images + noise, faces.images - 0.05), faces.images + 0.05).clamp(0, 1)
    references = [matrix @ target.image.double().flatten().numpy() for matrix in matrices]
    for origin, image, result in zip(faces.images, start, protected, strict=True):
        pixels = image.double().flatten().numpy()
        gradient = sum(cosine_gradient(m, pixels, r) for m, r in zip(matrices, references, strict=True))
        low = origin.double().flatten().numpy()
        moved = np.clip(np.clip(pixels + 0.02 * np.sign(gradient), low - 0.05, low + 0.05), 0, 1)
        np.testing.assert_allclose(result.flatten().numpy(), moved, atol=1e-6)


@pytest.mark.parametrize("make", [PGD, MIFGSM, TIDIM])
def test_dodging_leaves_oneself(
    make: Callable[..., PGD | MIFGSM | TIDIM], surrogates: list[Recognizer], faces: FaceBatch
) -> None:
    """At the photo itself the gradient is zero: a method that starts there would not move."""
    task = Task(Goal.DODGE, surrogates)
    protected = make(epsilon=0.1, step_size=0.02, steps=5).protect(faces, task, ItemRandom(0, faces.ids))
    for surrogate in surrogates:
        cosines = (surrogate(protected) * surrogate(faces.images)).sum(dim=1)
        assert float(cosines.max()) < 0.999
    assert float((protected - faces.images).abs().amax(dim=(1, 2, 3)).min()) > 10 * START_NOISE


@pytest.mark.parametrize("make", [PGD, MIFGSM, TIDIM])
def test_no_step_leaves_the_budget(
    make: Callable[..., PGD | MIFGSM | TIDIM], surrogates: list[Recognizer], faces: FaceBatch, target: Target
) -> None:
    task = Task(Goal.IMPERSONATE, surrogates, [target])
    protected = make(epsilon=0.03, step_size=0.02, steps=6).protect(faces, task, ItemRandom(0, faces.ids))
    assert float((protected - faces.images).abs().max()) <= 0.03 + 1e-6
    assert 0 <= float(protected.min()) <= float(protected.max()) <= 1


def test_a_single_target_method_takes_the_first_target(surrogates: list[Recognizer], faces: FaceBatch) -> None:
    targets = [Target(str(i), torch.rand(3, SIDE, SIDE), torch.rand(3, SIDE, SIDE), str(i)) for i in range(2)]
    one, two = (
        MIFGSM(steps=2).protect(faces, Task(Goal.IMPERSONATE, surrogates, which), ItemRandom(0, faces.ids))
        for which in (targets[:1], targets)
    )
    assert torch.equal(one, two)


def test_targets_are_embedded_where_the_surrogate_is(surrogates: list[Recognizer], target: Target) -> None:
    """The meta device stands for a card: what meets it must be there, too."""
    task = Task(Goal.IMPERSONATE, surrogates, [target])
    assert task.target_embeddings(surrogates[0].to("meta")).device.type == "meta"
    assert task.target_embeddings(surrogates[1]).device.type == "cpu"


def test_smoothing_is_the_kernel_of_the_paper() -> None:
    gradient = torch.randn(2, 3, 20, 17)
    line = norm.pdf(np.linspace(-3, 3, 15))
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = [[convolve(c, kernel, mode="constant") for c in image] for image in gradient.double().numpy()]
    np.testing.assert_allclose(smooth(gradient, 15).numpy(), np.array(expected), atol=1e-6)
    assert smooth(gradient, 1) is gradient


def test_input_diversity_pads_where_it_is_told() -> None:
    """With the smallest size nothing is enlarged: the photo lies on a larger black frame, which is then shrunk."""
    image = torch.rand(1, 3, 20, 20)
    frame = torch.zeros(1, 3, 22, 22)
    frame[..., 2:, :20] = image
    expected = nn.functional.interpolate(frame, (20, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(input_diversity(image, 1.1, [0.0, 0.99, 0.0]), expected)


def test_input_diversity_may_use_the_whole_frame() -> None:
    image = torch.full((1, 3, 20, 20), 0.5)
    torch.testing.assert_close(input_diversity(image, 1.1, [0.99, 0.5, 0.5]), image)


def test_ti_dim_without_its_additions_is_mi_fgsm(
    surrogates: list[Recognizer], faces: FaceBatch, target: Target
) -> None:
    task = Task(Goal.IMPERSONATE, surrogates, [target])
    plain = TIDIM(diversity=0.0, kernel=1).protect(faces, task, ItemRandom(0, faces.ids))
    assert torch.equal(plain, MIFGSM().protect(faces, task, ItemRandom(0, faces.ids)))


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (PGD, {"epsilon": 16}, "epsilon is 16; pixel values run from 0 to 1"),
        (PGD, {"step_size": -0.1}, "step_size is -0.1"),
        (PGD, {"steps": -1}, "steps is -1"),
        (MIFGSM, {"momentum": -1}, "momentum is -1"),
        (TIDIM, {"diversity": 2}, "diversity is 2"),
        (TIDIM, {"enlarge": 0.5}, "enlarge is 0.5"),
        (TIDIM, {"kernel": 4}, "kernel is 4; it is an odd number"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    make: Callable[..., object], params: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**params)
