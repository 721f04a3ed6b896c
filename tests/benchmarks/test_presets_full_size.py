"""The papers' suites with networks of their real sizes: random weights, a few photos, few steps, no meaning.

Opt-in, 7 minutes on two cores and 8 GB of disk: set VEILBENCH_FULL_SIZE=1.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTextModel

from veilbench.benchmarks.specs.recognizers import load_recognizer_spec
from veilbench.datasets.makeup_pairs import LABELS
from veilbench.models.folders import EMBEDDED_WEIGHTS
from veilbench.models.recognizers.state_dict import build_backbone

from ..fake_copies import FACE, make_celeba_hq, save_noise
from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("VEILBENCH_FULL_SIZE"), reason="VEILBENCH_FULL_SIZE is not set (7 minutes)"),
]
RECOGNIZERS = ("irse50", "mobile_face")
# one step of each loop, one target for all photos
FEW = (
    "suite.protocol.targets=any",
    "pgd.steps=1",
    "tip_im.steps=1",
    "weaken_diff.iterations=1",
    "weaken_diff.embedding_iterations=1",
    "weaken_diff.diffusion_steps=4",
    "weaken_diff.start_step=3",
    "diffam.preservation=embedded_features",
    "diffam.training_faces=1",
    "diffam.iterations=1",
    "diffam.adversarial_from=0",
    "diffam.inversion_steps=2",
    "diffam.generation_steps=2",
)
PRESETS = {
    "weaken_diff_paper": (4, ("clean", "pgd", "weaken_diff")),
    "weaken_diff_released_code": (1, ("clean", "weaken_diff")),
    "amt_gan": (4, ("clean", "pgd", "tip_im")),
    "diffam": (2, ("clean", "diffam")),
    "clip2protect": (1, ("clean", "weaken_diff")),
    "dodging": (1, ("clean", "weaken_diff")),
    "tip_im": (4, ("clean", "tip_im")),
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, filled: Callable[[nn.Module], nn.Module]) -> Path:
    """Recognisers, and folders as those of Stable Diffusion 2 base, DDPM for CelebA-HQ and CLIP ViT-B/16."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("networks")
    (root / "weights").mkdir()
    for name in RECOGNIZERS:
        _, spec = load_recognizer_spec(name, Path())
        network = filled(build_backbone(spec.kind, spec.arch))
        save_file(network.state_dict(), root / "weights" / f"{name}.safetensors")
    _stable_diffusion(root / "sd")
    shutil.copytree(EMBEDDED_WEIGHTS / "pixels", root / "ddpm")
    UNet2DModel(
        sample_size=256,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=(*(["DownBlock2D"] * 4), "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", *(["UpBlock2D"] * 4)),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    ).save_pretrained(root / "ddpm" / "unet")
    shutil.copytree(EMBEDDED_WEIGHTS / "clip", root / "clip")
    CLIPModel(CLIPConfig(vision_config={"patch_size": 16})).save_pretrained(root / "clip")
    CLIPImageProcessor().save_pretrained(root / "clip")
    return root


def _stable_diffusion(folder: Path) -> None:
    shutil.copytree(EMBEDDED_WEIGHTS / "diffusion", folder)
    UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    ).half().save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    ).save_pretrained(folder / "vae")
    text = CLIPTextConfig(
        hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=23, hidden_act="gelu"
    )
    CLIPTextModel(text).half().save_pretrained(folder / "text_encoder")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise where the papers have faces: a prepared copy, pairs, a gallery, and makeup references."""
    root = make_celeba_hq(tmp_path_factory.mktemp("photos"), numbers=range(6))
    for folder, first in (("a", 0), ("b", 10), ("t", 20), ("u", 30), ("d", 40), ("other", 50)):
        for number in range(6):
            name = f"{number}.jpg" if folder == "other" else f"{number}.png"
            save_noise(root / folder / name, 3000 + first + number, 256, 256)
    return root


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_with_networks_of_real_size(
    preset: str, networks: Path, photos: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(networks / "weights"))
    torch.set_num_threads(2)
    limit, rows = PRESETS[preset]
    settings = [setting for setting in FEW if setting.startswith(("suite.", *(f"{row}." for row in rows)))]
    lists = ["surrogates=[mobile_face]", "judges=[irse50, mobile_face]"]
    if preset != "tip_im":
        lists = ["recognizers=[irse50, mobile_face]"]
    settings += [f"suite.{one}" for one in lists]
    if "weaken_diff" in rows:
        settings.append(f"weaken_diff.pipeline={networks / 'sd'}")
    if "diffam" in rows:
        settings += [f"diffam.diffusion={networks / 'ddpm'}", f"diffam.clip={networks / 'clip'}"]
    if preset == "weaken_diff_released_code":
        settings.append(f"weaken_diff.dodge_towards={photos / 'a' / '0.png'}")
    settings += [f"dataset.limit={limit}", *_dataset(preset, photos, veilbench)]
    given = [word for setting in settings for word in ("--set", setting)]
    chosen = [word for row in rows for word in ("-m", row)]
    outcome = veilbench("run", preset, *given, *chosen, "--results", tmp_path, "--tracker", "none", "--jobs", 1)
    assert outcome.code == 0, outcome.err + outcome.out
    table = pd.read_csv(tables_of(tmp_path, preset) / "leaderboard.csv")
    assert set(table["method"]) == set(rows)
    assert not table["failed"].any()
    assert (table["psr_n"] == (limit if preset == "tip_im" else 2 * limit)).all()
    changed = table[table["method"] != "clean"]
    assert changed["psnr"].between(3, 80).all()


def _dataset(preset: str, photos: Path, veilbench: Veilbench) -> list[str]:
    """Settings that lead to the photos."""
    if preset in {"dodging", "tip_im"}:
        folders = {"root": "a", "others": "b"}
        if preset == "tip_im":
            folders |= {"targets": "t", "targets_other": "u", "distractors": "d"}
        return [f"dataset.{key}={photos / folder}" for key, folder in folders.items()]
    record = photos / "celeba_hq.json"
    if not record.is_file():
        assert veilbench("prepare", "celeba_hq", "--from", photos, "--count", 6).code == 0
    settings = [f"dataset.prepared={record}", "dataset.grouping=all"]
    if preset == "diffam":
        (photos / "pairs").mkdir(exist_ok=True)
        face = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
        Image.fromarray(face).save(photos / "pairs" / "x_nm.png")
        top, bottom, left, right = FACE["u_lip"]
        face[top:bottom, left:right, 0] = 255
        Image.fromarray(face).save(photos / "pairs" / "x_m.png")
        labels = np.zeros((512, 512), dtype=np.uint8)
        for part, label in LABELS.items():
            top, bottom, left, right = FACE[part]
            labels[top:bottom, left:right] = label
        Image.fromarray(labels).save(photos / "pairs" / "x_mask.png")
        settings.append(f"dataset.references={photos / 'pairs'}")
    return settings
