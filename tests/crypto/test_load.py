"""Loads and what is made of their results."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatprep.crypto.load import NS, UNFINISHED, Latency, Measured, measured, merged, poisson, quantile


def report(latencies: list[int], **more: object) -> dict[str, object]:
    return {
        "completed": len([value for value in latencies if value != UNFINISHED]),
        "failed": 0,
        "elapsed_ns": NS,
        "cpu_ns": NS // 2,
        "sizes": (0,) * 9,
        "latencies": array("Q", latencies).tobytes(),
        "results": [],
        **more,
    }


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(50, 5000), workers=st.integers(1, 8), seed=st.integers(0, 1000))
def test_arrivals_are_ascending_within_the_time_and_as_many_as_asked_for(rate: float, workers: int, seed: int) -> None:
    schedules = poisson(rate, 2.0, workers, seed)
    assert len(schedules) == workers
    for schedule in schedules:
        assert list(schedule) == sorted(schedule)
        assert all(0 <= at < 2 * NS for at in schedule)
    expected = rate * 2.0
    assert abs(sum(map(len, schedules)) - expected) < 6 * expected**0.5 + 1  # six standard deviations


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert poisson(100, 1, 2, 7) == poisson(100, 1, 2, 7)
    assert poisson(100, 1, 2, 7) != poisson(100, 1, 2, 8)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.91, 10), (0.99, 10), (1.0, 10)])
def test_quantiles_are_values_that_were_measured(share: float, value: int) -> None:
    assert quantile(range(1, 11), share) == value


def test_unfinished_operations_have_no_latency() -> None:
    result = measured([report([1000, 3000, UNFINISHED])])  # type: ignore[list-item]
    assert (result.completed, result.unfinished) == (2, 1)
    assert result.latency == Latency(2e-6, 1e-6, 3e-6, 3e-6, 3e-6)


def test_workers_are_taken_together() -> None:
    both = measured([report([1000]), report([2000], sizes=(0, 0, 0, 0, 0, 0, 0, 0, 3))], NS)  # type: ignore[list-item]
    assert both.cpu_seconds == 2.0
    assert both.sizes[8] == 3
    assert both.latency is not None
    assert both.latency.worst == 2e-6


def test_a_disturbed_round_does_not_spoil_the_others() -> None:
    def one(p99: float) -> Measured:
        return Measured(100, 0, 0, 1.0, 0.5, (0, 100, 0, 0, 0, 0, 0, 0, 0), Latency(0.001, 0.001, 0.001, p99, p99))

    whole = merged([one(0.002), one(0.5), one(0.003)])
    assert whole.latency is not None
    assert (whole.completed, whole.seconds, whole.latency.p99, whole.latency.worst) == (300, 3.0, 0.003, 0.5)


def test_the_share_of_full_queues_counts_operations() -> None:
    result = Measured(24, 0, 0, 1.0, 0.5, (0, 0, 0, 0, 2, 0, 0, 0, 2), None)
    assert result.full_batches == pytest.approx(16 / 24)
