"""How much sooner two Ray workers finish a comparison than one does, each worker on one thread, in one go.

Times are of the whole command, with the start of Ray and of the workers, and with scoring, which the command does
itself meanwhile.  What comes out has to be the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..torture import COMMAND, ONE_THREAD, differences

WORKERS = (1, 2)


def seconds(suite: str, results: Path, workers: int) -> float:
    """How long a run from nothing takes."""
    words = ["run", suite, "--results", str(results), "--tracker", "none"]
    ray = ["--executor", "ray", "--jobs", str(workers), "--cpus-per-cell", "1"]
    started = time.perf_counter()
    subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-W", "ignore", "-c", COMMAND, *words, *ray],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD,
    )
    return time.perf_counter() - started


def main() -> None:
    """Entry point: exit code 1 where two workers' results are others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="embedded", help="a suite's name")
    suite = parser.parse_args().suite
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(workers) for workers in WORKERS]
        one, two = (seconds(suite, folder, workers) for folder, workers in zip(folders, WORKERS, strict=True))
        found = list(differences(folders[1], folders[0], suite))
    sys.stdout.write(f"{suite}: one worker {one:.1f} s, two workers {two:.1f} s, ratio {two / one:.2f}\n")
    sys.stdout.write("".join(f"{line}\n" for line in found or ["tables and images are the same"]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
