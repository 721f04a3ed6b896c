"""Scoring streams: the same numbers as one photo at a time, a bounded number of photos in memory, each read once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from veilbench.benchmarks.engine import score
from veilbench.benchmarks.engine.score import BATCH, Judge, by_size, features, fidelity, source_features
from veilbench.benchmarks.engine.store import ProtectionFolder
from veilbench.datasets.base import Face, FaceDataset, Manifest, ManifestEntry, Target
from veilbench.datasets.photos import decode_photo, read_photo, write_png
from veilbench.metrics.fidelity import psnr, ssim
from veilbench.models.recognizers.base import Recognizer

COUNT = 3 * BATCH + 5
SIDE = 32


class Counted(FaceDataset):
    """Random photos, made whenever they are asked for; knows how many of them are in memory, and how often each."""

    kind = name = "counted"
    targets: tuple[Target, ...] = ()

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0
        self.asked: list[tuple[str, int]] = []

    def __len__(self) -> int:
        return COUNT

    def _photo(self, role: str, index: int) -> Tensor:
        self.asked.append((role, index))
        seed = torch.Generator().manual_seed(index + (COUNT if role == "other" else 0))
        # two sizes, so that a batch ends early now and then
        photo = torch.rand(3, SIDE + (index % 40 == 7), SIDE, generator=seed)
        self.alive.add(photo)
        self.most = max(self.most, len(self.alive))
        return photo

    def __getitem__(self, index: int) -> Face:
        return Face(f"p{index:03d}", self._photo("source", index))

    def other_photo(self, index: int) -> Tensor | None:
        return None if index % 3 == 0 else self._photo("other", index)

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.name, "1", tuple(ManifestEntry(f"p{index:03d}", str(index)) for index in range(COUNT)))


@pytest.fixture
def protected(tmp_path: Path) -> ProtectionFolder:
    folder = ProtectionFolder(tmp_path / "cell")
    folder.create({})
    for face in score._faces(Counted()):
        write_png(folder.image(face.id), (face.image + 0.1).clamp(0, 1))
    return folder


def test_streamed_scores_are_those_of_single_photos_to_the_bit(
    protected: ProtectionFolder, make_recognizer: Callable[..., Recognizer]
) -> None:
    recognizer, faces = make_recognizer(), Counted()
    items = [entry.id for entry in faces.manifest.entries]
    alone = {item: recognizer(read_photo(protected.image(item))[None])[0] for item in items}
    rows = (
        Judge(recognizer, faces).similarities(protected, items).pivot(index="item", columns="reference")["similarity"]
    )
    quality = fidelity(faces, protected, items).set_index("item")
    made = features(recognizer, protected, items).set_index("item")
    real = source_features(recognizer, faces).set_index("item")
    for place, item in enumerate(items):
        source, other = faces[place].image[None], faces.other_photo(place)
        assert rows.loc[item, "clean"] == float(alone[item] @ recognizer(source)[0])
        assert (other is None) == rows["other"].isna()[item]
        if other is not None:
            assert rows.loc[item, "other"] == float(alone[item] @ recognizer(other[None])[0])
        image = read_photo(protected.image(item))[None]
        assert tuple(quality.loc[item]) == (float(psnr(image, source)), float(ssim(image, source)))
        assert made.loc[[item]].to_numpy()[0].tolist() == alone[item].tolist()
        assert real.loc[[item]].to_numpy()[0].tolist() == recognizer(source)[0].tolist()


def test_no_more_than_a_batch_is_held_and_each_photo_is_read_once(
    protected: ProtectionFolder, make_recognizer: Callable[..., Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, read = Counted(), list[Path]()
    items = [entry.id for entry in faces.manifest.entries]

    def counted(data: bytes, path: Path) -> Tensor:
        read.append(path)
        photo = decode_photo(data, path)
        faces.alive.add(photo)
        faces.most = max(faces.most, len(faces.alive))
        return photo

    monkeypatch.setattr(score, "decode_photo", counted)
    judge = Judge(make_recognizer(), faces)
    computations: tuple[Callable[[], object], ...] = (
        lambda: judge.similarities(protected, items),
        lambda: fidelity(faces, protected, items),
        lambda: features(judge.recognizer, protected, items),
    )
    for compute in computations:
        faces.asked.clear()
        read.clear()
        compute()
        assert len(read) == COUNT
        assert len(faces.asked) == len(set(faces.asked))
    assert faces.most <= BATCH + 1  # one more: the photo that shows that a size has ended


def test_no_photos_have_no_embeddings() -> None:
    assert by_size(lambda batch: batch, iter(())).shape == (0, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_judges_see_photos_on_the_card_and_go_home_afterwards(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer = make_recognizer()
    devices: list[str] = []
    recognizer.backbone.register_forward_pre_hook(lambda _, inputs: devices.append(inputs[0].device.type))
    photos = torch.rand(40, 3, SIDE, SIDE)
    embeddings = Judge(recognizer, Counted()).embed(photos)
    assert set(devices) == {"cuda"}
    assert embeddings.device.type == next(recognizer.parameters()).device.type == "cpu"
    assert torch.allclose(embeddings, recognizer(photos), atol=1e-2)
