"""The score contract: protected photos in, one row an item out, and columns that say what the numbers are.

A score is one file: a subclass of :class:`Score` with keyword-only parameters, :attr:`~Score.columns`, and
:meth:`~Score.rows`.  Tables, W&B summaries, sweep objectives and pictures read the columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from veilbench.datasets.base import FaceDataset
    from veilbench.models.crops import Crop
    from veilbench.models.recognizers.base import Recognizer


@dataclass(frozen=True, slots=True)
class Column:
    """A number that a score gives.

    Attributes:
        name: in files; letters, digits and ``_``, the first a letter, and after them the name of what measured in
            brackets where there are several, as in ``fid[ir152]``.
        title: in tables for people, with its unit.
        format: how it is shown, as in ``format(value, ".3f")``.
        better: which way is better, where one is.
        of: ``image``: every image has one, and a row of the leaderboard their mean; ``row``: all images of a row
            together have one; ``judge``: every image has yes (1) or no (0) from the score's judge, whoever it is to be
            taken for, and a row the share of yes from judges that were held out; ``target``: the same for every target,
            in columns ``<name>:<target>`` of the rows, of which those that are asked about count.
        note: one sentence for below the table: what the number is, and what it may not be compared with.
        span: of a quality, over which range curves of privacy against it are averaged; without one there are none.
        level: of a quality with a ``span``, at which value of it methods are compared.
    """

    name: str
    title: str
    format: str = ".3f"
    better: Literal["higher", "lower", ""] = ""
    of: Literal["image", "row", "judge", "target"] = "image"
    note: str = ""
    span: tuple[float, float] | None = None
    level: float | None = None

    @property
    def judged(self) -> bool:
        """Whether it holds a judge's answers: they depend on whether the method attacked that judge."""
        return self.of in {"judge", "target"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A protected photo and its source, read when they are asked for and not kept.

    Attributes:
        item: id of the source.
        place: of the source in the data set.
    """

    item: str
    place: int
    _protected: Callable[[], Tensor] = field(repr=False)
    _dataset: FaceDataset = field(repr=False)
    _views: Callable[[], Sequence[Tensor]] | None = field(default=None, repr=False)

    def protected(self) -> Tensor:
        """The protected photo as whoever recognises it would have it, ``3 x H x W`` in ``[0, 1]``."""
        return self._protected()

    def views(self) -> Sequence[Tensor]:
        """What a recogniser averages over where a countermeasure says so; else the protected photo alone."""
        return [self.protected()] if self._views is None else self._views()

    def source(self) -> Tensor:
        """The clean photo, ``3 x H x W`` in ``[0, 1]``."""
        return self._dataset[self.place].image

    def gallery(self) -> Tensor | None:
        """The gallery photo of the same person, ``3 x H x W``, where there is one."""
        return self._dataset.gallery_photo(self.place)


@dataclass(frozen=True, slots=True)
class Pairs:
    """What a score is asked about: a stream that can be gone through more than once.

    Attributes:
        dataset: where the sources are from; has the targets.
        device: where networks run.
    """

    dataset: FaceDataset
    device: torch.device
    _pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)


Attacked = Literal["never", "sometimes", "always"]
"""Whether a recogniser is among the surrogates: of no protection, of those that do not hold it out, or of all."""


class Surroundings(ABC):
    """What a suite lends to its scores."""

    @abstractmethod
    def recognizer(self, name: str) -> Recognizer:
        """A recogniser of the suite.  Raises :class:`~veilbench.errors.UserError` when it has none of that name."""

    @property
    def crop(self) -> Crop:
        """What of photos judges look at."""
        from veilbench.models.crops import Crop  # noqa: PLC0415 (tables need no torch)

        return Crop()

    @abstractmethod
    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        """What the embeddings of a recogniser depend on.  Loads nothing; raises as :meth:`recognizer`."""

    def attacked(self, name: str) -> Attacked:
        """Whether methods attack a recogniser of the suite."""
        del name
        return "never"


class Score(ABC):
    """A measurement of protected photos.

    Class attributes:
        kind: name in configs; for the project's own the name of the file.
        version: raise it when the same images get other numbers than before.
        keeps_reference: :meth:`rows` of the clean sources themselves are computed, too, and handed to :meth:`reduce`.
        uses_targets: whether it looks at the data set's targets: its numbers then depend on them.
        uses_gallery: whether it searches the data set's gallery: its numbers then depend on who is enrolled.
        judged: it has columns of ``judge`` or ``target`` and a parameter ``judge``, the name of a recogniser.  A suite
            that does not set it asks each of its judges.

    Parameters are keyword-only; one that has a default and is not set is in no identity.
    """

    kind: ClassVar[str]
    version: ClassVar[str] = "1"
    keeps_reference: ClassVar[bool] = False
    uses_targets: ClassVar[bool] = False
    uses_gallery: ClassVar[bool] = False
    judged: ClassVar[bool] = False

    @property
    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """What it measures; may depend on parameters, never on data or weights."""

    @abstractmethod
    def rows(self, pairs: Pairs) -> pd.DataFrame:
        """Measure.  Goes through ``pairs`` once and holds no more than a batch of photos.

        Returns:
            One row for each pair in their order: ``item``, a number for every column of an image, of a judge (1, 0 or
            NaN) and of a target (the same, one for each), and whatever :meth:`reduce` needs.
        """

    def reduce(self, rows: pd.DataFrame, reference: pd.DataFrame | None) -> Mapping[str, float]:
        """Columns of a row: by name, from the rows of all its images; NaN where too few make no number.

        Beside a column ``name`` there may be its interval, ``name_low`` and ``name_high``, and what it counts,
        ``name_n``.

        Args:
            rows: of :meth:`rows`, of all protections behind a row of the leaderboard.
            reference: of the clean sources, with ``keeps_reference``.
        """
        del rows, reference
        return {}

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        """What its numbers depend on besides parameters and images: hashes of weights.

        Raises:
            WeightsError: when a weight file is missing; its message is shown where the number would be.
        """
        del surroundings
        return {}

    def caution(self, surroundings: Surroundings) -> str:
        """One sentence for below the table about what the suite does to its numbers; empty where there is none."""
        del surroundings
        return ""

    def prepare(self, surroundings: Surroundings) -> None:  # noqa: B027 (most scores need nothing)
        """Get ready to measure: load networks.  Called once, before :meth:`rows`."""
