"""``report.html``: one file with everything in it, which asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError
from veilbench.files import write_bytes

from ...engine.results import Results
from ...engine.sources import TARGET_SIDE, TARGETS_SHOWN
from .. import published
from ..countermeasures import untreated
from ..curves import curve_note, curves
from ..failures import failures
from ..items import collect
from ..leaderboard import FAMILIES, leaderboard, rates
from ..pairs import pairs, rankings
from ..shown import FACTOR
from ..tables import SYNTHETIC, note_lines
from ..write import cells
from . import board, histograms, scatter
from .data import page_data
from .maps import judge_maps, pair_maps
from .photos import EXACT, galleries
from .verdict import facts, origin, verdicts

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"
PHOTOS = 4
"""How many photos the page shows unless told."""
TEMPLATES = Path(__file__).parent / "templates"


def write_page(results: Results, photos: int = PHOTOS) -> Path:
    """Write a comparison's page into its folder, from what is stored.

    Args:
        results: of the comparison.
        photos: how many photos it shows, each with what every method made of it.

    Returns:
        Where it is.

    Raises:
        UserError: when nothing is scored, with the reason.
    """
    path = results.folder / NAME
    write_bytes(path, page(results, photos).encode())
    return path


def page(results: Results, photos: int = PHOTOS) -> str:
    """The page as HTML; see :func:`write_page`."""
    items = collect(results)
    confidence = results.manifest.protocol.confidence
    known = rankings(items, confidence)
    table, compared = leaderboard(results, items, known), pairs(known)
    swept = curves(results, items)
    tables = {
        "leaderboard": table,
        "pairs": compared,
        "psr": rates(items, confidence),
        "cells": cells(results, items),
        **({"curves": swept} if len(swept) else {}),
    }
    return (
        templates()
        .get_template("page.html")
        .render(
            **page_parts(),
            data=page_data(results, tables),
            **_words(results, table),
            **_charts(results, items, table, compared),
            swept=board.swept(results, swept),
            curve_note=curve_note(results, swept),
            galleries=galleries(results, items, photos),
            factor=FACTOR,
            target_side=TARGET_SIDE,
            targets_shown=TARGETS_SHOWN,
            exact=EXACT,
        )
    )


def _words(results: Results, table: pd.DataFrame) -> dict[str, Any]:
    plain = untreated(results, table)
    return {
        "name": results.name,
        "synthetic": SYNTHETIC if results.manifest.dataset.synthetic else "",
        "verdicts": verdicts(results, plain),
        "facts": facts(results, plain),
        "origin": origin(results),
        "notes": note_lines(results, table),
        "failures": failures(results).to_dict("records"),
        "unfinished": sum(one.total - one.finished for one in map(results.status, results.manifest.cells)),
        "published": _published(results, table),
        "confidence": f"{100 * results.manifest.protocol.confidence:.0f}",
        "limit": f"{1 - results.manifest.protocol.confidence:.2g}",
        "families": [one for one in FAMILIES if one in set(table["family"])],
    }


def _charts(results: Results, items: pd.DataFrame, table: pd.DataFrame, compared: pd.DataFrame) -> dict[str, Any]:
    plain, untouched = untreated(results, table), untreated(results, compared)
    methods = results.manifest.methods
    return {
        "boards": board.boards(results, plain),
        "costs": board.costs(results, plain),
        "energy_missing": board.energy_missing(results),
        "treated": board.treated(results, table),
        "judges": judge_maps(results, plain),
        "pairs": pair_maps(untouched, plain, results.manifest.protocol.confidence),
        "scatters": scatter.scatters(results, plain),
        "cost_scatters": scatter.cost_scatters(results, plain),
        "scatter": scatter,
        "legend": [(at, label, methods[label].family) for label, at in scatter.numbers(results).items()],
        "histograms": histograms.histograms(results, items),
        "histogram": histograms,
    }


def _published(results: Results, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Papers' tables that share a goal and a column with the comparison; none where there are none."""
    try:
        tables = published.published_tables("", results)
    except UserError:
        return []
    return [
        {
            "name": one.name,
            "source": published.source(one),
            "heads": [(column.heading, column.text) for column in one.facts.columns.values()],
            "rows": [list(row.values()) for row in one.rows],
            "protocols": published.protocols(one, results, table),
            "notes": one.facts.notes,
        }
        for one in tables
    ]


def page_parts() -> dict[str, str]:
    """What every page has within it: ``style``, ``script``, and the ``script_hash`` that lets this one run alone."""
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {"style": _file("page.css"), "script": script, "script_hash": digest}


@cache
def templates() -> Environment:
    """The templates of pages; text is escaped."""
    from jinja2 import Environment as NewEnvironment  # noqa: PLC0415
    from jinja2 import FileSystemLoader, StrictUndefined  # noqa: PLC0415

    return NewEnvironment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
