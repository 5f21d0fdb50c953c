"""A slice of `./dev faults`: whatever fails, wherever, the host is as it was, or what is not is told and undone later.

Each test takes some of the faults that the command takes all of; docs/reliability.md has the counts of a whole run.
"""

from __future__ import annotations

import contextlib
import errno
from itertools import islice

import pytest

from qatprep.engine import journal
from qatprep.engine.bootstrap import undoable
from qatprep.simulator.faults import Fault
from tests.faults import signals
from tests.faults.__main__ import KERNELS, SMALL
from tests.faults.cases import distinct, every_index, undoing_fails
from tests.faults.hold import hold
from tests.faults.journeys import BY_NAME, JOURNEYS, SPR, Journey, clean
from tests.faults.meanwhile import ACTS, meanwhile
from tests.faults.meanwhile import hold as meanwhile_holds

FEW = 6
"""Faults of each journey."""


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.name)
def test_some_of_each_distinct_fault(journey: Journey) -> None:
    cases = list(distinct(journey, SMALL))
    for case in cases[:: len(cases) // FEW]:
        hold(case)


@pytest.mark.parametrize("name", ["bootstrap, persistence", "bootstrap, containers", "device services"])
def test_the_undoing_fails_as_well(name: str) -> None:
    for case in islice(undoing_fails(BY_NAME[name], SMALL), 5, None, 29):
        hold(case)


@pytest.mark.parametrize("kernel", KERNELS)
def test_some_operations_of_a_whole_server(kernel: str) -> None:
    for case in islice(every_index(SPR, kernel), 40, None, 331):
        hold(case)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("name", ["bootstrap", "device services", "rollback of bootstrap"])
def test_somebody_else_at_work_meanwhile(name: str, act: str) -> None:
    cases = [case for case in meanwhile(BY_NAME[name], SMALL) if case.act == act]
    for case in cases[4::9]:
        meanwhile_holds(case)


def test_signals_to_processes() -> None:
    for case in signals.sent(seed=18, number=3):
        signals.hold(case)


@pytest.mark.parametrize("times", [0, 1])
def test_a_disk_that_is_full_while_the_journal_is_written(times: int) -> None:
    """It takes half a line and no more, from then on or once; the next run understands what was left."""
    story = BY_NAME["bootstrap"]
    appends = sum(op == "append" for op, _, _ in clean(story, SMALL).operations)
    for n in range(1, appends + 1, 2):
        host = story.host(SMALL, Fault("errno", n, errno.ENOSPC, op="append", when="half", times=times))
        end = story.call(host)
        assert end.status in ("rolled back", "error") and "No space left" in end.told
        host.faults.faults.clear()
        assert [run.status for run in journal.runs(host)] == ["rolled back" if times == 1 and n > 1 else ""]
        with contextlib.suppress(journal.JournalError):
            assert undoable(host) == [] or times == 0
