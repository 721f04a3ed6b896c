"""Folders of photos: layouts, pairing, what is refused and how, and what the manifest covers."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

import veilbench.benchmarks
from veilbench.datasets.folder import FolderFaces
from veilbench.errors import DataError

SIZE = 16
TARGET_FILES = {
    "005869.jpg": "008793.jpg",
    "085807.jpg": "047073.jpg",
    "116481.jpg": "055622.jpg",
    "169284.jpg": "166607.jpg",
}


def save_photo(path: Path, seed: int, height: int = SIZE, width: int = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def as_pixels(image: torch.Tensor) -> NDArray[np.uint8]:
    """H x W x 3 bytes; fails when a value lies between two bytes."""
    scaled = image * 255
    assert torch.allclose(scaled, scaled.round(), atol=1e-4)
    return np.asarray(scaled.round().permute(1, 2, 0), dtype=np.uint8)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two pairs folders and the four targets of the CelebA-HQ protocol, as noise."""
    for seed, stem in enumerate(("000005", "000001", "000015")):
        save_photo(tmp_path / "a" / f"{stem}.png", seed)
        save_photo(tmp_path / "b" / f"{stem}.png", 100 + seed)
    for seed, (attack, other) in enumerate(TARGET_FILES.items()):
        save_photo(tmp_path / "targets" / attack, 200 + seed, 40, 40)
        save_photo(tmp_path / "targets_other" / other, 300 + seed, 40, 40)
    return tmp_path


def faces(world: Path, **changes: Any) -> FolderFaces:
    return FolderFaces(**{"root": world / "a", "size": SIZE, **changes})


def with_targets(world: Path, **changes: Any) -> FolderFaces:
    folders = {"targets": world / "targets", "targets_other": world / "targets_other", "target_pairs": TARGET_FILES}
    return faces(world, **{**folders, **changes})


def test_sources_are_sorted_by_stem_and_keep_their_pixels(world: Path) -> None:
    dataset = faces(world)
    assert [dataset[i].id for i in range(len(dataset))] == ["000001", "000005", "000015"]
    np.testing.assert_array_equal(as_pixels(dataset[1].image), pixels_of(world / "a" / "000005.png"))
    assert dataset[0].identity is None
    assert dataset.gallery_photo(0) is None
    assert dataset.targets == ()


def test_pairs_layout_matches_by_stem(world: Path) -> None:
    shutil.move(world / "b" / "000005.png", world / "b" / "keep.png")
    save_photo(world / "b" / "000005.bmp", 7)
    dataset = faces(world, others=world / "b")
    other = dataset.gallery_photo(1)
    assert other is not None
    np.testing.assert_array_equal(as_pixels(other), pixels_of(world / "b" / "000005.bmp"))
    assert dataset[1].identity == "000005"


def test_limit_takes_the_first_sources_only(world: Path) -> None:
    (world / "a" / "000015.png").write_bytes(b"broken, but not in use")
    dataset = faces(world, others=world / "b", limit=2)
    assert [entry.id for entry in dataset.manifest.entries] == ["000001", "000005"]


def test_other_files_are_left_alone(world: Path) -> None:
    (world / "a" / "notes.txt").write_text("x")
    (world / "a" / "._000001.png").write_bytes(b"x")
    (world / "a" / "sub.png").mkdir()
    assert len(faces(world)) == 3


def test_named_target_pairs_in_protocol_order(world: Path) -> None:
    reordered = dict(reversed(TARGET_FILES.items()))
    dataset = with_targets(world, target_pairs=reordered, size=40)
    assert [target.name for target in dataset.targets] == ["169284", "116481", "085807", "005869"]
    for target, (attack, other) in zip(dataset.targets, reordered.items(), strict=True):
        np.testing.assert_array_equal(as_pixels(target.image), pixels_of(world / "targets" / attack))
        np.testing.assert_array_equal(as_pixels(target.gallery), pixels_of(world / "targets_other" / other))


def test_targets_of_equal_stems_need_no_mapping(world: Path) -> None:
    dataset = faces(world, targets=world / "a", targets_other=world / "b")
    assert [target.name for target in dataset.targets] == ["000001", "000005", "000015"]


def test_targets_are_never_paired_by_order(world: Path) -> None:
    with pytest.raises(DataError, match=r"no other photo for 005869, .* `target_pairs`"):
        with_targets(world, target_pairs=None)


def test_crop_box_is_stretched_to_the_square(world: Path) -> None:
    dataset = with_targets(world, crop={"targets": {"085807.jpg": (5, 37, 10, 26)}})
    with Image.open(world / "targets" / "085807.jpg") as photo:
        expected = photo.crop((10, 5, 26, 37)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(as_pixels(dataset.targets[1].image).astype(int), np.asarray(expected), atol=1)


def test_distractors_are_enrolled_beside_sources_and_targets(world: Path) -> None:
    for seed, stem in enumerate(("y", "x")):
        save_photo(world / "more" / f"{stem}.png", 400 + seed)
    dataset = with_targets(world, others=world / "b", distractors=world / "more")
    plain = with_targets(world, others=world / "b")
    assert dataset.manifest == plain.manifest  # who else is in the gallery changes no protection
    gallery = dataset.gallery()
    assert len(gallery) == len(plain.gallery()) + 2 == 9
    assert gallery.sources == {stem: f"source {stem}" for stem in ("000001", "000005", "000015")}
    assert [one.person for one in gallery.enrolled[-2:]] == ["distractor x", "distractor y"]
    files = [*sorted((world / "b").iterdir()), *(world / "targets_other" / name for name in TARGET_FILES.values())]
    files += [world / "more" / "x.png", world / "more" / "y.png"]
    boxes = {"distractors": {"x.png": (0, 8, 0, 8)}}
    boxed = with_targets(world, others=world / "b", distractors=world / "more", crop=boxes)
    pairs = list(zip(gallery.enrolled, files, strict=True))
    for one, path in [*pairs[:3], *pairs[-2:]]:  # photos of targets are larger
        np.testing.assert_array_equal(as_pixels(one.photo()), pixels_of(path))
    assert len({gallery.digest, plain.gallery().digest, boxed.gallery().digest}) == 3
    assert not torch.equal(boxed.distractors[0].photo(), dataset.distractors[0].photo())


@pytest.mark.parametrize("copied", ["a/000001.png", "b/000005.png", "targets/005869.jpg"])
def test_a_distractor_is_nobody_else(world: Path, copied: str) -> None:
    save_photo(world / "more" / "other.png", 400)
    shutil.copy(world / copied, world / "more" / f"z{Path(copied).suffix}")
    with pytest.raises(DataError, match=rf"z\.\w+: the same photo as .*{Path(copied).name}; .*other people, remove it"):
        with_targets(world, others=world / "b", distractors=world / "more")


def test_copies_of_a_distractor_are_enrolled_once(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, stem in enumerate(("y", "x", "w")):
        save_photo(world / "more" / f"{stem}.png", 400 + seed)
    shutil.copy(world / "more" / "x.png", world / "more" / "z.png")
    dataset = faces(world, others=world / "b", distractors=world / "more")
    assert [one.person for one in dataset.distractors] == ["distractor w", "distractor x", "distractor y"]
    assert "more: 1 distractors are copies of others, left out: z.png" in caplog.text


def test_distractors_are_checked_like_all_photos(world: Path) -> None:
    (world / "more").mkdir()
    with pytest.raises(DataError, match=r"more: no photos among 0 files; `distractors` needs"):
        faces(world, distractors=world / "more")
    (world / "more" / "x.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"x\.png: "):
        faces(world, distractors=world / "more")
    with pytest.raises(DataError, match=r"folder: no source has another photo to be enrolled with"):
        faces(world).gallery()


def test_manifest_hashes_the_files(world: Path) -> None:
    for entry in faces(world, others=world / "b").manifest.entries:
        assert entry.sha256 == hashlib.sha256((world / "a" / f"{entry.id}.png").read_bytes()).hexdigest()
        assert entry.gallery_sha256 == hashlib.sha256((world / "b" / f"{entry.id}.png").read_bytes()).hexdigest()


def test_digest_follows_content_and_not_place(world: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = Path(shutil.copytree(world, tmp_path_factory.mktemp("elsewhere") / "copy"))
    digest = faces(world).manifest.digest
    assert faces(copy).manifest.digest == digest
    boxes = {"root": {"000001.png": (0, 8, 0, 8)}}
    different = [
        faces(world, size=SIZE + 1),
        faces(world, limit=2),
        faces(world, others=world / "b"),
        faces(world, crop=boxes),
    ]
    save_photo(copy / "a" / "000001.png", 99)
    different.append(faces(copy))
    assert len({digest, *(dataset.manifest.digest for dataset in different)}) == 6


def test_target_hash_follows_its_own_pixels_only(world: Path) -> None:
    plain = with_targets(world).targets
    cropped = with_targets(world, crop={"targets_other": {"047073.jpg": (0, 30, 0, 30)}}).targets
    assert [a.sha256 == b.sha256 for a, b in zip(plain, cropped, strict=True)] == [True, False, True, True]
    assert not {t.sha256 for t in plain} & {t.sha256 for t in with_targets(world, size=20).targets}


def test_a_file_that_changes_later_is_noticed(world: Path) -> None:
    dataset = faces(world)
    save_photo(world / "a" / "000001.png", 99)
    with pytest.raises(DataError, match=r"000001\.png: the file changed"):
        dataset[0]


def empty_file(world: Path) -> dict[str, Any]:
    (world / "a" / "000001.png").write_bytes(b"")
    return {}


def many_bad_files(world: Path) -> dict[str, Any]:
    for index in range(7):
        (world / "a" / f"bad{index}.jpg").write_bytes(b"<html>")
    return {}


def unsafe_name(world: Path) -> dict[str, Any]:
    save_photo(world / "a" / "my photo.png", 1)
    return {}


def same_stem(world: Path) -> dict[str, Any]:
    save_photo(world / "a" / "000001.JPG", 1)
    return {}


def same_stem_but_for_case(world: Path) -> dict[str, Any]:
    save_photo(world / "a" / "Anna.png", 1)
    save_photo(world / "a" / "anna.png", 2)
    return {}


def missing_partner(world: Path) -> dict[str, Any]:
    (world / "b" / "000005.png").unlink()
    return {"others": world / "b"}


def no_photos(world: Path) -> dict[str, Any]:
    (world / "text").mkdir()
    (world / "text" / "a.txt").write_text("x")
    return {"root": world / "text"}


def targets_of(world: Path, **changes: Any) -> dict[str, Any]:
    return {"targets": world / "targets", "targets_other": world / "targets_other", **changes}


BAD = [
    (empty_file, r"a/000001\.png: the file is empty"),
    (many_bad_files, r"^7 photos cannot be used: .*bad0\.jpg: not an image.* \| .*bad4\.jpg.* and 2 more$"),
    (unsafe_name, r"a: not usable as ids: my photo\.png; rename"),
    (same_stem, r"000001\.JPG and 000001\.png would share one id"),
    (same_stem_but_for_case, r"Anna\.png and anna\.png would share one id"),
    (missing_partner, r"b: no other photo for 000005; add"),
    (no_photos, r"text: no photos among 1 files; `root` needs .*\.png"),
    (lambda w: {"root": w / "none"}, r"none: does not exist; set `root`"),
    (lambda w: {"root": w / "a" / "000001.png"}, r"000001\.png: is not a folder; set `root`"),
    (lambda w: {"others": w / "a"}, r"a/000001\.png: the same photo as"),
    (lambda w: {"targets": w / "targets"}, r"targets and targets_other: one is missing"),
    (lambda _: {"target_pairs": TARGET_FILES}, r"targets and targets_other: one is missing"),
    (lambda w: targets_of(w, target_pairs={"5869.jpg": "008793.jpg"}), r"no photo named 5869\.jpg as `target_pairs`"),
    (lambda w: targets_of(w, target_pairs={"005869.jpg": "x.jpg"}), r"targets_other: no photo named x\.jpg"),
    (lambda _: {"crop": {"root": {"1.png": (0, 1, 0, 1)}}}, r"no photo named 1\.png as `crop\.root` says"),
    (lambda _: {"crop": {"root": {"000001.png": (0, 17, 0, 1)}}}, r"000001\.png: crop box \[0, 17, 0, 1\] is not"),
    (lambda _: {"crop": {"sources": {}}}, r"crop: unknown folder sources; known: root, others"),
    (lambda _: {"size": 0}, r"size is 0; it must be 1 or more"),
    (lambda _: {"limit": -1}, r"limit is -1; it must be 1 or more"),
]


@pytest.mark.parametrize(("arrange", "message"), BAD)
def test_bad_input_is_one_clear_line(world: Path, arrange: Callable[[Path], dict[str, Any]], message: str) -> None:
    changes = arrange(world)
    with pytest.raises(DataError, match=message) as caught:
        faces(world, **changes)
    assert "\n" not in str(caught.value)


def test_the_example_config_fits(tmp_path: Path) -> None:
    configs = Path(veilbench.benchmarks.__file__).resolve().parent.parent / "configs"
    example = yaml.safe_load((configs / "datasets" / "photos.yaml").read_text(encoding="utf-8"))
    assert example["kind"] == FolderFaces.kind
    folders = ("root", "others", "targets", "targets_other")
    params = {key: tmp_path / value if key in folders else value for key, value in example["params"].items()}
    for seed, folder in enumerate(folders):
        save_photo(params[folder] / "anna.jpg", seed)
    dataset = FolderFaces(**params)
    assert dataset[0].image.shape == (3, 256, 256)
    assert [target.name for target in dataset.targets] == ["anna"]


REAL = os.environ.get("VEILBENCH_REAL_FACES")


def test_boxes_stay_in_hashes_as_configs_have_them(tmp_path: Path) -> None:
    """The hashes were computed when boxes had the order of configs throughout: what is stored stays valid."""
    folders = {name: tmp_path / name for name in ("root", "others", "targets", "targets_other")}
    for start, (name, folder) in enumerate(folders.items()):
        folder.mkdir()
        pixels = bytes((start + 3 * place) % 256 for place in range(240))
        (folder / f"{'t' if name.startswith('targets') else 'a'}.ppm").write_bytes(b"P6\n10 8\n255\n" + pixels)
    crop = {"root": {"a.ppm": (1, 7, 2, 9)}, "targets": {"t.ppm": (0, 8, 3, 6)}}
    dataset = FolderFaces(**folders, size=4, crop=crop)  # type: ignore[arg-type]
    assert dataset.manifest.digest == "89e1827a620a3bb316c3dffae5426325e5b5ead54925d90ff37e18d212c94055"
    assert dataset.targets[0].sha256 == "219b4f922a331fa7ccf551c1f0541210b1e47776075c835f345341bfeca77884"


@pytest.mark.skipif(not REAL, reason="VEILBENCH_REAL_FACES names no folder of real photos")
def test_real_photos() -> None:
    """The variable names a folder with `pairs/a`, `pairs/b`, `targets` and `targets_other` of the protocol."""
    root = Path(str(REAL))
    dataset = FolderFaces(
        root=root / "pairs" / "a",
        others=root / "pairs" / "b",
        targets=root / "targets",
        targets_other=root / "targets_other",
        target_pairs=TARGET_FILES,
        crop={"targets": {"005869.jpg": (168, 912, 205, 765)}},
    )
    assert len(dataset) == 100
    first = dataset[0]
    np.testing.assert_array_equal(as_pixels(first.image), pixels_of(root / "pairs" / "a" / f"{first.id}.png"))
    assert [target.name for target in dataset.targets] == [Path(name).stem for name in TARGET_FILES]
    assert all(target.image.shape == (3, 256, 256) for target in dataset.targets)


def test_sources_may_be_divided_among_the_targets(world: Path) -> None:
    folders: dict[str, Any] = {name: world / name for name in ("targets", "targets_other")}
    folders["root"] = world / "a"
    two = dict(list(TARGET_FILES.items())[:2])
    faces = FolderFaces(**folders, target_pairs=two, grouping="groups", size=SIZE)
    assert [faces.group(target.name) for target in faces.targets] == [("000001", "000005"), ("000015",)]
    assert FolderFaces(**folders, target_pairs=two, size=SIZE).group("005869") is None
    with pytest.raises(DataError, match="3 sources cannot be divided by 4 targets"):
        FolderFaces(**folders, target_pairs=TARGET_FILES, grouping="groups", size=SIZE)
    with pytest.raises(DataError, match="3 sources cannot be divided by 0 targets"):
        FolderFaces(root=world / "a", grouping="groups", size=SIZE)


def test_training_photos_are_the_first_of_their_folder_and_of_nobody_measured(world: Path) -> None:
    save_photo(world / "learn" / "q.png", 7)
    save_photo(world / "learn" / "p.png", 8)
    dataset = with_targets(world, others=world / "b", training=world / "learn")
    faces = dataset.training(1)
    assert faces is not None
    assert [entry.id for entry in faces.manifest.entries] == ["p"]
    assert (faces.targets, faces.distractors, faces.gallery_photo(0)) == ((), (), None)
    assert dataset.manifest == with_targets(world, others=world / "b").manifest  # nothing measured depends on them
    with pytest.raises(DataError, match="training: 3 photos are asked for and 2 are there"):
        dataset.training(3)
    assert with_targets(world, others=world / "b").training(1) is None
    shutil.copy(next((world / "a").iterdir()), world / "learn" / "theirs.png")
    with pytest.raises(DataError, match="training photos are other people"):
        with_targets(world, others=world / "b", training=world / "learn")
