"""The one door for parts: own modules, entry points, modules and files, with one line for whatever is wrong."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from veilbench import registry
from veilbench.errors import UserError

METHOD = """
from veilbench.methods.base import ProtectionMethod

class Dimmed(ProtectionMethod):
    kind = "dimmed"
    family = "noise"
    uses_surrogates = uses_target = uses_seed = False

    def __init__(self, *, share: float = 0.5) -> None:
        super().__init__()
        self.share = share

    def protect(self, faces, task, random):
        return faces.images * self.share

class Nothing:
    kind = "nothing"

class Nameless(ProtectionMethod):
    pass

class Unwritten(ProtectionMethod):
    kind = "unwritten"
"""


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "my part's.py"  # any name that a file may have
    path.write_text(METHOD)
    return path


@pytest.mark.parametrize(
    ("room", "kind", "name"),
    [
        ("methods", "pgd", "PGD"),
        ("methods", "weaken_diff", "WeakenDiff"),  # a package
        ("datasets", "folder", "FolderFaces"),
        ("networks", "ir", "IR"),
        ("recognizers", "state_dict", "StateDictRecognizer"),
    ],
)
def test_own_parts_are_found_by_their_kind(room: str, kind: str, name: str) -> None:
    assert registry.find(room, kind).__name__ == name


def test_a_path_is_relative_to_the_config(part: Path, tmp_path: Path) -> None:
    cls = registry.find("methods", f"./{part.name}:Dimmed", base=tmp_path)
    assert cls.kind == "dimmed"
    assert cls is registry.find("methods", f"{part}:Dimmed")


def test_a_class_from_a_file_reaches_another_process(part: Path, tmp_path: Path) -> None:
    cls = registry.find("methods", f"{part}:Dimmed")
    (tmp_path / "cls.pickle").write_bytes(pickle.dumps(cls))
    probe = "import pickle, sys; print(pickle.loads(open(sys.argv[1], 'rb').read()).kind)"
    seen = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path / "cls.pickle")], capture_output=True, text=True, check=True
    )
    assert seen.stdout == "dimmed\n"


def test_a_module_that_is_installed(part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_methods.py").write_bytes(part.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("methods", "somebodys_methods:Dimmed").kind == "dimmed"


def test_an_entry_point(part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "entered_methods.py").write_bytes(part.read_bytes())
    metadata = tmp_path / "entered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: entered\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[veilbench.methods]\ndimmed = entered_methods:Dimmed\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("methods", "dimmed").__module__ == "entered_methods"
    assert "dimmed" in registry.known_kinds("methods")
    assert "dimmed" in registry.kinds("methods")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pdg", ["unknown kind 'pdg'", "did you mean 'pgd'?"]),
        ("base", ["unknown kind 'base'"]),  # a module of the room that holds no part
        ("gone.py:Dimmed", ["no such file", "gone.py"]),
        ("{part}:Dimed", ["no class 'Dimed'", "did you mean 'Dimmed'?"]),
        ("{part}:Nothing", ["not a subclass of veilbench.methods.base:ProtectionMethod"]),
        ("{part}:METHOD", ["no class 'METHOD'"]),
        ("{part}:Nameless", ["has no `kind`"]),
        ("{part}:Unwritten", ["the class has no protect; write what is missing"]),
        ("no_such_module:X", ["cannot be imported (ModuleNotFoundError", "no_such_module"]),
        ("{broken}:X", ["cannot be imported (ZeroDivisionError: division by zero)"]),
        ("{wrong}:X", ["cannot be imported (SyntaxError"]),
    ],
)
def test_one_line_for_what_is_wrong(part: Path, tmp_path: Path, kind: str, words: list[str]) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "wrong.py").write_text("def (")
    kind = kind.format(part=part, broken=tmp_path / "broken.py", wrong=tmp_path / "wrong.py")
    with pytest.raises(UserError) as caught:
        registry.find("methods", kind)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_kinds_are_listed_without_importing_the_parts() -> None:
    probe = "import sys; from veilbench.registry import kinds; print(kinds('methods')); print('torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    names, torch_loaded = seen.stdout.splitlines()
    assert "'weaken_diff'" in names
    assert torch_loaded == "False"


def test_a_recogniser_is_more_than_a_network() -> None:
    """Both are ``nn.Module``, as methods are: the room is that of the narrowest contract."""
    assert registry.room_of("veilbench.models.recognizers.state_dict:StateDictRecognizer") == "recognizers"
    assert registry.room_of("veilbench.models.recognizers.networks.ir:IR") == "networks"
    assert registry.room_of("veilbench.methods.pgd:PGD") == "methods"
