"""``prepare``: what a whole copy is, and how everything that is missing or too much is told in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from veilbench.datasets.celeba_hq import CelebAHQ
from veilbench.datasets.ladn import LADN
from veilbench.datasets.preparation import Preparation, prepare
from veilbench.errors import DataError

from ..fake_copies import (
    FACE,
    TARGET_FILES,
    TEST_FILES,
    make_celeba_hq,
    make_ladn,
    mask_path,
    save_face_masks,
    save_mask,
    save_noise,
)


@pytest.fixture
def ladn(tmp_path: Path) -> Path:
    return make_ladn(tmp_path / "ladn")


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    return make_celeba_hq(tmp_path / "celeba")


def prepare_ladn(root: Path) -> Preparation:
    return prepare(LADN.layout, root, count=9, use=8)


def prepare_celeba(root: Path, count: int = 5) -> Preparation:
    return prepare(CelebAHQ.layout, root, count=count)


def test_a_whole_ladn(ladn: Path) -> None:
    done = prepare_ladn(ladn)
    assert done.record == ladn / "ladn.json"
    assert [item.id for item in done.prepared.items] == [f"{number:05d}" for number in range(8)]
    assert [file.path.name for file in done.prepared.references] == ["10000.jpg", "10001.jpg", "10002.jpg"]
    assert tuple(photo.path.name for photo, _ in done.prepared.targets) == TARGET_FILES
    assert tuple(other.path.name for _, other in done.prepared.targets) == TEST_FILES
    assert "sources: 8 of 9 in before; left out: 00008.jpg" in done.findings


def test_the_record_holds_the_hashes_of_the_bytes(ladn: Path) -> None:
    content = json.loads(prepare_ladn(ladn).record.read_text(encoding="utf-8"))
    rows = [item["photo"] for item in content["items"]] + content["references"]
    rows += [row for pair in content["targets"] for row in pair]
    assert len(rows) == 8 + 3 + 8
    for name, sha256 in rows:
        assert hashlib.sha256((ladn / name).read_bytes()).hexdigest() == sha256


def test_by_default_the_published_numbers_are_demanded(ladn: Path, celeba: Path) -> None:
    with pytest.raises(DataError, match=r"before: 9 photos, 324 fewer than 333; .*--list FILE, or say --count 9"):
        prepare(LADN.layout, ladn)
    with pytest.raises(DataError, match=r"CelebA-HQ-img: 5 photos, 995 fewer than 1000"):
        prepare(CelebAHQ.layout, celeba)
    assert (LADN.layout.count, LADN.layout.used, CelebAHQ.layout.used) == (333, 332, 1000)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(LADN.layout, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: not a whole copy of LADN: ")
    for folder in ("before", "target or target_images", "test or test_images", "after"):
        assert f"has no folder {folder}" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_an_earlier_record_knows_what_is_missing_and_what_is_new(ladn: Path) -> None:
    prepare_ladn(ladn)
    record = (ladn / "ladn.json").read_bytes()
    (ladn / "before" / "00003.jpg").unlink()
    for number in (20, 21):
        save_noise(ladn / "before" / f"000{number}.jpg", number)
    with pytest.raises(
        DataError, match=r"10 photos, 1 more than 9; missing.*: 00003; not in it.*: 00008, 00020, 00021"
    ):
        prepare_ladn(ladn)
    assert (ladn / "ladn.json").read_bytes() == record


def remove_targets(root: Path) -> None:
    (root / "target" / TARGET_FILES[1]).unlink()
    (root / "test" / TEST_FILES[3]).unlink()
    (root / "test" / TEST_FILES[2]).unlink()


def empty_photo(root: Path) -> None:
    (root / "before" / "00002.jpg").write_bytes(b"")


def web_page(root: Path) -> None:
    (root / "after" / "10001.jpg").write_text("<html>")


def no_references(root: Path) -> None:
    shutil.rmtree(root / "after")
    (root / "after").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_targets, r"target: 1 of 4 photos missing: 085807.jpg .* 2 of 4 .*: 055622.jpg, 166607.jpg"),
        (empty_photo, r"1 photo cannot be used: .*00002.jpg: the file is empty"),
        (web_page, r"1 photo cannot be used: .*10001.jpg: not an image"),
        (no_references, r"after: no photos among 0 files"),
    ],
)
def test_a_ladn_that_is_not_whole(damage: Callable[[Path], None], message: str, ladn: Path) -> None:
    damage(ladn)
    with pytest.raises(DataError, match=message):
        prepare_ladn(ladn)
    assert not (ladn / "ladn.json").exists()


def test_the_same_file_twice_is_told(ladn: Path) -> None:
    shutil.copy(ladn / "before" / "00001.jpg", ladn / "before" / "00004.jpg")
    assert "the same file under several names: 00001.jpg = 00004.jpg" in prepare_ladn(ladn).findings


def test_a_list_names_what_is_used(celeba: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("2000.jpg\n\n1.jpg\n")
    done = prepare(CelebAHQ.layout, celeba, names=names)
    assert [item.id for item in done.prepared.items] == ["1", "2000"]
    names.write_text("2000.jpg\n7.jpg\n8.jpg\n")
    with pytest.raises(DataError, match=r"no photo named 7.jpg, 8.jpg as `--list` says"):
        prepare(CelebAHQ.layout, celeba, names=names)
    names.write_text("1.jpg\n1.jpg\n")
    with pytest.raises(DataError, match=r"names.txt: listed twice: 1.jpg"):
        prepare(CelebAHQ.layout, celeba, names=names)


def test_the_record_may_lie_elsewhere(ladn: Path, tmp_path: Path) -> None:
    before = sorted(ladn.rglob("*"))
    done = prepare(LADN.layout, ladn, tmp_path / "elsewhere", count=9, use=8)
    assert done.record == tmp_path / "elsewhere" / "ladn.json"
    assert sorted(ladn.rglob("*")) == before
    assert len(LADN(prepared=done.record, size=24)) == 8


def test_targets_may_lie_elsewhere(ladn: Path, tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    shutil.move(ladn / "target", assets / "target_images")
    shutil.move(ladn / "test", assets / "test_images")
    done = prepare(LADN.layout, ladn, count=9, targets=assets)
    faces = LADN(prepared=done.record, size=24)
    assert [f"{target.name}.jpg" for target in faces.targets] == list(TARGET_FILES)


def test_masks_are_found_by_number_in_their_folders(celeba: Path) -> None:
    items = {item.id: item for item in prepare_celeba(celeba).prepared.items}
    folders = {stem: item.masks["skin"].path.relative_to(celeba).as_posix() for stem, item in items.items()}
    assert folders == {
        "0": "CelebAMask-HQ-mask-anno/0/00000_skin.png",
        "1": "CelebAMask-HQ-mask-anno/0/00001_skin.png",
        "1999": "CelebAMask-HQ-mask-anno/0/01999_skin.png",
        "2000": "CelebAMask-HQ-mask-anno/1/02000_skin.png",
        "29999": "CelebAMask-HQ-mask-anno/14/29999_skin.png",
    }
    assert set(items["0"].masks) == set(FACE)


def test_six_digits_are_numbers_of_celeba(tmp_path: Path) -> None:
    for seed, stem in enumerate(("119614", "000615")):
        save_noise(tmp_path / "CelebA-HQ" / f"{stem}.jpg", seed)
    make_celeba_hq(tmp_path / "rest", numbers=())
    for folder in ("target", "test"):
        shutil.move(tmp_path / "rest" / folder, tmp_path / folder)
    for number in (4, 2017):
        save_face_masks(tmp_path, number)
    with pytest.raises(DataError, match=r"2 names do not lead to masks: 000615, 119614; .*mapping.txt"):
        prepare_celeba(tmp_path, 2)
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
        "idx   orig_idx   orig_file\n4   119613   119614.jpg\n2017   614   000615.jpg\n"
    )
    items = {item.id: item for item in prepare_celeba(tmp_path, 2).prepared.items}
    assert items["119614"].masks["skin"].path.name == "00004_skin.png"
    assert items["000615"].masks["skin"].path.name == "02017_skin.png"


def lose_skin(root: Path) -> None:
    mask_path(root, 2000, "skin").unlink()


def shrink_mask(root: Path) -> None:
    save_mask(mask_path(root, 1999, "u_lip"), (10, 20, 10, 20), side=256)


def break_mask(root: Path) -> None:
    mask_path(root, 1, "nose").write_bytes(b"\x89PNG\r\n\x1a\n broken")


def oblong_photo(root: Path) -> None:
    save_noise(root / "CelebA-HQ-img" / "1.jpg", 1, 24, 30)


def other_photos_missing(root: Path) -> None:
    save_noise(root / "other" / "0.jpg", 77)


def strange_name(root: Path) -> None:
    (root / "CelebA-HQ-img" / "1.jpg").rename(root / "CelebA-HQ-img" / "anna.jpg")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_skin, r"no skin mask for 1 photo: 2000.jpg \(02000_skin.png\)"),
        (shrink_mask, r"01999_u_lip.png: the mask is 256 high and 256 wide; .* 512 x 512"),
        (break_mask, r"masks of 1 photo cannot be used: .*00001_nose.png: not an image"),
        (oblong_photo, r"1 photo not square, .*: 1.jpg \(24 x 30\)"),
        (other_photos_missing, r"other: no other photo for 1, 1999, 2000, 29999"),
        (strange_name, r"1 names do not lead to masks: anna"),
    ],
)
def test_a_celeba_hq_that_is_not_whole(damage: Callable[[Path], None], message: str, celeba: Path) -> None:
    damage(celeba)
    with pytest.raises(DataError, match=message):
        prepare_celeba(celeba)


def test_photos_without_visible_lips_are_told(celeba: Path) -> None:
    for part in ("u_lip", "l_lip"):
        mask_path(celeba, 0, part).unlink()
        save_mask(mask_path(celeba, 1, part), None)
    findings = prepare_celeba(celeba).findings
    assert "masks: of 5 photos; no lips visible, so makeup methods will fail on: 0.jpg, 1.jpg" in findings


def test_masks_are_not_required(tmp_path: Path) -> None:
    done = prepare_celeba(make_celeba_hq(tmp_path / "celeba", masks=False))
    assert all(not item.masks for item in done.prepared.items)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: does not exist; give your copy's folder"):
        prepare(LADN.layout, tmp_path / "nowhere")
