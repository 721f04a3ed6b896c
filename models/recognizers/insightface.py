"""Recognisers as insightface runs them: its model packs, and single ONNX files.  They judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from veilbench.errors import WeightsError, one_line

from ..onnx.files import Layout, content_sha256, layout_of, read_model, required
from ..onnx.input import accepted
from ..onnx.network import chosen_output
from ..onnx.normalisation import inner_scale
from ..onnx.packs import SMALLEST, SUFFIX, is_recogniser, recogniser_of
from ..onnx.runtime import embeddings_of, provider_of, session_options
from .base import CHUNK, InputSpec, Recognizer

WHITE = 255  # insightface's mean and std are of levels
USUAL = (0.5, 0.5)
"""What insightface guesses of networks that do not normalise photos: mean and deviation of 127.5 levels."""


class InsightFace(Recognizer):
    """What insightface's `ArcFaceONNX` says, opened by insightface's model zoo from local files alone.

    insightface guesses from the names of a graph's first nodes whether the network normalises photos itself; its guess
    is the default of `input`'s mean and std, and refused on load where the graph shows that it is wrong.  What `input`
    says holds, and is checked in the same way.  Photos are cropped, aligned and resized by the protocol, as for every
    other recogniser.

    Args:
        model: one ONNX file, or the folder of a pack (with or without its detector).

    Raises:
        WeightsError: when there is no such file, it is damaged, leads out of its folder, or is no recogniser.
    """

    kind = "insightface"
    differentiable = False

    def __init__(self, *, model: Path) -> None:
        super().__init__()
        path = recogniser_of(model)
        graph = read_model(path)
        self._layout, self._scale = layout_of(path, graph), inner_scale(graph)
        chosen_output(self._layout, "")
        if self._layout.channels_last:
            raise WeightsError(f"{path}: takes images with channels last, insightface shows them first; use kind: onnx")
        self._network = _opened(self._layout)
        self._guess = (self._network.input_mean / WHITE, self._network.input_std / WHITE)
        # photos come as `input` says, once: insightface's own normalisation is left out
        self._network.input_mean, self._network.input_std = 0.0, 1.0
        self._provider = provider_of(self._network.session)
        self.input_spec = InputSpec(*(self._layout.size or (SMALLEST, SMALLEST)), *self._guess)
        self.chunk = self._batch()

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """The hash of the recogniser's file; the rest of a pack changes no embedding."""
        return super().identity({**params, "model": content_sha256(recogniser_of(params["model"]))})

    @property
    def runs_on(self) -> str:
        """The execution provider of onnxruntime."""
        return self._provider

    def look_as(self, spec: InputSpec | None) -> None:
        """Raises :class:`WeightsError` where the size or the normalisation is not the network's."""
        self.input_spec = accepted(self._layout, self._scale, spec, self.input_spec, "insightface's guess of")
        if spec is None and not self._scale.operators and self._guess != USUAL:
            raise WeightsError(
                f"{self._layout.path}: insightface guesses from the names of its first nodes that it normalises photos "
                "itself, and it does not; say with `input` what its authors show it, most often mean: 0.5, std: 0.5"
            )

    def embed(self, images: Tensor) -> Tensor:
        """What insightface's class says."""
        path = self._layout.path
        try:
            found = self._network.forward(images.detach().cpu().numpy())
        except Exception as error:  # of onnxruntime: a dozen classes without a common one
            raise WeightsError(f"{path}: fails in onnxruntime ({one_line(error)}); export it again") from error
        return embeddings_of(path, torch.from_numpy(found), len(images))

    def _batch(self) -> int:
        """What the file says; else 8, or 1 where the network cannot be run with 8."""
        if self._layout.batch:
            return self._layout.batch
        try:
            self.embed(torch.zeros(CHUNK, 3, self.input_spec.height, self.input_spec.width))
        except WeightsError:
            return 1
        return CHUNK


def _opened(layout: Layout) -> Any:
    """The object of insightface around a file, by its model zoo where that takes networks of this size."""
    zoo = required("insightface.model_zoo.model_zoo")
    providers = required("insightface.model_zoo").get_default_providers()
    options = session_options()
    try:
        if is_recogniser(layout) and layout.path.suffix == SUFFIX:  # any other name is a pack's to the model zoo
            return zoo.get_model(str(layout.path), providers=providers, sess_options=options)
        session = zoo.PickableInferenceSession(str(layout.path), providers=providers, sess_options=options)
        return zoo.ArcFaceONNX(model_file=str(layout.path), session=session)
    except Exception as error:  # also a bare AssertionError
        raise WeightsError(f"{layout.path}: insightface refuses it ({one_line(error)}); export it again") from error
