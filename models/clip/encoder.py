"""CLIP (Radford et al., ICML 2021) behind one door: embeddings of images and of texts that can be compared.

Sizes, means and the tokenizer come from the folder's own configs, so that the embedded model and OpenAI's are used
alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from veilbench.errors import WeightsError

from ..recognizers.base import PassCounter
from .folder import CLIP


class ImageTextEncoder(nn.Module):
    """A frozen CLIP.

    Args:
        model: both encoders.
        processor: how the image encoder looks at photos.
        tokenizer: of the text encoder.
        sha256: hash of the files, part of every result's identity.

    Attributes:
        width: length ``D`` of the embeddings.
        passes: images that went through the image encoder.

    Raises:
        WeightsError: when the processor makes images of another size than the image encoder takes.
    """

    def __init__(
        self, model: CLIPModel, processor: CLIPImageProcessor, tokenizer: CLIPTokenizer, sha256: str = ""
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.sha256 = sha256
        self.width = int(model.config.projection_dim)
        self._shortest = int(processor.size["shortest_edge"])
        self._crop = int(processor.crop_size["height"]), int(processor.crop_size["width"])
        wanted = int(model.config.vision_config.image_size)
        if self._crop != (wanted, wanted) or self._shortest < wanted:
            raise WeightsError(
                f"the processor cuts {self._crop[1]} x {self._crop[0]} out of {self._shortest} pixels but the image "
                f"encoder takes {wanted} x {wanted}; take both from one folder"
            )
        self.register_buffer("mean", torch.tensor(processor.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(processor.image_std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.passes = PassCounter()
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls, model: str | Path, dtype: torch.dtype = torch.float32) -> ImageTextEncoder:
        """Read a model.

        Args:
            model: ``embedded``, folder, or Hub name (``openai/clip-vit-base-patch16``) in the local cache; see
                :meth:`~..folders.Layout.find`.
            dtype: of the weights in memory.

        Raises:
            WeightsError: when files are missing, or it is another kind of model.
        """
        folder = CLIP.find(model)
        return cls(
            cast(CLIPModel, CLIP.read_network(folder, "", CLIPModel.from_pretrained, dtype)),
            cast(CLIPImageProcessor, CLIP.read(folder, "", CLIPImageProcessor.from_pretrained)),
            cast(CLIPTokenizer, CLIP.read(folder, "", CLIPTokenizer.from_pretrained)),
            CLIP.sha256(folder),
        )

    def train(self, mode: bool = True) -> ImageTextEncoder:
        """Stay in eval mode whatever a Trainer asks."""
        del mode
        return super().train(False)

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit-norm embeddings ``B x D`` of images ``B x 3 x H x W`` in ``[0, 1]``, any size; differentiable.

        As in CLIP, the shortest side is resized (bicubic, antialias) and the centre square is seen.  CLIP rounds the
        resized image to 8 bits, here it keeps its gradient.
        """
        features: Tensor = self.model.get_image_features(self._prepared(images)).pooler_output
        embeddings = F.normalize(features)
        self.passes.count(len(images), embeddings)
        return embeddings

    def _prepared(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        shortest = min(height, width)
        if shortest != self._shortest:
            size = [side * self._shortest // shortest for side in (height, width)]
            images = F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        top, left = ((side - cut) // 2 for side, cut in zip(images.shape[-2:], self._crop, strict=True))
        images = images[..., top : top + self._crop[0], left : left + self._crop[1]]
        return ((images - self.mean) / self.std).to(self.model.dtype)

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """Unit-norm embeddings ``N x D`` of texts; what is longer than the model's context is cut off."""
        length = int(self.model.config.text_config.max_position_embeddings)
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        device = self.mean.device
        features: Tensor = self.model.get_text_features(
            tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        ).pooler_output
        return F.normalize(features)
