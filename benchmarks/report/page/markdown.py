"""``report.md``: the same in short as Markdown, beside the pictures that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from veilbench.files import write_bytes

from ...engine.results import Results
from ..countermeasures import untreated
from ..curves import stored_curves
from ..tables import SYNTHETIC, to_markdown
from .verdict import Verdict, facts, verdicts

NAME = "report.md"
PICTURES = {
    "tradeoff.png": "privacy against quality",
    "grid.png": "targets, sources, protected photos, what was added, cosines",
}
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#&])")


def write_markdown(results: Results, table: pd.DataFrame) -> Path:
    """Write a comparison's report as Markdown into its folder.

    Args:
        results: of the comparison; its pictures were drawn.
        table: its leaderboard.

    Returns:
        Where it is.
    """
    plain = untreated(results, table)
    parts = [f"# {_plain(results.name)}", *([SYNTHETIC] if results.manifest.dataset.synthetic else [])]
    parts += map(_verdict, verdicts(results, plain))
    parts += ["## Leaderboard", to_markdown(results, table, stored_curves(results)).strip(), "## Pictures"]
    parts += [f"![{words}]({name})" for name, words in PICTURES.items()]
    parts += ["## Protocol", "\n".join(f"- {name}: {_plain(value)}" for name, value in facts(results, plain))]
    path = results.folder / NAME
    write_bytes(path, ("\n\n".join(parts) + "\n").encode())
    return path


def _verdict(one: Verdict) -> str:
    best = ", ".join(_plain(name) for name, _ in one.best) + (f" and {one.more} more" if one.more else "")
    numbers = f"{one.rate} % [{one.interval}]"
    return f"**{one.goal}**: best {one.measure} {numbers}, {best}. {_plain(' '.join(one.sentences))}"


def _plain(words: str) -> str:
    """Text in which nothing is markup."""
    return SPECIAL.sub(r"\\\1", words)
