"""The shipped recognisers: the card says what the files do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from veilbench.benchmarks.specs.configs import CONFIGS
from veilbench.benchmarks.specs.recognizers import build_recognizer, load_recognizer_spec
from veilbench.datasets.synthetic import Split, render_shots
from veilbench.files import file_sha256
from veilbench.models.recipes.recognizers import NAMES, embed, genuine, impostors
from veilbench.models.recognizers.base import Recognizer

PEOPLE, SHOTS = 60, 4
SHIPPED = 30_000_000  # bytes that all weights together may take


def load(name: str) -> Recognizer:
    return build_recognizer(*load_recognizer_spec(name, CONFIGS / "recognizers"))


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """People of the evaluation split that the card's numbers were not measured on."""
    people = list(Split.EVALUATION.value[1000 : 1000 + PEOPLE])
    rendered = render_shots(0, [person for person in people for _ in range(SHOTS)], list(range(SHOTS)) * PEOPLE)
    return rendered.reshape(PEOPLE, SHOTS, *rendered.shape[1:])


@pytest.mark.parametrize("name", NAMES)
def test_card_config_and_file_agree(name: str, repository: Path) -> None:
    report = json.loads((repository / "models" / "embedded" / f"{name}.json").read_text(encoding="utf-8"))
    _, spec = load_recognizer_spec(name, CONFIGS / "recognizers")
    assert spec.weights is not None
    assert file_sha256(spec.weights) == report["sha256"]
    assert {f"{far:g}": value for far, value in spec.thresholds.items()} == report["thresholds"]
    assert report["tar"]["0.01"] >= 0.95


@pytest.mark.parametrize("name", NAMES)
def test_it_recognises_people_it_never_saw(name: str, photos: Tensor) -> None:
    recognizer = load(name)
    embeddings = embed(recognizer, photos)
    threshold = recognizer.thresholds.at(0.01)
    # 60 people are few: the required 0.95 and 0.01 are of the card's 200; here three standard errors are allowed
    assert float((genuine(embeddings) > threshold).float().mean()) >= 0.92
    assert float((impostors(embeddings) > threshold).float().mean()) <= 0.03


def test_weights_stay_small(repository: Path) -> None:
    files = list((repository / "models" / "embedded").glob("*.safetensors"))
    assert {file.stem for file in files} >= set(NAMES)
    assert sum(file.stat().st_size for file in files) <= SHIPPED


def test_the_four_see_differently(photos: Tensor) -> None:
    """Black-box numbers need recognisers that are not copies: their similarities must not be one another's."""
    cosines = torch.stack([impostors(embed(load(name), photos[:20, :2])) for name in NAMES])
    correlations = torch.corrcoef(cosines)
    assert float(correlations.fill_diagonal_(0).max()) < 0.98
