"""The one door to masks: a data set's own, else a parser's."""

from __future__ import annotations

from veilbench.datasets.base import DataError, FaceDataset, FaceParts
from veilbench.datasets.celebamask import check_lips

from .parser import FaceParser


def face_parts(dataset: FaceDataset, index: int, parser: FaceParser | None = None) -> FaceParts:
    """Masks of the parts of the face in item ``index``, each ``1 x H x W`` in the frame of its image.

    Args:
        dataset: its own masks are taken where it has any: they are exact, or drawn by people.
        index: of the item.
        parser: finds the parts where the data set has no masks; on the CPU or wherever it was moved.

    Raises:
        DataError: naming the item and the next step, when there are neither masks nor a parser, masks cannot be used,
            or no lips are visible.
    """
    own = dataset.parts(index)
    if own is not None:
        return own
    if parser is None:
        raise DataError(
            f"{dataset.name}: no masks for {dataset.manifest.entries[index].id}; prepare the data set with its masks, "
            "or set the weights of a face parser (BiSeNet of face-parsing.PyTorch)"
        )
    face = dataset[index]
    found = parser(face.image[None].to(parser.mean.device))
    parts = FaceParts(**{name: mask[0].cpu() for name, mask in found.named().items()})
    return check_lips(parts, f"{dataset.name}: {face.id}")
