"""Self-attention maps of a UNet: recorded once for a clean path, compared with afterwards.

diffusers lets a layer's arithmetic be replaced by an *attention processor*.  The one here computes the maps
explicitly, uses them for the layer's output, and hands the same tensor to the comparison, so that no map exists twice.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor


class Mode(Enum):
    """What happens to a map that a layer has computed."""

    OFF = "off"
    RECORD = "record"
    COMPARE = "compare"


class SelfAttentionTape:
    """Attaches to every self-attention layer of a UNet and records or compares their maps.

    Args:
        unet: its ``attn1`` layers get an explicit processor; cross-attention is left as it is.

    Raises:
        ValueError: when the UNet has no self-attention layer that could be watched: a structure loss over no maps
            would be zero without anybody noticing.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.mode = Mode.OFF
        self._maps: list[Tensor] = []
        self._difference: Tensor | None = None
        self._seen = 0
        processors = dict(unet.attn_processors)
        watched = [name for name in processors if name.endswith("attn1.processor")]
        if not watched:
            raise ValueError(
                f"no self-attention layer found among {len(processors)} attention layers of the UNet; "
                "the structure loss needs layers named attn1, as diffusers names them"
            )
        self.layers = len(watched)
        for name in watched:
            processors[name] = _ExplicitSelfAttention(self)
        unet.set_attn_processor(processors)

    def off(self) -> None:
        """Do nothing with the maps of the next passes."""
        self.mode = Mode.OFF

    def record(self) -> None:
        """Keep the maps of the next pass."""
        self.mode, self._maps = Mode.RECORD, []

    def compare(self, maps: list[Tensor]) -> None:
        """Compare the maps of the next pass with ``maps``, as :meth:`recorded` gave them."""
        self.mode, self._maps, self._difference, self._seen = Mode.COMPARE, maps, None, 0

    def recorded(self) -> list[Tensor]:
        """The maps of the pass since :meth:`record`, ``B x heads x N x N`` per layer, and stop recording."""
        self.mode = Mode.OFF
        self._check(len(self._maps))
        return self._maps

    def difference(self) -> Tensor:
        """Sum over layers of the mean squared difference of the maps since :meth:`compare`, per image ``B``."""
        self.mode = Mode.OFF
        self._check(self._seen)
        assert self._difference is not None  # noqa: S101 (checked: at least one layer was seen)
        return self._difference

    def _check(self, count: int) -> None:
        if count != self.layers:
            raise RuntimeError(
                f"{count} of {self.layers} self-attention layers reported their maps; "
                "another attention processor replaced ours after the pipeline was loaded"
            )

    def take(self, maps: Tensor) -> None:
        """Called by a layer with its maps ``B x heads x N x N``."""
        if self.mode is Mode.RECORD:
            self._maps.append(maps.detach())
        elif self.mode is Mode.COMPARE:
            each = _MeanSquaredDifference.apply(maps, self._maps[self._seen])
            self._difference = each if self._difference is None else self._difference + each
            self._seen += 1


class _MeanSquaredDifference(torch.autograd.Function):
    """``mean over all but the first axis of (maps - base)**2``.

    Written as a function of its own so that the difference is not kept for the backward pass: both inputs are alive
    anyway, and subtracting again is cheaper than holding the largest tensors of the network twice.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, base: Tensor) -> Tensor:
        ctx.save_for_backward(maps, base)
        difference = (maps - base).flatten(1)
        return (difference * difference).mean(dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        maps, base = ctx.saved_tensors
        scale = gradient * (2 / maps[0].numel())
        return (maps - base) * scale.view(-1, 1, 1, 1), None


class _ExplicitSelfAttention:
    """diffusers' attention with the maps in the open; for self-attention of 2D UNets only."""

    def __init__(self, tape: SelfAttentionTape) -> None:
        self.tape = tape

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Self-attention of ``B x N x C`` states."""
        del encoder_hidden_states, attention_mask
        batch, tokens, _channels = hidden_states.shape
        query, key, value = (
            project(hidden_states).view(batch, tokens, attn.heads, -1).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        maps = torch.softmax(query @ key.transpose(-1, -2) * attn.scale, dim=-1)
        self.tape.take(maps)
        mixed = (maps @ value).transpose(1, 2).reshape(batch, tokens, -1)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out
