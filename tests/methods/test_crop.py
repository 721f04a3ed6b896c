"""Surrogates look at the part of each photo that the protocol's crop says, inside every method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
from skimage.data import astronaut
from torch import Tensor

from veilbench.datasets.base import FaceBatch, Target
from veilbench.methods.base import Goal, ProtectionMethod, Task
from veilbench.methods.mi_fgsm import MIFGSM
from veilbench.methods.pgd import PGD
from veilbench.methods.ti_dim import TIDIM
from veilbench.methods.tip_im import TIPIM
from veilbench.models.crops import Crop, View
from veilbench.models.detectors.mtcnn import find_face
from veilbench.models.recognizers.base import Recognizer

PART = (0.1, 0.2, 0.9, 1.0)
METHODS: list[Callable[[], ProtectionMethod]] = [
    lambda: PGD(steps=3),
    lambda: MIFGSM(steps=3),
    lambda: TIDIM(steps=3),
    lambda: TIPIM(steps=3, warp=False),
]
IMAGES = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("goal", list(Goal))
def test_a_fixed_part_is_as_if_recognisers_saw_it_anyway(
    method: Callable[[], ProtectionMethod], goal: Goal, make_recognizer: Callable[..., Recognizer]
) -> None:
    target = [Target("t", IMAGES[0].flip(2), IMAGES[1], "t")] if goal is Goal.IMPERSONATE else []
    results = {}
    for way in ("whole", "input", "crop"):
        surrogates = [make_recognizer(name, seed).double() for seed, name in enumerate(("one", "two"))]
        for surrogate in surrogates if way == "input" else ():
            surrogate.input_spec = replace(surrogate.input_spec, crop=PART)
        asked = Task(goal, surrogates, target, crop=Crop(PART if way == "crop" else "recognizer"))
        made = method()
        made.assign(asked)
        results[way] = made.predict_step(FaceBatch(("a", "b", "c"), IMAGES, (None,) * 3)).images
    torch.testing.assert_close(results["crop"], results["input"], atol=1e-9, rtol=0)
    assert (results["crop"] - results["whole"]).abs().max() > 1e-3


def test_faces_are_looked_for_once_and_only_when_a_surrogate_is_asked(
    make_recognizer: Callable[..., Recognizer],
) -> None:
    class Counting(Crop):
        sought = 0

        def views(self, photos: Iterable[Tensor]) -> list[View] | None:
            Counting.sought += 1
            return super().views(photos)

    photos = IMAGES.float()
    task = Task(Goal.DODGE, [make_recognizer(name) for name in ("one", "two")], crop=Counting(PART))
    with task.looking(photos):
        pass
    assert Counting.sought == 0
    with task.looking(photos):
        for surrogate in task.surrogates * 3:
            surrogate(photos)
    assert Counting.sought == 1


def test_outside_the_face_that_is_found_nothing_changes(make_recognizer: Callable[..., Recognizer]) -> None:
    """The box of the clean photo, by hand; another photo's face is its own."""
    portrait = torch.from_numpy(astronaut()[:256, 96:352]).permute(2, 0, 1) / 255
    photos = torch.stack([portrait, torch.roll(portrait, (10, -20), (1, 2))])
    method = MIFGSM(steps=2)
    method.assign(Task(Goal.DODGE, [make_recognizer()], crop=Crop("detected")))
    made = method.predict_step(FaceBatch(("a", "b"), photos, (None, None))).images
    for photo, protected in zip(photos, made, strict=True):
        face = find_face(photo)
        assert face is not None
        outside = torch.ones(256, 256, dtype=torch.bool)
        outside[face.box.rows, face.box.columns] = False
        # a little noise starts the search everywhere
        assert (protected - photo).abs().amax(dim=0)[outside].max() < 2 / 255
        assert (protected - photo).abs().amax(dim=0)[~outside].max() > 3 / 255
