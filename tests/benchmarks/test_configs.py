"""Configs are read as they are written, or refused in one line, quickly."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from veilbench.benchmarks.report.tradeoff import tradeoff
from veilbench.benchmarks.specs.configs import CONFIGS, read_yaml
from veilbench.benchmarks.specs.strict_yaml import PLAIN, dump, load
from veilbench.benchmarks.specs.suite import load_suite, parse_setting
from veilbench.errors import UserError, unprintable

from .conftest import Outcome, results_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("-.5", -0.5), ("2.", 2.0), ("1.5e+2", 150.0), ("08.5", 8.5),
        ("0", 0), ("-7", -7), ("+5", 5), ("0x1F", 31), ("999999999999999999", 999999999999999999),
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), ("8/255", "8/255"), ("'010'", "010"), ("!!str 010", "010"),
        ("=", "="), ("\"a\\tb\"", "a\tb"), ("[1, [a]]", [1, ["a"]]), ("{0.1: {b: 2}}", {0.1: {"b": 2}}),
        ("{a: &a [1], b: *a}", {"a": [1], "b": [1]}), ("'<<'", "<<"),
    ],
)  # fmt: skip
def test_what_a_value_is(text: str, value: object) -> None:
    read = load(text, "here")
    assert (read, type(read)) == (value, type(value))


PIECES = [
    "a",
    "a: ",
    "- ",
    "? ",
    "1",
    "-.5e3",
    " ",
    "\n",
    "\n  ",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    ", ",
    ":",
    "#",
    " #",
    "~",
    "<<: ",
]


@settings(max_examples=2000, deadline=None)
@given(pieces=st.lists(st.sampled_from([*PIECES, "---", "...", "=", "b: [1, x]\n", "c:\n  d: 'e'\n"]), max_size=12))
def test_plain_texts_are_read_as_pyyaml_reads_them(pieces: list[str]) -> None:
    def read() -> object:
        try:
            return repr(load(text, "here"))
        except UserError as error:
            return str(error)

    text = "".join(pieces)
    quick = read()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(yaml, "__with_libyaml__", False)
        assert quick == read()


def test_which_texts_are_plain() -> None:
    assert PLAIN.fullmatch("methods:\n- {method: pgd, params: {epsilon: 8/255}, label: 'p 1'}\n")
    assert not [char for char in "!&*?|>%@`\\\t\r\ufeff\u2028é" if PLAIN.fullmatch(f"a: {char}")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "here: line 3: key 'a' is given twice; remove one"),
        ("x:\n  0.1: 1\n  0.10: 2", "here: line 3: key '0.10' is given twice"),
        ("a:\n- {b: 1, 'b': 2}", "here: line 2: key 'b' is given twice"),
        ("010", "here: 010 can be read in two ways; write a decimal number, or quote it for text"),
        ("-08", "-08 can be read in two ways"),
        ("0o17", "0o17 can be read in two ways"),
        ("0b11", "0b11 can be read in two ways"),
        (".nan", ".nan is not a finite number"),
        ("-.Inf", "-.Inf is not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ("!!float .inf", ".inf is not a finite number"),
        ("9" * 5000, "999999999999999999... has more than 18 digits"),
        ("!!int x", "'x' is not a whole number"),
        ("!!int 010", "010 can be read in two ways"),
        ("!!float x", "'x' is not a number"),
        ("!!bool maybe", "'maybe' is neither true nor false"),
        ("!!python/object/apply:os.getcwd []", "tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' is not taken"),
        ("!!set {a}", "is not taken"),
        ("!!timestamp 2024-01-01", "is not taken"),
        ("!mine 3", "tag '!mine' is not taken"),
        ("!!seq x", "tagged as a list and is none"),
        ("!!map [x]", "tagged as a mapping and is none"),
        ("? [1]\n: 2", "a key is a list or mapping"),
        ("a: &a {b: 1}\nc: {<<: *a}", "line 2: the merge key << is not taken"),
        ("&a [*a]", "*a is inside what it stands for"),
        ("*a", "undefined alias"),
        ('"\\e[31m"', "holds the character '\\x1b'"),
        ('"\\ud800"', "holds the character '\\ud800'"),
        ('"\\0"', "holds the character '\\x00'"),
        ('"\\U00110000"', "not valid YAML"),
        ("a\x01", "not valid YAML"),
        ("[1", "not valid YAML"),
        ("--- 1\n--- 2", "not valid YAML (line 2: expected a single document"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        load(text, "here")
    message = str(caught.value)
    assert message.startswith("here: ")
    assert problem in message
    assert message.isprintable()
    assert len(message) < 400


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "{" + ", ".join(lines) + "}"


@pytest.mark.parametrize(
    "text",
    [
        bomb(12),
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 100_000,
        "{a: &a " + "x" * 60_000 + ", b: [" + "*a, " * 1000 + "]}",
        "[" + "x, " * 2_000_000 + "]",
    ],
    ids=["aliases", "lists", "mappings", "blocks", "long text", "large"],
)
def test_what_would_grow_is_refused_at_once(text: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(UserError) as caught:
            load(text, "here")
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 400


def test_every_shipped_config_reads_as_pyyaml_reads_it() -> None:
    """None of ours holds anything that the two versions of YAML disagree about."""
    files = sorted(CONFIGS.rglob("*.yaml"))
    assert len(files) > 20
    for path in files:
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("text", "scope", "key", "value"),
    [
        ("method.steps=20", "method", "steps", 20),
        ("lambda 0.001.steps=20", "lambda 0.001", "steps", 20),
        ("eps=8/255.steps = a.b=3", "eps=8/255", "steps", "a.b=3"),
        ("suite.protocol.far=1e-3", "suite", "protocol.far", 0.001),
        ("pgd.reference=null", "pgd", "reference", None),
    ],
)
def test_where_a_setting_goes(text: str, scope: str, key: str, value: object) -> None:
    setting = parse_setting(text)
    assert (setting.scope, setting.key, setting.value, setting.where) == (scope, key, value, f"--set {text}")


def rewrite(path: Path, **content: Any) -> Path:
    merged = {**yaml.safe_load(path.read_text(encoding="utf-8")), **content}
    path.write_text(yaml.safe_dump(merged), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "label", ["[red]x[/red]", "costs $5 or $x^", "a=b.c", "lambda 0.001", "ü 顔", "-m", "a/b", "%s"]
)
def test_any_name_of_a_row_can_be_set(label: str, world: Path) -> None:
    suite = rewrite(world / "suite.yaml", methods=["clean", {"method": "pgd", "label": label}])
    loaded = load_suite(str(suite), [f"{label}.steps=7"], [label])
    assert loaded.methods[label].params["steps"] == 7


def test_an_error_in_the_file_itself_still_names_it(world: Path) -> None:
    rewrite(world / "suite.yaml", batch_size="many")
    with pytest.raises(UserError, match=r"suite\.yaml: key 'batch_size' has value 'many'"):
        load_suite(str(world / "suite.yaml"), ["suite.seed=3", "pgd.steps=4"])


def test_the_file_of_a_method_is_named_for_its_own_parameters(world: Path) -> None:
    (world / "mine.yaml").write_text("kind: pgd\nparams: {steps: ten}\n", encoding="utf-8")
    rewrite(world / "suite.yaml", methods=[{"method": "./mine.yaml", "params": {"epsilon": 0.1}}])
    with pytest.raises(UserError, match=r"mine\.yaml: params: key 'steps' has value 'ten'"):
        load_suite(str(world / "suite.yaml"))


def test_names_are_shown_as_they_are(world: Path, veilbench: Callable[..., Outcome]) -> None:
    """In a terminal's markup ``[red]`` is a colour, in a picture ``$`` begins a formula (and this one has no end)."""
    labels = ["[red]x[/red]", r"costs $5 $\frac{ too", "a|b"]
    entries = [{"method": "pgd", "label": label, "params": {"steps": 2 + n}} for n, label in enumerate(labels)]
    suite = rewrite(world / "suite.yaml", methods=["clean", *entries])
    suite = suite.rename(world / r"a $\frac$ [b]s.yaml")
    common = (suite, "--results", world / "r")
    for command in ("run", "status", "leaderboard", "plan"):
        outcome = veilbench(command, *common, *(("--tracker", "none") if command == "run" else ()))
        assert outcome.code == 0, outcome
        assert suite.stem in outcome.out
        if command != "plan":
            assert all(label in outcome.out for label in labels)
    table = (world / "r" / "suites" / suite.stem / "leaderboard.md").read_text(encoding="utf-8")
    assert r"| a\|b |" in table


def test_pictures_take_any_text(world: Path) -> None:
    """Three settings of one method make a curve, and so a legend."""
    label = r"$\frac{"
    entries = [{"method": "pgd", "label": f"{label}{n}", "params": {"steps": n}} for n in (1, 2, 3)]
    made = results_of(rewrite(world / "suite.yaml", methods=entries), world / "r")
    rows = [
        {"goal": "impersonate", "countermeasure": "none", "method": f"{label}{n}", "psnr": 20.0 + n,
         "psr": 0.5, "psr_low": 0.4, "psr_high": 0.6}
        for n in (1, 2, 3)
    ]  # fmt: skip
    picture = io.BytesIO()
    tradeoff(made, pd.DataFrame(rows)).savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")


NASTY = [
    "1e-3", "1E5", "010", "0o17", "0b11", "0x1F", "1_000", "1:30", "no", "yes", "on", "true", "True", "null", "~", "",
    "<<", "=", "-", "- a", "a: b", "a #b", "#", "&a", "*a", "!x", "|", ">", "%x", "@x", "`", "[", "{", "2024-01-01",
    ".inf", ".5", "5.", "+1", "8/255", " a", "a ", "a\nb", "a\n", "\n", "\ta", "\u2028", "\ufeff", "\U0001f600", "'",
    '"', "\\", "---", "...", "? a", "9" * 30,
]  # fmt: skip
# what a config may say: neither control characters nor whole numbers beyond 64 bits nor what is not finite
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cc", "Cs"])),
    st.from_regex(r"[-+0-9.eExob_:]{1,6}"),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**17) + 1, 10**18 - 1), st.floats(allow_nan=False, allow_infinity=False),
    TEXTS.filter(lambda text: unprintable(text) is None),
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXTS.filter(lambda text: unprintable(text) is None), VALUES, max_size=4))
def test_what_is_written_reads_back_as_it_was(content: dict[str, Any]) -> None:
    assert repr(load(dump(content), "here")) == repr(content)  # tells 1 from 1.0 and True, and -0.0 from 0.0


@pytest.mark.parametrize("text", NASTY)
def test_each_nasty_text_reads_back_as_text(text: str) -> None:
    assert load(dump({"a": text, "b": [text]}), "here") == {"a": text, "b": [text]}
    assert yaml.safe_load(dump({"a": text})) == {"a": text}  # also by readers of YAML 1.1


def test_paths_and_tuples_are_written_plainly() -> None:
    twice = [1, 2]
    text = dump({"path": Path("/a/1e-3"), "pair": (1e-9, None), "first": twice, "second": twice})
    assert load(text, "here") == {"path": "/a/1e-3", "pair": [1e-9, None], "first": twice, "second": twice}
    assert "&" not in text


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**30, "a\x1bb", "\x85", {1, 2}, object()])
def test_what_no_config_can_say_is_not_written(value: object) -> None:
    with pytest.raises(UserError) as caught:
        dump({"a": value})
    assert "\n" not in str(caught.value)
