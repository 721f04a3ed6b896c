"""MI-FGSM with translation-invariant gradients and input diversity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import ItemRandom, Task
from .mi_fgsm import MIFGSM

KERNEL_REACH = 3.0  # the kernel's edge in standard deviations


class TIDIM(MIFGSM):
    """TI-DIM: MI-FGSM whose gradient comes from randomly resized images (DIM) and is smoothed (TI).

    Input diversity, per image and step, with probability ``diversity``: enlarge to a random side of up to ``enlarge``
    times the photo's, pad with zeros at a random place, resize back.

    Args:
        epsilon, step_size, steps, momentum: see :class:`~methods.mi_fgsm.MIFGSM`.
        diversity: probability of the random resizing (0.5 in Xie et al.).
        enlarge: largest side, relative to the photo's (1.1 covers the 299 to 330 pixels of Xie et al.).
        kernel: side of the Gaussian kernel in pixels, odd (15 in Dong et al., at 299 pixels); 1 does not smooth.
    """

    kind = "ti_dim"
    paper = (
        "Xie et al., Improving Transferability of Adversarial Examples with Input Diversity, CVPR 2019; "
        "Dong et al., Evading Defenses to Transferable Adversarial Examples by Translation-Invariant Attacks, CVPR 2019"
    )

    def __init__(
        self,
        *,
        epsilon: float = 16 / 255,
        step_size: float = 2 / 255,
        steps: int = 20,
        momentum: float = 1.0,
        diversity: float = 0.5,
        enlarge: float = 1.1,
        kernel: int = 15,
    ) -> None:
        super().__init__(epsilon=epsilon, step_size=step_size, steps=steps, momentum=momentum)
        if not 0 <= diversity <= 1:
            raise ValueError(f"diversity is {diversity:g}; it is a probability, from 0 to 1")
        if enlarge < 1:
            raise ValueError(f"enlarge is {enlarge:g}; it is at least 1")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; it is an odd number of pixels")
        self.diversity = diversity
        self.enlarge = enlarge
        self.kernel = kernel

    def input_transform(self, images: Tensor, random: ItemRandom) -> Tensor:
        draws = random.uniform(0, 1, 4).tolist()
        pairs = zip(images.split(1), draws, strict=True)
        return torch.cat(
            [
                input_diversity(image, self.enlarge, rest) if coin < self.diversity else image
                for image, (coin, *rest) in pairs
            ]
        )

    def gradient(self, images: Tensor, task: Task, references: list[Tensor], random: ItemRandom) -> Tensor:
        return smooth(super().gradient(images, task, references, random), self.kernel)


def input_diversity(image: Tensor, enlarge: float, draws: list[float]) -> Tensor:
    """``1 x 3 x H x W`` enlarged, padded and resized back; ``draws`` are three numbers in ``[0, 1)``: size, y, x."""
    height, width = image.shape[-2:]
    frame = (int(height * enlarge), int(width * enlarge))
    inner = tuple(low + int(draws[0] * (high - low + 1)) for low, high in zip((height, width), frame, strict=True))
    top, left = (int(draw * (outer - side + 1)) for draw, outer, side in zip(draws[1:], frame, inner, strict=True))
    larger = F.interpolate(image, inner, mode="bilinear", align_corners=False)
    padded = F.pad(larger, (left, frame[1] - inner[1] - left, top, frame[0] - inner[0] - top))
    return F.interpolate(padded, (height, width), mode="bilinear", align_corners=False)


def smooth(gradient: Tensor, side: int) -> Tensor:
    """Each channel convolved with a normalised Gaussian of ``side`` pixels that reaches three standard deviations."""
    if side == 1:
        return gradient
    line = torch.exp(-torch.linspace(-KERNEL_REACH, KERNEL_REACH, side).square() / 2).to(gradient)
    kernel = torch.outer(line, line) / line.sum().square()
    kernels, channels = kernel.expand(gradient.shape[1], 1, side, side), gradient.shape[1]
    # image by image: the last bit must not depend on the batch (see Recognizer)
    return torch.cat([F.conv2d(one, kernels, padding="same", groups=channels) for one in gradient.split(1)])
