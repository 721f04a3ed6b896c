"""Ranks in a gallery: against sorting, worked out by hand, and where there is little to rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from veilbench.datasets.base import Face, FaceDataset, Manifest, ManifestEntry, Target
from veilbench.datasets.gallery import Enrolled
from veilbench.errors import DataError
from veilbench.metrics.base import Pair, Pairs
from veilbench.metrics.identification import FIRST, Identification
from veilbench.metrics.streaming import BATCH
from veilbench.models.crops import Crop
from veilbench.models.recognizers.base import InputSpec, Recognizer
from veilbench.testing.scores import NoisePhotos

from .conftest import Lent

Rows = dict[str, list[float]]
RED, GREEN, BLUE, ORANGE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.4, 0.0)


class Colours(Recognizer):
    """Knows a photo by its mean colour: the cosine of two photos is that of two colours."""

    kind = "colours"
    input_spec = InputSpec(4, 4, mean=0.0, std=1.0)

    def embed(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class People(FaceDataset):
    """Photos in memory: of every source another one or None, of targets one, and distractors."""

    kind = name = "people"

    def __init__(
        self,
        others: Sequence[Tensor | None],
        targets: Sequence[Tensor] = (),
        distractors: Sequence[Tensor] = (),
        identities: Sequence[str] = (),
    ) -> None:
        self._others = others
        self._identities = identities or [str(place) for place in range(len(others))]
        self._targets = tuple(Target(f"t{place}", one, one, f"t{place}") for place, one in enumerate(targets))
        self._distractors = distractors

    def __len__(self) -> int:
        return len(self._others)

    def __getitem__(self, index: int) -> Face:
        return Face(f"face{index}", torch.zeros(3, 8, 8))

    def gallery_photo(self, index: int) -> Tensor | None:
        return self._others[index]

    @property
    def targets(self) -> tuple[Target, ...]:
        return self._targets

    @property
    def distractors(self) -> Sequence[Enrolled]:
        photos = enumerate(self._distractors)
        return [Enrolled(f"d{place}", f"d{place}", partial(torch.clone, photo)) for place, photo in photos]

    @property
    def manifest(self) -> Manifest:
        told = [None if other is None else f"o{place}" for place, other in enumerate(self._others)]
        entries = [
            ManifestEntry(f"face{place}", f"s{place}", self._identities[place], other)
            for place, other in enumerate(told)
        ]
        return Manifest(self.name, "1", tuple(entries))


def plain(colour: Sequence[float]) -> Tensor:
    return torch.tensor(colour)[:, None, None].expand(3, 8, 8).clone()


def prepared(recognizer: Recognizer) -> Identification:
    score = Identification(judge=recognizer.name)
    score.prepare(Lent(recognizer))
    return score


def ranked(recognizer: Recognizer, people: FaceDataset, probes: Sequence[Tensor]) -> Rows:
    """Columns of the rows for protected photos, one for each item."""
    pairs = [Pair(f"face{place}", place, partial(torch.clone, probe), people) for place, probe in enumerate(probes)]
    rows = prepared(recognizer).rows(Pairs(people, torch.device("cpu"), pairs))
    assert rows.pop("item").tolist() == [f"face{place}" for place in range(len(probes))]
    return {str(name): values for name, values in rows.to_dict("list").items()}


def sorted_people(probe: NDArray[np.float64], enrolled: NDArray[np.float64], people: Sequence[str]) -> list[str]:
    """Who stands where in the gallery: by sorting."""
    return [people[place] for place in np.argsort(-(enrolled @ probe), kind="stable")]


def test_ranks_and_answers_are_those_of_sorting_the_gallery(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer, photos = make_recognizer("judge"), torch.rand(64, 3, 32, 32)
    others, targets, distractors, probes = photos.split([12, 3, 37, 12])
    people = [*(f"own{place}" for place in range(12)), "t0", "t1", "t2", *("nobody",) * 37]
    rows = ranked(recognizer, People(list(others), list(targets), list(distractors)), list(probes))
    enrolled, seen = (recognizer(images).double().numpy() for images in (photos[:52], probes))
    ranks = set()
    for place in range(12):
        order = sorted_people(seen[place], enrolled, people)
        assert rows["ut"][place] == order.index(f"own{place}") + 1
        for name in ("t0", "t1", "t2"):
            assert rows[f"t:{name}"][place] == order.index(name) + 1
        for n in FIRST:
            assert rows[f"rank{n}_ut"][place] == float(f"own{place}" not in order[:n])
            for name in ("t0", "t1", "t2"):
                assert rows[f"rank{n}_t:{name}"][place] == float(name in order[:n])
        ranks.add(rows["ut"][place])
    assert len(ranks) > 4  # it is no test where everybody has one rank


def test_worked_out_by_hand() -> None:
    """Cosines of orange (1, .4, 0) are .928 to red, .919 to yellow (1, 1, 0), .371 to green and 0 to blue."""
    people = People([plain(RED), plain(GREEN)], [plain(BLUE)], [plain((1.0, 1.0, 0.0))] * 3)
    rows = ranked(Colours(), people, [plain(ORANGE), plain(ORANGE)])
    assert rows["ut"] == [1, 5]  # red is the first of all; green comes after red and three in yellow
    assert rows["t:t0"] == [6, 6]
    assert rows["rank1_ut"] == [0, 1]
    assert rows["rank5_ut"] == [0, 0]
    assert rows["rank1_t:t0"] == [0, 0]
    rows = ranked(Colours(), people, [plain(BLUE), plain((0.1, 0.0, 1.0))])
    assert rows["t:t0"] == [1, 1]
    assert rows["rank1_t:t0"] == rows["rank5_t:t0"] == [1, 1]
    assert rows["rank1_ut"] == [1, 1]


def test_ties_count_against_the_protector() -> None:
    """One colour for everybody: the own person is first among equals, the target last."""
    rows = ranked(Colours(), People([plain(RED)] * 3, [plain(RED)] * 2, [plain(RED)] * 7), [plain(GREEN)] * 3)
    assert rows["ut"] == [1, 1, 1]
    assert rows["t:t0"] == rows["t:t1"] == [12, 12, 12]
    assert rows["rank5_ut"] == rows["rank5_t:t1"] == [0, 0, 0]


def test_rounding_breaks_no_tie() -> None:
    """As far as ``float32`` tells, both are the same colour."""
    near = plain((1.0, 0.4 + 1e-7, 0.0))
    rows = ranked(Colours(), People([plain(ORANGE), plain(GREEN)], [near], [plain(BLUE)] * 4), [near, near])
    assert rows["ut"] == [1, 3]
    assert rows["t:t0"] == [2, 2]


def test_the_best_of_a_persons_photos_counts() -> None:
    """Two items of one identity: both have two photos in the gallery."""
    people = People([plain(RED), plain(BLUE), plain(GREEN)], identities=["anna", "anna", "ben"])
    rows = ranked(Colours(), people, [plain(BLUE), plain(RED), plain(RED)])
    assert rows["ut"] == [1, 1, 2]


def test_a_small_gallery_has_no_number_beyond_its_size() -> None:
    rows = ranked(Colours(), People([plain(RED), plain(GREEN)], [plain(BLUE)]), [plain(BLUE), plain(GREEN)])
    assert rows["rank1_ut"] == [1, 0]
    assert np.isnan([*rows["rank5_ut"], *rows["rank5_t:t0"]]).all()
    rows = ranked(Colours(), People([plain(RED)]), [plain(BLUE)])
    assert rows["ut"] == [1]
    assert np.isnan([*rows["rank1_ut"], *rows["rank5_ut"]]).all()


def test_whoever_is_not_enrolled_is_no_trial() -> None:
    """Nor for the target, who would have nobody to beat."""
    people = People([None, plain(GREEN)], [plain(BLUE)], [plain(RED)])
    rows = ranked(Colours(), people, [plain(BLUE), plain(BLUE)])
    assert np.isnan(rows["rank1_t:t0"]).tolist() == np.isnan(rows["rank1_ut"]).tolist() == [True, False]
    with pytest.raises(DataError, match=r"people: no source has another photo .*`others` of a folder"):
        ranked(Colours(), People([None, None], [plain(BLUE)]), [plain(BLUE)] * 2)


class Cropped(Lent):
    """A suite whose judges look at the left half of photos."""

    @property
    def crop(self) -> Crop:
        return Crop((0.0, 0.0, 0.5, 1.0))


def test_the_crop_of_the_protocol_holds_for_probes_and_gallery() -> None:
    def halves(left: Sequence[float], right: Sequence[float]) -> Tensor:
        return torch.cat([plain(left)[..., :4], plain(right)[..., :4]], dim=-1)

    people = People([halves(RED, BLUE), halves(GREEN, BLUE)], [halves(BLUE, RED)], [halves(ORANGE, BLUE)])
    score = Identification(judge="colours")
    score.prepare(Cropped(Colours()))
    pairs = [Pair(f"face{place}", place, partial(halves, RED, GREEN), people) for place in range(2)]
    rows = score.rows(Pairs(people, torch.device("cpu"), pairs))
    assert rows["ut"].tolist() == [1, 3]  # green ties with blue, after red and orange
    assert rows["t:t0"].tolist() == [4, 4]
    assert score.depends_on(Cropped(Colours())) != score.depends_on(Lent(Colours()))


def test_a_recogniser_that_breaks_down_protects_nobody() -> None:
    rows = ranked(Colours(), People([plain(RED)], [plain(BLUE)], [plain(GREEN)]), [torch.full((3, 8, 8), torch.nan)])
    assert np.isnan([*rows["ut"], *rows["t:t0"], *rows["rank1_ut"], *rows["rank1_t:t0"]]).all()


def test_the_gallery_is_embedded_once_and_its_photos_are_not_kept(make_recognizer: Callable[..., Recognizer]) -> None:
    photos, score = NoisePhotos(3 * BATCH), prepared(make_recognizer("judge"))
    for _ in range(2):
        score.rows(photos.pairs(range(3 * BATCH)))
    asked = {
        role: [times for (one, _), times in photos.asked.items() if one == role] for role in ("other", "protected")
    }
    assert asked == {"other": [1] * 2 * BATCH, "protected": [2] * 3 * BATCH}  # every third has no other photo
    assert photos.held == 0
    assert photos.most <= BATCH + 1


def test_a_gallery_is_known_by_whom_it_enrols() -> None:
    red, green, blue = plain(RED), plain(GREEN), plain(BLUE)
    galleries = [
        People([red, green], [blue]),
        People([red, None], [blue]),
        People([red, green]),
        People([red, green], [blue], [blue]),
        People([red, green], [blue], identities=["anna", "anna"]),
    ]
    assert [len(one.gallery()) for one in galleries] == [3, 2, 2, 4, 3]
    assert len({one.gallery().digest for one in galleries}) == len(galleries)


def test_it_depends_on_its_recogniser(make_recognizer: Callable[..., Recognizer]) -> None:
    one, two = (Identification(judge="judge").depends_on(Lent(make_recognizer("judge", seed))) for seed in (1, 2))
    assert one != two


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_on_a_graphics_card_ranks_are_the_same(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer, photos, devices = make_recognizer("judge"), NoisePhotos(40), list[str]()
    pairs = photos.pairs(range(40))
    here = prepared(recognizer).rows(pairs)
    recognizer.register_forward_pre_hook(lambda _, inputs: devices.append(inputs[0].device.type))
    there = prepared(recognizer).rows(Pairs(photos, torch.device("cuda"), list(pairs)))
    assert set(devices) == {"cuda"}
    assert next(recognizer.parameters()).device.type == "cpu"
    assert (here["ut"] - there["ut"]).abs().max() <= 1
