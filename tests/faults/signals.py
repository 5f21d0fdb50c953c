"""Ctrl-C, kill and a lost connection to real processes of qatprep, at random moments; and what they leave."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from qatprep.host import manifest
from qatprep.host.tree import Tree
from qatprep.simulator.testing.fingerprint import Fingerprint, difference, fingerprint
from tests.faults.journeys import BY_NAME, Fell

ROOT = Path(__file__).parents[2]
NAME = "spr-2s"
"""Of the simulated host that the state says it is; what it holds is the small one."""
SLOW = """
import runpy
from qatprep.simulator.clock import Clock
Clock.__init__.__defaults__ = (0.3,)
runpy.run_module("qatprep", run_name="__main__", alter_sys=True)
"""
"""`python -m qatprep` on a simulated host whose seconds take a third of a real one, instead of none."""
VERBS = {
    "bootstrap": ("bootstrap", "--no-smoke"),
    "rollback of bootstrap": ("rollback",),
    "device services": ("device", "services", "dc", "0000:6b:00.0"),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = 130


class Sent(NamedTuple):
    verb: str
    number: signal.Signals
    moment: float
    """From 0, the start of the process, to 1, the end of one that gets no signal."""

    def __str__(self) -> str:
        return f"{self.verb}: {self.number.name} at {self.moment:.3f} of its time"


def sent(seed: int, number: int) -> Iterator[Sent]:
    """As many as asked for, by a seed."""
    dice = random.Random(seed)
    for _ in range(number):
        yield Sent(dice.choice(list(VERBS)), dice.choice(SIGNALS), dice.random())


class _Clean(NamedTuple):
    seconds: float
    before: Fingerprint
    after: Fingerprint


def hold(case: Sent) -> str:
    """How the process ended. Fell where it leaves anything but the host before or the host after."""
    seconds, before, after = _clean(case.verb)
    with tempfile.TemporaryDirectory() as folder:
        state = _state(case.verb, folder)
        with _started(case.verb, state) as process:
            time.sleep(case.moment * seconds)
            process.send_signal(case.number)
            out, err = process.communicate(timeout=240)
        now = _now(state)
    early = err.rstrip().endswith("KeyboardInterrupt") and not difference(before, now)  # Python itself was starting
    if ("Traceback" in err and not early) or "mistake in qatprep" in err:
        raise Fell(err[-400:])
    there = [name for name, state_ in (("before", before), ("after", after)) if not difference(state_, now)]
    if not there:
        raise Fell(f"status {process.returncode}, neither before nor after: {difference(before, now)[:3]} {err[-200:]}")
    code = process.returncode
    wanted = {0: "after", 3: "after", STOPPED: "after" if case.verb.startswith("rollback") else "before"}.get(code)
    if code == STOPPED and "after the work was done" in err:
        wanted = "after"
    elif code == STOPPED and case.verb.startswith("rollback"):
        wanted = there[0]  # before it began, or once it was done: its undoing is never stopped
    if code not in (0, 3, STOPPED, -case.number) or (wanted and wanted not in there):
        raise Fell(f"status {code}, and the host is as {there[0]}: {out[-200:]}{err[-200:]}")
    return f"{'finished' if code in (0, 3) else 'stopped'}, host as {there[0]}"


def _started(verb: str, state: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, *VERBS[verb], "--yes", "--simulate", NAME]
    env = {**os.environ, "QATPREP_STATE": str(state)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@cache
def _clean(verb: str) -> _Clean:
    with tempfile.TemporaryDirectory() as folder:
        state = _state(verb, folder)
        before = _now(state)
        begin = time.monotonic()
        with _started(verb, state) as process:
            _, err = process.communicate(timeout=240)
        if process.returncode not in (0, 3):
            raise Fell(f"{verb} without a signal: status {process.returncode}: {err}")
        return _Clean(time.monotonic() - begin, before, _now(state))


def _state(verb: str, folder: str) -> Path:
    """A file that keeps the host before the command, as QATPREP_STATE has it."""
    path = Path(folder) / "node"
    head, _, rest = manifest.dump(_start(verb)).partition("\n")
    path.write_text(f"{head}\n# the state of the simulated host {NAME}\n{rest}")
    return path


@cache
def _start(verb: str) -> Tree:
    return BY_NAME[verb].host("6.12").tree


def _now(state: Path) -> Fingerprint:
    return fingerprint(manifest.load(str(state)))
