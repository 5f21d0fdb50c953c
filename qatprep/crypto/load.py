"""Load and what came of it: arrivals, results of the engines' workers, quantiles."""

from __future__ import annotations

import random
import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from qatprep import _native

NS = 1_000_000_000
UNFINISHED = 2**64 - 1
"""What the native module gives as the latency of an operation without a result (engine.h, QP_UNFINISHED)."""


@dataclass(frozen=True)
class Latency:
    """Seconds from the moment an operation should have started to its result."""

    mean: float
    p50: float
    p90: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Measured:
    """One load on one engine."""

    completed: int
    failed: int
    """Operations that were refused or whose result was wrong."""
    unfinished: int
    """Operations without a result when the load was given up: the engine could not keep up."""
    seconds: float
    cpu_seconds: float
    """CPU time of all threads of the engine."""
    sizes: tuple[int, ...]
    """How often a queue of 0, 1, ... 8 was worked off."""
    latency: Latency | None

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """From what dataclasses.asdict() makes of one, after JSON."""
        latency = fields["latency"]
        return cls(
            **{**fields, "sizes": tuple(fields["sizes"]), "latency": Latency(**latency) if latency else None},
        )

    @property
    def rate(self) -> float:
        """Right results per second."""
        return (self.completed - self.failed) / self.seconds if self.seconds else 0.0

    @property
    def full_batches(self) -> float:
        """Share of operations that were worked off in a full queue of eight."""
        operations = sum(size * times for size, times in enumerate(self.sizes))
        return 8 * self.sizes[8] / operations if operations else 0.0

    @property
    def cpu_per_operation(self) -> float:
        """CPU seconds per result."""
        return self.cpu_seconds / self.completed if self.completed else 0.0


def poisson(rate: float, seconds: float, workers: int, seed: int) -> list[array[int]]:
    """Arrivals of a Poisson process of `rate` a second, shared evenly between workers: each gets its own process.

    Envoy's listeners spread connections over its workers; each worker then sees a Poisson process of its share.
    """
    numbers = random.Random(seed)
    end = int(seconds * NS)
    each = rate / workers / NS
    schedules = []
    for _ in range(workers):
        schedule = array("Q")
        at = numbers.expovariate(each)
        while at < end:
            schedule.append(int(at))
            at += numbers.expovariate(each)
        schedules.append(schedule)
    return schedules


def measured(reports: Iterable[_native.WorkerReport], also_cpu_ns: int = 0, skip: Sequence[int] = ()) -> Measured:
    """The workers of one load taken together. The first skip[w] arrivals of worker w are left out of the latency."""
    workers = list(reports)
    latencies = array("Q")
    for number, worker in enumerate(workers):
        values = array("Q")
        values.frombytes(worker["latencies"])
        latencies.extend(values[skip[number] :] if skip else values)
    finished = sorted(value for value in latencies if value != UNFINISHED)
    sizes = tuple(sum(worker["sizes"][size] for worker in workers) for size in range(9))
    return Measured(
        completed=sum(worker["completed"] for worker in workers),
        failed=sum(worker["failed"] for worker in workers),
        unfinished=len(latencies) - len(finished),
        seconds=max((worker["elapsed_ns"] for worker in workers), default=0) / NS,
        cpu_seconds=(sum(worker["cpu_ns"] for worker in workers) + also_cpu_ns) / NS,
        sizes=sizes,
        latency=_latency(finished),
    )


def _latency(ordered: Sequence[int]) -> Latency | None:
    if not ordered:
        return None
    return Latency(
        mean=sum(ordered) / len(ordered) / NS,
        p50=quantile(ordered, 0.50) / NS,
        p90=quantile(ordered, 0.90) / NS,
        p99=quantile(ordered, 0.99) / NS,
        worst=ordered[-1] / NS,
    )


def quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    rank = -int(-share * len(ordered) // 1)  # ceiling
    return ordered[max(rank, 1) - 1]


def merged(rounds: Sequence[Measured]) -> Measured:
    """Several rounds of the same load as one: sums, and medians of the rounds' times and quantiles.

    A disturbance that spoils one round then spoils nothing.
    """
    latencies = [one.latency for one in rounds if one.latency]
    middle = statistics.median
    return Measured(
        completed=sum(one.completed for one in rounds),
        failed=sum(one.failed for one in rounds),
        unfinished=int(middle([one.unfinished for one in rounds]) * len(rounds)),
        seconds=middle([one.seconds for one in rounds]) * len(rounds),
        cpu_seconds=sum(one.cpu_seconds for one in rounds),
        sizes=tuple(sum(one.sizes[size] for one in rounds) for size in range(9)),
        latency=Latency(
            mean=middle([one.mean for one in latencies]),
            p50=middle([one.p50 for one in latencies]),
            p90=middle([one.p90 for one in latencies]),
            p99=middle([one.p99 for one in latencies]),
            worst=max(one.worst for one in latencies),
        )
        if latencies
        else None,
    )


def envoy_histogram(sizes: Sequence[int]) -> str:
    """Queue sizes as Envoy shows rsa_queue_sizes under /stats?histogram_buckets=detailed: lower bound, width, count.

    That form means the same in every Envoy; the bounds of the cumulative and disjoint ones changed their meaning with
    1.38.0 (from below to not above).
    """
    return ", ".join(f"{size},0.1:{times}" for size, times in enumerate(sizes) if size and times)
