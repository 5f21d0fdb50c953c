"""The command as a process: pipes closed early, full disks, closed descriptors, terminals without UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def shell(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in which `Q` stands for qatprep."""
    q = f"'{sys.executable}' -m qatprep"
    return subprocess.run(
        ["bash", "-c", command.replace("Q ", f"{q} ")],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "code", "err"),
    [
        ("Q hosts > /dev/full", 1, "error: cannot write the output: No space left on device\n"),
        ("Q --version > /dev/full", 1, "error: cannot write the output: No space left on device\n"),
        ("Q plan --help > /dev/full", 1, "error: cannot write the output: No space left on device\n"),
        ("Q hosts >&-", 0, ""),
        ("Q --version >&-", 0, ""),
        ("Q hosts -o json 2>&- | grep -c schema", 0, ""),
        ("Q nosuch 2>&- >&-", 2, ""),
        ("Q hosts | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("Q --version | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("Q doctor --simulate no-qat < /dev/null <&- | tail -1", 0, ""),
    ],
)
def test_output_that_goes_nowhere(command: str, code: int, err: str) -> None:
    done = shell(command)
    assert (done.returncode, done.stderr) == (code, err)


@pytest.mark.parametrize(
    "command",
    [
        "Q bootstrap --simulate spr-2s 2> >(true) > /dev/null",
        "Q bootstrap --simulate spr-2s 2>&1 | head -1 > /dev/null; exit ${PIPESTATUS[0]}",
        "Q bootstrap --simulate spr-2s > /dev/full",
        "Q bootstrap --simulate spr-2s -o json >&- 2>&-",
    ],
)
def test_a_run_goes_on_to_its_end_when_nobody_listens(command: str, tmp_path: Path) -> None:
    """Neither cut off in the middle, nor said to have failed."""
    state = tmp_path / "state"
    done = shell(command, QATPREP_STATE=str(state))
    again = shell("Q bootstrap --simulate spr-2s --no-smoke", QATPREP_STATE=str(state))
    if done.returncode == 0:
        assert "matches its configuration" in again.stdout
    else:  # gone before the plan could be shown: nothing was begun
        assert done.returncode == 1 and "Done: " in again.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding(encoding: str) -> None:
    for verb in ("doctor", "plan", "status", "device list", "bootstrap"):
        done = shell(f"Q {verb} --simulate fw-half", PYTHONIOENCODING=encoding)
        assert "mistake" not in done.stderr
        assert done.stdout


@pytest.mark.parametrize("columns", ["1", "40", "79", "200", "100000", "x", "-5", ""])
def test_every_width(columns: str) -> None:
    done = shell("Q plan --simulate fw-half; Q doctor --simulate spr-2s | tail -3", COLUMNS=columns)
    assert done.stderr == "" and done.stdout
