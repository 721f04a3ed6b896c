"""Makeup losses: histogram matching in the parts of the face, the direction of the makeup in CLIP's space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.base import FaceParts

WHITE = 255.0  # the losses of BeautyGAN, PSGAN and DiffAM are written for pixel values up to 255
INSIDE = 0.5  # a pixel belongs to a part when its soft mask is at least this


@dataclass(frozen=True, slots=True)
class Histogram:
    """The colours of one part of one face: by channel its different values, ascending, and their cumulative shares."""

    values: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]

    @classmethod
    def of(cls, image: Tensor, mask: Tensor) -> Histogram:
        """Of the pixels of ``image`` (``3 x H x W``) where ``mask`` (``1 x H x W``, bool) is true: at least one."""
        values, shares = [], []
        for channel in image[:, mask[0]]:
            different, counts = torch.unique(channel, return_counts=True)
            values.append(different)
            shares.append(counts.cumsum(0) / channel.numel())
        return cls(tuple(values), tuple(shares))

    def match(self, image: Tensor, mask: Tensor) -> Tensor:
        """Histogram matching: ``image`` with the pixels of ``mask`` given this histogram, by channel; others are kept.

        Exact, not in 256 bins as in the papers' code: each pixel takes the value at its own cumulative share,
        interpolated between neighbours.

        Args:
            image: ``3 x H x W``.
            mask: ``1 x H x W``, bool.
        """
        matched = image.clone()
        for place, (values, shares) in enumerate(zip(self.values, self.shares, strict=True)):
            channel = image[place][mask[0]].contiguous()
            own = torch.searchsorted(channel.sort().values, channel, right=True) / max(channel.numel(), 1)
            matched[place][mask[0]] = _interpolated(own.to(shares), shares, values)
        return matched


def _interpolated(points: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation of ``values`` given ``at`` ascending places; constant beyond the ends."""
    right = torch.searchsorted(at, points.contiguous()).clamp(1, max(len(at) - 1, 1))
    if len(at) == 1:
        return values.expand_as(points)
    left = right - 1
    share = ((points - at[left]) / (at[right] - at[left])).clamp(0, 1)
    return values[left] + share * (values[right] - values[left])


def part_masks(parts: FaceParts, eye_margin: float = 0.0) -> dict[str, Tensor]:
    """Which pixels belong to which part: bool masks ``B x 1 x H x W``.

    Args:
        parts: soft masks ``B x 1 x H x W``.
        eye_margin: as a share of the picture's height.  Eyes grow to the skin in their bounding box widened by it on
            all sides, since masks of real photos hold the eye without the lid, which is where shadow is put on.
    """
    masks = {name: mask >= INSIDE for name, mask in parts.named().items()}
    margin = round(eye_margin * parts.skin.shape[-2])
    if margin > 0:
        skin = masks["skin"]
        for name in ("left_eye", "right_eye"):
            masks[name] = masks[name] | (_boxes(masks[name], margin) & skin)
    return masks


def _boxes(masks: Tensor, margin: int) -> Tensor:
    """Bounding boxes of ``B x 1 x H x W`` masks, widened, as masks; empty where a mask is."""
    rows = F.max_pool2d(masks.any(dim=3, keepdim=True).float(), (2 * margin + 1, 1), 1, (margin, 0))
    columns = F.max_pool2d(masks.any(dim=2, keepdim=True).float(), (1, 2 * margin + 1), 1, (0, margin))
    return (_filled_between(rows, 2) * _filled_between(columns, 3)).bool()


def _filled_between(line: Tensor, dim: int) -> Tensor:
    """1 from the first to the last 1 along ``dim``."""
    before = line.cummax(dim).values
    after = line.flip(dim).cummax(dim).values.flip(dim)
    return before * after


def makeup_distances(
    images: Tensor, masks: Mapping[str, Tensor], histograms: Mapping[str, Histogram], weights: Mapping[str, float]
) -> Tensor:
    """Histogram-matching loss of each image's parts, ``B``; the pixel-level makeup loss of BeautyGAN.

    For each part the mean over the whole picture of ``|image - matched| * mask`` in pixel values up to 255, as in
    DiffAM's code, weighted and added up.  What is matched is the image itself, without gradient.  A part that a face
    does not show adds nothing.

    Args:
        images: ``B x 3 x H x W``; values outside ``[0, 1]`` are clamped.
        masks: by part, bool ``B x 1 x H x W``; see :func:`part_masks`.
        histograms: of the reference, by part.
        weights: by part; only these count.
    """
    seen = images.clamp(0, 1)
    losses = []
    for place, image in enumerate(seen):
        loss = image.new_zeros(())
        for part, weight in weights.items():
            mask = masks[part][place]
            goal = histograms[part].match(image.detach(), mask)
            loss = loss + weight * WHITE * ((image - goal).abs() * mask).mean()
        losses.append(loss)
    return torch.stack(losses)


def direction_losses(directions: Tensor, wanted: Tensor) -> Tensor:
    """``-log((1 + cos) / 2)``, ``B``, of directions in CLIP's space, ``B x D``, to wanted ones, ``1 x D`` or ``B x D``.

    0 where they agree; the opposite direction gives a large finite number.
    """
    agreement = (1 + F.cosine_similarity(directions, wanted, dim=-1)) / 2
    return -agreement.clamp_min(torch.finfo(agreement.dtype).eps).log()
