"""Whatever fails, wherever: the host is as it was, or what is left is told and a later rollback puts it back.

Every operation of a run fails in turn. By default every thirteenth does, on some hosts; QATPREP_TEST_FULL=1 takes them
all, in half an hour.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig, parse
from qatprep.engine import journal
from qatprep.engine.bootstrap import Result, bootstrap, undoable
from qatprep.engine.run import undo_run
from qatprep.errors import QatprepError
from qatprep.simulator.faults import Fault, Faults, PowerLoss, When
from qatprep.simulator.host import SimulatedHost
from tests.engine.state import difference, snapshot

FULL = bool(os.environ.get("QATPREP_TEST_FULL"))
STRIDE = 1 if FULL else 13


class Story(NamedTuple):
    name: str
    kernel: str
    pf: str
    config: NodeConfig

    def host(self, *faults: Fault) -> SimulatedHost:
        recorded = open_host("/", f"{self.name}@{self.kernel}")
        assert isinstance(recorded, SimulatedHost)
        return SimulatedHost(recorded.tree, recorded.kernel.release, faults=Faults(*faults))

    def run(self, host: SimulatedHost) -> Result:
        return bootstrap(host, self.config, only=self.pf.__eq__)

    def __str__(self) -> str:
        return f"{self.name}@{self.kernel}"


DC = parse("", "a test", ["devices.services=dc", "smoke=false"])
FRESH = [
    # The PF with dc would be skipped: 5.17 cannot set services.
    Story("spr-2s", "5.17", "0000:6b:00.0", NodeConfig(smoke=False)),
    *(Story("spr-2s", kernel, "0000:70:00.0", NodeConfig(smoke=False)) for kernel in ("6.1", "6.12", "7.2")),
]
"""Modules, group, services (from 6.0 on), VFs, binding, nodes."""
READY = [Story("spr-2s-ready", kernel, "0000:6b:00.0", DC) for kernel in ("6.1", "7.2")]
"""VFs are destroyed for other services, and made again."""
LOAD = [Story("module-not-loaded", kernel, "0000:70:00.0", NodeConfig(smoke=False)) for kernel in ("6.1", "7.2")]
"""What the PF will show is a forecast at first."""


def some(*stories: Story) -> list[Story]:
    return [*FRESH, *READY, *LOAD] if FULL else list(stories)


@cache
def length(story: Story) -> int:
    """Operations of a run in which nothing fails."""
    host = story.host()
    assert story.run(host).status == "applied"
    return len(host.operations)


def finish(host: SimulatedHost) -> None:
    """What a person does when the cause is gone: rollback, until there is nothing left to undo."""
    host.faults.faults.clear()
    for _ in range(2):
        for run in undoable(host):
            assert undo_run(host, run) == []
    assert undoable(host) == []


def check(story: Story, fault: Callable[[int], list[Fault]]) -> set[str]:
    """One run for each operation that `fault` strikes; how they ended."""
    ends: set[str] = set()
    for n in range(1, length(story) + 1, STRIDE):
        host = story.host(*fault(n))
        before = snapshot(host)
        try:
            result = story.run(host)
        except journal.JournalError:
            assert difference(before, snapshot(host)) == []
            continue
        ends.add(result.status)
        assert result.status in ("applied", "rolled back", "partial"), (n, result)
        if result.status == "rolled back":
            assert difference(before, snapshot(host)) == [], (n, result.failure)
        if result.status == "partial":
            assert result.not_undone
            finish(host)
            assert difference(before, snapshot(host)) == [], (n, result.failure, result.not_undone)
    return ends


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("story", some(FRESH[0], FRESH[2], READY[0], LOAD[1]), ids=str)
def test_one_operation_fails(story: Story, when: When) -> None:
    number = errno.EIO if when == "after" else errno.EINVAL
    assert check(story, lambda n: [Fault("errno", n, number, when=when)]) == {"rolled back"}


@pytest.mark.parametrize(
    "number", [errno.EBUSY, errno.ENODEV, errno.ENOENT, errno.ENOMEM, errno.EFAULT][:: 1 if FULL else 2]
)
def test_whatever_the_errno(number: int) -> None:
    assert check(FRESH[2], lambda n: [Fault("errno", n, number)]) == {"rolled back"}


@pytest.mark.parametrize("op", ["write", "run"])
@pytest.mark.parametrize("story", some(FRESH[1], READY[1]), ids=str)
def test_one_operation_hangs(story: Story, op: str) -> None:
    """Nothing that can block in the kernel is waited for without an end."""
    assert check(story, lambda n: [Fault("hang", 1 + n // STRIDE, op=op)]) <= {"applied", "rolled back"}


@pytest.mark.parametrize("story", some(FRESH[0], FRESH[1], READY[1]), ids=str)
@pytest.mark.parametrize("times", [1, 0])
def test_the_undoing_fails_as_well(story: Story, times: int) -> None:
    """A second fault on the way back, once or from there on; then the cause goes away and rollback is called again.

    The first three operations make the journal: its two folders, and the line that begins it.
    """
    for n in range(4, length(story) + 1, 3 if FULL else STRIDE * 3):
        first = Fault("errno", n, errno.EIO)
        probe = story.host(first)
        story.run(probe)
        for second in range(n + 1, len(probe.operations) + 1, 5 if FULL else STRIDE * 2):
            host = story.host(Fault("errno", n, errno.EIO), Fault("errno", second, errno.EBUSY, times=times))
            before = snapshot(host)
            result = story.run(host)
            if result.status == "rolled back":
                assert difference(before, snapshot(host)) == [], (n, second)
            else:
                assert result.status == "partial" and result.not_undone
                finish(host)
                assert difference(before, snapshot(host)) == [], (n, second, result.not_undone)


def test_the_disk_is_full_from_some_moment_on() -> None:
    """The journal takes half a line and no more, neither on the way nor on the way back."""
    story = FRESH[2]
    appends = _appends(story)
    for n in range(1, appends + 1):
        host = story.host(Fault("errno", n, errno.ENOSPC, op="append", when="half", times=0))
        before = snapshot(host)
        try:
            result = story.run(host)
        except QatprepError as e:
            assert n == 1 and "No space left" in e.message and "room" in e.hint
        else:
            assert result.status == "rolled back"
            assert result.failure and "No space left" in result.failure.message
        assert difference(before, snapshot(host)) == [], n
        host.faults.faults.clear()
        assert story.run(host).status == "applied"
        finish(host)
        assert difference(before, snapshot(host)) == [], n


def test_one_line_of_the_journal_is_torn_in_the_middle_of_the_run() -> None:
    """A disk that has room again a moment later: what follows a torn line is understood."""
    story = FRESH[2]
    appends = _appends(story)
    for n in range(1, appends + 1, 2):
        host = story.host(Fault("errno", n, errno.ENOSPC, op="append", when="half"))
        with pytest.raises(QatprepError) if n == 1 else contextlib.nullcontext():
            assert story.run(host).status == "rolled back"
        assert [run.status for run in journal.runs(host)] in (["rolled back"], [""])
        assert undoable(host) == []


def _appends(story: Story) -> int:
    host = story.host()
    story.run(host)
    return sum(operation.op == "append" for operation in host.operations)


def cut(story: Story, n: int, when: When) -> SimulatedHost:
    """A host whose run was ended by force at its n-th operation."""
    host = story.host(Fault("power", n, when=when))
    with pytest.raises(PowerLoss):
        story.run(host)
    return host


@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize("story", [*FRESH, *READY] if FULL else [FRESH[3], READY[0]], ids=str)
def test_power_loss(story: Story, when: When) -> None:
    """After the boot the next run makes the host ready, or rollback by hand leaves nothing behind."""
    booted = snapshot(story.host().reboot())
    for n in range(1, length(story) + 1, STRIDE):
        for again in (False, True):
            host = cut(story, n, when).reboot()
            if again:
                assert story.run(host).status in ("applied", "unchanged")
                assert story.run(host).status == "unchanged"
            finish(host)
            assert difference(booted, snapshot(host)) == [], (n, again)


@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize("story", some(FRESH[0], READY[1], LOAD[0]), ids=str)
def test_killed(story: Story, when: When) -> None:
    """kill -9: the host runs on, half changed. The next run goes on from there; rollback undoes both."""
    before = snapshot(story.host())
    for n in range(1, length(story) + 1, STRIDE):
        for again in (False, True):
            host = cut(story, n, when)
            host._dead = False  # the process is dead, not the machine
            host._locks.clear()
            if again:
                assert story.run(host).status in ("applied", "unchanged")
                assert story.run(host).status == "unchanged"
            finish(host)
            assert difference(before, snapshot(host)) == [], (n, again)
