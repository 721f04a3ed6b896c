"""What counts as a success, on both sides of the threshold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from veilbench.benchmarks.engine.treating import treated_pair
from veilbench.metrics.countermeasures.base import views
from veilbench.metrics.countermeasures.random_views import RandomViews
from veilbench.metrics.judging import Judge
from veilbench.metrics.verification import dodged, impersonated
from veilbench.models.crops import Crop
from veilbench.models.recognizers.base import Recognizer

from .conftest import Given


def test_the_threshold_itself_is_neither() -> None:
    """The literature's comparisons are strict on both sides."""
    numbers = pd.Series([0.1, 0.25, 0.4])
    assert impersonated(numbers, 0.25).tolist() == [False, False, True]
    assert dodged(numbers, 0.25).tolist() == [True, False, False]


def test_views_are_averaged_and_other_scores_see_the_photo(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer, counter = make_recognizer(), RandomViews(count=3)
    photos = torch.rand(3, 3, 40, 40)
    dataset = Given(list(photos))
    pairs = [treated_pair(str(at), at, partial(photos.select, 0, at), dataset, counter) for at in range(3)]
    assert all(torch.equal(pair.protected(), photo) for pair, photo in zip(pairs, photos, strict=True))
    found = Judge(recognizer, Crop()).embed_protected(pairs, torch.device("cpu"))
    with torch.no_grad():
        alone = torch.stack([recognizer(view) for view in views(counter, photos)]).mean(dim=0)
    torch.testing.assert_close(found, alone / alone.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    plain = [treated_pair(str(at), at, partial(photos.select, 0, at), dataset, None) for at in range(3)]
    seen = Judge(recognizer, Crop()).embed_protected(plain, torch.device("cpu"))
    assert (seen - found).abs().max() > 1e-3
