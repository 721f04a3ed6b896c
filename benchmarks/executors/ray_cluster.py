"""Joining a Ray cluster, or starting one on this machine for a run, and how many workers it has room for."""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from veilbench.errors import UserError, one_line

from .base import Cluster
from .threads import cores

LONGEST_FOLDER = 24  # characters: names of sockets below it must not be longer than 107
PREFIX = "vb-ray-"
PATIENCE = 10.0  # seconds in which the head of a cluster answers
OBJECTS = 128 << 20  # bytes for objects of a cluster of ours: plans, which are small
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}  # nothing about a run is sent


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker takes of a machine: cores, and graphics cards."""

    cpus: int
    gpus: float

    def room(self, resources: Mapping[str, float]) -> int:
        """How many workers fit on a machine with ``resources``; none takes parts of two cards for a fraction."""
        by_cpus = int(resources.get("CPU", 0.0) // self.cpus)
        if not self.gpus:
            return by_cpus
        cards = resources.get("GPU", 0.0)
        by_gpus = int(cards) * int(1 / self.gpus) if self.gpus < 1 else int(cards // self.gpus)
        return min(by_cpus, by_gpus)

    def __str__(self) -> str:
        cores_ = f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"
        return cores_ + (f" and {self.gpus:g} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else "")


def check_cluster(cluster: Cluster, devices: int) -> None:
    """Raise :class:`UserError` where Ray is not installed, or cannot do what ``cluster`` says."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("--executor ray: Ray is not installed; uv pip install 'veilbench[ray]'")
    address = _address(cluster)
    if "://" in address:
        raise UserError(
            f"--address {address}: runs do not go through Ray's client; start the command on a machine of the cluster, "
            "with --address auto"
        )
    if cluster.gpus is not None and cluster.gpus > 1 and cluster.gpus != int(cluster.gpus):
        raise UserError(f"--gpus-per-cell {cluster.gpus:g}: only below 1 it may be a fraction; give a whole number")
    if cluster.gpus and cluster.gpus < devices and devices > 1:
        raise UserError(
            f"--gpus-per-cell {cluster.gpus:g}: --devices {devices} shares each protection's images among {devices} "
            f"cards; give --gpus-per-cell {devices}, or leave it out"
        )


def _address(cluster: Cluster) -> str:
    """Of the cluster to join; empty where one is to be started."""
    return cluster.address or os.environ.get("RAY_ADDRESS", "")


@contextmanager
def joined(cluster: Cluster, least_cpus: int) -> Iterator[bool]:
    """Within the block this process belongs to a cluster; afterwards no process and no file of ours is left of it.

    Args:
        cluster: which.
        least_cpus: cores that a cluster on this machine alone counts at least, however many there are.

    Yields:
        Whether it is on this machine alone, started for the block.

    Raises:
        UserError: where it cannot be joined or started.
    """
    address = _address(cluster)
    with _variables_kept(), _short_folder() as folder:
        os.environ.update(QUIET)
        if not address:
            os.environ["RAY_AUTH_TOKEN"] = _token()  # without it Ray would write one into the home folder
        import ray  # noqa: PLC0415

        alone = {
            "num_cpus": max(cores(), least_cpus),
            "object_store_memory": OBJECTS,
            "include_dashboard": False,
            "_temp_dir": str(folder),
        }
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            _knock(address)
            with _signals_kept():
                ray.init(address=address or "local", **(alone if not address else {}), **quiet)
        except Exception as error:  # of other kinds in every version
            raise UserError(_why_not(address, error)) from error
        try:
            yield not address
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise :class:`OSError` where nobody listens at ``host:port``; Ray would ask again for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def _why_not(address: str, error: Exception) -> str:
    if not address:
        return f"--executor ray: no cluster could be started here ({one_line(error)}); use --executor processes"
    return (
        f"--address {address}: cannot be joined ({one_line(error)}); this machine has to belong to the cluster "
        "(`ray start --address=...`), with the same versions of Python and Ray"
    )


@cache
def _token() -> str:
    """What processes of a cluster of ours know each other by; Ray reads it once in a process."""
    return secrets.token_hex(32)


@contextmanager
def _variables_kept() -> Iterator[None]:
    """Afterwards Ray's environment variables are what they were."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in before]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _short_folder() -> Iterator[Path]:
    """A folder for logs and sockets of a cluster; its path is short, as that of a socket has to be.

    Folders that killed runs left are removed: nobody holds their lock any more.
    """
    usual = Path(tempfile.gettempdir())
    place = usual if len(str(usual)) <= LONGEST_FOLDER else Path("/tmp")  # noqa: S108 (what is made there is ours alone)
    for left in place.glob(f"{PREFIX}*"):
        with _held(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    with _held(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which ends with this process; whether it was free."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # another user's, or gone
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; a polite end is to reach the command line as before, also one that comes within."""
    own = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if own else None
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
