"""LADN: faces without makeup, and faces with it to take makeup from.

Gu et al., "LADN: Local Adversarial Disentangling Network for Facial Makeup and De-Makeup", ICCV 2019.  The authors give
it out on request by a link; veilbench neither ships nor downloads it.
"""

from __future__ import annotations

from .preparation import Layout
from .prepared_faces import PreparedFaces


class LADN(PreparedFaces):
    """LADN as the makeup papers use it: 332 of its 333 photos without makeup, the four targets, photos with makeup.

    Which photo is left out is published nowhere (AMT-GAN, DiffAM): ``veilbench prepare`` leaves out the last by name
    and says which.  Its folders are ``before`` and ``after``; ``blend`` and the pickled landmarks are not used, and
    the pickle is never opened.

    Args:
        prepared: the record that ``veilbench prepare ladn`` wrote.
        grouping: ``all`` (every source is to be taken for every target) or ``groups`` (as many groups of neighbouring
            ids as targets, the first for the first target).
        size: side of the square images; the centre square of a photo is resized.
        limit: use only the first so many sources; methods that train can have the photos after them.
        references: folder of makeup references; see :mod:`veilbench.datasets.makeup_pairs`.  None: the photos of
            ``after`` by their names, which have neither a non-makeup photo nor masks.
        distractors: folder with photos of people who are neither sources nor targets, by which an identification's
            gallery grows.

    Raises:
        DataError: in one line, without a record, or when photos are missing or changed.
    """

    kind = "ladn"
    name = "ladn"
    layout = Layout(kind="ladn", title="LADN", sources=("before",), count=333, used=332, references="after")
