"""What every part promises, as checks that any part can be put through: ``veilbench check PART``.

The project's own tests run the very same checks.  Nothing here needs pytest.
"""

from __future__ import annotations

from .base import BrokenPromiseError, Check, failures
from .datasets import DATASET_CHECKS
from .methods import METHOD_CHECKS, MethodCase
from .recognizers import RECOGNIZER_CHECKS, toy_recognizer

__all__ = [
    "DATASET_CHECKS",
    "METHOD_CHECKS",
    "RECOGNIZER_CHECKS",
    "BrokenPromiseError",
    "Check",
    "MethodCase",
    "failures",
    "toy_recognizer",
]
