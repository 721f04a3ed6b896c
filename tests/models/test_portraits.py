"""Captions say what the picture shows."""

from __future__ import annotations

import torch

from veilbench.datasets.faces.parameters import IDENTITY, NUISANCE
from veilbench.datasets.synthetic import render_shots
from veilbench.models.recipes.portraits import caption, captioned_portraits, draw_makeup, makeup_pairs

WHO = dict.fromkeys(IDENTITY, 0.0)
HOW = dict.fromkeys(NUISANCE, 0.0)


def test_captions_name_traits() -> None:
    assert caption(WHO, HOW, "") == "a photo of a person with short black hair"
    bearded = {**WHO, "hair_length": 0.5, "hair_tone": 0.5, "beard": 0.5}
    assert caption(bearded, HOW, "") == "a photo of a person with long brown hair and a beard"
    glasses = {**HOW, "glasses": 0.4, "smile": 0.9}
    words = caption({**WHO, "hair_gray": 0.6, "freckles": 0.5}, glasses, "wearing blush")
    assert words == "a photo of a person with short gray hair, freckles and glasses, smiling, wearing blush"


def test_makeup_words_match_what_is_drawn() -> None:
    drawn = [draw_makeup(0, number) for number in range(300)]
    bare = [words == "" for makeup, words in drawn]
    assert 0.4 < sum(bare) / len(bare) < 0.6
    for makeup, words in drawn:
        assert (makeup.lips > 0) == ("lipstick" in words)
        assert (makeup.shadow > 0) == ("eye shadow" in words)
        assert (makeup.blush > 0) == ("blush" in words)
        assert (makeup.liner > 0) == ("eyeliner" in words)


def test_portraits_repeat_exactly() -> None:
    first, again = (captioned_portraits(0, range(5)) for _ in range(2))
    assert torch.equal(first.photos, again.photos)
    assert first.captions == again.captions
    assert first.photos.shape == (5, 3, 64, 64)


def test_pairs_show_the_same_photo_without_and_with_makeup() -> None:
    people = list(range(16))
    pairs = makeup_pairs(0, people)
    assert pairs.non_makeup.shape == pairs.makeup.shape == (16, 3, 64, 64)
    assert (
        pairs.non_makeup.int() - render_shots(0, people, [0] * 16).int()
    ).abs().max() <= 1  # faces of the embedded world
    change = (pairs.makeup.int() - pairs.non_makeup.int()).abs().flatten(1)
    assert (change.amax(dim=1) > 0).all()
    assert float((change > 25).float().mean()) < 0.05
    assert len(pairs.traits) == len(pairs.styles) == 16
    assert all(pairs.styles)
    assert len(set(pairs.styles)) == 2  # one makeup for eight people
