"""The last module that the process loads from which workers are forked: what is loaded by then stays shared."""

from __future__ import annotations

import gc

from veilbench.memory import settle

gc.collect()
settle()
