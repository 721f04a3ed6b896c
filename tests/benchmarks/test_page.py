"""The page of a comparison: its data come out as they went in, it asks nobody for anything, and browsers show it."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from html.parser import HTMLParser
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from veilbench.benchmarks.cli import main
from veilbench.benchmarks.engine.manifest import DatasetFacts, Manifest
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.engine.sources import target_name
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.report.columns import p_text
from veilbench.benchmarks.report.grid import comparison, left, top
from veilbench.benchmarks.report.items import collect
from veilbench.benchmarks.report.page.axes import Axis, labelled
from veilbench.benchmarks.report.page.colors import diverging, ink, sequential
from veilbench.benchmarks.report.page.data import BEGIN, END, read_report
from veilbench.benchmarks.report.page.photos import Picture, galleries
from veilbench.benchmarks.report.page.scatter import pareto
from veilbench.benchmarks.report.shown import target_photo, target_words
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.errors import UserError
from veilbench.metrics.base import Column

from .browser import Browser, browser, find_browser
from .conftest import results_of, tables_of

HOSTILE = "</script><img src=x onerror=document.title='broken'><!--"
METHODS = ["clean", {"method": "pgd", "params": {"steps": 2}}, {"method": "pgd", "label": HOSTILE}, "mi_fgsm"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, make_world: Callable[[Path], Path]) -> Path:
    """The page of a small comparison, one of whose methods has a hostile label."""
    world = make_world(tmp_path_factory.mktemp("page"))
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": METHODS, "countermeasures": ["jpeg"], "batch_size": 6}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    for words in (["run", "--tracker", "none"], ["report", "--photos", "2", "--markdown"]):
        with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
            patch.setattr(sys, "argv", ["veilbench", *words, str(world / "suite.yaml"), "--results", str(world / "r")])
            main()
    return tables_of(world / "r") / "report.html"


class Elements(HTMLParser):
    """All elements with their attributes, and what stands as text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] not in {"script", "style"}:
            self.words.append(data)


@pytest.mark.slow
def test_tables_come_out_as_they_are_in_their_files(written: Path) -> None:
    found = read_report(written)
    for name in ("leaderboard", "pairs", "psr", "cells"):
        text = found["tables"][name].to_csv(index=False, float_format="%.6g")
        assert text == written.with_name(f"{name}.csv").read_text(encoding="utf-8")
    assert HOSTILE in set(found["tables"]["leaderboard"]["method"])
    assert (found["suite"], found["dataset"]["n"], found["protocol"]["far"]) == ("suite", 6, 0.01)


@pytest.mark.slow
def test_page_is_whole_harmless_and_small(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    elements = Elements(page)
    data = page.partition(BEGIN)[2].partition(END)[0]
    assert "<" not in data
    assert any(row[2] == HOSTILE for row in json.loads(data)["tables"]["leaderboard"]["rows"])
    assert any(HOSTILE in word for word in elements.words)
    addresses = [
        value or ""
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "xlink:href", "poster", "data"}
    ]
    assert addresses
    assert [one for one in addresses if not one.startswith(("#", "data:image/webp;base64,"))] == []
    assert {tag for tag, _ in elements.found} & {"link", "iframe", "object", "embed", "base"} == set()
    assert [name for _, attributes in elements.found for name in attributes if name.startswith("on")] == []
    assert "url(" not in page
    assert "@import" not in page
    assert "://" not in page.replace(data, "")
    assert page.count("<script") == 2
    pictures = [attributes for tag, attributes in elements.found if tag == "img"]
    assert {(one["width"], one["height"]) for one in pictures} == {("32", "32")}
    assert all(one["alt"] for one in pictures)
    assert sum(tag == "table" for tag, _ in elements.found) == sum(tag == "caption" for tag, _ in elements.found)
    assert len(page) < 1_000_000


def decoded(picture: Picture) -> NDArray[np.int64]:
    with Image.open(BytesIO(base64.b64decode(picture.uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


@pytest.mark.slow
def test_photos_are_those_of_the_store_with_what_judges_said(written: Path) -> None:
    results = Results.open(written.parent)
    items = collect(results)
    faces = Plan(load_suite(results.manifest.file)).dataset.targets
    found = galleries(results, items, 3)
    assert list(found) == ["impersonate", "dodge"]
    for goal, gallery in found.items():
        names = [name for name, _ in gallery.methods]
        assert names == ["pgd", HOSTILE, "mi_fgsm"]
        assert [row.item for row in gallery.rows] == list(results.manifest.dataset.items[:3])
        assert gallery.targets is (goal == "impersonate")
        for row, name in product(gallery.rows, names):
            item, one = row.item, row.shown[names.index(name)]
            assert one is not None
            asked = next(it for it in results.manifest.questions if (it.label, it.goal) == (name, goal))
            with Image.open(results.store.protection(asked.cell).image(item)) as image:
                assert np.array_equal(decoded(one.image), np.asarray(image))
            moved = 8 * (decoded(one.image) - decoded(row.source)) + 128
            assert np.array_equal(decoded(one.difference), moved.clip(0, 255))
            same = items.query("countermeasure == 'none' and role == 'black_box' and item == @item and goal == @goal")
            same = same[(same["target"] == asked.target) & (same["held_out"] == asked.held_out)]
            before, after = (same[same["method"] == label].iloc[0] for label in ("clean", name))
            assert (one.before, one.after, one.success) == (before.similarity, after.similarity, after.success)
            assert one.judge == after.judge == asked.held_out
            if row.target is not None:
                assert (row.aim, one.target) == (asked.target, "")
                face = next(target.image for target in faces if target.name == asked.target)
                assert np.array_equal(decoded(row.target), (face * 255).round().permute(1, 2, 0).numpy())


@pytest.mark.slow
def test_results_without_targets_photos_show_none(written: Path, tmp_path: Path) -> None:
    """Those of an older manifest, or whose files are gone: the method's column says whom a photo is to be taken for."""
    shutil.copytree(written.parents[2], tmp_path / "r")
    content = json.loads((written.parent / "manifest.json").read_text(encoding="utf-8"))
    older = {key: value for key, value in content["dataset"].items() if key != "targets"}
    for path in (tmp_path / "r" / "store" / "sources").rglob("target~*.png"):
        path.unlink()
    for root, dataset in ((tmp_path / "r", content["dataset"]), (written.parents[2], older)):
        results = Results(Manifest.model_validate({**content, "dataset": dataset}), Store(root), tmp_path)
        gallery = galleries(results, collect(results), 1)["impersonate"]
        (row,) = gallery.rows
        assert (gallery.targets, row.target) == (False, None)
        assert {one.target for one in row.shown if one is not None} == {content["questions"][0]["target"]}
        picture = comparison(results, collect(results))
        assert picture.getpixel((left(0) + 5, top(0) + 5)) == (255, 255, 255)
        assert picture.getpixel((left(1) + 5, top(0) + 5)) != (255, 255, 255)


def test_many_targets_share_one_tile(world: Path, tmp_path: Path) -> None:
    """A photo of each of the first four, however many they are."""
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (9, 9, 9)]
    names = [f"t{at}" for at in range(5)]
    hashes = {name: f"{at:x}" * 64 for at, name in enumerate(names)}
    facts = DatasetFacts(name="d", digest="ab" * 32, synthetic=True, items=("a",), targets=hashes)
    manifest = results_of(world / "suite.yaml", tmp_path).manifest.model_copy(update={"dataset": facts})
    results = Results(manifest, Store(tmp_path), tmp_path)
    for name, colour in zip(names, colours, strict=True):
        path = results.store.source_image(facts.digest, target_name(hashes[name]))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), colour).save(path)
    one, all_of_them = target_photo(results, names[2:3]), target_photo(results, names)
    assert one is not None
    assert all_of_them is not None
    assert one.shape == all_of_them.shape == (40, 40, 3)
    assert {tuple(one[5, 5]), tuple(one[35, 35])} == {colours[2]}
    assert [tuple(all_of_them[y, x]) for y in (5, 35) for x in (5, 35)] == colours[:4]
    assert (target_words(names), target_words(names[1:2])) == ("any of 5", "t1")
    assert target_photo(results, ["nobody"]) is None


@pytest.mark.parametrize(
    ("p", "words"),
    [(0.5, "0.5"), (0.04567, "0.046"), (0.0001, "0.0001"), (0.00009, "< 0.0001"), (1.0, "1"), (math.nan, "-")],
)
def test_p_values_are_written_alike(p: float, words: str) -> None:
    assert p_text(p) == words


@pytest.mark.slow
def test_markdown_has_the_leaderboard_and_its_pictures(written: Path) -> None:
    text = written.with_name("report.md").read_text(encoding="utf-8")
    assert written.with_name("leaderboard.md").read_text(encoding="utf-8").strip() in text
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert shown == ["tradeoff.png", "grid.png"]
    assert all(written.with_name(name).is_file() for name in shown)
    assert "**impersonate**: best black-box PSR " in text


@pytest.fixture
def shown(written: Path, tmp_path: Path) -> Iterator[Browser]:
    """A browser with the page in a wide window."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium on the path: the page cannot be looked at")
    with browser(path, tmp_path / "profile") as one:
        one.open(written, 1280)
        yield one


FIRST = "document.querySelector('#boards table')"
VALUES = (
    f"[...{FIRST}.tBodies[0].rows].map(row => row.cells[[...{FIRST}.tHead.rows[0].cells].findIndex("
    "head => head.textContent.includes({title!r}))].dataset.value)"
)
CLICK = f"[...{FIRST}.tHead.rows[0].cells].find(head => head.textContent.includes({{title!r}})).querySelector('button')"


def values(page: Browser, title: str) -> list[float]:
    """Numbers of a column of the first leaderboard from top to bottom; NaN where one is not known."""
    return [float(value) if value else math.nan for value in page.run(VALUES.format(title=title))]


@pytest.mark.slow
def test_page_works_in_a_browser(shown: Browser, written: Path) -> None:
    for title, first in (("PSNR", -1), ("s/image", 1), ("white-box", -1)):
        for sign in (first, -first):
            shown.run(f"{CLICK.format(title=title)}.click()")
            known = [one for one in values(shown, title) if not math.isnan(one)]
            assert known == sorted(known, reverse=sign < 0)
            assert len(known) == len(values(shown, title)) or math.isnan(values(shown, title)[-1])
            marked = shown.run(f"{CLICK.format(title=title)}.parentElement.getAttribute('aria-sort')")
            assert marked == ("ascending" if sign > 0 else "descending")
    assert len(values(shown, "white-box")) == len(METHODS)
    visible = "[...document.querySelectorAll('#boards tbody tr')].filter(row => row.offsetParent).length"
    everything = shown.run(visible)
    box = "document.getElementById('find')"
    typed = f"{box}.value = {{!r}}; {box}.dispatchEvent(new Event('input', {{{{bubbles: true}}}}))"
    shown.run(typed.format("MI_"))
    assert shown.run(visible) == 2  # one of each goal
    shown.run(typed.format(""))
    shown.run("document.querySelector('[name=family][value=noise]').click()")
    assert shown.run(visible) == 2
    shown.run("document.querySelector('[name=family][value=noise]').click()")
    assert shown.run(visible) == everything == 2 * len(METHODS)
    assert shown.run("document.title") == "suite: veilbench report"
    assert shown.run("[...document.images].every(one => one.complete && one.naturalWidth === 32)")
    assert json.loads(shown.run("document.getElementById('veilbench-data').textContent"))["suite"] == "suite"
    for width in (1280, 390):
        shown.open(written, width)
        assert shown.run("document.documentElement.scrollWidth <= innerWidth")
        assert shown.run("innerWidth") == width
    assert shown.complaints() == []
    assert {one for one in shown.requests() if not one.startswith("data:")} == {written.resolve().as_uri()}


def test_a_page_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>nothing</p>", encoding="utf-8")
    with pytest.raises(UserError, match="no data of `veilbench report`"):
        read_report(tmp_path / "a.html")
    (tmp_path / "b.html").write_text(f'{BEGIN}{{"format": 0}}{END}', encoding="utf-8")
    with pytest.raises(UserError, match="format 0"):
        read_report(tmp_path / "b.html")


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_front_is_what_no_other_row_beats(better: str) -> None:
    numbers = np.random.default_rng(3).random((40, 2)).round(1)
    rows = pd.DataFrame({"method": map(str, range(40)), "psr": numbers[:, 0], "q": numbers[:, 1]})
    signed = rows["q"] * (1 if better == "higher" else -1)
    beaten = [
        any(
            p >= q and a >= b and (p, a) != (q, b)
            for p, a in zip(rows["psr"], signed, strict=True)
        )
        for q, b in zip(rows["psr"], signed, strict=True)
    ]  # fmt: skip
    front = pareto(rows, "psr", Column("q", "q", better="higher" if better == "higher" else "lower"))
    wanted = {(p, q) for p, q, out in zip(rows["psr"], rows["q"], beaten, strict=True) if not out}
    assert {(row["psr"], row["q"]) for row in front} == wanted
    assert len(front) == len(wanted)


def test_labels_keep_clear_of_points_and_each_other() -> None:
    points = [(float(x), float(y)) for x, y in np.random.default_rng(5).uniform(30, 270, (25, 2))]
    labels = labelled(points, [], (0, 0, 300, 300))
    for at, label in enumerate(labels):
        others = [*points, *labels[:at], *labels[at + 1 :]]
        assert min(math.dist(label, other) for other in others) > 10.9
    assert all(math.dist(label, point) < 57 for label, point in zip(labels, points, strict=True))


def test_ticks_are_round_and_inside() -> None:
    assert Axis(-0.33, 1.04, 0, 100).ticks(4) == [(24.1, "0.0"), (60.6, "0.5"), (97.1, "1.0")]
    assert [text for _, text in Axis(37.2, 24.9, 0, 100).ticks()] == ["25", "30", "35"]


def test_ink_is_readable_on_every_colour() -> None:
    def luminance(color: str) -> float:
        channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for share in np.linspace(0, 1, 101):
        for back in (sequential(share), diverging(2 * share - 1)):
            dark, light = sorted([luminance(back), luminance(ink(back))])
            assert (light + 0.05) / (dark + 0.05) >= 4.5
