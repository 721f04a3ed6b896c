"""How different two pictures look, to be minimised: LPIPS, or a named substitute where its weights are not at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from veilbench.errors import WeightsError
from veilbench.files import file_sha256

from .features.files import TRUNKS, Net
from .folders import EMBEDDED
from .recognizers.base import PassCounter
from .weights import fitting_weights, read_state_dict

Kind = Literal["lpips_alex", "embedded_features"]


class PerceptualDistance(nn.Module, ABC):
    """A frozen distance between pictures.

    Args:
        sha256: hash of the weights, part of every result's identity.

    Attributes:
        passes: images whose features were computed.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__()
        self.sha256 = sha256
        self.passes = PassCounter()

    @abstractmethod
    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances ``B`` of ``images`` to ``others``, both ``B x 3 x H x W`` in ``[0, 1]``; differentiable."""

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stay in eval mode whatever a Trainer asks."""
        del mode
        return super().train(False)


class Lpips(PerceptualDistance):
    """LPIPS (Zhang et al., CVPR 2018), version 0.1, on AlexNet or VGG-16.

    Its linear layers come with the package ``lpips``; the trunk itself does not.

    Args:
        net: which trunk.
        trunk: file of torchvision's network; what lies beyond its features is not looked at.

    Raises:
        WeightsError: when the file does not fit.
    """

    def __init__(self, net: Net, trunk: Path) -> None:
        super().__init__(file_sha256(trunk))
        import warnings  # noqa: PLC0415

        import lpips  # noqa: PLC0415 (slow to import)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips still writes torchvision's old word for "random"
            self.network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        features = self.network.net
        found = read_state_dict(trunk)
        # lpips cuts the layers into slices and keeps their numbers
        names = {key: f"features.{key.partition('.')[2]}" for key in features.state_dict()}
        renamed = {key: found[name] for key, name in names.items() if name in found}
        features.load_state_dict(fitting_weights(features, renamed, trunk))
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        distances: Tensor = self.network(images, others, normalize=True).flatten()
        self.passes.count(2 * len(images), distances)
        return distances


class EmbeddedFeatures(PerceptualDistance):
    """LPIPS' formula without learnt weights on features of the embedded autoencoder: **not LPIPS**.

    Features of each block of the encoder are normalised along channels; squared differences are averaged over the
    picture and added up over channels and blocks.  The autoencoder was trained on synthetic faces, and is neither a
    surrogate nor a judge.
    """

    def __init__(self) -> None:
        super().__init__(perceptual_sha256("embedded_features"))
        from diffusers import AutoencoderKL  # noqa: PLC0415 (slow to import)

        from .diffusion.folder import PIPELINE  # noqa: PLC0415

        vae = PIPELINE.read(PIPELINE.find(EMBEDDED), "vae", AutoencoderKL.from_pretrained)
        self.first = vae.encoder.conv_in
        self.blocks = vae.encoder.down_blocks
        self.requires_grad_(False)
        self.eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """Features ``B x C x h x w`` of every block, not normalised."""
        state, found = self.first(images * 2 - 1), []
        for block in self.blocks:
            state = block(state)
            found.append(state)
        return found

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        distances = images.new_zeros(len(images))
        for one, other in zip(self.features(images), self.features(others), strict=True):
            distances = distances + (F.normalize(one) - F.normalize(other)).square().sum(dim=1).mean(dim=(1, 2))
        self.passes.count(2 * len(images), distances)
        return distances


def find_trunk(net: Net, path: Path | None, advice: str) -> Path:
    """The file of a trunk of LPIPS: the one given, or the one in torch's own cache.  Nothing is downloaded.

    Args:
        net: which trunk.
        path: of the user's copy.
        advice: what to do without one, the end of the message.

    Raises:
        WeightsError: when there is none.
    """
    trunk = TRUNKS[net]
    found = (path if path.is_file() else None) if path else trunk.found()
    if found is None:
        raise WeightsError(
            f"{path or trunk.places()[0]}: LPIPS needs torchvision's {trunk.title} ({trunk.file}) there, and veilbench "
            f"downloads nothing; {advice}"
        )
    return found


def find_alexnet(alexnet: Path | None) -> Path:
    """:func:`find_trunk` for methods that keep a picture with LPIPS on AlexNet."""
    return find_trunk("alex", alexnet, "set `alexnet` to your copy, or use preservation=embedded_features")


def perceptual_sha256(kind: Kind, alexnet: Path | None = None) -> str:
    """What a distance depends on, for the identity of results."""
    if kind == "lpips_alex":
        return file_sha256(find_alexnet(alexnet))
    from .diffusion.folder import PIPELINE  # noqa: PLC0415

    return PIPELINE.identity(EMBEDDED)


def load_perceptual(kind: Kind, alexnet: Path | None = None) -> PerceptualDistance:
    """The distance of that name.  Raises :class:`WeightsError` when its weights are missing or do not fit."""
    return Lpips("alex", find_alexnet(alexnet)) if kind == "lpips_alex" else EmbeddedFeatures()
