"""What the benchmarks share: interleaved rounds of whole processes, and ratios of their medians."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence


def process(argv: Sequence[str]) -> Callable[[], float]:
    """A run of a whole process; seconds from start to exit. Bytecode is kept, as it is of an installed package."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def run() -> float:
        begin = time.perf_counter()
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(argv)} ended with status {done.returncode}")
        return seconds

    return run


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each case; one of each per round, so that what disturbs the machine disturbs all alike."""
    for run in cases.values():
        run()  # warm caches and bytecode
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            times[name].append(run())
    return {name: statistics.median(values) for name, values in times.items()}


def table(medians: Mapping[str, float], peer: str) -> None:
    """Print each median and its ratio to the peer."""
    width = max(len(name) for name in medians)
    for name, seconds in medians.items():
        print(f"{name:<{width}}  {seconds * 1000:8.1f} ms  {seconds / medians[peer]:6.2f} x {peer}")


PYTHON = sys.executable
