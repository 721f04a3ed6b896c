"""``veilbench protect``: photos out of which people are harder to recognise, for people and not for research."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veilbench.errors import DataError, UserError, did_you_mean, shown

from .terminal import make_console, say

if TYPE_CHECKING:
    from veilbench.methods.base import ProtectionMethod

    from .api.photo_files import JudgedFace, PhotoProtector, ProtectedPhoto

METHOD = "tip_im_l2"
JUDGE = "dlib_resnet29"  # of those that packages bring the least use as a surrogate, and strict as a judge
ENOUGH = 2  # recognisers: one to attack, one to judge
NO_GUARANTEE = (
    "This is no guarantee: other recognisers, later ones, other photos of the same people, and copies that are "
    "compressed or scaled can still give them away."
)


def protect(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos of people.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the protected photos go, as PNG.")],
    method: Annotated[
        str, typer.Option("--method", "-m", help="A method's name, YAML file, or path/to/file.py:Class.")
    ] = METHOD,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SCOPE.KEY=VALUE", help="A parameter of the method: method.epsilon=12/255."),
    ] = None,
    recognizer: Annotated[
        list[str] | None,
        typer.Option(help="A recogniser's name or YAML file; repeatable.  By default all whose weights are kept."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help=f"The recogniser that is not attacked and says how well it went; by default {JUDGE}, else the last."
        ),
    ] = None,
    keep_location: Annotated[bool, typer.Option("--keep-location", help="Keep where photos were taken.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace protected photos that are there.")] = False,
) -> None:
    """Protect every face in photos of any size; all else in them, and what they say of themselves, stays.

    Tells for each face how similar a recogniser that was not attacked still finds it.  Exit code 1 where a photo could
    not be protected; the others are.
    """
    console = make_console()
    places = written_to(photos, to)
    with console.status("loading"):
        protector = make_protector(method, set_ or (), recognizer or (), judge)
    attacked = ", ".join(one.name for one in protector.surrogates) or "no recogniser"
    say(console, f"{protector.method.kind} attacks {attacked}; {protector.judge.name} judges and is not attacked")
    failed = 0
    for photo, place in places.items():
        try:
            check_free(photo, place, overwrite)
            with console.status(f"protecting {photo.name}"):
                done = protector(photo, place, keep_location=keep_location)
        except (DataError, OSError) as error:
            failed += 1
            say(console, f"not protected: {_reason(error, place)}")
            continue
        for line in lines(photo, done, protector.judge.name):
            say(console, line)
    if failed < len(places):
        say(console, NO_GUARANTEE)
    if failed:
        raise typer.Exit(1)


def written_to(photos: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Photos and the files to write.

    Raises:
        UserError: when two would be written to one file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--to {folder}: not a folder; name one")
    places = {photo: folder / f"{photo.stem}.png" for photo in photos}
    first: dict[str, Path] = {}
    for photo, place in places.items():
        # some file systems do not tell upper from lower case
        other = first.setdefault(place.name.lower(), photo)
        if other != photo:
            raise UserError(f"{other} and {photo} would both be written to {place}; protect one of them elsewhere")
    return places


def check_free(photo: Path, place: Path, overwrite: bool) -> None:
    """Raise :class:`DataError` where a file is in the way; a photo is never replaced by its protected copy."""
    if not place.exists():
        return
    if photo.exists() and place.samefile(photo):
        raise DataError(f"{photo}: the protected photo would take its place; choose another folder for --to")
    if not overwrite:
        raise DataError(f"{photo}: {place} is there already; move it away, or say --overwrite")


def _reason(error: Exception, place: Path) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or place}: cannot be written ({error.strerror}); make room or choose another --to"
    return str(error)


def lines(photo: Path, done: ProtectedPhoto, judge: str) -> list[str]:
    """What was done to a photo, for people."""
    faces = [
        f"{photo.name} face {place} of {len(done.faces)} ({face.pixels} px): {_verdict(face, judge)}"
        for place, face in enumerate(done.faces, 1)
    ]
    removed = ["location removed"] if done.location else []
    removed += [f"left out: {', '.join(done.left_out)}"] if done.left_out else []
    return [*faces, "; ".join([f"{photo.name}: wrote {done.path}", *removed])]


def _verdict(face: JudgedFace, judge: str) -> str:
    found = "" if face.found else "; no face is detected there any more"
    return (
        f"similarity to the original 1.00 -> {face.similarity:.2f} by {judge} (same person above "
        f"{face.threshold:.2f}): {'still recognised' if face.recognised else 'no longer recognised'}{found}"
    )


def make_protector(
    method: str, settings: Sequence[str], recognizers: Sequence[str], judge: str | None
) -> PhotoProtector:
    """What the options name, loaded.

    Args:
        method: name, YAML file or class.
        settings: texts of ``--set``.
        recognizers: names or YAML files; none: all whose weights are kept.
        judge: which of them, or another one, judges; None: ``JUDGE`` where it is one of them, else the last.

    Raises:
        UserError: in one line, with the next step.
    """
    names = list(recognizers) or installed()
    if judge is None:
        if len(names) < ENOUGH:
            raise UserError(_too_few(names))
        judge = JUDGE if JUDGE in names else names[-1]
    from .api.parts import as_recognizers  # noqa: PLC0415 (torch only when needed)
    from .api.photo_files import PhotoProtector as Protector  # noqa: PLC0415

    chosen = _method(method, settings)
    rest = [name for name in names if name != judge]
    if chosen.uses_surrogates and not rest:
        raise UserError(_too_few(names))
    *surrogates, last = as_recognizers([*rest, judge], "protect", "recognizer")
    return Protector(chosen, surrogates if chosen.uses_surrogates else (), last)


def installed() -> list[str]:
    """Recognisers whose weights are kept, by name."""
    from veilbench.models.user_weights.folder import kept  # noqa: PLC0415

    from .weights import wanted  # noqa: PLC0415

    return [name for name in wanted() if kept(name)]


def _too_few(names: Sequence[str]) -> str:
    from veilbench.models.user_weights.packages import BROUGHT  # noqa: PLC0415

    there = ", ".join(map(shown, names)) or "none"
    return (
        f"protect: one recogniser is attacked and another one judges, so two are needed, and there is {there}; "
        f"run `veilbench weights get {' '.join(BROUGHT)}`"
    )


def _method(reference: str, settings: Sequence[str]) -> ProtectionMethod:
    """A method with the parameters of ``--set``."""
    from .specs.components import build_method, load_component  # noqa: PLC0415
    from .specs.suite import parse_setting  # noqa: PLC0415

    plain = load_component("methods", reference, Path())
    given = [parse_setting(text) for text in settings]
    for setting in given:
        if setting.scope not in {"method", plain.name}:
            raise UserError(f"{setting.where}: {did_you_mean(setting.scope, ['method', plain.name])}")
    values = {setting.key: setting.value for setting in given}
    origins: dict[str, str] = {setting.key: setting.where for setting in given}
    return build_method(load_component("methods", reference, Path(), values, origins))
