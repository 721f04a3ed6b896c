"""Inception-v3 as everybody's FID has it: the TorchScript file that clean-fid uses, run by clean-fid itself."""

from __future__ import annotations

import warnings
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from veilbench.errors import WeightsError

from .base import FeatureNetwork
from .files import INCEPTION


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
    weights = INCEPTION
    sha256 = INCEPTION.sha256

    @classmethod
    def load(cls, weights: Path) -> nn.Module:
        from cleanfid.inception_torchscript import InceptionV3W  # noqa: PLC0415 (slow to import)

        content = cls._read(weights)
        # what was checked is what is run, and clean-fid wants this very name
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # deprecated, and the only form of this file
            Path(folder, cls.weights.file).write_bytes(content)
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
