"""Folders of diffusion weights on disk: found, checked for completeness, hashed.  Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from ..weights import WeightsError, file_sha256

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "embedded" / "diffusion"
PARTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
LAYOUT = "model_index.json, " + ", ".join(f"{part}/" for part in PARTS)
EMBEDDED_LIGHT_DECODER = EMBEDDED_FOLDER.parent / "light_decoder"
LIGHT_WEIGHTS = "diffusion_pytorch_model.safetensors"
LIGHT_LAYOUT = f"config.json and {LIGHT_WEIGHTS}"
VERSION_FIELDS = {"_diffusers_version", "_name_or_path", "transformers_version"}


def find_pipeline(pipeline: str | Path) -> Path:
    """The folder of a ``StableDiffusionPipeline``, checked to be complete.  Nothing is ever downloaded.

    Args:
        pipeline: ``embedded``, a folder, or a Hub name (``owner/name``) whose files are in the local cache already.

    Raises:
        WeightsError: naming what is missing, the layout that is expected, and how to get it.
    """
    folder = EMBEDDED_FOLDER if pipeline == EMBEDDED else Path(pipeline).expanduser()
    if not folder.is_dir():
        folder = cached_folder(str(pipeline), LAYOUT)
    if not (folder / "model_index.json").is_file():
        raise WeightsError(f"{folder}: no diffusion pipeline (model_index.json is missing); it must hold {LAYOUT}")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise WeightsError(f"{folder}: {missing[0]}/ is missing; a pipeline folder holds {LAYOUT}")
    return folder


def cached_folder(name: str, layout: str) -> Path:
    """The local Hub cache's folder of ``owner/name``; nothing is downloaded.

    Raises:
        WeightsError: when it is not there, with the layout that a folder given instead must have.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import, rarely needed)
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"{name}: neither a folder nor in the local Hub cache; give the path of a folder ({layout}), "
            "or fetch it yourself with `hf download OWNER/NAME`: veilbench downloads nothing by itself"
        ) from error


def find_light_decoder(decoder: str | Path) -> Path:
    """The folder of an ``AutoencoderTiny``, checked to be complete.  Nothing is ever downloaded.

    Args:
        decoder: ``embedded``, a folder, or a Hub name (``owner/name``) whose files are in the local cache already.

    Raises:
        WeightsError: naming what is missing and the layout that is expected.
    """
    folder = EMBEDDED_LIGHT_DECODER if decoder == EMBEDDED else Path(decoder).expanduser()
    if not folder.is_dir():
        folder = cached_folder(str(decoder), LIGHT_LAYOUT)
    for name in ("config.json", LIGHT_WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: no light decoder ({name} is missing); it must hold {LIGHT_LAYOUT}")
    return folder


def light_decoder_sha256(decoder: str | Path) -> str:
    """Hash of the weights."""
    return file_sha256(find_light_decoder(decoder) / LIGHT_WEIGHTS)


@lru_cache(maxsize=16)
def pipeline_sha256(folder: Path) -> str:
    """One hash over the names and contents of every file that decides what a pipeline computes."""
    digest = hashlib.sha256()
    for part in PARTS:
        for path in sorted((folder / part).rglob("*")):
            if path.is_file() and path.suffix in {".json", ".safetensors", ".bin", ".txt"}:
                content = _settings(path) if path.suffix == ".json" else file_sha256(path)
                digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _settings(path: Path) -> str:
    """A config without the fields that only say which library version wrote it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in VERSION_FIELDS}
    return json.dumps(content, sort_keys=True)
