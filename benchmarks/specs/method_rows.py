"""The rows of a suite: which methods, under which names, at which strengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from veilbench import registry
from veilbench.errors import UserError, did_you_mean, shown, unprintable
from veilbench.registry import no_flag, parse

from .components import find_class
from .configs import names_class

Strength = Annotated[int | float | str, BeforeValidator(no_flag)]

SCOPES = ("suite", "dataset", "method")


class MethodEntry(BaseModel):
    """A method of the comparison: its config or class, parameters that differ from it, and the row's name.

    Attributes:
        strengths: values of the method's ``strength_parameter``, weakest first; each is a row of its own, named by the
            label and the value as it is written. Together they are a curve of privacy against quality.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    label: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    strengths: tuple[Strength, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("label")
    @classmethod
    def _is_a_name(cls, label: str | None) -> str | None:
        if label is None:
            return None
        if not label.strip() or label != label.strip() or "\n" in label or "\t" in label or unprintable(label):
            raise ValueError("give one line of text without blanks around it or control characters")
        if label in SCOPES:
            raise ValueError(f"{', '.join(SCOPES)} mean something else in --set; give another name")
        return label

    @property
    def name(self) -> str:
        """The name of the row, or what those of its strengths begin with."""
        return self.label or Path(self.method).stem

    def at_strengths(self, parameter: str, where: str) -> Iterator[MethodEntry]:
        """An entry for each strength; itself where it lists none.

        Args:
            parameter: that is the method's strength; empty where its class names none.
            where: it is from, for errors.

        Raises:
            UserError: when strengths are listed of a method that has none, or beside a value in ``params``.
        """
        if not self.strengths:
            yield self
            return
        if not parameter:
            raise UserError(
                f"{where}: {shown(self.name)} lists strengths, but its class names no `strength_parameter`; name it "
                "there, or list rows with `label` and `params`"
            )
        if parameter in self.params:
            raise UserError(
                f"{where}: {shown(self.name)} has both strengths and params.{parameter}, which is its strength; "
                "remove one"
            )
        for value in self.strengths:
            content = {"method": self.method, "label": f"{self.name} {value}"}
            yield parse(MethodEntry, {**content, "params": {**self.params, parameter: value}}, where)


def with_label(entry: MethodEntry, base: Path, where: str) -> MethodEntry:
    """A row whose method is named by its class, with an absolute path and its class's kind for a label."""
    if not names_class(entry.method):
        return entry
    kind = registry.absolute(entry.method, base)
    label = entry.label or find_class("methods", kind, base, where).kind
    content = {"method": kind, "label": label, "params": entry.params, "strengths": entry.strengths}
    return parse(MethodEntry, content, f"{where}: {entry.method}")


def kept_rows(entries: Sequence[MethodEntry], only: Sequence[str], path: Path) -> list[MethodEntry]:
    """The rows of these labels; ``path/to/file.py:Class`` is of the working folder, and a row more where it is none.

    Raises:
        UserError: for a label that no row has.
    """
    found = list(entries)
    kept: set[str] = set()
    for name in only:
        if names_class(name) and name not in [entry.name for entry in found]:
            asked = with_label(MethodEntry(method=name), Path(), f"-m {shown(name)}")
            listed = [entry for entry in found if entry.method == asked.method]
            found += [] if listed else [asked]
            kept |= {entry.name for entry in listed or [asked]}
            continue
        labels = [entry.name for entry in entries]
        if name not in labels:
            raise UserError(f"{path}: no method {name!r} in this suite; {did_you_mean(name, labels)}")
        kept.add(name)
    return [entry for entry in found if entry.name in kept]
