"""Advice from points that are given: each case is one situation of a node."""

from __future__ import annotations

import pytest

from qatprep.crypto.load import Latency, Measured
from qatprep.measure.advise import Advice, Goal, Point, Setting, advise

CAPACITIES = {"sync": 1000.0, "cryptomb": 4000.0}


def point(provider: str, delay: int, load: float, *, p99: float, cpu: float, keeps_up: bool = True) -> Point:
    """p99 in ms, CPU in us an operation; one second of load."""
    done = int(load)
    latency = Latency(p99 / 2000, p99 / 2000, p99 / 1000, p99 / 1000, p99 / 1000)
    result = Measured(
        done, 0, 0 if keeps_up else done // 2, 1.0 if keeps_up else 1.5, done * cpu / 1e6, (0,) * 9, latency
    )
    return Point(Setting(provider, delay), load, 1.0, result)


def curve(load: float, sync: tuple[float, float, bool], *mb: tuple[int, float, float]) -> list[Point]:
    """Points at one load: (p99, cpu, keeps up) without a provider, (delay, p99, cpu) of crypto_mb."""
    plain = point("sync", 0, load, p99=sync[0], cpu=sync[1], keeps_up=sync[2])
    return [plain, *(point("cryptomb", delay, load, p99=p99, cpu=cpu) for delay, p99, cpu in mb)]


LOW = curve(50, (0.5, 1000, True), (1, 2.2, 2000), (5, 6.2, 1800), (10, 11, 1500))
MIDDLE = curve(700, (2.0, 1000, True), (1, 2.1, 900), (5, 6.0, 400), (10, 10.5, 390))
HIGH = curve(2000, (400, 1000, False), (1, 3.0, 320), (5, 3.5, 300), (10, 3.6, 300))
SWEEP = [*LOW, *MIDDLE, *HIGH]


def chosen(advice: Advice) -> tuple[str, int | None]:
    return advice.provider, advice.poll_delay_ms


def test_without_a_goal_the_advice_is_for_where_plain_signing_gets_tight() -> None:
    """70 % of what it can do. 5 ms takes nearly as little CPU as 10 ms, with the lower latency."""
    advice = advise(SWEEP, CAPACITIES, Goal())
    assert (advice.at, chosen(advice)) == (700, ("cryptomb", 5))
    assert "60% less CPU time" in advice.reason


def test_a_low_load_is_not_worth_accelerating() -> None:
    advice = advise(SWEEP, CAPACITIES, Goal(rate=50))
    assert chosen(advice) == ("none", None)
    assert "50% more CPU time: its queues stay too empty" in advice.reason


def test_a_load_beyond_plain_signing_needs_a_provider() -> None:
    advice = advise(SWEEP, CAPACITIES, Goal(rate=2000))
    assert chosen(advice) == ("cryptomb", 1), "among settings with nearly the same CPU time the lowest p99"
    assert "cannot keep up" in advice.reason


def test_a_latency_goal_excludes_long_delays() -> None:
    assert chosen(advise(SWEEP, CAPACITIES, Goal(rate=700, p99=0.005))) == ("none", None)
    assert chosen(advise(SWEEP, CAPACITIES, Goal(rate=700, p99=0.007))) == ("cryptomb", 5)


def test_a_latency_goal_that_only_plain_signing_reaches() -> None:
    advice = advise(SWEEP, CAPACITIES, Goal(rate=50, p99=0.001))
    assert chosen(advice) == ("none", None)
    assert "no setting of a provider does" in advice.reason


def test_a_latency_goal_that_nothing_reaches() -> None:
    advice = advise(SWEEP, CAPACITIES, Goal(rate=700, p99=0.0001))
    assert chosen(advice) == ("none", None)
    assert "the lowest is 2 ms (no provider)" in advice.reason


def test_a_load_that_nothing_stands() -> None:
    lost = [
        point("sync", 0, 9000, p99=400, cpu=1000, keeps_up=False),
        point("cryptomb", 5, 9000, p99=300, cpu=300, keeps_up=False),
    ]
    advice = advise(lost, CAPACITIES, Goal(rate=9000))
    assert chosen(advice) == ("none", None)
    assert "nothing keeps up" in advice.reason


def test_a_slow_library_is_said_to_be_slow() -> None:
    points = curve(700, (2.0, 1000, True), (5, 6.0, 1100))
    advice = advise(points, {"sync": 1000.0, "cryptomb": 900.0}, Goal(rate=700))
    assert chosen(advice) == ("none", None)
    assert any("less than signing without it" in warning for warning in advice.warnings)


def test_a_small_saving_is_not_worth_another_moving_part() -> None:
    advice = advise(curve(700, (2.0, 1000, True), (5, 6.0, 900)), CAPACITIES, Goal(rate=700))
    assert chosen(advice) == ("none", None)
    assert "saves only 10%" in advice.reason


def test_half_of_next_to_nothing_is_not_worth_a_longer_latency() -> None:
    """5 % of the workers' time are spent on signing: a queue would free half of that and make everybody wait."""
    advice = advise(curve(50, (0.5, 1000, True), (20, 21, 500)), CAPACITIES, Goal(rate=50))
    assert chosen(advice) == ("none", None)
    assert "would free only 2% of the workers' time and has a p99 of 21 ms" in advice.reason


def test_a_saving_without_a_price_is_taken() -> None:
    advice = advise(curve(50, (0.5, 1000, True), (1, 0.4, 500)), CAPACITIES, Goal(rate=50))
    assert chosen(advice) == ("cryptomb", 1)


def test_qat_and_cryptomb_are_compared() -> None:
    points = [*curve(700, (2.0, 1000, True), (5, 6.0, 400)), point("qat", 5, 700, p99=7.0, cpu=60)]
    assert chosen(advise(points, {**CAPACITIES, "qat": 9000.0}, Goal(rate=700))) == ("qat", 5)


def test_a_node_without_any_accelerator() -> None:
    advice = advise([point("sync", 0, 700, p99=2, cpu=1000)], {"sync": 1000.0}, Goal())
    assert chosen(advice) == ("none", None)
    assert "there is no accelerator" in advice.reason


def test_nothing_measured_is_no_advice() -> None:
    advice = advise([], {}, Goal(rate=100))
    assert chosen(advice) == ("none", None)
    assert advice.at == 0


def test_the_advice_names_the_load_it_is_for_when_that_is_another() -> None:
    advice = advise(SWEEP, CAPACITIES, Goal(rate=1000))
    assert advice.at == 700
    assert any("nearest measured load to 1000" in warning for warning in advice.warnings)


@pytest.mark.parametrize(("delay", "rate"), [(1, 700.0), (5, 700.0), (10, 700.0)])
def test_where_acceleration_begins_to_pay(delay: int, rate: float) -> None:
    breaks = {found.setting.poll_delay_ms: found.rate for found in advise(SWEEP, CAPACITIES, Goal()).break_even}
    assert breaks[delay] == rate


def test_acceleration_that_never_pays() -> None:
    points = [*curve(50, (0.5, 1000, True), (5, 6, 2000)), *curve(700, (2, 1000, True), (5, 6, 1200))]
    assert [found.rate for found in advise(points, CAPACITIES, Goal()).break_even] == [None]


def test_a_backlog_at_the_end_is_not_keeping_up() -> None:
    late = Point(
        Setting("sync", 0), 100, 1.0, Measured(100, 0, 0, 1.3, 1.0, (0,) * 9, Latency(0.1, 0.1, 0.2, 0.3, 0.3))
    )
    timer = Point(
        Setting("cryptomb", 200), 100, 1.0, Measured(100, 0, 0, 1.2, 1.0, (0,) * 9, Latency(0.1, 0.1, 0.2, 0.2, 0.2))
    )
    assert not late.keeps_up
    assert timer.keeps_up, "the last queue may wait for its timer"
