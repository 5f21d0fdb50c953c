"""The queues of the CryptoMB engine, under arrivals that the tests choose: who waits for whom, and for how long.

Where time matters it is the clock of loop_check.c, which only goes on when the engine sleeps or signs.
"""

from __future__ import annotations

import random
import subprocess
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from qatprep import _native
from qatprep.crypto import keys
from qatprep.crypto.keys import KeyKind, Work
from qatprep.crypto.load import UNFINISHED, envoy_histogram, measured
from tests.crypto.conftest import SOURCES, being_signed, build, interrupted

MS = 1_000_000
LIBEVENT = ("libevent_core-2.1.so.7", "libevent-2.1.so.7")

# -- the loop, on a clock of its own -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looped:
    batches: list[tuple[int, int]]
    """Size and time in ns of each queue worked off."""
    latencies: list[int]


Loop = Callable[..., Looped]


@pytest.fixture(scope="session")
def loop_check(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("loop") / "loop_check"
    return build("loop_check.c", target, str(SOURCES / "key.c"), "-rdynamic", "-pthread", "-ldl")


@pytest.fixture(scope="session")
def loop(loop_check: str) -> Loop:
    """The engine's loop, or the same queues under libevent. Skips where that is not installed."""

    def run(
        arrivals: Sequence[int],
        *,
        under: str = "engine",
        delay_ms: float = 1,
        tick_ms: float = 4,
        phase_ns: int = 0,
        sign_ns: int = 0,
        queues: int = 1,
    ) -> Looped:
        numbers = [int(delay_ms * 1000), int(tick_ms * 1000), phase_ns, sign_ns, queues]
        done = subprocess.run(
            [loop_check, under, *map(str, numbers)],
            input=" ".join(map(str, arrivals)),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 77:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done
        lines = done.stdout.splitlines()
        latencies = lines.pop() if under == "engine" else ""
        batches = [(int(size), int(time)) for size, time in (line.split() for line in lines)]
        return Looped(batches, [int(number) for number in latencies.split()])

    return run


def libevent() -> str:
    import ctypes

    for name in LIBEVENT:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    pytest.skip("libevent 2.1 is not installed (libevent-core-2.1-7)")


LOADS = [
    # operations a second, delay, tick, signing time: idle and busy queues, overload, and delays below and above a tick
    (100, 1, 4, 0),
    (500, 2, 4, 300_000),
    (1000, 1, 4, 300_000),
    (1000, 5, 1, 300_000),
    (1000, 10, 4, 3_000_000),
    (4000, 2, 4, 3_000_000),
    (4000, 1.5, 10, 300_000),
    (20_000, 20, 10, 300_000),
]


@pytest.mark.parametrize(("rate", "delay_ms", "tick_ms", "sign_ns"), LOADS)
@pytest.mark.parametrize("queues", [1, 3, 16])
def test_queues_are_worked_off_when_libevent_would(
    loop: Loop, rate: int, delay_ms: float, tick_ms: float, sign_ns: int, queues: int
) -> None:
    """Envoy's own event loop, on the same arrivals and the same clock: every queue has the same size at the same time.

    Timers of several queues can end together. libevent then takes them in the order of its heap, which means nothing:
    they are compared as a set, and without signing time, which would make of the order a difference in time.
    """
    numbers = random.Random(rate * queues)
    for phase in (0, 1_202_457):
        arrivals, at = [], 0.0
        for _ in range(600):
            at += numbers.expovariate(rate) * 1e9
            arrivals.append(int(at))
        options = {"delay_ms": delay_ms, "tick_ms": tick_ms, "phase_ns": phase, "queues": queues}
        options["sign_ns"] = sign_ns if queues == 1 else 0
        ours = loop(arrivals, **options).batches
        theirs = loop(arrivals, under=libevent(), **options).batches
        if queues > 1:
            ours.sort(key=lambda batch: (batch[1], batch[0]))
            theirs.sort(key=lambda batch: (batch[1], batch[0]))
        assert ours == theirs


def test_eight_do_not_wait_and_the_rest_waits_for_the_timer(loop: Loop) -> None:
    found = loop([0] * 13, delay_ms=80)
    assert found.batches == [(8, 0), (5, 80 * MS)]
    assert found.latencies == [0] * 8 + [80 * MS] * 5
    # The loop sleeps from when it woke, not from when it had signed.
    assert loop([0] * 13, delay_ms=80, sign_ns=MS).batches == [(8, 0), (5, 81 * MS)]


def test_a_delay_ends_with_the_first_tick_after_it(loop: Loop) -> None:
    """At HZ=250 the clock stands still for 4 ms: 1 ms after 2.5 ms, when it said 0, it must say 1, and says 4."""
    found = loop([2_500_000], delay_ms=1, tick_ms=4)
    assert found.batches == [(1, 4_500_000)], "epoll_wait sleeps whole milliseconds, from when the loop woke"
    assert loop([2_500_000], delay_ms=1, tick_ms=1).batches == [(1, 3_500_000)]


def test_the_timer_starts_with_the_first_operation(loop: Loop) -> None:
    found = loop([0, 12 * MS, 20 * MS], delay_ms=40)
    assert found.batches == [(3, 40 * MS)]
    assert found.latencies == [40 * MS, 28 * MS, 20 * MS]


def test_a_full_queue_stops_the_timer(loop: Loop) -> None:
    """The ninth operation starts a timer of its own; that of the first must not end its wait."""
    assert loop([0] * 8 + [20 * MS], delay_ms=80).batches == [(8, 0), (1, 100 * MS)]


def test_operations_after_the_timer_form_the_next_queue(loop: Loop) -> None:
    found = loop([0, 4 * MS, 240 * MS, 244 * MS, 248 * MS], delay_ms=80)
    assert found.batches == [(2, 80 * MS), (3, 320 * MS)]


def test_every_tls_context_has_a_queue_of_its_own(loop: Loop) -> None:
    """Forty operations at once: five full queues of one context, but among eight contexts hardly one is full."""
    one, eight = loop([0] * 40, delay_ms=20).batches, loop([0] * 40, delay_ms=20, queues=8).batches
    assert one == [(8, 0)] * 5
    assert len(eight) >= 8
    assert sum(size for size, _ in eight) == 40


# -- the engine, with its threads --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work() -> Work:
    return keys.make(KeyKind.RSA_2048)


@pytest.fixture(scope="module")
def openssl() -> _native.Signer:
    return _native.ssl_open("libcrypto.so.3")


Run = Callable[..., "list[_native.WorkerReport]"]


@pytest.fixture
def run(mb: _native.Signer, work: Work) -> Run:
    """Arrivals in ns, one schedule a worker."""

    def run(*schedules: Sequence[int], check: bool = False, work: Work = work, queues: int = 1) -> object:
        arrivals = [array("Q", schedule) for schedule in schedules]
        return _native.run(mb, work.jobs, arrivals, poll_delay_ns=MS, duration_ns=10**11, check=check, queues=queues)

    return run  # type: ignore[return-value]


def latencies(report: _native.WorkerReport) -> list[int]:
    values = array("Q")
    values.frombytes(report["latencies"])
    return list(values)


def sizes(report: _native.WorkerReport) -> dict[int, int]:
    return {size: times for size, times in enumerate(report["sizes"]) if times}


def test_every_worker_has_a_queue_of_its_own(run: Run) -> None:
    reports = run([0] * 5, [0] * 5)
    assert [sizes(report) for report in reports] == [{5: 1}, {5: 1}]


def test_queues_of_several_contexts_share_a_worker(run: Run) -> None:
    (report,) = run([0] * 64, queues=64)
    assert (report["completed"], report["failed"]) == (64, 0)
    assert 8 not in sizes(report)


def test_without_arrivals_there_is_nothing(run: Run) -> None:
    reports = run([], [0])
    assert [report["completed"] for report in reports] == [0, 1]


def test_signing_without_a_provider_has_no_queue(work: Work, openssl: _native.Signer) -> None:
    (report,) = _native.run(openssl, work.jobs, [array("Q", [0] * 5)], poll_delay_ns=10**12, duration_ns=10**11)
    assert sizes(report) == {1: 5}
    waited = latencies(report)
    assert waited == sorted(waited), "one after the other, in the order of arrival"


def test_the_public_key_check_of_envoy_passes_right_results(run: Run) -> None:
    (report,) = run([0] * 16, check=True)
    assert (report["completed"], report["failed"]) == (16, 0)


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P_256])
def test_every_wrong_result_is_counted(run: Run, mb: _native.Signer, kind: KeyKind) -> None:
    """One job of sixteen is given another's result to expect: each time it comes round it must be noticed."""
    work = keys.make(kind, 16)
    right = [result for result in _native.sign(mb, work.jobs) if result]
    assert len(right) == 16
    work.jobs.expect([right[1], *right[1:]])
    (report,) = run([0] * 160, work=work, check=True)
    assert (report["completed"], report["failed"]) == (160, 10)


def test_what_an_engine_does_not_finish_in_time_is_said(work: Work, openssl: _native.Signer) -> None:
    (report,) = _native.run(openssl, work.jobs, [array("Q", [0] * 100_000)], duration_ns=50 * MS)
    result = measured([report])
    assert result.completed < 100_000
    assert result.unfinished == 100_000 - result.completed
    assert latencies(report)[-1] == UNFINISHED


def test_python_goes_on_while_the_engine_works(mb: _native.Signer, work: Work) -> None:
    """The engine's threads do not hold the interpreter's lock: another thread sees the run, and Ctrl-C ends it."""
    with interrupted(lambda: being_signed(work)):
        _native.run(mb, work.jobs, duration_ns=10**12)


def test_ctrl_c_ends_a_run_that_waits(run: Run, work: Work) -> None:
    with interrupted(lambda: being_signed(work)):
        run([10**12])


def test_a_run_that_ends_before_it_began_took_no_time(mb: _native.Signer, work: Work) -> None:
    (report,) = _native.run(mb, work.jobs, [array("Q", [0])], duration_ns=0)
    assert (report["completed"], latencies(report)) == (0, [UNFINISHED])
    assert report["elapsed_ns"] < 10**12, "and not the 584 years of a difference below zero"


def test_bad_arguments_are_refused(mb: _native.Signer, work: Work) -> None:
    with pytest.raises(ValueError, match="between 1 and 4096"):
        _native.run(mb, work.jobs, workers=0)
    with pytest.raises(ValueError, match="between 1 and 4096"):
        _native.run(mb, work.jobs, [])
    with pytest.raises(ValueError, match="as many queues"):
        _native.run(mb, work.jobs, queues=0)
    with pytest.raises(ValueError, match="uint64"):
        _native.run(mb, work.jobs, [b"123"])
    with pytest.raises(ValueError, match="ascend"):
        _native.run(mb, work.jobs, [array("Q", [2, 1])])
    with pytest.raises(TypeError):
        _native.run(mb, work.jobs, [0])  # type: ignore[list-item]


def test_queue_sizes_are_told_as_envoy_tells_them(run: Run) -> None:
    """The form of /stats?histogram_buckets=detailed, recorded from Envoy 1.40: totals=1,0.1:1, 2,0.1:2, ..."""
    assert envoy_histogram((0, 1, 2, 3, 4, 5, 6, 7, 8)) == (
        "1,0.1:1, 2,0.1:2, 3,0.1:3, 4,0.1:4, 5,0.1:5, 6,0.1:6, 7,0.1:7, 8,0.1:8"
    )
    (report,) = run([0] * 13)
    assert envoy_histogram(report["sizes"]) == "5,0.1:1, 8,0.1:1"
