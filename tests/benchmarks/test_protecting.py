"""``veilbench protect``: whole photos, against Pillow's pixels and a similarity computed by hand.

The opt-in test needs VEILBENCH_REAL_FACES, see ``tests/models/test_real_faces.py``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps
from skimage.data import astronaut

import veilbench as vb
from veilbench.models.detectors.faces import DetectedFace
from veilbench.models.detectors.mtcnn import find_faces
from veilbench.models.ffhq import Frame

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
REAL = os.environ.get("VEILBENCH_REAL_FACES", "")
BY = ("--recognizer", "embedded_irse50", "--recognizer", "embedded_mobile_face", "--set", "method.steps=4")
LINE = re.compile(
    r"(\S+) face (\d) of (\d) \((\d+) px\): similarity to the original 1\.00 -> (-?\d\.\d\d) by (\w+) "
    r"\(same person above (-?\d\.\d\d)\): (no longer|still) recognised"
)


def portrait(side: int = 256) -> Image.Image:
    """A face that scikit-image ships, in the public domain."""
    return Image.fromarray(astronaut()[:256, 96:352]).resize((side, side), Image.Resampling.LANCZOS)


def two_faces(path: Path, orientation: int = 1) -> Path:
    """A photo with a larger and a smaller face, and a place in its EXIF."""
    canvas = Image.fromarray(np.random.default_rng(1).integers(90, 130, (560, 900, 3), np.uint8))
    canvas.paste(portrait(320), (60, 40))
    canvas.paste(portrait(), (560, 250))
    exif = Image.Exif()
    exif[ExifTags.Base.Model], exif[ExifTags.Base.Orientation] = "Model 7", orientation
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 30.0, 30.0)}
    stored = {1: canvas, 6: canvas.transpose(Image.Transpose.ROTATE_90)}[orientation]
    stored.save(path, exif=exif, quality=95)
    return path


def shown(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def found(image: Image.Image) -> list[DetectedFace]:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return sorted(find_faces(pixels), key=lambda face: face.box.left)


def by_hand(before: Image.Image, after: Image.Image, judge: str) -> list[float]:
    """Similarities of the faces from left to right, framed by Pillow."""
    recognizer = vb.load_recognizer(judge)
    embedded = []
    for image in (before, after):
        frames = [Frame.of_points(face.points) for face in found(image)]
        corners = [[side for corner in frame.corners for side in corner] for frame in frames]
        # Pillow knows no mirror: a photo with a mirrored edge, cut out of
        wide = Image.fromarray(np.pad(np.asarray(image), ((300, 300), (300, 300), (0, 0)), mode="symmetric"))
        squares = [
            wide.transform((512, 512), Image.Transform.QUAD, [side + 300 for side in four], Image.Resampling.BILINEAR)
            for four in corners
        ]
        squares = [square.resize((256, 256), Image.Resampling.BOX) for square in squares]
        embedded.append(
            recognizer(torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) / 255 for one in squares]))
        )
    return [float(cosine) for cosine in (embedded[0] * embedded[1]).sum(dim=1)]


def test_every_face_is_protected_and_nothing_else_changes(tmp_path: Path, veilbench: Veilbench) -> None:
    source = two_faces(tmp_path / "party.jpg", orientation=6)
    outcome = veilbench("protect", source, "--to", tmp_path / "out", *BY)
    assert outcome.code == 0, outcome
    told = LINE.findall(outcome.out)
    assert [(name, place, total, judge) for name, place, total, _, _, judge, _, _ in told] == [
        ("party.jpg", str(place), "2", "embedded_mobile_face") for place in (1, 2)
    ]
    before, after = shown(source), shown(tmp_path / "out" / "party.png")
    changed = (np.asarray(before) != np.asarray(after)).any(axis=-1)
    outside = np.ones_like(changed)
    for face in found(before):
        x, y = np.mean(face.points, axis=0)
        reach = 1.5 * (face.box.bottom - face.box.top)
        outside[max(0, int(y - reach)) : int(y + reach), max(0, int(x - reach)) : int(x + reach)] = False
        assert changed[face.box.rows, face.box.columns].mean() > 0.5
    assert outside.mean() > 0.2
    assert not (changed & outside).any()
    most = np.abs(np.asarray(before).astype(int) - np.asarray(after).astype(int)).max()
    assert 0 < most <= 12
    for line, similarity in zip(told, by_hand(before, after, "embedded_mobile_face"), strict=True):
        assert float(line[4]) == pytest.approx(similarity, abs=0.05)
        assert (line[7] == "still") == (float(line[4]) > float(line[6]))
    assert f"{vb.load_recognizer('embedded_mobile_face').thresholds.at(0.01):.2f}" == told[0][6]
    assert "location removed" in outcome.out
    assert "This is no guarantee" in outcome.out
    with Image.open(tmp_path / "out" / "party.png") as image:
        exif = image.getexif()
        assert (exif[ExifTags.Base.Model], exif[ExifTags.Base.Orientation]) == ("Model 7", 1)
        assert not exif.get_ifd(ExifTags.IFD.GPSInfo)


def test_a_turned_face_a_gray_photo_and_a_kept_location(tmp_path: Path, veilbench: Veilbench) -> None:
    """A head to one side is framed along with its turn; a gray photo stays one."""
    two_faces(tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as image:
        turned = image.convert("L").rotate(25, expand=True)
        turned.save(tmp_path / "gray.png", exif=image.getexif())
    outcome = veilbench("protect", tmp_path / "gray.png", "--to", tmp_path / "out", "--keep-location", *BY)
    assert outcome.code == 0, outcome
    assert len(LINE.findall(outcome.out)) == 2
    assert "location removed" not in outcome.out
    with Image.open(tmp_path / "out" / "gray.png") as image:
        assert image.mode == "L"
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        changed = np.asarray(image) != np.asarray(turned)
    assert 0 < changed.mean() < 0.3


@pytest.mark.parametrize(("side", "part"), [(512, (150, 60, 400, 360)), (90, (0, 0, 90, 90))])
def test_a_face_at_the_edge_and_a_small_one(
    side: int, part: tuple[int, int, int, int], tmp_path: Path, veilbench: Veilbench
) -> None:
    """The square of the first leaves its photo on all sides; that of the second has fewer pixels than networks take."""
    portrait(side).crop(part).save(tmp_path / "photo.png")
    outcome = veilbench("protect", tmp_path / "photo.png", "--to", tmp_path / "out", *BY)
    assert outcome.code == 0, outcome
    ((_, _, total, *_),) = LINE.findall(outcome.out)
    assert total == "1"
    before, after = (np.asarray(shown(path)) for path in (tmp_path / "photo.png", tmp_path / "out" / "photo.png"))
    assert before.shape == after.shape
    assert (before != after).any(axis=-1).mean() > 0


def test_one_photo_that_cannot_be_protected_stops_no_other(tmp_path: Path, veilbench: Veilbench) -> None:
    two_faces(tmp_path / "good.png")
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "nobody.png")
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    photos = [tmp_path / name for name in ("broken.jpg", "nobody.png", "missing.png", "good.png")]
    outcome = veilbench("protect", *photos, "--to", tmp_path / "out", *BY)
    assert outcome.code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    lines = [line for line in outcome.out.splitlines() if line.startswith("not protected")]
    assert len(lines) == 3
    for line, words in zip(lines, ("not an image", "no face is found", "cannot be read"), strict=True):
        assert words in line
    assert len(LINE.findall(outcome.out)) == 2


def test_nothing_is_overwritten_unless_asked_and_never_the_photo_itself(tmp_path: Path, veilbench: Veilbench) -> None:
    source = two_faces(tmp_path / "party.png")
    kept, out = source.read_bytes(), tmp_path / "out" / "party.png"
    out.parent.mkdir()
    out.write_bytes(b"mine")
    outcome = veilbench("protect", source, "--to", out.parent, *BY)
    assert (outcome.code, out.read_bytes()) == (1, b"mine")
    assert "is there already; move it away, or say --overwrite" in outcome.out
    assert veilbench("protect", source, "--to", out.parent, "--overwrite", *BY).code == 0
    assert out.read_bytes() != b"mine"
    outcome = veilbench("protect", source, "--to", tmp_path, "--overwrite", *BY)
    assert (outcome.code, source.read_bytes()) == (1, kept)
    assert "would take its place" in outcome.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "two are needed, and there is none; run `veilbench weights get dlib_resnet29"),
        (("--recognizer", "embedded_facenet"), "there is embedded_facenet; run `veilbench weights get"),
        ((*BY, "--judge", "embedded_facenett"), "no config 'embedded_facenett' in configs/recognizers"),
        ((*BY[:2], "--judge", "embedded_irse50"), "two are needed"),
        ((*BY, "--method", "mi_fgms"), "did you mean 'mi_fgsm'?"),
        ((*BY, "--set", "method.epsilom=1"), "--set method.epsilom=1: unknown key 'epsilom'"),
        ((*BY, "--set", "pgd.epsilon=8/255"), "--set pgd.epsilon=8/255"),
        ((*BY[:4], "--method", "diffam_embedded"), "diffam cannot make a single photo unrecognisable"),
        ((*BY, "b/photo.jpg"), "photo.png and b/photo.jpg would both be written to"),
    ],
)
def test_one_line_for_what_is_wrong(
    tmp_path: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    portrait().save("photo.png")
    outcome = veilbench("protect", "photo.png", "--to", "out", *words)
    assert outcome.code == 2
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_judge_beside_the_recognisers_and_a_method_that_attacks_nobody(tmp_path: Path, veilbench: Veilbench) -> None:
    portrait().save(tmp_path / "photo.png")
    words = ("protect", tmp_path / "photo.png", "--to", tmp_path / "out", "--overwrite")
    outcome = veilbench(*words, *BY[:2], "--judge", "embedded_facenet", "--set", "tip_im_l2.steps=1")
    assert outcome.code == 0, outcome
    assert "tip_im attacks embedded_irse50; embedded_facenet judges" in outcome.out
    outcome = veilbench(*words, *BY[:4], "--method", "clean")
    assert outcome.code == 0, outcome
    assert "clean attacks no recogniser" in outcome.out
    assert "1.00 -> 1.00 by embedded_mobile_face" in outcome.out
    np.testing.assert_array_equal(np.asarray(shown(tmp_path / "out" / "photo.png")), np.asarray(portrait()))


@pytest.mark.skipif(not REAL, reason="VEILBENCH_REAL_FACES is not set to a folder of real faces")
def test_four_real_faces_on_twelve_megapixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, veilbench: Veilbench
) -> None:
    """At least three of four are no longer recognised by a recogniser that was not attacked; all else stays."""
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path))
    for name in ("dlib_resnet29", "faceres", "mobilefacenet_tf"):
        kept = Path(REAL, "recognizers", f"{name}_fp16.safetensors").resolve()
        (tmp_path / f"{name}.safetensors").symlink_to(kept)
    canvas = Image.fromarray(np.random.default_rng(2).integers(60, 200, (375, 500, 3), np.uint8)).resize((4000, 3000))
    # 000005 has another person in the background, who is found too
    people = [Path(REAL, "pairs", "a", f"{name}.png") for name in ("000001", "000015", "000020", "000021")]
    places = ((200, 300, 700), (1200, 900, 500), (2100, 400, 900), (3200, 1700, 600))
    for path, (x, y, side) in zip(people, places, strict=True):
        with Image.open(path) as face:
            canvas.paste(face.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (x, y))
    exif = Image.Exif()
    exif[ExifTags.Base.Model], exif[ExifTags.IFD.GPSInfo] = "Model 7", {1: "N", 2: (52.0, 30.0, 30.0)}
    canvas.save(tmp_path / "group.jpg", quality=92, exif=exif)
    start = time.perf_counter()
    outcome = veilbench("protect", tmp_path / "group.jpg", "--to", tmp_path / "out")
    print(f"{time.perf_counter() - start:.0f} s\n{outcome.out}")  # noqa: T201 (timings are told, never asserted)
    assert outcome.code == 0, outcome
    told = LINE.findall(outcome.out)
    assert len(told) == 4
    assert sum(line[7] == "no longer" for line in told) >= 3
    before, after = (np.asarray(shown(path)) for path in (tmp_path / "group.jpg", tmp_path / "out" / "group.png"))
    changed = (before != after).any(axis=-1)
    for x, y, side in places:
        assert changed[y : y + side, x : x + side].any()
        changed[y : y + side, x : x + side] = False
    assert not changed.any()
    with Image.open(tmp_path / "out" / "group.png") as image:
        assert image.getexif()[ExifTags.Base.Model] == "Model 7"
        assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
