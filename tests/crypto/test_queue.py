"""The queue of the CryptoMB engine, under arrivals that the tests choose: who waits for whom, and for how long."""

from __future__ import annotations

import os
import signal
import threading
import time
from array import array
from collections.abc import Sequence

import pytest

from qatprep import _native
from qatprep.crypto import keys, library
from qatprep.crypto.keys import KeyKind, Work
from qatprep.measure import bench
from qatprep.measure.load import UNFINISHED, envoy_histogram, measured

MS = 1_000_000
DELAY = 80 * MS

pytestmark = pytest.mark.skipif(bool(_native.missing()), reason="crypto_mb cannot run on this machine")


@pytest.fixture(scope="module")
def work() -> Work:
    return keys.make(KeyKind.RSA_2048)


def run(
    work: Work, *schedules: Sequence[int], poll_delay_ns: int = DELAY, check: bool = False
) -> list[_native.WorkerReport]:
    """Arrivals in ns, one schedule a worker, on the crypto_mb that is linked in."""
    arrivals = [array("Q", schedule) for schedule in schedules]
    return _native.run(
        library.crypto_mbs("bundled")[0],
        work.jobs,
        arrivals,
        poll_delay_ns=poll_delay_ns,
        duration_ns=10**10,
        check=check,
    )


def latencies(report: _native.WorkerReport) -> list[int]:
    values = array("Q")
    values.frombytes(report["latencies"])
    return list(values)


def sizes(report: _native.WorkerReport) -> dict[int, int]:
    return {size: times for size, times in enumerate(report["sizes"]) if times}


def test_eight_do_not_wait_and_the_rest_waits_for_the_timer(work: Work) -> None:
    (report,) = run(work, [0] * 13)
    assert sizes(report) == {8: 1, 5: 1}
    waited = latencies(report)
    assert max(waited[:8]) < DELAY <= min(waited[8:])
    assert (report["completed"], report["failed"]) == (13, 0)


def test_the_timer_starts_with_the_first_operation(work: Work) -> None:
    (report,) = run(work, [0, 10 * MS, 20 * MS])
    assert sizes(report) == {3: 1}
    first, second, third = latencies(report)
    assert first >= DELAY
    # All three end together, so each waited less than the one before it by the time it came later.
    assert [first - second, second - third] == [10 * MS, 10 * MS]


def test_a_full_queue_stops_the_timer(work: Work) -> None:
    """The ninth operation starts a timer of its own; that of the first must not end its wait."""
    (report,) = run(work, [0] * 8 + [20 * MS])
    assert sizes(report) == {8: 1, 1: 1}
    assert latencies(report)[8] >= DELAY


def test_operations_after_the_timer_form_the_next_queue(work: Work) -> None:
    (report,) = run(work, [0, 1 * MS, 3 * DELAY, 3 * DELAY + MS, 3 * DELAY + 2 * MS])
    assert sizes(report) == {2: 1, 3: 1}


def test_every_worker_has_a_queue_of_its_own(work: Work) -> None:
    reports = run(work, [0] * 5, [0] * 5)
    assert [sizes(report) for report in reports] == [{5: 1}, {5: 1}]


def test_without_arrivals_there_is_nothing(work: Work) -> None:
    reports = run(work, [], [0])
    assert [report["completed"] for report in reports] == [0, 1]


def test_signing_without_a_provider_has_no_queue(work: Work) -> None:
    openssl = library.openssls()[0]
    (report,) = _native.run(openssl, work.jobs, [array("Q", [0] * 5)], poll_delay_ns=DELAY)
    assert sizes(report) == {1: 5}
    waited = latencies(report)
    assert waited == sorted(waited), "one after the other, in the order of arrival"
    assert waited[0] < DELAY


def test_the_public_key_check_of_envoy_passes_right_results(work: Work) -> None:
    (report,) = run(work, [0] * 16, check=True)
    assert (report["completed"], report["failed"]) == (16, 0)


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P_256])
def test_every_wrong_result_is_counted(kind: KeyKind) -> None:
    """One job of sixteen is given another's result to expect: each time it comes round it must be noticed."""
    work = keys.make(kind, 16)
    (mb,) = library.crypto_mbs("bundled")
    right = [result for result in _native.sign(mb, work.jobs) if result]
    assert len(right) == 16
    work.jobs.expect([right[1], *right[1:]])
    (report,) = run(work, [0] * 160)
    assert (report["completed"], report["failed"]) == (160, 10)


def test_what_an_engine_does_not_finish_in_time_is_said(work: Work) -> None:
    openssl = library.openssls()[0]
    (report,) = _native.run(openssl, work.jobs, [array("Q", [0] * 100_000)], duration_ns=50 * MS)
    result = measured([report])
    assert 0 < result.completed < 100_000
    assert result.unfinished == 100_000 - result.completed
    assert latencies(report)[-1] == UNFINISHED


def test_python_goes_on_while_the_engine_works(work: Work) -> None:
    """The engine's threads do not hold the interpreter's lock."""
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    _native.run(library.crypto_mbs("bundled")[0], work.jobs, duration_ns=300 * MS)
    stop.set()
    thread.join()
    assert ticks > 30


def test_ctrl_c_ends_a_run(work: Work) -> None:
    # A process started in the background ignores SIGINT, and so does its Python.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(work, [5 * 10**9])
    assert time.monotonic() - start < 2
    timer.join()
    signal.signal(signal.SIGINT, before)


def test_bad_arguments_are_refused(work: Work) -> None:
    (mb,) = library.crypto_mbs("bundled")
    with pytest.raises(ValueError, match="between 1 and 4096"):
        _native.run(mb, work.jobs, workers=0)
    with pytest.raises(ValueError, match="between 1 and 4096"):
        _native.run(mb, work.jobs, [])
    with pytest.raises(ValueError, match="uint64"):
        _native.run(mb, work.jobs, [b"123"])
    with pytest.raises(TypeError):
        _native.run(mb, work.jobs, [0])  # type: ignore[list-item]


def test_the_queue_costs_next_to_nothing() -> None:
    """At least 97 % of the bare loop; by CPU time, which other programs on the machine disturb less."""
    assert bench.queue(KeyKind.RSA_2048, 1, rounds=11, seconds=0.05).cpu_share >= 0.97


def test_queue_sizes_are_told_as_envoy_tells_them(work: Work) -> None:
    """The form of /stats?histogram_buckets=detailed, recorded from Envoy 1.40: totals=1,0.1:1, 2,0.1:2, ..."""
    assert envoy_histogram((0, 1, 2, 3, 4, 5, 6, 7, 8)) == (
        "1,0.1:1, 2,0.1:2, 3,0.1:3, 4,0.1:4, 5,0.1:5, 6,0.1:6, 7,0.1:7, 8,0.1:8"
    )
    (report,) = run(work, [0] * 13)
    assert envoy_histogram(report["sizes"]) == "5,0.1:1, 8,0.1:1"
