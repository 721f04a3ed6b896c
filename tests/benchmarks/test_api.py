"""The Python API gives what a suite's run gives, and refuses bad input in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import veilbench as vb
from veilbench.datasets.photos import to_uint8
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.methods.pgd import PGD
from veilbench.metrics.fidelity import psnr
from veilbench.models.recognizers.state_dict import NetworkRecognizer
from veilbench.testing import toy_recognizer

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
FACES = SyntheticFaces(sources=6, targets=2, size=32)  # those of the `world`
PLACES = range(len(FACES))
PHOTOS = torch.stack([FACES[place].image for place in PLACES])
OTHERS = [FACES.gallery_photo(place) for place in PLACES]
IDS = [FACES[place].id for place in PLACES]
TARGET = FACES.targets[0]


@pytest.fixture
def ran(world: Path, veilbench: Veilbench) -> vb.Results:
    """The results of a run of the world's suite."""
    suite, results = world / "suite.yaml", world / "results"
    outcome = veilbench(
        "run", suite, "--results", results, "--tracker", "none", "--set", "suite.countermeasures=[jpeg]"
    )
    assert outcome.code == 0, outcome
    return vb.load_results(tables_of(results))


def targets_of(names: tuple[str, ...]) -> list[vb.Target]:
    return [target for target in FACES.targets if target.name in names]


def stored(results: vb.Results, cell: str) -> Tensor:
    return torch.stack([vb.read_photo(results.store.protection(cell).image(item)) for item in IDS])


def test_protected_photos_are_those_of_a_run(world: Path, ran: vb.Results) -> None:
    cells = {cell: facts for cell, facts in ran.manifest.cells.items() if facts.label == "pgd"}
    assert {facts.goal for facts in cells.values()} == {"impersonate", "dodge"}
    for cell, facts in cells.items():
        made = vb.protect(
            PHOTOS,
            vb.load_method("pgd", steps=3),
            surrogates=[world / f"{name}.yaml" for name in facts.surrogates],
            goal=facts.goal,
            targets=[target.image for target in targets_of(facts.targets)] or None,
            ids=IDS,
            batch_size=4,
        )
        assert torch.equal(to_uint8(made), to_uint8(stored(ran, cell)))
        assert not torch.equal(made, PHOTOS)


@pytest.mark.parametrize(("treatment", "countermeasure"), [("none", None), ("JPEG 75", "jpeg")])
def test_numbers_are_those_of_a_run(world: Path, ran: vb.Results, treatment: str, countermeasure: str | None) -> None:
    rows = vb.items(ran)
    asked = [question for question in ran.manifest.questions if question.label == "pgd"]
    assert asked
    for question in asked:
        table = vb.score(
            stored(ran, question.cell),
            PHOTOS,
            judges=[world / "one.yaml", world / "two.yaml"],
            goal=question.goal,
            targets=[target.gallery for target in targets_of(question.targets)],
            others=[photo for photo in OTHERS if photo is not None],
            countermeasure=countermeasure,
            ids=IDS,
        )
        mine = rows[(rows["cell"] == question.cell) & (rows["target"] == question.target)]
        mine = mine[(mine["countermeasure"] == treatment) & (mine["held_out"] == (question.held_out or ""))]
        assert len(mine) == len(table) == 12
        order = ["judge", "item"]
        wanted = mine.sort_values(order)[list(table.columns)].reset_index(drop=True)
        found = table.sort_values(order).reset_index(drop=True)
        pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_dtype=False)


def test_tables_are_those_that_the_run_wrote(ran: vb.Results) -> None:
    pd.testing.assert_frame_equal(vb.items(ran.folder), pd.read_parquet(ran.folder / "items.parquet"))
    written = pd.read_csv(ran.folder / "leaderboard.csv")
    board = vb.leaderboard(ran)
    assert list(board.columns) == list(written.columns)
    assert board["psr"].tolist() == pytest.approx(written["psr"].tolist(), rel=1e-5)


def test_tables_need_no_torch(ran: vb.Results) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'pytorch_lightning']));"
        f"import veilbench; results = veilbench.load_results({str(ran.folder)!r});"
        "print(len(veilbench.leaderboard(results)), len(veilbench.items(results)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert seen.stdout.split() == [str(len(vb.leaderboard(ran))), str(len(vb.items(ran)))]


def test_a_photo_is_protected_alike_alone_and_among_others() -> None:
    surrogates = [toy_recognizer("one", 1)]
    together = vb.protect(PHOTOS, PGD(steps=2), surrogates=surrogates, targets=TARGET)
    alone = vb.protect(PHOTOS[3], PGD(steps=2), surrogates=surrogates, targets=TARGET)
    assert alone.shape == (3, 32, 32)
    assert torch.equal(alone, together[3])
    other_seed = vb.protect(PHOTOS, PGD(steps=2), surrogates=surrogates, targets=TARGET, seed=1)
    other_ids = vb.protect(PHOTOS, PGD(steps=2), surrogates=surrogates, targets=TARGET, ids=IDS)
    assert not torch.equal(other_seed, together)
    assert not torch.equal(other_ids, together)


def test_a_method_with_a_task_is_a_function_of_photos() -> None:
    method, surrogates = PGD(steps=2), [toy_recognizer("one", 1)]
    with pytest.raises(vb.UserError, match="pgd has no task yet; call assign"):
        method(PHOTOS)
    method.assign(vb.Task("dodge", surrogates, seed=3))
    assert method.task.goal is vb.Goal.DODGE  # methods compare with `is`
    wanted = vb.protect(PHOTOS, PGD(steps=2), surrogates=surrogates, goal="dodge", seed=3)
    assert torch.equal(method(PHOTOS), wanted)
    named = vb.protect(PHOTOS, PGD(steps=2), surrogates=surrogates, goal="dodge", seed=3, ids=IDS)
    assert torch.equal(method(PHOTOS, IDS), named)


def test_protecting_works_wherever_it_is_called_from_and_leaves_photos_alone() -> None:
    surrogates, before = [toy_recognizer("one", 1)], PHOTOS.clone()
    wanted = vb.protect(PHOTOS, PGD(steps=2), surrogates=surrogates, goal="dodge")
    with torch.inference_mode():
        inside = vb.protect(PHOTOS.clone(), PGD(steps=2), surrogates=surrogates, goal=vb.Goal.DODGE)
    assert torch.equal(inside, wanted)
    assert torch.equal(PHOTOS, before)


def test_scores_without_judges_are_one_row_a_photo_at_8_bits() -> None:
    protected = (PHOTOS + 0.03).clamp(0, 1)
    table = vb.score(protected, PHOTOS)
    assert list(table.columns) == ["item", "psnr", "ssim", "ssim_uniform"]
    assert table["item"].tolist() == [str(place) for place in range(6)]
    rounded = (protected * 255).round() / 255
    assert table["psnr"].tolist() == pytest.approx(psnr(rounded, PHOTOS).tolist())


def test_each_judge_has_its_own_threshold_at_the_rate_that_is_asked_for() -> None:
    judges = [toy_recognizer("one", 1), toy_recognizer("two", 2)]
    judges[0].thresholds = vb.Thresholds({0.01: -1.0, 0.001: 1.0}, "nothing")
    judges[1].thresholds = vb.Thresholds({0.01: 0.25, 0.001: 1.0}, "nothing")
    table = vb.score(PHOTOS, PHOTOS, judges=judges, targets=TARGET)
    assert table["judge"].tolist() == ["one"] * 6 + ["two"] * 6
    assert table["threshold"].tolist() == [-1.0] * 6 + [0.25] * 6
    assert table["success"][:6].all()
    assert table["similarity_source"].tolist() == pytest.approx([1.0] * 12, abs=1e-6)
    with torch.no_grad():
        cosines = judges[1](PHOTOS) @ judges[1](TARGET.gallery[None])[0]
    assert table["similarity"][6:].tolist() == pytest.approx(cosines.tolist(), abs=1e-6)
    assert not vb.score(PHOTOS, PHOTOS, judges=judges, targets=TARGET, far=0.001)["success"].any()


def test_of_several_targets_being_taken_for_any_counts() -> None:
    judge = toy_recognizer("one", 1)
    single = [vb.score(PHOTOS, PHOTOS, judges=judge, targets=target)["similarity"] for target in FACES.targets]
    both = vb.score(PHOTOS, PHOTOS, judges=judge, targets=FACES.targets)["similarity"]
    assert both.tolist() == pd.concat(single, axis=1).max(axis=1).tolist()


def test_parameters_win_over_the_shipped_ones() -> None:
    method: Any = vb.load_method("pgd", steps=3, epsilon="4/255")
    assert (method.steps, method.epsilon, method.step_size) == (3, 4 / 255, 2 / 255)
    outside: Any = vb.load_method(f"{Path(__file__).parents[1] / 'examples' / 'my_method.py'}:MyMethod", strength=0.1)
    assert (outside.kind, outside.strength) == ("my_method", 0.1)
    assert len(vb.load_dataset("embedded", sources=2)) == 2
    assert vb.load_recognizer("embedded_ir152").name == "embedded_ir152"


class Failing(PGD):
    """Gives up on its second photo."""

    kind = "failing"

    def protect(self, faces: vb.FaceBatch, task: vb.Task, random: vb.ItemRandom) -> Tensor:
        self.fail(faces.ids[1], "no face")
        return super().protect(faces, task, random)


class Dull(NetworkRecognizer):
    """No gradient goes through it."""

    kind = "dull"
    differentiable = False


def protect(images: Any = PHOTOS, method: Any = None, **options: Any) -> Tensor:
    given = {"surrogates": [toy_recognizer()], "targets": TARGET, **options}
    return vb.protect(images, PGD(steps=1) if method is None else method, **given)


def score(protected: Any = PHOTOS, sources: Any = PHOTOS, **options: Any) -> pd.DataFrame:
    return vb.score(protected, sources, **{"judges": [toy_recognizer()], "targets": TARGET, **options})


def dull() -> vb.Recognizer:
    toy = toy_recognizer()
    return Dull("dull", toy.backbone, toy.input_spec, toy.thresholds)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vb.load_method("pdg"), "no config 'pdg' in configs/methods; did you mean 'pgd'"),
        (lambda: vb.load_method("pgd", stepz=3), "load_method('pgd', stepz=3): unknown key 'stepz'; did you mean 's"),
        (lambda: vb.load_method("pgd", steps="x"), "load_method('pgd', steps='x'): key 'steps' has value 'x'"),
        (lambda: vb.load_method("pgd", steps=-1), "load_method('pgd', steps=-1): steps is -1; it cannot be negative"),
        (lambda: vb.load_recognizer("embeded_ir152"), "did you mean 'embedded_ir152'"),
        (lambda: vb.load_recognizer("ir152"), "recogniser ir152: it has no weight file"),
        (lambda: vb.load_results("nowhere"), "nowhere: no manifest.json in it"),
        (lambda: protect(PHOTOS.to(torch.uint8)), "protect: images: torch.uint8, not torch.float32 in [0, 1]"),
        (lambda: protect(PHOTOS * 255), "outside [0, 1]; scale them, perhaps with / 255"),
        (lambda: protect(PHOTOS * float("nan")), "protect: images: values from nan to nan"),
        (lambda: protect(PHOTOS[:, :1]), "protect: images: shape (6, 1, 32, 32); give B x 3 x H x W"),
        (lambda: protect(PHOTOS[:0]), "protect: images: shape (0, 3, 32, 32)"),
        (lambda: protect("me.png"), "protect: images: str, not a tensor"),
        (lambda: protect(goal="hide"), "protect: key 'goal' has value 'hide': input should be 'imper"),
        (lambda: protect(seed=-1), "protect: key 'seed' has value -1"),
        (lambda: protect(ids=["a"]), "protect: 1 ids for 6 photos"),
        (lambda: protect(ids=["a"] * 6), "protect: id 'a' is given twice"),
        (lambda: protect(targets=None), "protect: nobody to be taken for; give `targets`, or goal='dodge'"),
        (lambda: protect(goal="dodge"), "protect: goal 'dodge' has no targets"),
        (lambda: protect(surrogates=[]), "protect: pgd attacks recognisers and there are none; give `surrogates`"),
        (lambda: protect(surrogates=dull()), "recogniser 'dull' is not differentiable and cannot be a surrogate"),
        (lambda: protect(surrogates=[toy_recognizer()] * 2), "two recognisers are called 'toy'"),
        (lambda: score(scores="identification"), "score: identification is asked of a suite's judges; list it under"),
        (lambda: protect(method="diffam_embedded"), "diffam trains a network first, which is kept with a suite's res"),
        (
            lambda: protect(reference=SyntheticMakeup(sources=1, targets=1, size=32).references["evening"]),
            "protect: pgd does not use `reference`; leave it out",
        ),
        (lambda: protect(method=Failing(steps=1), ids=IDS), "photo 1 (id300001_s0) cannot be protected: no face"),
        (lambda: score(PHOTOS[:2]), "score: protected is (2, 3, 32, 32) but sources (6, 3, 32, 32)"),
        (lambda: score(targets=None), "score: judges need to know whom to be taken for; give `targets`"),
        (lambda: score(goal="dodge"), "score: dodging is judged by another photo of each person; give `others`"),
        (lambda: score(others=PHOTOS[:2]), "score: 2 others for 6 sources"),
        (lambda: score(far=0.5), "recogniser 'toy': no threshold at FAR 0.5; calibrated rates: 0.01"),
        (lambda: score(far=2), "score: key 'far' has value 2"),
        (lambda: score(scores="fidelty"), "unknown kind 'fidelty'; did you mean 'fidelity'"),
        (lambda: score(scores=["fidelity", "fidelity"]), "score: two scores give column 'psnr'; leave one out"),
        (lambda: score(scores="verification"), "key 'judge' is missing"),
        (lambda: score(countermeasure="jpg"), "unknown kind 'jpg'; did you mean 'jpeg'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(vb.VeilbenchError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
