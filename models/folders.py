"""Folders of networks on disk: found, checked for completeness, hashed.  Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from veilbench.errors import WeightsError
from veilbench.files import file_sha256

if TYPE_CHECKING:
    import torch

EMBEDDED = "embedded"
EMBEDDED_WEIGHTS = Path(__file__).resolve().parent / "embedded"
HASHED = {".json", ".safetensors", ".bin", ".txt"}
VERSION_FIELDS = {"_diffusers_version", "_name_or_path", "transformers_version"}
SAFETENSORS = ".safetensors"
WEIGHT_FILE = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)(-\d+-of-\d+)?\.(safetensors|bin)")
FLOATING = re.compile(r"F\d|BF16|float|bfloat")  # as safetensors and PyTorch name them
COUNTS = ("position_ids", "num_batches_tracked")  # whole numbers that networks hold beside their weights
UNREADABLE = (  # what the libraries raise for files that they cannot make sense of
    *(OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError, EOFError, MemoryError),
    *(SafetensorError, pickle.UnpicklingError),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a kind of folder must hold.

    Attributes:
        what: the kind, as in messages: ``diffusion pipeline``.
        embedded: name of the shipped one, below ``models/embedded``.
        index: file that tells such a folder from others.
        parts: what else must be there, subfolders with a slash at the end; of ``one|another`` the first that is found.
    """

    what: str
    embedded: str
    index: str
    parts: tuple[str, ...]

    @property
    def embedded_folder(self) -> Path:
        """Where the shipped one is."""
        return EMBEDDED_WEIGHTS / self.embedded

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys([self.index, *(part.replace("|", " or ") for part in self.parts)]))

    def find(self, name: str | Path) -> Path:
        """The folder of that name, checked to be complete.  Nothing is ever downloaded.

        Args:
            name: ``embedded``, a folder, or a Hub name (``owner/name``) whose files are in the local cache already.

        Raises:
            WeightsError: naming what is missing, the layout that is expected, and how to get it.
        """
        folder = self.embedded_folder if name == EMBEDDED else Path(name).expanduser()
        if not folder.is_dir():
            folder = self._cached(str(name))
        if not (folder / self.index).is_file():
            raise WeightsError(f"{folder}: no {self.what} ({self.index} is missing); it must hold {self}")
        for part in self.parts:
            if self._present(folder, part) is None:
                raise WeightsError(f"{folder}: {part.split('|')[0]} is missing; a {self.what} folder holds {self}")
        return folder

    def _cached(self, name: str) -> Path:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import, rarely needed)
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

        try:
            return Path(snapshot_download(name, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise WeightsError(
                f"{name}: neither a folder nor in the local Hub cache; give the path of a {self.what} folder ({self}), "
                "or fetch it yourself with `hf download OWNER/NAME`: veilbench downloads nothing by itself"
            ) from error

    @staticmethod
    def _present(folder: Path, part: str) -> Path | None:
        for choice in part.split("|"):
            path = folder / choice
            if path.is_dir() if choice.endswith("/") else path.is_file():
                return path
        return None

    def sha256(self, folder: Path) -> str:
        """One hash over the names and contents of every file that decides what the networks compute.

        What is hidden, by a name that starts with a dot, is no part of the folder: copying programs leave it there.

        Raises:
            WeightsError: when a config is not JSON.
        """
        paths = [self._present(folder, part) for part in self.parts]
        return _sha256(folder, tuple(path for path in paths if path is not None))

    def identity(self, name: str | Path) -> str:
        """:meth:`sha256` of the folder that :meth:`find` gives for ``name``."""
        return self.sha256(self.find(name))

    def read(self, folder: Path, part: str, read: Callable[..., Any], **options: Any) -> Any:
        """A part of ``folder`` by a library's ``from_pretrained``; ``part`` is empty when the folder itself is it.

        Raises:
            WeightsError: when the library cannot read it.
        """
        subfolder = {"subfolder": part} if part else {}
        try:
            return read(folder, local_files_only=True, **subfolder, **options)
        except UNREADABLE as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"{folder / part}: cannot be read ({reason}); a {self.what} folder holds {self}"
            ) from error

    def read_network(self, folder: Path, part: str, read: Callable[..., Any], dtype: torch.dtype) -> Any:
        """:meth:`read` of a network, all of whose weights must be in the file.

        Raises:
            WeightsError: also when some are missing, which the libraries would fill with random numbers, are integers
                or complex, which they would convert in silence, or are not finite.
        """
        for path in _weight_files(folder / part):
            _check_floating(path)
        network, report = self.read(folder, part, read, dtype=dtype, output_loading_info=True)
        if missing := sorted(report["missing_keys"]):
            raise WeightsError(f"{folder / part}: of another architecture: the weights have no {missing[0]!r}")
        for name, value in network.named_parameters():
            if not value.isfinite().all():
                raise WeightsError(f"{folder / part}: {name!r} has non-finite values; download or train it again")
        return network


def _weight_files(folder: Path) -> list[Path]:
    """The files that the libraries take a network's weights from: safetensors where there are any."""
    found = [path for path in sorted(folder.glob("*")) if WEIGHT_FILE.fullmatch(path.name) and path.is_file()]
    return [path for path in found if path.suffix == SAFETENSORS] or found


def _check_floating(path: Path) -> None:
    """Refuse numbers that no weight can be; what is damaged otherwise is for the library to find."""
    kinds: dict[str, str] = {}
    with suppress(*UNREADABLE):
        if path.suffix == SAFETENSORS:
            with safe_open(path, framework="pt") as file:
                kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (no mapping)
        else:
            import torch  # noqa: PLC0415 (slow to import, rarely needed)

            held = torch.load(path, map_location="meta", weights_only=True)
            kinds = {name: str(value.dtype).removeprefix("torch.") for name, value in held.items()}
    for name, kind in kinds.items():
        if not FLOATING.match(kind) and not name.endswith(COUNTS):
            raise WeightsError(
                f"{path}: {name!r} holds {kind}, where weights are floating-point numbers; download it again, or save "
                "the network in floating point"
            )


@lru_cache(maxsize=16)
def _sha256(folder: Path, parts: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            hidden = any(name.startswith(".") for name in path.relative_to(part).parts)
            if not hidden and path.is_file() and path.suffix in HASHED:
                content = _settings(path) if path.suffix == ".json" else file_sha256(path)
                digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _settings(path: Path) -> str:
    """A config without the fields that only say which library version wrote it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise WeightsError(
            f"{path}: line {error.lineno}: not JSON ({error.msg}); mend it, or download it again"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a JSON file ({error}); download it again") from error
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in VERSION_FIELDS}
    return json.dumps(content, sort_keys=True)
