"""What a check of results found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..progress import first_of

AGAIN = "`veilbench run` makes it again"
REPLACE = f"delete it, and {AGAIN}"
IMPORT = "delete what was imported, and `veilbench import` its archive again"


@dataclass(slots=True)
class Findings:
    """What was checked, what differs, and what could not be checked.

    Attributes:
        checked: how many of each sort of thing, by its plural.
        differences: what is wrong with a file or a number, and what to do, by what it is.
        unchecked: what could not be checked, by the reason.
        imported: no run can make anything again.
    """

    checked: Counter[str] = field(default_factory=Counter)
    differences: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, list[str]] = field(default_factory=dict)
    imported: bool = False

    def differs(self, what: Path | str, problem: str, remedy: str = AGAIN) -> None:
        """Note a difference; of one thing the first that was found says most."""
        told = IMPORT if self.imported and "veilbench run" in remedy else remedy
        self.differences.setdefault(str(what), f"{problem}; {told}")

    def damaged(self, named: Mapping[Path, tuple[str, str]]) -> None:
        """Note what :func:`~benchmarks.engine.intact.gathered` found."""
        for path, (problem, remedy) in named.items():
            self.differs(path, problem, remedy)

    def leave(self, what: Path | str, why: str) -> None:
        """Note what could not be checked."""
        known = self.unchecked.setdefault(why, [])
        if str(what) not in known:
            known.append(str(what))

    @property
    def lines(self) -> list[str]:
        """One for each difference, one for each reason why things were not checked, and a summary."""
        counts = ", ".join(f"{count:,} {what}" for what, count in self.checked.items() if count) or "nothing"
        number = len(self.differences)
        verdict = "nothing differs" if not number else "1 thing differs" if number == 1 else f"{number} things differ"
        return [
            *(f"differs: {what}: {line}" for what, line in self.differences.items()),
            *(f"not checked: {first_of(what, 1)}: {why}" for why, what in self.unchecked.items()),
            f"checked {counts}: {verdict}",
        ]
