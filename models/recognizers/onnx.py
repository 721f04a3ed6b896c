"""A recogniser in an ONNX file, in PyTorch's operators: it judges, and can be attacked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..onnx.files import content_sha256, read_model
from ..onnx.input import accepted
from ..onnx.network import OnnxNetwork
from ..onnx.normalisation import inner_scale
from ..onnx.runtime import agreed_batch
from .base import InputSpec, Recognizer


class OnnxRecognizer(Recognizer):
    """A network from an ONNX file of opset 7 or newer, as exporters of PyTorch, MXNet and TensorFlow write them.

    On load its embeddings of some random images are compared with onnxruntime's, and it is refused where they differ by
    more than 1e-4 of their norm.  Where the graph begins with a normalisation of its own it is checked against `input`.

    Args:
        weights: the file; weights that it keeps in files beside it are part of the identity.
        output: name of the output that is the embedding, where there are several.
        bgr: the network takes blue first.

    Raises:
        WeightsError: when the file is damaged, leads out of its folder, is no recogniser, has an operator that is not
            known, or runs otherwise than in onnxruntime.
    """

    kind = "onnx"

    def __init__(self, *, weights: Path, output: str = "", bgr: bool = False) -> None:
        super().__init__()
        model = read_model(weights)
        self._scale = inner_scale(model)
        self.network = OnnxNetwork(weights, model, output)
        self.bgr = bgr
        size = self.network.layout.size or (self.input_spec.height, self.input_spec.width)
        self.chunk = agreed_batch(self.network, self._scale, size)
        self.input_spec = InputSpec(*size)

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """The hash of the file, with those of files beside it that hold its weights."""
        return super().identity({**params, "weights": content_sha256(params["weights"])})

    def look_as(self, spec: InputSpec | None) -> None:
        """Raises :class:`WeightsError` where the size or the normalisation is not the network's."""
        self.input_spec = accepted(self.network.layout, self._scale, spec, self.input_spec)

    def embed(self, images: Tensor) -> Tensor:
        """What the network says."""
        embeddings: Tensor = self.network(images.flip(1) if self.bgr else images)
        return embeddings
