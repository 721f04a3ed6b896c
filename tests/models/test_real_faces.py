"""A real recogniser on real photos.  Opt-in: set VEILBENCH_REAL_FACES to the folder that holds them.

The folder: ``pairs/a`` and ``pairs/b`` (same name, same person, 256 x 256) and a MobileFaceNet trained on
CASIA-WebFace,
``mobilefacenet_casia_112x96.safetensors``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from veilbench.datasets.folder import FolderFaces
from veilbench.models.recipes.recognizers import genuine, impostor_quantile
from veilbench.models.recognizers.base import InputSpec
from veilbench.models.recognizers.state_dict import StateDictRecognizer

FOLDER = os.environ.get("VEILBENCH_REAL_FACES", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="VEILBENCH_REAL_FACES is not set to a folder of real faces")


@torch.no_grad()
def test_recognition_of_real_people_is_the_reference_one() -> None:
    """On 500 pairs of these people the weights' author's network gives TAR 0.838 at FAR 1 %, threshold 0.303."""
    folder = Path(FOLDER)
    recognizer = StateDictRecognizer(
        network="mobilefacenet",
        weights=folder / "mobilefacenet_casia_112x96.safetensors",
        arch={"embedding": 128, "input_size": (112, 96)},
    )
    recognizer.input_spec = InputSpec(112, 96, std=128 / 255, crop=(30 / 256, 20 / 256, 226 / 256, 246 / 256))
    faces = FolderFaces(root=folder / "pairs" / "a", others=folder / "pairs" / "b")
    photos = [(faces[place].image, faces.gallery_photo(place)) for place in range(len(faces))]
    embeddings = torch.stack(
        [torch.cat([recognizer(photo[None]) for photo in pair if photo is not None]) for pair in photos]
    )
    assert float(impostor_quantile(embeddings, 0.01)) == pytest.approx(0.303, abs=0.02)
    # 100 pairs: the standard error of a rate of 0.838 is 0.037
    assert float((genuine(embeddings) > 0.303).float().mean()) == pytest.approx(0.838, abs=0.08)
