"""Protected photos after a countermeasure, for scores; what took long is kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from veilbench.datasets.base import FaceDataset
from veilbench.datasets.photos import decode_photo
from veilbench.metrics.base import Pair
from veilbench.metrics.countermeasures.base import Countermeasure, treat, views

from .records import ItemRecord
from .remembered import Remembered
from .store import ProtectionFolder


def stored_photo(folder: ProtectionFolder, item: str, record: ItemRecord | None) -> Tensor:
    """A protected photo, ``3 x H x W``, as its PNG has it.  Raises as :meth:`ProtectionFolder.content`."""
    return decode_photo(folder.content(item, record), folder.image(item))


def treated_pair(
    item: str,
    place: int,
    read: Callable[[], Tensor],
    dataset: FaceDataset,
    countermeasure: Countermeasure | None,
    cache: Path | None = None,
    remembered: Remembered | None = None,
) -> Pair:
    """A protected photo, ``3 x H x W``, after a countermeasure, and its source; read when they are asked for.

    Args:
        item: id of the source.
        place: of the source in the data set.
        read: the protected photo.
        dataset: of the sources.
        countermeasure: None for photos as they are.
        cache: folder where the results of slow countermeasures are kept: every score of every judge asks for them.
        remembered: keeps what this countermeasure leaves of photos; not asked without one.
    """
    if countermeasure is None:
        return Pair(item, place, read, dataset)

    def treated() -> Tensor:
        def treat_it() -> Tensor:
            return _treated(countermeasure, read(), cache)

        return treat_it() if remembered is None else remembered.photo(item, treat_it)

    def seen() -> list[Tensor]:
        with torch.no_grad():
            return [view[0] for view in views(countermeasure, read()[None])]

    several = type(countermeasure).views is not Countermeasure.views
    return Pair(item, place, treated, dataset, seen if several else None)


def _treated(countermeasure: Countermeasure, photo: Tensor, cache: Path | None) -> Tensor:
    if not countermeasure.slow:
        with torch.no_grad():
            return treat(countermeasure, photo[None])[0]
    from veilbench.methods.cache import cache_path, load_cached, store_cached  # noqa: PLC0415 (rarely needed)

    device = scoring_device()
    about = (countermeasure.version, countermeasure.title, vars(countermeasure), dict(countermeasure.depends_on()))
    path = None if cache is None else cache_path(cache / countermeasure.kind, (*about, device.type), photo)
    kept = None if path is None else load_cached([path], photo.device)
    if kept is not None:
        return kept[0]["photo"]
    with torch.no_grad():
        left = treat(countermeasure, photo[None].to(device))[0].to(photo.device)
    if path is not None:
        store_cached(path, {"photo": left})
    return left


def scoring_device() -> torch.device:
    """Where networks judge: on the graphics card where there is one, as Lightning chooses for protection."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
