"""Joules that protecting took, where the machine tells: its processors by RAPL, the graphics card by NVML.

The counters are those of whole processors and cards: whatever else ran on them is counted with it.  So nothing is
recorded where several protections may run at once, and none of a part that is half known: it stays empty, with
the reason beside it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
ZONE = re.compile(r"intel-rapl:\d+")  # AMD's have the name, too; what has one more number is a part of another
MICRO, MILLI = 1e-6, 1e-3
MOST_WATTS = 600.0
"""What no processor package draws: a counter that such power could bring round between two readings tells nothing."""
SHARED = "protections that run at once share the machine's counters; run with --jobs 1"
DEVICES = "devices that share a protection's photos share the machine's counters; run with --devices 1"

HOST, DEVICE = "host", "device"


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter.

    Attributes:
        part: ``host`` for a processor package, ``device`` for a graphics card.
        read: joules since some moment.
        span: joules after which it begins anew; infinite where it does not.
    """

    part: str
    read: Callable[[], float]
    span: float = float("inf")


class Meter:
    """Joules between two moments.

    Args:
        counters: of which all of a part are added up; none where nothing can be measured.
        missing: why a part of the machine has none.

    Attributes:
        missing: the same, or why the last measurement failed; empty where all is known.
    """

    def __init__(self, counters: Sequence[Counter], missing: str = "") -> None:
        self._counters = counters
        self._begun: list[float] | None = None
        self._moment = 0.0
        self.missing = missing

    def start(self) -> None:
        """Begin."""
        self._begun, self._moment = self._read(), time.monotonic()

    def stop(self) -> dict[str, float]:
        """Joules since :meth:`start` by part; empty where they are not known."""
        before, after, seconds = self._begun, self._read(), time.monotonic() - self._moment
        self._begun = None
        if before is None or after is None:
            return {}
        if any(seconds * MOST_WATTS >= one.span for one in self._counters):
            self.missing = f"a batch took {seconds:.0f} s, in which a counter may come round; make --batch-size smaller"
            return {}
        found: dict[str, float] = {}
        for counter, first, last in zip(self._counters, before, after, strict=True):
            used = last - first + (counter.span if last < first else 0.0)
            found[counter.part] = found.get(counter.part, 0.0) + used
        return found

    def _read(self) -> list[float] | None:
        try:
            return [counter.read() for counter in self._counters]
        except Exception as error:  # a file that is closed to us now, or whatever a driver raises
            self.missing = f"counters cannot be read any more ({error})"
            return None


def meter(*, alone: bool, devices: int = 1) -> Meter:
    """What measures a protection on this machine.

    Args:
        alone: no other protection runs meanwhile.
        devices: processes or cards that share the protection's photos.
    """
    if devices > 1 or not alone:
        return Meter([], DEVICES if devices > 1 else SHARED)
    (packages, no_host), (cards, no_device) = rapl(POWERCAP), _card()
    return Meter([*packages, *cards], "; ".join(filter(None, (no_host, no_device))))


def rapl(powercap: Path) -> tuple[list[Counter], str]:
    """A counter for each processor package, and why there is none or an empty string.

    Args:
        powercap: folder of the zones, see the kernel's ``Documentation/power/powercap/powercap.rst``.
    """
    zones = [path for path in sorted(powercap.glob("intel-rapl:*")) if ZONE.fullmatch(path.name)]
    try:
        packages = [path for path in zones if _text(path / "name").startswith("package")]  # not `psys`, which has them
        found = [
            Counter(HOST, partial(_micro, path / "energy_uj"), _micro(path / "max_energy_range_uj"))
            for path in packages
        ]
        for counter in found:
            counter.read()
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        where = getattr(error, "filename", None) or powercap
        return [], f"{where}: cannot be read ({reason}); give this user the right to read it"
    return found, "" if found else f"{powercap} has no counter of a processor package"


def nvml(uuid: str) -> tuple[list[Counter], str]:
    """The counter of a graphics card, and why there is none or an empty string.

    Args:
        uuid: of the card as NVML has it, ``GPU-`` in front.
    """
    if find_spec("pynvml") is None:
        return [], "the graphics card's energy needs the package nvidia-ml-py (module pynvml)"
    try:
        pynvml = import_module("pynvml")
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        counter = Counter(DEVICE, lambda: MILLI * pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        counter.read()
    except Exception as error:  # NVML's own, or a module that is another
        return [], f"the graphics card {uuid} does not tell its energy ({error})"
    return [counter], ""


def _card() -> tuple[list[Counter], str]:
    """Of the card that this process uses; neither counter nor reason where it uses none."""
    import torch  # noqa: PLC0415 (slow to import)

    if not torch.cuda.is_available():
        return [], ""
    return nvml(f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")


def _micro(path: Path) -> float:
    """A number of millionths in a file."""
    return MICRO * int(_text(path))


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
