"""``veilbench calibrate``: thresholds of a recogniser for a crop, from any data set in which people have two photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from veilbench.errors import UserError
from veilbench.files import write_bytes

from .terminal import make_console, say

if TYPE_CHECKING:
    from veilbench.datasets.base import FaceDataset
    from veilbench.metrics.calibration import Calibration

    from .specs.recognizers import RecognizerSpec

ENOUGH = 2  # people


def calibrate(
    recognizer: Annotated[str, typer.Argument(metavar="RECOGNISER", help="A recogniser's name or YAML file.")],
    on: Annotated[
        str,
        typer.Option("--on", metavar="DATASET", help="A data set's name or YAML file: people with two photos each."),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="The YAML file to write: the recogniser, calibrated.")
    ],
    crop: Annotated[
        str, typer.Option(help="What it looks at: recognizer, whole, detected, aligned, or [left, top, right, bottom].")
    ] = "recognizer",
    detector: Annotated[
        Path | None, typer.Option(help="An insightface pack whose detector finds faces; without it MTCNN does.")
    ] = None,
) -> None:
    """Measure a recogniser's thresholds at FAR 0.1, 0.01 and 0.001, and write them into a config of its own.

    Take other people than those that you test on.
    """
    if to.exists():
        raise UserError(f"{to}: is there already; name another file")
    console = make_console()
    with console.status("looking at every photo"):
        measured, config = calibrated(recognizer, on, crop, detector)
    write_bytes(to, yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000).encode())
    for line in lines(measured):
        say(console, line)
    say(console, f"wrote {to}")


def lines(measured: Calibration) -> list[str]:
    """What was measured, for people."""
    found = [
        f"FAR {far:g}: threshold {threshold:.4f}, TAR {measured.tar[far].value:.3f} "
        f"[{measured.tar[far].low:.3f}, {measured.tar[far].high:.3f}]"
        for far, threshold in measured.thresholds.items()
    ]
    return [*found, f"{measured.impostors} impostor pairs of {measured.people} people"]


def calibrated(recognizer: str, on: str, crop: str, detector: Path | None = None) -> tuple[Calibration, dict[str, Any]]:
    """What was measured, and the recogniser's config with it.

    Args:
        recognizer: name or YAML file; it needs no thresholds.
        on: name or YAML file of a data set.
        crop: a rule, as text.
        detector: see :class:`~veilbench.models.crops.Crop`.

    Raises:
        UserError: when something is missing or wrong, or fewer than two people have two photos.
    """
    from veilbench.metrics.calibration import calibrate as thresholds_of  # noqa: PLC0415
    from veilbench.models.crops import Crop  # noqa: PLC0415

    from .specs.components import build_dataset, load_component  # noqa: PLC0415
    from .specs.crop import read_crop  # noqa: PLC0415
    from .specs.recognizers import build_recognizer, load_recognizer_spec  # noqa: PLC0415

    rule = Crop(read_crop(crop, f"--crop {crop}"), detector)
    name, spec = load_recognizer_spec(recognizer, Path(), calibrated=False)
    dataset = build_dataset(load_component("datasets", on, Path()))
    probes, gallery = _embedded(build_recognizer(name, spec), dataset, rule)
    if len(probes) < ENOUGH:
        raise UserError(f"--on {on}: {len(probes)} people with two photos; give some (`others` of a folder)")
    measured = thresholds_of(probes, gallery)
    if not measured.thresholds:
        raise UserError(f"--on {on}: {measured.people} people are too few to measure any of the rates; give more")
    return measured, _config(spec, measured, f"{dataset.name} ({dataset.manifest.digest[:12]})", rule)


def _embedded(recognizer: Any, dataset: FaceDataset, crop: Any) -> tuple[Any, Any]:
    """Embeddings of a photo of each person, and of another one."""
    from veilbench.metrics.streaming import embeddings  # noqa: PLC0415

    from .engine.treating import scoring_device  # noqa: PLC0415

    device = scoring_device()
    entries = dataset.manifest.entries
    places = [place for place, entry in enumerate(entries) if entry.gallery_sha256 is not None]
    probes = embeddings(recognizer, (crop.look(dataset[place].image) for place in places), device)
    others = (dataset.gallery_photo(place) for place in places)
    gallery = embeddings(recognizer, (crop.look(photo) for photo in others if photo is not None), device)
    return probes, gallery


def _config(spec: RecognizerSpec, measured: Calibration, dataset: str, crop: Any) -> dict[str, Any]:
    """The recogniser's YAML."""
    # whatever an earlier calibration says of its crop is gone
    found_by = "insightface" if crop.detects and crop.detector is not None else "mtcnn"
    update = {"calibrated_crop": crop.rule, "calibrated_detector": found_by}
    given = spec.model_copy(update=update).model_dump(mode="json", exclude_defaults=True)
    given["thresholds"] = {far: round(threshold, 6) for far, threshold in measured.thresholds.items()}
    given["calibrated_on"] = f"{measured.impostors} impostor pairs of {measured.people} people of {dataset}"
    return given
