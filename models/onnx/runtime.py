"""onnxruntime: what deployed recognisers run in, and what every other way of running them is compared with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from veilbench.errors import WeightsError, one_line

from ..recognizers.base import CHUNK
from .files import Layout, required
from .network import OnnxNetwork
from .normalisation import InnerScale

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TOLERANCE = 1e-4
"""Of the norm of an embedding: how far two ways of running a network may lie apart."""
ERRORS_ONLY = 3  # of onnxruntime's levels of logging

logger = logging.getLogger(__name__)


def session_options() -> Any:
    """Quiet, and with as many threads as PyTorch has."""
    options = required("onnxruntime").SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    return options


def open_session(path: Path) -> Any:
    """An ``InferenceSession`` on the CPU: the reference.

    Raises:
        WeightsError: when onnxruntime refuses the file.
    """
    try:
        return required("onnxruntime").InferenceSession(path, session_options(), providers=[CPU])
    except WeightsError:
        raise
    except Exception as error:  # of onnxruntime: a dozen classes without a common one
        raise WeightsError(f"{path}: onnxruntime refuses it ({one_line(error)}); export it again") from error


def agreed_batch(network: OnnxNetwork, scale: InnerScale, fallback: tuple[int, int]) -> int:
    """How many images a network takes at once, once PyTorch and onnxruntime have said the same of some.

    Args:
        network: read from a file.
        scale: what it does to photos first.
        fallback: ``(height, width)`` of images where the file leaves that open.

    Returns:
        What the file says; else 8, or 1 where the network cannot be run with 8.

    Raises:
        WeightsError: when they differ by more than 1e-4 of an embedding's norm, or one of them fails.
    """
    layout = network.layout
    session = open_session(layout.path)
    sizes = [layout.batch] if layout.batch else [CHUNK, 1]
    for batch in sizes:
        images = example_images(batch, layout.size or fallback, scale)
        try:
            expected = run_session(session, layout, network.output, images)
        except WeightsError:
            if batch == sizes[-1]:
                raise
            continue
        _compare(network, images, expected)
        return batch
    raise AssertionError


def example_images(batch: int, size: tuple[int, int], scale: InnerScale) -> Tensor:
    """Fixed random images: in ``[0, 255]`` for a network that normalises them itself, else in ``[-1, 1]``."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, *size, generator=generator)
    return images * 255 if scale.operators else images * 2 - 1


def run_session(session: Any, layout: Layout, output: str, images: Tensor) -> Tensor:
    """What onnxruntime says of images ``B x 3 x H x W``: ``B x D``.

    Raises:
        WeightsError: when it fails, or gives another number of embeddings.
    """
    pixels: NDArray[np.float32] = images.detach().cpu().numpy()
    if layout.channels_last:
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    try:
        (found,) = session.run([output], {layout.input: pixels})
    except Exception as error:
        raise WeightsError(f"{layout.path}: fails in onnxruntime ({one_line(error)}); export it again") from error
    return embeddings_of(layout.path, torch.from_numpy(np.asarray(found)), len(images))


def embeddings_of(path: Path, found: Tensor, count: int) -> Tensor:
    """``B x D`` of what a network says of ``count`` images.  Raises :class:`WeightsError` for anything else."""
    if found.dim() < 2 or len(found) != count or not found.is_floating_point():  # noqa: PLR2004
        shape = " x ".join(map(str, found.shape))
        raise WeightsError(f"{path}: says {shape} of {count} photos, not one embedding each; export it with any batch")
    return found.flatten(1)


def _compare(network: OnnxNetwork, images: Tensor, expected: Tensor) -> None:
    path = network.layout.path
    try:
        with torch.no_grad():
            found = embeddings_of(path, network(images), len(images))
        difference = (found - expected).norm(dim=1) / expected.norm(dim=1)
    except WeightsError:
        raise
    except Exception as error:  # of an operator that is used in a way that nobody thought of
        raise WeightsError(
            f"{path}: cannot be run in PyTorch ({one_line(error)}); use kind: insightface, as a judge"
        ) from error
    worst = float(difference.max())
    if not worst <= TOLERANCE:  # also of what is not finite
        raise WeightsError(
            f"{path}: PyTorch and onnxruntime differ by {worst:.1e} of an embedding's norm, more than {TOLERANCE:g}; "
            "gradients would be another network's: use kind: insightface, as a judge"
        )


def provider_of(session: Any) -> str:
    """What a session runs on; warns where that is the CPU of a machine with a GPU that PyTorch can use."""
    provider = str(session.get_providers()[0])
    if provider == CPU and torch.cuda.is_available():
        have = required("onnxruntime").get_available_providers()
        why = (
            "is here but did not start"
            if CUDA in have
            else "is not in this onnxruntime (install onnxruntime-gpu in its place)"
        )
        logger.warning("onnxruntime runs on the CPU although there is a GPU: its %s %s", CUDA, why)
    return provider
