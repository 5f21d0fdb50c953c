"""What the benchmarks share: interleaved rounds of whole processes, and ratios of their medians."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PYTHON = sys.executable


class Row(NamedTuple):
    """One ratio."""

    what: str
    ratio: float
    peer: str
    """What it is divided by."""
    aim: float | None = None
    """The most it is to be."""


def markdown(rows: Iterable[Row]) -> str:
    """Ratios with their aims, as a table."""
    lines = ["| what | ratio | to | aim |", "| --- | ---: | --- | --- |"]
    for row in rows:
        aim = "" if row.aim is None else f"at most {row.aim:.2f}: {'met' if row.ratio <= row.aim else 'missed'}"
        lines.append(f"| {row.what} | {row.ratio:.2f} | {row.peer} | {aim} |")
    return "\n".join(lines)


def machine() -> str:
    """CPU, number of CPUs, Python and day."""
    texts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ")[1].strip() for line in texts if line.startswith("model name")), "unknown CPU")
    return f"{cpu}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}"


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
