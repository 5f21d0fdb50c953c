"""Ctrl-C, kill and a lost connection, at any moment of a run: what it changed is as it was, the status is 130."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.engine.run import locked
from qatprep.exits import ExitCode
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot

CONFIG = NodeConfig(smoke=False)
PFS = ("0000:6b:00.0", "0000:70:00.0")


class Interrupted(SimulatedHost):
    """A host whose qatprep is sent a signal as it makes its n-th operation, and perhaps at others after it."""

    at: frozenset[int] = frozenset()
    number = signal.SIGINT

    def _change(self, op: str, *args: object, **options: object) -> None:
        super()._change(op, *args, **options)  # type: ignore[arg-type]
        if len(self.operations) in self.at:
            os.kill(os.getpid(), self.number)
            time.sleep(0.01)  # the main thread is told


def host(at: set[int], number: signal.Signals = signal.SIGINT, *faults: Fault) -> Interrupted:
    recorded = open_host("/", "spr-2s")
    assert isinstance(recorded, SimulatedHost)
    made = Interrupted(recorded.tree, recorded.kernel.release, faults=Faults(*faults))
    made.at, made.number = frozenset(at), number
    return made


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The signals mean afterwards what they meant before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize("n", [2, 5, 12, 20, 33, 60, 90])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_everything_is_undone(n: int, number: signal.Signals) -> None:
    made = host({n}, number)
    before = snapshot(made)
    result = bootstrap(made, CONFIG, only=PFS.__contains__)
    assert result.status == "interrupted"
    assert difference(before, snapshot(made)) == []


def test_impatience_does_not_stop_the_way_back() -> None:
    made = host(set(range(20, 400)))
    before = snapshot(made)
    assert bootstrap(made, CONFIG, only=PFS.__contains__).status == "interrupted"
    assert difference(before, snapshot(made)) == []


def test_an_interrupt_on_the_way_back_from_a_failure() -> None:
    made = host(set(range(40, 400)), signal.SIGINT, Fault("errno", 1, 16, path="*/vfio-pci/bind"))
    before = snapshot(made)
    assert bootstrap(made, CONFIG, only=PFS.__contains__).status in ("rolled back", "interrupted")
    assert difference(before, snapshot(made)) == []


def test_rollback_by_hand_goes_on_to_its_end() -> None:
    made = host(set())
    before = snapshot(made)
    assert bootstrap(made, CONFIG, only=PFS.__contains__).status == "applied"
    made.at = frozenset(range(len(made.operations) + 3, len(made.operations) + 60))
    assert qatprep("rollback", host=made).code == ExitCode.OK
    assert difference(before, snapshot(made)) == []


def test_status_and_words() -> None:
    made = host({12})
    called = qatprep("bootstrap", host=made)
    assert called.code == ExitCode.INTERRUPTED
    assert "Interrupted." in called.out and "what they changed is as it was" in called.out
    assert "Traceback" not in called.err


def test_what_is_ignored_stays_ignored() -> None:
    """nohup: the end of the terminal is not the end of the run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert bootstrap(host({12}, signal.SIGHUP), CONFIG, only=PFS.__contains__).status == "applied"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_before_anything_was_done() -> None:
    made = host(set())
    with pytest.raises(KeyboardInterrupt), locked(made):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


class Failing:
    """Somebody who watches from a terminal that has gone."""

    def __getattr__(self, name: str) -> object:
        raise BrokenPipeError(name)


@pytest.mark.parametrize("faults", [(), (Fault("errno", 20, 5),)])
def test_a_watcher_that_has_gone_is_not_missed(faults: tuple[Fault, ...]) -> None:
    made = host(set(), signal.SIGINT, *faults)
    before = snapshot(made)
    result = bootstrap(made, CONFIG, only=PFS.__contains__, progress=Failing())  # type: ignore[arg-type]
    assert result.status == ("rolled back" if faults else "applied")
    assert (difference(before, snapshot(made)) == []) == bool(faults)
