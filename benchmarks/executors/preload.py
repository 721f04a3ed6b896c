"""What the process that workers are forked from loads: all that they need, and what is loaded stays shared."""

from __future__ import annotations

import gc

from veilbench.memory import settle

from . import processes

__all__ = ["processes"]

gc.collect()
settle()
