"""Ctrl-C and kill as a process gets them: what is said, the status, and what the next call finds."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qatprep.exits import ExitCode
from tests.conftest import qatprep

ROOT = Path(__file__).parents[2]
SLOW = """
import runpy
from qatprep.simulator.clock import Clock
Clock.__init__.__defaults__ = (0.5,)
runpy.run_module("qatprep", run_name="__main__", alter_sys=True)
"""
"""`python -m qatprep` on simulated hosts whose seconds take half a real one, instead of none."""
BLOCKED = """
import os, runpy, time
from qatprep.simulator.host import SimulatedHost
def read(self, path, **options):
    os.write(2, b"reading\\n")
    time.sleep(30)
SimulatedHost.read = read
runpy.run_module("qatprep", run_name="__main__", alter_sys=True)
"""
"""The same on simulated hosts that cannot be read from for half a minute."""
HOST = ("--simulate", "spr-2s")
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def started(program: str, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "100", **env}, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], words: str) -> str:
    """What it says on stderr until a line with these words."""
    assert process.stderr
    said = ""
    for line in process.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was not said, but: {said}")


def interrupted(state: Path, moments: Sequence[str], number: signal.Signals, *options: str) -> tuple[int, str, str]:
    """A bootstrap that gets the signal whenever it says one of these words; its status, stdout and stderr."""
    with started(SLOW, "bootstrap", "--no-smoke", *HOST, *options, QATPREP_STATE=str(state)) as process:
        said = ""
        for words in moments:
            said += until(process, words)
            process.send_signal(number)
        out, err = process.communicate(timeout=240)
    return process.returncode, out, said + err


def call(state: Path, *arguments: str) -> Any:
    called = qatprep(*arguments, *HOST, "-o", "json", env={"QATPREP_STATE": str(state)})
    return called.code, called.json


@pytest.mark.parametrize("number", ENDS)
def test_bootstrap_is_undone(number: signal.Signals, tmp_path: Path) -> None:
    state = tmp_path / "node"
    code, out, err = interrupted(state, ["services: dc -> sym;asym"], number)
    assert code == ExitCode.INTERRUPTED
    told = err.index("interrupted: the changes under way are finished, then everything is undone\n")
    assert told < err.index("undoing, newest first\n")
    assert "undone: qat group back to absent\n" in err
    assert "Interrupted.\nRolled back: all " in out and "what they changed is as it was.\n" in out
    assert "Traceback" not in err
    _, runs = call(state, "rollback", "--list")
    assert [(run["status"], run["standing"]) for run in runs["runs"]] == [("rolled back", 0)]
    _, document = call(state, "rollback")
    assert document["status"] == "unchanged"
    code, plan = call(state, "plan")
    assert code == ExitCode.FINDINGS and len(plan["lanes"]) == 8


def test_a_second_ctrl_c_does_not_stop_the_way_back(tmp_path: Path) -> None:
    state = tmp_path / "node"
    moments = ["VFs: 0 -> 16", "undoing, newest first", "VFs back to 0"]
    code, out, err = interrupted(state, moments, signal.SIGINT)
    assert code == ExitCode.INTERRUPTED
    assert err.count("interrupted:") == 1 and "Traceback" not in err
    assert "what they changed is as it was.\n" in out
    assert call(state, "status")[1]["last_run"]["status"] == "rolled back"
    code, document = call(state, "bootstrap", "--no-smoke")
    assert (code, document["status"], document["resumed"]) == (ExitCode.OK, "applied", "")
    code, document = call(state, "rollback")
    assert (code, document["status"]) == (ExitCode.OK, "rolled back")


def test_the_document_of_an_interrupted_run(tmp_path: Path) -> None:
    state = tmp_path / "node"
    with started(SLOW, "bootstrap", *HOST, "-o", "json", QATPREP_STATE=str(state)) as process:
        while not (state.exists() and '"done"' in state.read_text()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    assert process.returncode == ExitCode.INTERRUPTED
    document = json.loads(out)
    assert (document["status"], document["changed"], document["exit"]) == ("interrupted", False, ExitCode.INTERRUPTED)
    assert document["failure"]["message"] == "interrupted"
    assert err == ""


@pytest.mark.parametrize("verb", ["doctor", "plan", "status", "device list", "device list --all", "bootstrap"])
def test_what_only_looks_ends_at_once(verb: str) -> None:
    with started(BLOCKED, *verb.split(), *HOST) as process:
        until(process, "reading")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=25)
    assert (process.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert err.removeprefix("reading\n") == "interrupted\n"


@pytest.mark.parametrize("verb", ["doctor", "device list"])
def test_ctrl_c_twice(verb: str) -> None:
    """The second may come while Python itself ends: then the process dies of it, which shells call 130 as well."""
    with started(BLOCKED, *verb.split(), *HOST) as process:
        until(process, "reading")
        process.send_signal(signal.SIGINT)
        time.sleep(0.003)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=25)
    assert process.returncode in (ExitCode.INTERRUPTED, -signal.SIGINT) and out == ""
    assert set(err.splitlines()) <= {"reading", "interrupted"}
