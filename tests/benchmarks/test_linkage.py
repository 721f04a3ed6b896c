"""Adversaries who learn from protected photos: what a student learns, and what the command measures and keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from veilbench.benchmarks.linkage.student import Lesson, teach
from veilbench.benchmarks.linkage.table import linkage_table
from veilbench.datasets.derived import OtherPhotos, Outsiders
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.errors import UserError
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from .conftest import Outcome, tables_of

Call = Callable[..., Outcome]


def faces(people: int, first: int) -> Tensor:
    made = SyntheticFaces(sources=first + people, targets=0, size=32)
    return torch.stack([made[place].image for place in range(first, first + people)])


def test_a_student_sees_through_what_the_teacher_does_not(
    make_recognizer: Callable[..., NetworkRecognizer],
) -> None:
    """A negative with noise: cosines to the teacher's embedding of the clean photo, of people it never saw."""
    teacher = make_recognizer("one", 0)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2
    lessons, photos = [], [faces(64, 0), faces(16, 64), faces(16, 80)]
    for clean in photos:
        hidden = (1 - clean - noise).clamp(0, 1)
        lessons.append(Lesson(teacher.prepare(hidden), teacher.prepare(clean), teacher(clean)))
    student = teach(teacher, lessons[0], lessons[1], seed=0, epochs=12)
    new = photos[2]
    hidden = (1 - new - noise).clamp(0, 1)
    as_it_was = F.cosine_similarity(teacher(hidden), teacher(new)).mean()
    learnt = F.cosine_similarity(student(hidden), teacher(new)).mean()
    assert learnt > as_it_was + 0.2
    assert F.cosine_similarity(student(new), teacher(new)).mean() > 0.9
    assert not any(parameter.requires_grad for parameter in student.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_the_command_measures_keeps_and_writes(world: Path, veilbench: Call) -> None:
    content = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    content["methods"] = ["clean", {"method": "pgd", "params": {"steps": 2, "epsilon": 0.1}}]
    content |= {"protocol": {"goals": ["dodge"], "far": 0.1}, "realism": None}
    (world / "suite.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    words = (world / "suite.yaml", "--results", world / "r", "--jobs", 1)
    assert veilbench("run", *words, "--tracker", "none").code == 0
    folder = tables_of(world / "r")
    first = veilbench("linkage", *words, "--people", 24)
    assert first.code == 0, first.err
    assert first.out.count("a student learns") == 2
    rows, items = pd.read_csv(folder / "linkage_items.csv"), pd.read_csv(folder / "items.csv")
    # before learning a judge says what it says in the suite, where dodging is decided by the same cosine
    black = items[items["role"] == "black_box"]
    known = black.set_index(["method", "judge", "item"])["similarity"]
    clean = rows[rows["gallery"] == "clean"].set_index(["method", "judge", "item"])["before"]
    pd.testing.assert_series_equal(clean.sort_index(), known.sort_index(), check_names=False, rtol=1e-5)
    # nothing is learnt from photos that nobody changed
    untouched = rows[rows["method"] == "clean"]
    assert (untouched["before"] == untouched["after"]).all()
    assert (untouched["threshold_before"] == untouched["threshold_after"]).all()
    table = pd.read_csv(folder / "linkage.csv")
    for _, row in table.iterrows():
        mine = rows[(rows["method"] == row["method"]) & (rows["gallery"] == row["gallery"])]
        assert row["n"] == len(mine) == 12
        for name in ("before", "after"):
            assert row[name] == pytest.approx((mine[name] > mine[f"threshold_{name}"]).mean(), abs=1e-5)
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert "protected photos that are linked" in (folder / "linkage.md").read_text(encoding="utf-8")
    before = (folder / "linkage_items.csv").read_bytes()
    again = veilbench("linkage", *words, "--people", 24)
    assert (again.code, "a student learns" in again.out) == (0, False)
    assert (folder / "linkage_items.csv").read_bytes() == before


def test_too_few_people_is_one_line(world: Path, veilbench: Call) -> None:
    words = (world / "suite.yaml", "--results", world / "r", "--jobs", 1, "-m", "pgd")
    outcome = veilbench("linkage", *words, "--people", 9, "--goal", "dodge")
    assert outcome.code == 2
    assert "--people 9" in outcome.err
    assert outcome.err.count("\n") == 1
    assert "--goal hide" in veilbench("linkage", *words, "--goal", "hide").err


def test_outsiders_are_divided_among_the_targets_and_are_nobody_else() -> None:
    base = SyntheticFaces(sources=4, targets=3, size=16)
    training = base.training(8)
    assert training is not None
    others = Outsiders(base, training)
    groups = [others.group(target.name) or () for target in base.targets]
    assert sorted(sum(groups, ())) == sorted(entry.id for entry in others.manifest.entries)
    assert [len(group) for group in groups] == [3, 3, 2]
    mine = {entry.identity for entry in base.manifest.entries} | {target.name for target in base.targets}
    assert not mine & {entry.identity for entry in others.manifest.entries}


def test_other_photos_are_the_gallery_under_the_same_ids() -> None:
    base = SyntheticFaces(sources=3, targets=1, size=16)
    others = OtherPhotos(base)
    assert [entry.id for entry in others.manifest.entries] == [entry.id for entry in base.manifest.entries]
    assert others.manifest.digest != base.manifest.digest
    for place in range(3):
        gallery = base.gallery_photo(place)
        assert gallery is not None
        assert torch.equal(others[place].image, gallery)
        source = others.gallery_photo(place)
        assert source is not None
        assert torch.equal(source, base[place].image)
    with pytest.raises(UserError, match="no person has another photo"):
        OtherPhotos(base.training(2))


def test_a_change_is_marked_only_where_it_is_significant() -> None:
    frames = []
    for method, linked in (("learnt", 15), ("hardly", 2)):
        after = [1.0] * linked + [0.0] * (20 - linked)
        frame = pd.DataFrame({"item": [f"i{place}" for place in range(20)], "before": 0.0, "after": after})
        told = {"goal": "dodge", "gallery": "clean", "method": method, "family": "noise", "judge": "one", "target": ""}
        frames.append(frame.assign(**told, threshold_before=0.5, threshold_after=0.5))
    table = linkage_table(pd.concat(frames), 0.95).set_index("method")
    assert table.loc["learnt", "p"] == pytest.approx(2 * 0.5**15 * 2)  # McNemar's exact test, Holm's first of two
    assert table.loc["hardly", "p"] == pytest.approx(0.5)
