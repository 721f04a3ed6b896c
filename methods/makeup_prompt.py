"""Makeup by a prompt: the contrastive loss in CLIP's space of CLIP2Protect, an option in WeakenDiff's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .homography import sampling_grid

if TYPE_CHECKING:
    from veilbench.models.clip.encoder import ImageTextEncoder

TEMPERATURE = 0.1
DISTORTION = 0.5  # how far corners may move: this share of half a side
WITHOUT = "face"
TEMPLATES = ("{}", "a photo of {}", "a portrait with {}", "a close-up photo of {}", "a photo of a person with {}")
CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


class MakeupPrompt:
    """Pulls images from their reconstructions towards a prompt in CLIP's space (CLIP2Protect, CVPR 2023, section 3.3).

    InfoNCE at temperature 0.1, every vector of unit length.  The query is "reconstruction to image", the image seen in
    a random perspective; positives are "face to prompt" and "reconstruction to prompt", whose losses are averaged;
    negatives are "reconstruction to face", one for each template.  Papers fill 79 templates of ImageNet; ours are five.

    Args:
        encoder: CLIP.
        prompt: e.g. ``red lipstick``.
    """

    def __init__(self, encoder: ImageTextEncoder, prompt: str) -> None:
        self.encoder = encoder
        self.wanted = F.normalize(self._embedded(prompt).mean(dim=0, keepdim=True))
        self.without = self._embedded(WITHOUT)

    def _embedded(self, prompt: str) -> Tensor:
        return self.encoder.embed_texts([template.format(prompt) for template in TEMPLATES])

    def losses(self, images: Tensor, reconstructions: Tensor, corners: Tensor) -> Tensor:
        """The loss of each image, ``B``.

        Args:
            images: ``B x 3 x H x W``, about ``[0, 1]``.
            reconstructions: embeddings ``B x D`` of what the images were before they were moved.
            corners: ``B x 4 x 2`` in ``[0, 1]``: how far each corner moves inwards, across and down.
        """
        query = F.normalize(self.encoder.embed_images(in_perspective(images, corners)) - reconstructions)
        positives = torch.stack(
            [
                F.normalize(self.wanted - self.without.mean(dim=0)).expand_as(query),
                F.normalize(self.wanted - reconstructions),
            ],
            dim=1,
        )
        negatives = F.normalize(self.without[None] - reconstructions[:, None], dim=-1)
        near = (query[:, None] * positives).sum(dim=-1) / TEMPERATURE
        far = (query[:, None] * negatives).sum(dim=-1) / TEMPERATURE
        logits = torch.cat([near[..., None], far[:, None].expand(-1, near.shape[1], -1)], dim=-1)
        return -logits.log_softmax(dim=-1)[..., 0].mean(dim=1)


def in_perspective(images: Tensor, corners: Tensor) -> Tensor:
    """Images resampled so that their corners lie further in, black around them, as torchvision's ``RandomPerspective``.

    Args:
        images: ``B x 3 x H x W``.
        corners: ``B x 4 x 2`` in ``[0, 1]``, clockwise from the upper left.
    """
    ends = corners.new_tensor(CORNERS) * (1 - DISTORTION * corners)
    homographies = _homographies(ends, corners.new_tensor(CORNERS).expand_as(ends))
    points = sampling_grid(homographies.float(), images)
    return F.grid_sample(images, (points[..., :2] / points[..., 2:]).to(images), align_corners=False)


def _homographies(points: Tensor, images: Tensor) -> Tensor:
    """``B x 3 x 3`` matrices that take four points each (``B x 4 x 2``) to four others."""
    x, y = points.double().unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    u, v = images.double().unbind(-1)
    across = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1)
    down = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1)
    solved: Tensor = torch.linalg.solve(torch.cat([across, down], dim=1), torch.cat([u, v], dim=1))
    return torch.cat([solved, solved.new_ones(len(solved), 1)], dim=1).view(-1, 3, 3)
