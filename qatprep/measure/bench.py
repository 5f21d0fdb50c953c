"""Signing, measured side by side: providers take turns within each round, and medians of the rounds are compared."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qatprep.crypto import library
from qatprep.crypto.keys import KeyKind
from qatprep.crypto.load import Measured
from qatprep.errors import QatprepError
from qatprep.host.base import Host
from qatprep.measure import peers
from qatprep.text import plural

Progress = Callable[[int, int, str], None]
"""Told the steps done, all steps, and what comes next."""


@dataclass(frozen=True)
class Row:
    """One provider with one kind of key and one number of workers."""

    key: KeyKind
    workers: int
    peer: str
    provider: str
    detail: str
    rates: tuple[float, ...]
    """Signatures a second, one a round."""
    trouble: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.rates) if self.rates else None

    @property
    def spread(self) -> float | None:
        """Half the distance from the slowest to the fastest round, as a share of the median."""
        if len(self.rates) < 2 or not self.median:
            return None
        return (max(self.rates) - min(self.rates)) / 2 / self.median


@dataclass(frozen=True)
class RsaBench:
    cpu: str
    cpus: int
    rounds: int
    seconds: float
    baseline: str
    """Name of the peer that ratios refer to; "" without one."""
    rows: tuple[Row, ...]
    absent: tuple[str, ...]
    """What could not be measured, and why."""
    interrupted: bool

    def ratio(self, row: Row) -> float | None:
        """How many times the baseline's rate."""
        base = self.find(row.key, row.workers, self.baseline)
        if base is None or not base.median or row.median is None:
            return None
        return row.median / base.median

    def find(self, key: KeyKind, workers: int, peer: str) -> Row | None:
        return next((r for r in self.rows if (r.key, r.workers, r.peer) == (key, workers, peer)), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """Where crypto_mb loses to an OpenSSL of this node: that must not go unsaid."""
        said = []
        for key, workers in dict.fromkeys((row.key, row.workers) for row in self.rows):
            here = [row for row in self.rows if (row.key, row.workers) == (key, workers) and row.median is not None]
            mbs = [row for row in here if row.provider == "cryptomb"]
            others = [row for row in here if row.provider in ("openssl", "python")]
            if mbs and others:
                mb, other = max(mbs, key=_median), max(others, key=_median)
                if _median(mb) < _median(other):
                    where = f"{key}, {plural(workers, 'worker')}"
                    slower = f"{mb.peer} ({_median(mb):.0f}/s) is slower than {other.detail} ({_median(other):.0f}/s)"
                    said.append(f"{where}: {slower}")
        return tuple(said)


def _median(row: Row) -> float:
    return row.median or 0.0


def cpu_model(host: Host) -> str:
    from qatprep.facts import cpu

    return cpu.gather(host).model


def usable_cpus() -> int:
    """CPUs this process may run on: what a cpuset of a container leaves."""
    return len(os.sched_getaffinity(0))


def rsa(
    host: Host,
    keys: Sequence[KeyKind],
    workers: Sequence[int],
    *,
    rounds: int = 5,
    seconds: float = 0.2,
    wanted: str = "",
    progress: Progress = lambda done, of, what: None,
) -> RsaBench:
    """Every provider of this node, by kind of key and number of workers. Ctrl-C gives what is known so far."""
    works = peers.Works()
    rates: dict[tuple[KeyKind, int, int], list[float]] = {}
    trouble: dict[tuple[KeyKind, int, int], str] = {}
    interrupted = False
    with peers.all_peers(host, works, wanted) as (here, absent):
        steps = [
            (key, count, number)
            for key in keys
            for count in workers
            for _ in range(rounds)
            for number in range(len(here))
        ]
        try:
            for step, (key, count, number) in enumerate(steps):
                progress(step, len(steps), f"{key}, {count} workers, {here[number].name}")
                place = key, count, number
                if place in trouble:
                    continue
                try:
                    rate = here[number].rate(key, count, seconds)
                except (QatprepError, ValueError) as e:
                    trouble[place] = str(e)
                    continue
                if rate is not None:
                    rates.setdefault(place, []).append(rate)
            progress(len(steps), len(steps), "")
        except KeyboardInterrupt:
            interrupted = True
        rows = tuple(
            Row(
                key,
                count,
                peer.name,
                peer.provider,
                peer.detail,
                tuple(rates.get((key, count, number), ())),
                trouble.get((key, count, number), ""),
            )
            for key in keys
            for count in workers
            for number, peer in enumerate(here)
            if (key, count, number) in rates or (key, count, number) in trouble
        )
        baseline = next(
            (p.name for wanted_kind in ("boringssl", "openssl", "python") for p in here if p.provider == wanted_kind),
            "",
        )
    return RsaBench(cpu_model(host), usable_cpus(), rounds, seconds, baseline, rows, tuple(absent), interrupted)


@dataclass(frozen=True)
class QueueBench:
    """What the queue costs: the engine kept full, against the bare loop of the same library."""

    key: KeyKind
    workers: int
    library: str
    engine: tuple[Measured, ...]
    bare: tuple[Measured, ...]

    @property
    def share(self) -> float:
        """Throughput of the engine as a share of the bare loop's: median of the rounds' ratios."""
        return statistics.median(e.rate / b.rate for e, b in zip(self.engine, self.bare, strict=True))

    @property
    def cpu_share(self) -> float:
        """The same by CPU time, which other load on the machine disturbs less."""
        pairs = zip(self.engine, self.bare, strict=True)
        return statistics.median(b.cpu_per_operation / e.cpu_per_operation for e, b in pairs)


def queue(key: KeyKind, workers: int, *, rounds: int = 15, seconds: float = 0.1, wanted: str = "") -> QueueBench:
    """Both in turn within each round, the order changing from round to round.

    A round in which one of the two signed nothing, or no CPU time was counted, says nothing and is left out.
    Errors: QatprepError when no round is left; see library.choose.
    """
    work = peers.Works()[key]
    choice = library.choose(work, wanted)
    kept: list[tuple[Measured, Measured]] = []
    for number in range(rounds):
        by_kind = {
            bare: choice.signer.run(work, workers=workers, seconds=seconds, bare=bare).measured
            for bare in ((False, True) if number % 2 else (True, False))
        }
        if all(one.rate and one.cpu_per_operation for one in by_kind.values()):
            kept.append((by_kind[False], by_kind[True]))
    if not kept:
        raise QatprepError(
            f"nothing was measured: in no round did both the queue and the bare loop sign within {seconds:g} s",
            hint="give a longer turn: --seconds",
        )
    return QueueBench(
        key, workers, choice.signer.title, tuple(engine for engine, _ in kept), tuple(bare for _, bare in kept)
    )
