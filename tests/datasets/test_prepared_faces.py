"""CelebA-HQ and LADN from their records: items, targets, groups, masks, and files that are no longer the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from veilbench.datasets.celeba_hq import CelebAHQ
from veilbench.datasets.celebamask import hq_number, makeup_parts
from veilbench.datasets.ladn import LADN
from veilbench.datasets.preparation import prepare
from veilbench.datasets.protocol import TARGETS, consecutive_groups
from veilbench.errors import DataError

from ..fake_copies import FACE, make_celeba_hq, make_ladn, mask_path, save_mask, save_noise

SIZE = 24


@pytest.fixture
def ladn(tmp_path: Path) -> Path:
    """The record of a LADN of eight sources."""
    return prepare(LADN.layout, make_ladn(tmp_path / "ladn"), count=9, use=8).record


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """The record of a CelebA-HQ of five photos with masks."""
    return prepare(CelebAHQ.layout, make_celeba_hq(tmp_path / "celeba"), count=5).record


def drawn(*parts: str) -> NDArray[np.float32]:
    """The union of boxes of ``FACE``, drawn without the code under test."""
    mask: NDArray[np.float32] = np.zeros((512, 512), dtype=np.float32)
    for part in parts:
        y0, y1, x0, x1 = FACE[part]
        mask[y0:y1, x0:x1] = 1
    return mask


def reduced(mask: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """As Pillow reduces it."""
    image = Image.fromarray((mask * 255).astype(np.uint8))
    small: NDArray[np.float32] = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
    return small / np.float32(255)


def test_all_sources_go_with_every_target_unless_they_are_grouped(ladn: Path) -> None:
    faces = LADN(prepared=ladn, size=SIZE)
    assert {faces.group(target.name) for target in faces.targets} == {None}
    grouped = LADN(prepared=ladn, size=SIZE, grouping="groups")
    assert [grouped.group(target.name) for target in grouped.targets] == [
        ("00000", "00001"), ("00002", "00003"), ("00004", "00005"), ("00006", "00007")
    ]  # fmt: skip
    assert grouped.manifest == faces.manifest
    with pytest.raises(DataError, match="no target 'anna'; there are: 005869"):
        grouped.group("anna")
    with pytest.raises(DataError, match="3 sources cannot be divided by 4 targets"):
        LADN(prepared=ladn, size=SIZE, grouping="groups", limit=3)


@pytest.mark.parametrize(("total", "sizes"), [(332, [83] * 4), (1000, [250] * 4), (7, [2, 2, 2, 1]), (4, [1] * 4)])
def test_groups_share_nothing_and_leave_nothing_out(total: int, sizes: list[int]) -> None:
    ids = [str(number) for number in range(total)]
    groups = consecutive_groups(ids, 4)
    assert [len(group) for group in groups] == sizes
    assert [item for group in groups for item in group] == ids


def test_makeup_references(ladn: Path) -> None:
    faces = LADN(prepared=ladn, size=SIZE)
    assert list(faces.references) == ["10000", "10001", "10002"]
    with Image.open(ladn.parent / "after" / "10001.jpg") as photo:
        expected = np.asarray(photo.convert("RGB"))
    reference = faces.references["10001"]
    np.testing.assert_array_equal((reference.makeup * 255).round().permute(1, 2, 0).numpy(), expected)
    assert (reference.name, reference.non_makeup, reference.parts) == ("10001", None, None)
    smaller = LADN(prepared=ladn, size=SIZE // 2).references
    assert len({one.sha256 for faces in (faces.references, smaller) for one in faces.values()}) == 6


def test_other_photos_make_identities(tmp_path: Path) -> None:
    root = make_celeba_hq(tmp_path / "celeba", masks=False)
    for seed, photo in enumerate(sorted((root / "CelebA-HQ-img").iterdir())):
        save_noise(root / "other" / photo.name, 300 + seed)
    faces = CelebAHQ(prepared=prepare(CelebAHQ.layout, root, count=5).record, size=SIZE)
    for index in range(len(faces)):
        other, face = faces.gallery_photo(index), faces[index]
        assert face.identity == face.id
        assert other is not None
        with Image.open(root / "other" / f"{face.id}.jpg") as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal((other * 255).round().permute(1, 2, 0).numpy(), expected)


def test_distractors_come_from_a_folder(tmp_path: Path) -> None:
    root = make_celeba_hq(tmp_path / "celeba", numbers=range(3), masks=False)
    for seed, source in enumerate(sorted((root / "CelebA-HQ-img").iterdir())):
        save_noise(root / "other" / source.name, 300 + seed)
    record = prepare(CelebAHQ.layout, root, count=3).record
    save_noise(tmp_path / "more" / "x.png", 400)
    faces = CelebAHQ(prepared=record, size=SIZE, distractors=tmp_path / "more")
    gallery = faces.gallery()
    assert [len(gallery), len(gallery.sources), len(gallery.targets)] == [8, 3, 4]
    assert faces.manifest == CelebAHQ(prepared=record, size=SIZE).manifest
    with Image.open(tmp_path / "more" / "x.png") as photo:
        expected = np.asarray(photo.convert("RGB"))
    last = gallery.enrolled[-1].photo()
    np.testing.assert_array_equal((last * 255).round().permute(1, 2, 0).numpy(), expected)
    shutil.copy(root / "other" / "0.jpg", tmp_path / "more" / "y.jpg")
    with pytest.raises(DataError, match=r"y.jpg: the same photo as .*0.jpg"):
        CelebAHQ(prepared=record, size=SIZE, distractors=tmp_path / "more")


def test_fixed_boxes_are_cut_out_and_stretched(tmp_path: Path) -> None:
    root = make_celeba_hq(tmp_path / "celeba", numbers=range(4), masks=False)
    gradient = np.zeros((1024, 1024, 3), dtype=np.uint8)
    gradient[..., 0], gradient[..., 1] = np.arange(1024)[:, None] // 4, np.arange(1024)[None] // 4
    for place, pair in enumerate(TARGETS):
        gradient[..., 2] = 10 * place
        Image.fromarray(gradient).save(root / "target" / pair.photo, quality=98)
        gradient[..., 2] = 10 * place + 5
        Image.fromarray(gradient).save(root / "test" / pair.gallery, quality=98)
    faces = CelebAHQ(prepared=prepare(CelebAHQ.layout, root, count=4).record, size=32)
    for target, pair in zip(faces.targets, TARGETS, strict=True):
        for image, face, folder, name, box in (
            (target.image, target.image_face, "target", pair.photo, pair.photo_box),
            (target.gallery, target.gallery_face, "test", pair.gallery, pair.gallery_box),
        ):
            with Image.open(root / folder / name) as photo:
                whole = photo.resize((32, 32), Image.Resampling.BILINEAR)
                boxed = photo.crop(box)
            np.testing.assert_allclose((image * 255).permute(1, 2, 0).numpy(), np.asarray(whole), atol=1.01)
            assert face is not None
            np.testing.assert_array_equal((face * 255).round().permute(1, 2, 0).numpy(), np.asarray(boxed))


def test_fixed_boxes_fit_the_original_size_only(ladn: Path) -> None:
    """In a copy of another size the face is found as in any photo."""
    assert {(target.image_face, target.gallery_face) for target in LADN(prepared=ladn).targets} == {(None, None)}


def test_masks_are_the_drawn_ones(celeba: Path) -> None:
    parts = CelebAHQ(prepared=celeba, size=512).parts(3)
    assert parts is not None
    features = np.maximum.reduce([drawn(part) for part in ("l_eye", "r_eye", "mouth", "u_lip", "l_lip")])
    skin = drawn("skin") - np.maximum.reduce([features, drawn("hair") * drawn("skin"), drawn("neck") * drawn("skin")])
    np.testing.assert_array_equal(parts.skin[0].numpy(), skin)
    np.testing.assert_array_equal(parts.lips[0].numpy(), drawn("u_lip", "l_lip"))
    np.testing.assert_array_equal(parts.left_eye[0].numpy(), drawn("r_eye"))
    np.testing.assert_array_equal(parts.right_eye[0].numpy(), drawn("l_eye"))


def test_masks_shrink_with_the_image_and_become_soft(celeba: Path) -> None:
    parts = CelebAHQ(prepared=celeba, size=60).parts(0)
    assert parts is not None
    np.testing.assert_allclose(parts.lips[0].numpy(), reduced(drawn("u_lip", "l_lip"), 60), atol=1 / 255)
    for mask in parts.named().values():
        assert mask.shape == (1, 60, 60)
        assert mask.dtype == torch.float32
        assert 0 == float(mask.min()) < float(mask.max()) <= 1
    assert bool(((parts.lips > 0.01) & (parts.lips < 0.99)).any())


def box(*name: str) -> Tensor:
    return torch.from_numpy(drawn(*name)) > 0


@pytest.mark.parametrize("nose", ["nose", "skin"])
def test_the_place_of_an_eye_decides_and_not_its_name(nose: str) -> None:
    on_the_left, on_the_right = box("r_eye"), box("l_eye")
    rest = {"skin": box("skin")} if nose == "skin" else {"skin": box("skin"), "nose": box("nose")}
    for layers in ({"l_eye": on_the_left, "r_eye": on_the_right}, {"l_eye": on_the_right, "r_eye": on_the_left}):
        parts = makeup_parts({**rest, **layers}, 512)
        assert torch.equal(parts.left_eye[0] > 0, on_the_left)
        assert torch.equal(parts.right_eye[0] > 0, on_the_right)
    for name in ("l_eye", "r_eye"):
        only = makeup_parts({**rest, name: on_the_right}, 512)
        assert torch.equal(only.right_eye[0] > 0, on_the_right)
        assert not only.left_eye.any()
        only = makeup_parts({**rest, name: on_the_left}, 512)
        assert torch.equal(only.left_eye[0] > 0, on_the_left)
        assert not only.right_eye.any()


@pytest.mark.parametrize(
    ("stem", "number"), [("0", 0), ("00017", 17), ("29999", 29999), ("000017", 5), ("000018", None), ("a17", None)]
)
def test_numbers_of_photos(stem: str, number: int | None) -> None:
    assert hq_number(stem, {"000017": 5}) == number


def test_hidden_parts_are_empty_but_lips_are_needed(tmp_path: Path) -> None:
    root = make_celeba_hq(tmp_path / "celeba", numbers=range(4))
    mask_path(root, 0, "l_eye").unlink()
    mask_path(root, 1, "u_lip").unlink()
    save_mask(mask_path(root, 1, "l_lip"), None)
    record = prepare(CelebAHQ.layout, root, count=4).record
    faces = CelebAHQ(prepared=record, size=SIZE)
    parts = faces.parts(0)
    assert parts is not None
    assert not parts.right_eye.any()
    assert parts.left_eye.any()
    with pytest.raises(DataError, match=r"CelebA-HQ-img/1.jpg: no lips are visible"):
        faces.parts(1)


def test_a_mask_that_changed_or_went_is_named(celeba: Path) -> None:
    faces = CelebAHQ(prepared=celeba, size=SIZE)
    save_mask(mask_path(celeba.parent, 0, "skin"), (0, 500, 0, 500))
    mask_path(celeba.parent, 1, "u_lip").unlink()
    with pytest.raises(DataError, match=r"00000_skin.png: the file changed since it was checked"):
        faces.parts(0)
    with pytest.raises(DataError, match=r"00001_u_lip.png: cannot be read \(No such file"):
        faces.parts(1)


def test_ladn_has_no_masks(ladn: Path) -> None:
    assert LADN(prepared=ladn, size=SIZE).parts(0) is None


def lose_two(root: Path) -> None:
    (root / "before" / "00001.jpg").unlink()
    (root / "after" / "10002.jpg").unlink()


def change_one(root: Path) -> None:
    save_noise(root / "target" / "085807.jpg", 5)


def same_photo(root: Path) -> None:
    shutil.copy(root / "target" / "085807.jpg", root / "test" / "047073.jpg")
    prepare(LADN.layout, root, count=9, use=8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_two, r"ladn.json: 2 of 19 photos are missing since .*00001.jpg, .*10002.jpg; .*`veilbench prepare ladn`"),
        (change_one, r"1 of 19 photos changed since it was prepared: .*085807.jpg"),
        (same_photo, r"047073.jpg: the same photo as .*085807.jpg"),
    ],
)
def test_files_that_are_no_longer_the_same(damage: Callable[[Path], None], message: str, ladn: Path) -> None:
    damage(ladn.parent)
    with pytest.raises(DataError, match=message):
        LADN(prepared=ladn, size=SIZE)


def test_a_copy_may_be_moved_with_its_record(ladn: Path, tmp_path: Path) -> None:
    before = LADN(prepared=ladn, size=SIZE)
    image = before[0].image
    moved = shutil.move(ladn.parent, tmp_path / "moved")
    after = LADN(prepared=Path(moved) / "ladn.json", size=SIZE)
    assert after.manifest == before.manifest
    assert torch.equal(after[0].image, image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no such record of a verified copy; run `veilbench prepare ladn --from PATH`"),
        ("{", r"damaged \(JSONDecodeError"),
        ('{"format": 1, "kind": "ladn", "root": "."}', r"damaged \(KeyError: 'items'\)"),
        ('{"format": 1, "kind": "celeba_hq"}', r"a record of 'celeba_hq' in format 1, not of 'ladn'"),
        ('{"format": 9, "kind": "ladn"}', r"in format 9, not of 'ladn' in format 1"),
        ("[]", r"damaged \(TypeError"),
    ],
)
def test_records_that_are_wrong(content: str | None, message: str, tmp_path: Path) -> None:
    record = tmp_path / "ladn.json"
    if content is not None:
        record.write_text(content)
    with pytest.raises(DataError, match=message):
        LADN(prepared=record)


def test_without_a_record_it_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"no local copy of CelebA-HQ; run `veilbench prepare celeba_hq --from PATH`"):
        CelebAHQ()


def test_masks_are_part_of_the_identity(celeba: Path) -> None:
    before = CelebAHQ(prepared=celeba, size=SIZE).manifest
    save_mask(mask_path(celeba.parent, 1999, "r_eye"), (190, 221, 160, 220))
    prepare(CelebAHQ.layout, celeba.parent, count=5)
    after = CelebAHQ(prepared=celeba, size=SIZE).manifest
    assert after.entries == before.entries
    assert after.digest != before.digest


def test_the_size_is_part_of_the_identity(ladn: Path) -> None:
    one, other = LADN(prepared=ladn, size=16), LADN(prepared=ladn, size=17)
    assert one.manifest.digest != other.manifest.digest
    assert {target.sha256 for target in one.targets}.isdisjoint(target.sha256 for target in other.targets)


def test_photos_after_the_sources_are_there_to_train_on(celeba: Path) -> None:
    faces = CelebAHQ(prepared=celeba, size=SIZE, limit=2)
    sources = {entry.id for entry in faces.manifest.entries}
    training = faces.training(2)
    trained = [entry.id for entry in training.manifest.entries]
    whole = [entry.id for entry in CelebAHQ(prepared=celeba, size=SIZE).manifest.entries]
    assert trained == whole[2:4]
    assert not sources & set(trained)
    assert training.targets == ()
    assert training.parts(0) is not None
    assert len(faces) == 2
    with pytest.raises(DataError, match="4 photos to train on are asked for and 3 are left beside 2 sources"):
        faces.training(4)
    with pytest.raises(DataError, match="set `limit` lower, or prepare more photos"):
        CelebAHQ(prepared=celeba, size=SIZE).training(1)
