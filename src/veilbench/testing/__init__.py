"""What every part promises, as checks that any part can be put through: ``veilbench check PART``.

The project's own tests run the very same checks.  Nothing here needs pytest.
"""

from __future__ import annotations

from .base import BrokenPromiseError, Check, failures
from .countermeasures import COUNTERMEASURE_CHECKS
from .datasets import DATASET_CHECKS
from .methods import METHOD_CHECKS, MethodCase
from .recognizers import RECOGNIZER_CHECKS, toy_recognizer
from .scores import SCORE_CHECKS, ScoreCase, ToySuite
from .services import EXECUTOR_CHECKS, TRACKER_CHECKS, ExecutorCase, TrackerCase

__all__ = [
    "COUNTERMEASURE_CHECKS",
    "DATASET_CHECKS",
    "EXECUTOR_CHECKS",
    "METHOD_CHECKS",
    "RECOGNIZER_CHECKS",
    "SCORE_CHECKS",
    "TRACKER_CHECKS",
    "BrokenPromiseError",
    "Check",
    "ExecutorCase",
    "MethodCase",
    "ScoreCase",
    "ToySuite",
    "TrackerCase",
    "failures",
    "toy_recognizer",
]
