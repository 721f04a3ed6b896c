"""Versions of what is stored: which are written, and how older ones are read.

A file says its version under a key of its own.  Raise ``version`` here when a reader of before would misread what is
written now, and add the migration from the version before, with a file of it in ``tests/benchmarks/old/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veilbench.errors import UserError

Content = Mapping[str, Any]
Migration = Callable[[Content], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Schema:
    """A kind of file.

    Attributes:
        key: that holds the version.
        version: that is written.
        migrations: from each older version that can be read, to the next one.
    """

    key: str
    version: int
    migrations: Mapping[int, Migration] = field(default_factory=dict)

    @property
    def readable(self) -> str:
        """``version 2``, or ``versions 1 to 2``."""
        oldest = min([*self.migrations, self.version])
        return f"version {self.version}" if oldest == self.version else f"versions {oldest} to {self.version}"

    def migrated(self, content: Content, where: object, remedy: str) -> dict[str, Any]:
        """The content as the current version has it.

        Args:
            content: of a file of any version.
            where: its path, for errors.
            remedy: what to do about a version that cannot be read.

        Raises:
            UserError: for a newer version, one too old, or none.
        """
        found = dict(content)
        while found.get(self.key) != self.version:
            version = found.get(self.key)
            if not isinstance(version, int) or (step := self.migrations.get(version)) is None:
                raise UserError(f"{where}: of version {version!r}; this veilbench reads {self.readable}: {remedy}")
            found = {**step(found), self.key: version + 1}
        return found


def name_surrogates(manifest: Content) -> dict[str, Any]:
    """1 to 2: surrogates are listed apart from judges.  Before, every recogniser was both.

    Later code that still called its manifests version 1 listed them: what a manifest says stays.
    """
    return {"surrogates": manifest.get("recognizers"), **manifest}


STORE = Schema("store_version", 2)
"""No migration from 1, whose identities hold what classes' defaults said then: a cell's name cannot be made anew."""
MANIFEST = Schema("manifest_version", 2, {1: name_surrogates})
CHECKSUMS = Schema("checksums_version", 1)
EXPORT = Schema("export_version", 1)


def check_store(spec: Path, root: Path) -> None:
    """Raise :class:`UserError` when a ``spec.json`` in the results folder ``root`` is of another version of the store.

    Whether or not its seal is ours: another version may seal otherwise.  One that is missing or damaged is of this one.
    """
    try:
        content: object = json.loads(spec.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    version = content.get(STORE.key, STORE.version) if isinstance(content, dict) else STORE.version
    if version != STORE.version:
        raise UserError(
            f"{root}: a store of version {version!r} ({spec.parent.name}); this veilbench reads and writes "
            f"{STORE.readable}: choose another --results, or use the veilbench that wrote it"
        )
