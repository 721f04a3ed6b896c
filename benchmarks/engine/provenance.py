"""Where a number comes from: code version, packages, hardware, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import veilbench

PACKAGES = (
    *("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "pillow", "diffusers"),
    *("onnxruntime", "onnxruntime-gpu", "insightface"),  # where they are installed
)
CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


@cache
def provenance() -> dict[str, Any]:
    """Git commit and dirty flag (None outside a checkout), package versions, hardware."""
    import torch  # noqa: PLC0415

    folder = Path(__file__).resolve().parent
    commit, status = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "veilbench": veilbench.__version__,
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def reset_peak_memory() -> None:
    """Start a new peak: on Linux the process's own, on an accelerator the allocator's."""
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5", encoding="ascii")


def peak_memory() -> dict[str, int]:
    """Bytes at the peak since :func:`reset_peak_memory`: ``host`` (resident), and ``device`` where there is one.

    Where the system keeps no such record, ``host`` is missing rather than guessed.
    """
    import torch  # noqa: PLC0415

    peak = {}
    if STATUS.exists():
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                peak["host"] = int(line.split()[1]) * 1024
    if torch.cuda.is_available():
        peak["device"] = torch.cuda.max_memory_allocated()
    return peak
