"""WeakenDiff over the number of its reverse steps, with and without its two remedies: ``make depth``.

The paper's ablation (Figures 7 and 8) has PSR and FID over ``t``, the reverse steps that an edit has to survive.  Here
the same rows of a comparison are drawn beside the figures as they were read off, panel by panel.  Only shapes compare:
data, recognisers and the network behind FID are others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError
from veilbench.files import replacing, write_bytes

from ..engine.manifest import MethodFacts
from ..engine.results import Results, find_results
from ..report.columns import PSR, score_columns
from ..report.countermeasures import untreated
from ..report.write import tables_if_possible
from ..specs.published import Published, read_published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHOD, GOAL, PAPER = "weaken_diff", "impersonate", "weaken_diff_ablation"
STYLES = {  # of variants, as the published table names them
    "full": ("tab:blue", "o", "-"),
    "no embeddings": ("tab:orange", "s", "--"),
    "no structure": ("tab:green", "^", "-."),
    "neither": ("tab:red", "D", ":"),
}
SHIFT = 0.14  # steps between variants, so that no interval hides another
COLUMNS = ["variant", "t", "psr", "psr_low", "psr_high", "fid"]


@dataclass(frozen=True, slots=True)
class Curves:
    """What one side of the picture shows.

    Attributes:
        title: whose numbers they are, and of what.
        rate, distance: what the panels' axes measure.
        rows: :data:`COLUMNS`; PSR and the ends of its interval in percent.
    """

    title: str
    rate: str
    distance: str
    rows: pd.DataFrame


def here(results: Results, table: pd.DataFrame) -> Curves:
    """WeakenDiff's rows of a comparison; photos without countermeasure, black-box PSR of all judges together.

    Args:
        results: of the comparison.
        table: its leaderboard.

    Raises:
        UserError: when it has no such row, two for one place in the picture, or no FID.
    """
    distance = next((one for one in score_columns(results) if one.name.startswith("fid[")), None)
    if distance is None:
        raise UserError(f"{results.name}: no FID; add `realism: embedded_irse50` to the suite")
    plain = untreated(results, table)
    board = plain[plain["goal"] == GOAL].set_index("method")
    places = _places(results, [str(label) for label in board.index])
    board = board.loc[list(places.values())]
    rates = {f"psr{end}": 100 * board[f"{PSR.name}{end}"].to_numpy() for end in ("", "_low", "_high")}
    rows = pd.DataFrame(list(places), columns=COLUMNS[:2]).assign(**rates, fid=board[distance.name].to_numpy())
    facts, protocol = results.manifest.dataset, results.manifest.protocol
    kind = "synthetic faces" if facts.synthetic else "photos"
    return Curves(
        f"here: {results.name}, {len(facts.items)} {kind}",
        f"{PSR.title}, {len(results.manifest.judges)} judges, {protocol.confidence:.0%} intervals",
        distance.title,
        _sorted(rows),
    )


def _places(results: Results, labels: Sequence[str]) -> dict[tuple[str, int], str]:
    """The labels of WeakenDiff's rows, by variant and ``t``."""
    places: dict[tuple[str, int], str] = {}
    for label in labels:
        method = results.manifest.methods[label]
        if method.kind != METHOD:
            continue
        variant, t = _place(method)
        if (variant, t) in places:
            raise UserError(
                f"{results.name}: {places[variant, t]!r} and {label!r} are both {variant!r} at t = {t}; name a suite "
                "whose rows differ in nothing else, such as depth"
            )
        places[variant, t] = label
    if not places:
        raise UserError(f"{results.name}: no row of {METHOD} with the goal {GOAL}; name a suite such as depth")
    return places


def _place(method: MethodFacts) -> tuple[str, int]:
    """The variant that a row is, as the published table names it, and its number of reverse steps."""
    params: Mapping[str, Any] = method.params
    without = (not params["learn_embeddings"], not params["structure_weight"])
    names = {
        (False, False): "full",
        (True, False): "no embeddings",
        (False, True): "no structure",
        (True, True): "neither",
    }
    return names[without], params["diffusion_steps"] - params["start_step"]


def paper(published: Published) -> Curves:
    """The paper's curves, with the error of reading its plots as the interval of PSR."""
    rows = []
    for row in published.rows:
        rate, error = float(row["psr_irse50_celeba_hq"]), float(row["reading_error_psr"])
        rows.append((row["variant"], int(row["t"]), rate, rate - error, rate + error, float(row["fid"])))
    what = published.facts.columns["psr_irse50_celeba_hq"].title
    return Curves(
        f"paper: {published.facts.protocol['data']}, read {published.facts.read.split(',')[0]}",
        f"{what} %, error of reading",
        "FID",
        _sorted(pd.DataFrame(rows, columns=COLUMNS)),
    )


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    """In the order of the legend, then by ``t``."""
    order = {variant: place for place, variant in enumerate(STYLES)}
    return rows.sort_values(["variant", "t"], key=lambda one: one.map(order) if one.name == "variant" else one)


def picture(sides: Sequence[Curves]) -> Figure:
    """A column of two panels for each side, PSR above FID, both over ``t``."""
    from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415 (slow to import)

    figure = NewFigure(figsize=(5.5 * len(sides), 8), layout="constrained")
    panels = figure.subplots(2, len(sides), squeeze=False, sharex=True)
    for side, (above, below) in zip(sides, panels.T, strict=True):
        above.set_title(side.title, loc="left", fontsize=10, parse_math=False)
        _panel(above, side.rows, "psr", side.rate)
        _panel(below, side.rows, "fid", side.distance)
        below.set_xlabel("reverse steps t")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(STYLES))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, column: str, label: str) -> None:
    """One column over ``t``, a line for each variant, with intervals where the table has them."""
    for place, (variant, (color, marker, line)) in enumerate(STYLES.items()):
        mine = rows[rows["variant"] == variant]
        shift = (place - (len(STYLES) - 1) / 2) * SHIFT
        ends = None
        if f"{column}_low" in rows:
            ends = [mine[column] - mine[f"{column}_low"], mine[f"{column}_high"] - mine[column]]
        axes.errorbar(
            mine["t"] + shift, mine[column], ends,
            color=color, marker=marker, linestyle=line, markersize=5, capsize=2, elinewidth=0.8, label=variant,
        )  # fmt: skip
    axes.set_xticks(sorted(rows["t"].unique()))
    axes.set_ylabel(label, parse_math=False)
    axes.grid(alpha=0.3)


def draw(results: Results) -> Path:
    """Write ``depth.png`` and its numbers, ``depth.csv``, into a comparison's folder.

    Returns:
        Path of the picture.

    Raises:
        UserError: as :func:`here` does.
    """
    table, _ = tables_if_possible(results)
    sides = {"here": here(results, table), "paper": paper(read_published(PAPER))}
    rows = pd.concat([side.rows.assign(source=name) for name, side in sides.items()])[["source", *COLUMNS]]
    write_bytes(results.folder / "depth.csv", rows.to_csv(index=False, float_format="%.6g").encode())
    path = results.folder / "depth.png"
    with replacing(path) as temporary:
        picture(list(sides.values())).savefig(temporary, dpi=120, format="png")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the picture."""
    parser = argparse.ArgumentParser(description="Draw WeakenDiff's PSR and FID over its reverse steps.")
    parser.add_argument("suite", nargs="?", default="depth", help="a suite that was run, or the folder of its results")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for all results")
    options = parser.parse_args(arguments)
    try:
        path = draw(find_results(options.suite, None, None, options.results))
    except UserError as error:
        sys.exit(f"depth: {error}")
    print(f"written: {path} and {path.with_suffix('.csv').name}")  # noqa: T201


if __name__ == "__main__":
    main()
