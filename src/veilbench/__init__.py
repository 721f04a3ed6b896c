"""veilbench: an experiment tracker and benchmark harness for facial privacy protection.

``import veilbench`` loads nothing heavy: what is below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .benchmarks.api.measuring import score
    from .benchmarks.api.parts import load_dataset, load_method, load_recognizer
    from .benchmarks.api.protection import protect
    from .benchmarks.api.stored import items, leaderboard, load_results
    from .benchmarks.engine.results import Results
    from .datasets.base import Face, FaceBatch, FaceDataset, FaceParts, MakeupReference, Target
    from .datasets.photos import read_photo, write_png
    from .errors import DataError, UserError, VeilbenchError, WeightsError
    from .methods.base import Goal, ItemRandom, ProtectionMethod, Task
    from .methods.trained import TrainedMethod
    from .metrics.base import Column, Pair, Pairs, Score, Surroundings
    from .metrics.countermeasures.base import Countermeasure
    from .models.recognizers.base import InputSpec, Recognizer, Thresholds

__version__ = "0.1.0"
__all__ = [
    "Column",
    "Countermeasure",
    "DataError",
    "Face",
    "FaceBatch",
    "FaceDataset",
    "FaceParts",
    "Goal",
    "InputSpec",
    "ItemRandom",
    "MakeupReference",
    "Pair",
    "Pairs",
    "ProtectionMethod",
    "Recognizer",
    "Results",
    "Score",
    "Surroundings",
    "Target",
    "Task",
    "Thresholds",
    "TrainedMethod",
    "UserError",
    "VeilbenchError",
    "WeightsError",
    "items",
    "leaderboard",
    "load_dataset",
    "load_method",
    "load_recognizer",
    "load_results",
    "protect",
    "read_photo",
    "score",
    "write_png",
]

# Module -> what it brings; a test holds it against the imports above, which only type checkers follow.
_MODULES = {
    "benchmarks.api.measuring": "score",
    "benchmarks.api.parts": "load_dataset load_method load_recognizer",
    "benchmarks.api.protection": "protect",
    "benchmarks.api.stored": "items leaderboard load_results",
    "benchmarks.engine.results": "Results",
    "datasets.base": "Face FaceBatch FaceDataset FaceParts MakeupReference Target",
    "datasets.photos": "read_photo write_png",
    "errors": "DataError UserError VeilbenchError WeightsError",
    "methods.base": "Goal ItemRandom ProtectionMethod Task",
    "methods.trained": "TrainedMethod",
    "metrics.base": "Column Pair Pairs Score Surroundings",
    "metrics.countermeasures.base": "Countermeasure",
    "models.recognizers.base": "InputSpec Recognizer Thresholds",
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """What ``veilbench.<name>`` is, imported now and kept."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
