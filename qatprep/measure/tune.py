"""Which poll delay, and whether to accelerate at all: the real engines under Poisson load, against signing as it comes.

Every point of the sweep uses the same arrivals for all settings, so that settings are compared and not luck. What is
measured is the private-key operation alone: a worker that also does the rest of TLS and HTTP has less time for it.

CryptoMB's queues wait by the clock of Envoy's event loop, which is the kernel's tick (qatprep/native/engine.c). Each
worker has one for each TLS context: with many certificates each sees a small share of the load.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from qatprep.crypto import library
from qatprep.crypto.keys import KeyKind, Work, make
from qatprep.crypto.load import Measured, merged
from qatprep.crypto.qat import QatSession, Trouble
from qatprep.crypto.signer import Signer, WrongResults
from qatprep.errors import QatprepError
from qatprep.host.base import Host
from qatprep.measure import advise
from qatprep.measure.advise import Goal, Point, Setting
from qatprep.measure.bench import Progress, cpu_model, usable_cpus

DELAYS_MS = (1, 2, 5, 10, 20)
"""Envoy takes whole milliseconds from 1 on; Intel's guide starts at 10 for CryptoMB and 5 for QAT."""

SHARES = (0.02, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85)
"""Offered loads, as shares of what each provider can do at most, when no target load is given."""
AROUND = (0.25, 0.5, 0.75, 1.0, 1.25)
"""Offered loads, as shares of a target load that is given."""
CALIBRATION_SECONDS = 0.3
CALIBRATION_ROUNDS = 3
ROUNDS = 3
"""A point's time is cut into so many rounds, settings taking turns within each."""
GIVE_UP = 1.5
"""An open load is given up after this many times its length: an overloaded engine would work on for ever."""
MOST_ARRIVALS = 400_000
"""A point's load is shortened rather than made of more arrivals than this (P-256 does hundreds of thousands)."""


@dataclass(frozen=True)
class Engine:
    """A provider with the library behind it."""

    provider: str
    """sync (no provider), cryptomb or qat."""
    detail: str
    capacity: float
    """Signatures a second at most, with all workers busy."""


@dataclass(frozen=True)
class Tuning:
    cpu: str
    cpus: int
    key: KeyKind
    workers: int
    certificates: int
    """TLS contexts with a private key of their own: each worker has a queue for each."""
    tick_ms: float
    """Resolution of the clock by which Envoy's poll delay runs: 4 on a kernel with HZ=250."""
    goal: Goal
    seconds: float
    """Length of the load at each point."""
    engines: tuple[Engine, ...]
    points: tuple[Point, ...]
    absent: tuple[str, ...]
    failed: tuple[str, ...]
    """Providers that gave wrong results or none, and what they did: there are no points of theirs."""
    advice: advise.Advice
    interrupted: bool


@dataclass
class _Bench:
    """What the sweep measures with."""

    work: Work
    workers: int
    certificates: int
    sync: Signer
    mb: Signer | None
    qat: QatSession | None

    def load(self, setting: Setting, rate: float, seconds: float, seed: int) -> Measured:
        """One point. WrongResults when signatures are wrong or do not come."""
        if setting.provider == "qat":
            poll_delay = setting.poll_delay_ms / 1000
            return self._qat(workers=self.workers, rate=rate, seconds=seconds, seed=seed, poll_delay=poll_delay)
        signer = self._signer(setting.provider)
        run = signer.run(
            self.work,
            workers=self.workers,
            rate=rate,
            arrive_seconds=seconds,
            seed=seed,
            seconds=seconds * GIVE_UP,
            poll_delay=setting.poll_delay_ms / 1000,
            queues=self.certificates if setting.provider == "cryptomb" else 1,
            check=True,
        )
        return _sound(run.measured, signer)

    def capacity(self, provider: str) -> float:
        """Signatures a second with all workers busy. WrongResults as above."""
        if provider == "qat":
            return self._qat(workers=self.workers, seconds=CALIBRATION_SECONDS, poll_delay=0.001).rate
        signer = self._signer(provider)
        return _sound(
            signer.run(self.work, workers=self.workers, seconds=CALIBRATION_SECONDS, check=True).measured, signer
        ).rate

    def _signer(self, provider: str) -> Signer:
        signer = self.mb if provider == "cryptomb" else self.sync
        assert signer is not None
        return signer

    def _qat(self, **load: float) -> Measured:
        assert self.qat is not None
        try:
            run = self.qat.run(self.work.kind, depth=256, **load)
        except Trouble as e:
            raise WrongResults(f"QAT: {e}") from e
        if said := run.trouble:
            raise WrongResults(f"QAT: {said}")
        return run.measured


def _sound(result: Measured, signer: Signer) -> Measured:
    if result.failed:
        raise WrongResults(f"{signer.title} gives WRONG or no results: {result.failed} of {result.completed}")
    return result


def tune(
    host: Host,
    key: KeyKind,
    *,
    workers: int = 0,
    certificates: int = 1,
    goal: Goal | None = None,
    delays_ms: Sequence[int] = DELAYS_MS,
    loads: Sequence[float] = (),
    seconds: float = 1.0,
    wanted: str = "",
    progress: Progress = lambda done, of, what: None,
) -> Tuning:
    """Sweep and recommend. `workers` 0 is one a usable CPU, as Envoy's --cpuset-threads makes them.

    `loads` (operations a second) replaces the sweep's own. Ctrl-C gives the advice that what is known so far allows. A
    provider that fails is left out from then on, with the reason; QatprepError when signing without one fails.
    """
    goal = goal or Goal()
    workers = workers or usable_cpus()
    points: list[Point] = []
    engines: list[Engine] = []
    failed: dict[str, str] = {}
    interrupted = False
    done = 0
    with _ready(host, key, workers, certificates, wanted) as (bench, details, absent):
        try:
            engines += _calibrate(bench, details, failed, progress)
            settings = list(_settings([e.provider for e in engines], delays_ms))
            wanted_loads = _loads(engines, goal, loads)
            total = len(wanted_loads) * ROUNDS * len(settings)
            for load in wanted_loads:
                length = min(seconds / ROUNDS, MOST_ARRIVALS / load)
                rounds: dict[Setting, list[Measured]] = {setting: [] for setting in settings}
                try:
                    for number in range(ROUNDS):
                        for setting in _shuffled(settings, load + number):
                            progress(done, total, f"{load:.0f}/s, {setting.label}")
                            done += 1
                            if setting.provider not in failed:
                                with _kept(setting.provider, failed):
                                    rounds[setting].append(bench.load(setting, load, length, int(load) + number))
                finally:
                    # A setting that every round of this load has reached is known, whatever interrupts the rest.
                    points += [
                        Point(setting, load, length * ROUNDS, merged(results))
                        for setting, results in rounds.items()
                        if len(results) == ROUNDS
                    ]
            progress(total, total, "")
        except KeyboardInterrupt:
            interrupted = True
    ordered = tuple(
        sorted((p for p in points if p.setting.provider not in failed), key=lambda p: (p.offered, p.setting.order))
    )
    engines = [engine for engine in engines if engine.provider not in failed]
    return Tuning(
        cpu=cpu_model(host),
        cpus=usable_cpus(),
        key=key,
        workers=workers,
        certificates=certificates,
        tick_ms=time.clock_getres(_COARSE) * 1000,
        goal=goal,
        seconds=seconds,
        engines=tuple(engines),
        points=ordered,
        absent=tuple(absent),
        failed=tuple(failed.values()),
        advice=advise.advise(ordered, {engine.provider: engine.capacity for engine in engines}, goal),
        interrupted=interrupted,
    )


_COARSE = 6
"""CLOCK_MONOTONIC_COARSE (include/uapi/linux/time.h), which Python has no name for."""


@contextlib.contextmanager
def _kept(provider: str, failed: dict[str, str]) -> Iterator[None]:
    """Go on without a provider that fails. Without plain signing there is nothing to compare with: that is raised."""
    try:
        yield
    except QatprepError as e:
        if provider == "sync":
            raise
        failed[provider] = e.message


@contextlib.contextmanager
def _ready(
    host: Host, key: KeyKind, workers: int, certificates: int, wanted: str
) -> Iterator[tuple[_Bench, dict[str, str], list[str]]]:
    """What can be compared here, with what it is, and what is missing."""
    from qatprep.crypto import qat_verdict

    absent: list[str] = []
    work = make(key)
    ssls = library.openssls()
    boring = [signer for signer in ssls if library.is_boringssl(signer)]
    if not ssls:
        raise QatprepError(
            "there is no libcrypto to compare with: signing without a provider cannot be measured", "install OpenSSL 3"
        )
    sync = (boring or ssls)[0]
    details = {"sync": sync.title}
    if not boring:
        absent.append(
            "no BoringSSL to call (Debian: android-libboringssl): OpenSSL is measured instead, and is "
            "faster than BoringSSL where it has code for AVX-512 IFMA"
        )
    mb = None
    try:
        choice = library.choose(work, wanted)
        mb = choice.signer
        absent += [f"refused: {said}" for said in choice.refused]
        details["cryptomb"] = mb.title
    except QatprepError as e:
        if wanted:
            raise
        absent.append(e.message)
    with contextlib.ExitStack() as stack:
        stack.callback(library.close, [*ssls, *([mb] if mb else [])])
        session = None
        node = qat_verdict.look(host)
        try:
            if not key.is_rsa:
                absent.append("QAT: Envoy's provider takes RSA keys only")
            else:
                session = stack.enter_context(QatSession())
                if session.rsa_instances:
                    details["qat"] = f"libqat, {session.rsa_instances} instances"
                else:
                    absent.append(f"QAT: {qat_verdict.no_rsa(node, len(session.instances)).summary}")
        except Trouble as trouble:
            absent.append(f"QAT: {qat_verdict.judge(node, trouble).summary}")
        yield _Bench(work, workers, certificates, sync, mb, session), details, absent


def _calibrate(bench: _Bench, details: dict[str, str], failed: dict[str, str], progress: Progress) -> list[Engine]:
    """What each can do at most: medians of rounds in which they take turns. Those that fail are put into `failed`."""
    rates: dict[str, list[float]] = {provider: [] for provider in details}
    total = CALIBRATION_ROUNDS * len(details)
    for number in range(CALIBRATION_ROUNDS):
        for place, provider in enumerate(details):
            progress(number * len(details) + place, total, f"capacity of {provider}")
            if provider not in failed:
                with _kept(provider, failed):
                    rates[provider].append(bench.capacity(provider))
    return [Engine(p, details[p], statistics.median(values)) for p, values in rates.items() if p not in failed]


def _settings(providers: Iterable[str], delays_ms: Sequence[int]) -> Iterator[Setting]:
    for provider in providers:
        if provider == "sync":
            yield Setting("sync", 0)
        else:
            yield from (Setting(provider, delay) for delay in delays_ms)


def _loads(engines: Sequence[Engine], goal: Goal, given: Sequence[float]) -> list[float]:
    if given:
        return sorted(set(given))
    if goal.rate:
        return [goal.rate * share for share in AROUND]
    loads = sorted({float(f"{engine.capacity * share:.2g}") for engine in engines for share in SHARES})
    kept: list[float] = []
    for load in loads:
        # Two loads that are nearly the same tell nothing new.
        if not kept or load > 1.15 * kept[-1]:
            kept.append(load)
    return kept


def _shuffled(settings: Sequence[Setting], load: float) -> list[Setting]:
    """In another order at each load, so that a disturbance does not always hit the same setting."""
    mixed = list(settings)
    random.Random(load).shuffle(mixed)
    return mixed
