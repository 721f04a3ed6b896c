"""CelebA-HQ in the shape of the protocol, with the masks of CelebAMask-HQ where they are there.

Karras et al., "Progressive Growing of GANs", ICLR 2018; Lee et al. (CelebAMask-HQ), CVPR 2020.  For non-commercial
research only: veilbench neither ships nor downloads it.
"""

from __future__ import annotations

from .base import FaceParts
from .celebamask import check_lips, makeup_parts, read_layers
from .preparation import Layout
from .prepared_faces import PreparedFaces


class CelebAHQ(PreparedFaces):
    """CelebA-HQ: 1000 sources (or those of a list), the four targets, masks, perhaps other photos of the sources.

    AMT-GAN chose the 1000 photos; its list is in no repository, so the record of a copy is what names them.  The papers
    disagree on grouping: CLIP2Protect averages all photos over each target, DiffAM says four groups.

    Args:
        prepared: the record that ``veilbench prepare celeba_hq`` wrote.
        grouping: ``all`` (every source is to be taken for every target) or ``groups`` (as many groups of neighbouring
            ids as targets, the first for the first target).
        size: side of the square images; the centre square of a photo is resized.
        limit: use only the first so many sources; methods that train can have the photos after them.
        references: folder of makeup references; see :mod:`veilbench.datasets.makeup_pairs`.
        distractors: folder with photos of people who are neither sources nor targets, by which an identification's
            gallery grows.

    Raises:
        DataError: in one line, without a record, or when photos are missing or changed.
    """

    kind = "celeba_hq"
    name = "celeba_hq"
    layout = Layout(
        kind="celeba_hq",
        title="CelebA-HQ",
        sources=("CelebA-HQ-img", "CelebA-HQ"),
        count=1000,
        used=1000,
        others="other",
        masks="CelebAMask-HQ-mask-anno",
    )

    def parts(self, index: int) -> FaceParts | None:
        """Masks of source ``index``, each ``1 x size x size``, in the frame of its photo; None without masks.

        What is skin and which eye is left: :func:`~veilbench.datasets.celebamask.makeup_parts`.

        Raises:
            DataError: when a mask file is missing, changed or of another size, or when no lips are visible.
        """
        item = self._items[index]
        if not item.masks:
            return None
        return check_lips(makeup_parts(read_layers(item.masks), self.size), item.photo.path)
