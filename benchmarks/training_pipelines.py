"""``veilbench train-pipeline``: a small diffusion pipeline from any photo data set, in a folder of its own.

What it becomes depends on the photos and the settings alone, which its manifest names: the same command finds it
finished, or goes on with it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veilbench.errors import UserError

from .terminal import INTERRUPTED, make_console, say

if TYPE_CHECKING:
    from veilbench.datasets.base import FaceDataset
    from veilbench.models.recipes.latent_diffusion import Recipe
    from veilbench.models.recipes.photos import Division

MANIFEST = "training.json"
CHECKPOINTS = "checkpoints"
VERSION = 1  # of what a recipe makes of its photos


def train_pipeline(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A data set's name or YAML file.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The pipeline's folder: new, or one to go on with.")
    ],
    size: Annotated[int, typer.Option(min=32, help="Side of its photos in pixels, a multiple of 16.")] = 128,
    held_out: Annotated[
        int, typer.Option(min=1, help="Photos to measure it on: all of some people, who are not trained on.")
    ] = 50,
    effort: Annotated[
        float, typer.Option(min=0.0001, max=100, help="Times the epochs: 1 is a night for 550 photos on two cores.")
    ] = 1.0,
) -> None:
    """Train a small diffusion pipeline on photos, for methods that need one (`pipeline: FOLDER`).

    Run it again to resume.  Take photos of other people than those whom you protect.
    """
    console = make_console()
    with console.status("looking at every photo"):
        from .specs.components import build_dataset, load_component  # noqa: PLC0415

        faces = build_dataset(load_component("datasets", dataset, Path()))
    try:
        record, new = trained(faces, to, size, held_out, effort)
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    for line in lines(record):
        say(console, line)
    say(console, f"wrote {to}" if new else f"{to}: finished already, of these photos and settings")


def lines(record: Mapping[str, Any]) -> list[str]:
    """What was measured of a finished pipeline, for people."""
    figures, photos = record["figures"], record["data"]
    inverted = figures["inversion_psnr"]
    return [
        f"trained on {len(photos['trained_on'])} photos; PSNR of {len(photos['held_out'])} held-out ones:",
        f"autoencoding {figures['autoencoding_psnr']:.1f} dB",
        f"three of 20 DDIM steps undone and redone {inverted['aligned']:.1f} dB; "
        f"one interval lower, as released by WeakenDiff, {inverted['as released']:.1f} dB",
    ]


def trained(
    faces: FaceDataset, to: Path, size: int = 128, held_out: int = 50, effort: float = 1.0
) -> tuple[dict[str, Any], bool]:
    """A finished pipeline in ``to``: trained from the beginning, from where it was stopped, or found.

    Args:
        faces: to learn from, at least ``size`` pixels high and wide; sources and their other photos.
        to: becomes a ``StableDiffusionPipeline`` folder with a manifest, ``training.json``.
        size: side of the pipeline's photos.
        held_out: photos, at least so many, that it is not trained on.
        effort: times the epochs.

    Returns:
        The manifest (data, settings, provenance, figures, the folder's hash), and whether anything was done.

    Raises:
        VeilbenchError: when there are no photos, or too few or too small ones; when ``to`` holds anything else, or
            was changed since.
    """
    from veilbench.models.recipes.photos import SIZE_STEP, divide, photo_recipe  # noqa: PLC0415

    from .engine.lock import hold  # noqa: PLC0415

    if size % SIZE_STEP:
        raise UserError(f"--size {size}: must be a multiple of {SIZE_STEP}, such as {size // SIZE_STEP * SIZE_STEP}")
    settings = {"size": size, "held_out": held_out, "effort": effort}
    recipe, division = photo_recipe(size, effort), divide(faces, held_out)
    made_of = _made_of(faces, division, recipe, settings)
    known = _known(to, made_of)
    if "figures" in known:
        _check_unchanged(to, known)
        return known, False
    with hold(to, option="--to"):
        return _train(faces, division, recipe, to, made_of), True


def _made_of(faces: FaceDataset, division: Division, recipe: Recipe, settings: Mapping[str, float]) -> dict[str, Any]:
    """All that decides what a pipeline becomes."""
    sides = {"trained_on": division.training, "held_out": division.held_out}
    photos = {side: [photo.sha256 for photo in of] for side, of in sides.items()}
    data = {"name": faces.name, "manifest": faces.manifest.digest, **photos}
    made_of = {"version": VERSION, "data": data, "settings": settings, "recipe": asdict(recipe)}
    content: dict[str, Any] = json.loads(json.dumps(made_of))  # as it comes back from a file
    return content


def _known(to: Path, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in ``to``, empty where there is nothing; checked to be of these photos and settings."""
    from .engine.json_files import read_json  # noqa: PLC0415

    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: a file; name a folder")
    known = read_json(to / MANIFEST)
    if known is None:
        if to.is_dir() and any(path.name != ".lock" for path in to.iterdir()):
            raise UserError(f"--to {to}: not empty, and no pipeline of this command ({MANIFEST}); name another folder")
        return {}
    if why := _difference(known, made_of):
        raise UserError(f"--to {to}: holds a pipeline of {why}; name another folder")
    return known


def _difference(known: Mapping[str, Any], made_of: Mapping[str, Any]) -> str:
    """In what a manifest is of another pipeline; empty where it is of this one.  Data sets may go by other names."""
    if known.get("version") != VERSION:
        return f"another version of the recipe ({known.get('version')}, not {VERSION})"
    if known["data"]["manifest"] != made_of["data"]["manifest"]:
        return f"other photos ({known['data']['name']})"
    for key, asked in made_of["settings"].items():
        if (found := known["settings"][key]) != asked:
            return f"other settings (--{key.replace('_', '-')} {found:g}, not {asked:g})"
    return "" if known["recipe"] == made_of["recipe"] else "another recipe, of another version of veilbench"


def _check_unchanged(to: Path, known: Mapping[str, Any]) -> None:
    """Raise unless the pipeline is the one that was measured."""
    from veilbench.models.diffusion.folder import PIPELINE  # noqa: PLC0415

    if PIPELINE.identity(to) != known["pipeline_sha256"]:
        raise UserError(f"--to {to}: its files are not those that {MANIFEST} records; name another folder")


def _train(
    faces: FaceDataset, division: Division, recipe: Recipe, to: Path, made_of: Mapping[str, Any]
) -> dict[str, Any]:
    """Train what is missing, write the folder, measure it as it was written."""
    from veilbench.models.diffusion.backbone import DiffusionBackbone  # noqa: PLC0415
    from veilbench.models.recipes.latent_diffusion import parameters_of, reconstruction  # noqa: PLC0415
    from veilbench.models.recipes.latent_diffusion import train_pipeline as train  # noqa: PLC0415
    from veilbench.models.recipes.photos import CAPTION, load  # noqa: PLC0415

    from .engine.json_files import write_json  # noqa: PLC0415
    from .engine.provenance import provenance  # noqa: PLC0415
    from .engine.trainer import hush, interruptible  # noqa: PLC0415

    training, held_out = (load(faces, photos, recipe.size) for photos in (division.training, division.held_out))
    write_json(to / MANIFEST, made_of)
    begun = provenance()  # before a long time in which the code may change
    hush()
    with interruptible():
        pipeline = train(recipe, training, [CAPTION] * len(training), to / CHECKPOINTS)
    pipeline.save_pretrained(to, safe_serialization=True)
    backbone = DiffusionBackbone.load(to)
    record = {
        **made_of,
        "parameters": parameters_of(backbone),
        "figures": reconstruction(backbone, held_out.float() / 255),
        "pipeline_sha256": backbone.sha256,
        "provenance": begun,
    }
    write_json(to / MANIFEST, record)
    shutil.rmtree(to / CHECKPOINTS)
    return record
