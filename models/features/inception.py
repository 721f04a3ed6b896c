"""Inception-v3 as everybody's FID has it: the TorchScript file that clean-fid uses, run by clean-fid itself."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from veilbench.errors import WeightsError

from .base import FeatureNetwork


class Inception(FeatureNetwork):
    """Pooled features of Inception-v3 (Szegedy et al., CVPR 2016), as FID was defined (Heusel et al., NeurIPS 2017).

    TensorFlow's weights of 2015 in the TorchScript translation of StyleGAN2-ADA.  Resizing is clean-fid's mode
    ``clean`` (Parmar et al., CVPR 2022).

    Args:
        weights: the file.  TorchScript is code: none but the known file is run.

    Raises:
        WeightsError: when it is missing, or another.
    """

    kind = "inception"
    side = 299
    description = "Inception-v3 as clean-fid has it (mode clean: whole photos, its bicubic filter, 299 x 299)"
    file = "inception-2015-12-05.pt"
    # of 95,607,719 bytes; the hash is what Git LFS records of public copies
    sha256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    source = (
        "get it from https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt "
        "(95,607,719 bytes) and put it there"
    )

    @classmethod
    def places(cls) -> Sequence[Path]:
        """Torch's own cache, then clean-fid's."""
        cleanfids = Path() if platform.system() == "Windows" else Path("/tmp")  # noqa: S108 (its content is checked)
        return [*super().places(), cleanfids / cls.file]

    @classmethod
    def load(cls, weights: Path) -> nn.Module:
        from cleanfid.inception_torchscript import InceptionV3W  # noqa: PLC0415 (slow to import)

        content = cls._read(weights)
        # what was checked is what is run, and clean-fid wants this very name
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # deprecated, and the only form of this file
            Path(folder, cls.file).write_bytes(content)
            network: nn.Module = InceptionV3W(folder, download=False)
        return network

    @classmethod
    def _read(cls, path: Path) -> bytes:
        """The file's bytes, checked: others may write where clean-fid keeps it."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        cls.check(sha256(content).hexdigest(), path)
        return content
