"""Taking a machine's own paths out of what others get to see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from veilbench.errors import UserError

from ..engine.manifest import Manifest

ABSOLUTE = re.compile(r"""(?<![\w.~/:-])/(?:[^\s/'"\\:,;()\[\]{}<>|=]+/)*([^\s/'"\\:,;()\[\]{}<>|=]+)""")


class Places:
    """Folders of this machine that nobody else needs to know.

    Args:
        folders: such as the results folder; with the home and the working folder, and resolved.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        found = {str(one) for path in (*folders, Path.home(), Path.cwd()) for one in (path.absolute(), path.resolve())}
        self._folders = sorted((one for one in found if one != "/"), key=len, reverse=True)

    def without(self, text: str) -> str:
        """``text`` with each absolute path cut to its last part, also where a known folder has blanks in its name."""
        for folder in self._folders:
            text = re.sub(rf"{re.escape(folder)}(?=/|$|\W)", "", text)
        return ABSOLUTE.sub(r"\1", text)

    def cut(self, value: Any) -> Any:
        """The same of all texts in plain values; keys stay."""
        if isinstance(value, str):
            return self.without(value)
        if isinstance(value, dict):
            return {key: self.cut(one) for key, one in value.items()}
        return [self.cut(one) for one in value] if isinstance(value, list | tuple) else value

    def manifest(self, manifest: Manifest) -> Manifest:
        """A manifest without paths: of its file only the name, and what was typed and told without folders."""
        content = manifest.model_dump(mode="json")
        for method in content["methods"].values():
            method["params"] = self.cut(method["params"])
        for score in content["scores"]:
            score |= {"missing": self.cut(score["missing"]), "caution": self.cut(score["caution"])}
        content |= {"file": Path(manifest.file).name, "origin": self.cut(content["origin"])}
        return Manifest.model_validate({**content, "overrides": self.cut(content["overrides"])})

    def check(self, name: str, data: bytes) -> None:
        """Raise :class:`UserError` where a file still names one of the folders."""
        for folder in self._folders:
            if folder.count("/") > 1 and f"{folder}/".encode() in data:
                raise UserError(
                    f"{name}: names the folder {folder} of this machine; rename what is called so and run again"
                )
