"""Verifying a comparison: what is stored against its hashes, and its tables against the rows."""

from __future__ import annotations

from rich.console import Console

from ..engine.results import Results
from ..progress import progress
from .findings import Findings
from .stored import check_store
from .tables import check_tables
from .weights import check_weights


def verify(results: Results, console: Console) -> Findings:
    """Check a comparison; nothing in its folder is written, and neither data set, weights nor torch are needed.

    Args:
        results: of the comparison.
        console: for how far it is.
    """
    findings = verify_stored(results, console)
    with console.status("computing its tables"):
        check_weights(results, findings)
        check_tables(results, findings)
    return findings


def verify_stored(results: Results, console: Console) -> Findings:
    """The same without weights and tables."""
    findings = Findings(imported=results.store.imported)
    total = sum(len(results.items(facts)) for facts in results.manifest.cells.values())
    with progress(console, total) as advance:
        check_store(results, findings, lambda cell, count: advance(cell, count, False, "checking"))
    return findings
