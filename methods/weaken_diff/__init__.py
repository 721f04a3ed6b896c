"""WeakenDiff: ``core.py`` is the algorithm on networks that it is handed, ``method.py`` the protection method."""

from .core import Core, NullTextInversion, Objective, Residual, Settings
from .method import WeakenDiff

__all__ = ["Core", "NullTextInversion", "Objective", "Residual", "Settings", "WeakenDiff"]
