"""Simulated time: lanes overlap, steps add up, and nothing really takes that long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from fixtures import acts
from qatprep.simulator.host import SimulatedHost
from tests.simulator.hosts import simulated, tree_of


def lane(host: SimulatedHost, pf: str) -> None:
    acts.set_services(host, "dc", [pf])
    acts.make_vfs(host, [pf])
    acts.bind_vfs(host, acts.vfs(host, pf))


def side_by_side(*lanes: Callable[[], object]) -> None:
    threads = [threading.Thread(target=lane) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_lanes_side_by_side_take_as_long_as_the_longest() -> None:
    host = simulated("spr-2s-ready")
    for pf in acts.pfs(host):
        lane(host, pf)
    one_after_the_other = host.now()
    host = simulated("spr-2s-ready")
    pfs = acts.pfs(host)
    side_by_side(*(partial(lane, host, pf) for pf in pfs))
    # Going down takes a PF's VFs away, for which the kernel sleeps a second.
    assert host.now() > 1
    assert one_after_the_other == pytest.approx(8 * host.now(), rel=0.05)


def test_what_follows_the_lanes_comes_after_them() -> None:
    host = simulated("spr-2s")
    side_by_side(lambda: host.sleep(3), lambda: host.sleep(5))
    assert host.now() == 5
    host.sleep(1)
    seen = []
    side_by_side(lambda: (host.sleep(1), seen.append(host.now())), lambda: host.sleep(2))  # type: ignore[func-returns-value]
    assert seen == [7]
    assert host.now() == 8


def test_a_lane_that_starts_late_started_with_the_others() -> None:
    host = simulated("spr-2s")
    first_done = threading.Event()
    side_by_side(
        lambda: (host.sleep(4), first_done.set()),  # type: ignore[func-returns-value]
        lambda: (first_done.wait(), host.sleep(4)),  # type: ignore[func-returns-value]
    )
    assert host.now() == 4


def test_the_wall_clock_goes_with_it() -> None:
    host = simulated()
    assert host.wallclock() == "2026-03-02T08:00:00Z"
    host.sleep(90)
    assert host.wallclock() == "2026-03-02T08:01:30Z"


def test_real_time_where_it_is_wanted() -> None:
    host = SimulatedHost(tree_of("spr-2s"), realtime=0.01)
    began = time.monotonic()
    host.sleep(5)
    assert time.monotonic() - began >= 0.05
