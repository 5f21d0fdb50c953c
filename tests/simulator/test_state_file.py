"""A simulated host that is kept in a file between calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qatprep.exits import ExitCode
from qatprep.host.manifest import TOTAL_LIMIT
from qatprep.simulator.state_file import KeptHost
from tests.conftest import qatprep


def test_a_host_stays_as_a_call_left_it(tmp_path: Path) -> None:
    env = {"QATPREP_STATE": str(tmp_path / "node1")}
    kept = ("--simulate", "srf-1s", "--output", "json")
    assert qatprep("plan", *kept, env=env).json["changed"] is True
    assert not (tmp_path / "node1").exists(), "looking changes nothing"
    first = qatprep("bootstrap", *kept, env=env)
    assert (first.code, first.json["status"]) == (0, "applied")
    assert qatprep("bootstrap", *kept, env=env).json["status"] == "unchanged"
    assert qatprep("status", *kept, env=env).json["last_run"]["run"] == first.json["run"]
    assert qatprep("rollback", *kept, env=env).code == 0
    again = qatprep("bootstrap", *kept, env=env).json
    assert again["status"] == "applied"
    assert again["run"] > first.json["run"], "the clock goes on between calls"
    assert qatprep("plan", "--simulate", "srf-1s").code == 3, "without the file every call begins again"


def test_a_process_of_its_own_can_undo_what_another_one_did(tmp_path: Path) -> None:
    env = {**os.environ, "QATPREP_STATE": str(tmp_path / "node1")}

    def call(verb: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qatprep", verb, "--simulate", "srf-1s", "--output", "json"]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert call("bootstrap").returncode == 0
    undone = call("rollback")
    assert (undone.returncode, undone.stderr) == (0, "")
    assert call("plan").returncode == 3


def test_the_kernel_stays_too(tmp_path: Path) -> None:
    env = {"QATPREP_STATE": str(tmp_path / "node1")}
    assert qatprep("bootstrap", "--simulate", "srf-1s@6.17", env=env).code == 0
    assert "Linux 6.17" in qatprep("status", "--simulate", "srf-1s", env=env).out


@pytest.mark.parametrize("verb", ["bootstrap", "rollback"])
def test_the_state_is_written_at_the_entries_of_the_journal_and_at_the_end(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after each of the hundreds of attributes that a run writes: every time the whole host is written."""
    env = {"QATPREP_STATE": str(tmp_path / "node1")}
    if verb == "rollback":
        assert qatprep("bootstrap", "--simulate", "spr-2s", env=env).code == 0
    saved = []
    save = KeptHost._save
    hosts = set()

    def counted(host: KeptHost) -> None:
        hosts.add(host)
        saved.append(len(host.operations))
        save(host)

    monkeypatch.setattr(KeptHost, "_save", counted)
    assert qatprep(verb, "--simulate", "spr-2s", env=env).code == 0
    (host,) = hosts
    entries = [n for n, operation in enumerate(host.operations, 1) if operation.op == "append"]
    assert len(host.operations) > 5 * len(entries)
    assert saved == entries, "the last of which is the end of the run"


def test_a_state_of_another_host_is_refused(tmp_path: Path) -> None:
    env = {"QATPREP_STATE": str(tmp_path / "node1")}
    assert qatprep("bootstrap", "--simulate", "srf-1s", env=env).code == 0
    got = qatprep("plan", "--simulate", "emr-2s", env=env)
    assert got.code == 2
    assert "'srf-1s'" in got.err and "'emr-2s'" in got.err and "fix:   name another file" in got.err


def test_a_place_where_nothing_can_be_kept(tmp_path: Path) -> None:
    got = qatprep("plan", "--simulate", "srf-1s", env={"QATPREP_STATE": str(tmp_path / "no" / "node1")})
    assert got.code == 2
    assert "No such file or directory" in got.err


def test_a_killed_run_leaves_what_it_had_done(tmp_path: Path) -> None:
    state = tmp_path / "node1"
    command = [sys.executable, "-m", "qatprep", "bootstrap", "--simulate", "spr-2s", "--output", "json"]
    env = {**os.environ, "QATPREP_STATE": str(state)}
    run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (state.exists() and '"done"' in state.read_text()):
        assert run.poll() is None and time.monotonic() < deadline
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    here = {"QATPREP_STATE": str(state)}
    assert qatprep("rollback", "--list", "--simulate", "spr-2s", "-o", "json", env=here).json["runs"][0]["standing"]
    after = qatprep("bootstrap", "--simulate", "spr-2s", "--output", "json", env=here).json
    assert after["status"] == "applied"
    assert after["resumed"]
    assert qatprep("doctor", "--profile", "qat", "--simulate", "spr-2s", env=here).code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/sys/bus/pci/drivers = x", "no host that the simulation can go on with: [Errno 20] Not a directory"),
        ("/.qatprep/euid = root", "/.qatprep/euid is not a user id: 'root'"),
        ("/.qatprep/time = soon", "/.qatprep/time is not a time such as 2026-03-02T08:00:00Z: 'soon'"),
    ],
)
def test_a_damaged_state_is_told(line: str, said: str, tmp_path: Path) -> None:
    state = tmp_path / "node1"
    head = "# qatprep host 1\n# the state of the simulated host spr-2s\n@include spr-2s-ready\n"
    state.write_text(f"{head}- {line.split(' ')[0]}\n{line}\n")
    called = qatprep("status", "--simulate", "spr-2s", env={"QATPREP_STATE": str(state)})
    assert called.code == ExitCode.USAGE
    assert said in called.err and len(called.err.splitlines()) == 2


def test_what_killed_calls_were_writing_is_removed(tmp_path: Path) -> None:
    state = tmp_path / "node1"
    env = {"QATPREP_STATE": str(state)}
    assert qatprep("bootstrap", "--simulate", "srf-1s", env=env).code == 0
    (tmp_path / "node1.new-0123456789abcdef").write_text("# qatprep host 1\nhalf")
    (tmp_path / "node10").write_text("another file")
    assert qatprep("status", "--simulate", "srf-1s", env=env).code == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["node1", "node1.lock", "node10"]


def test_a_state_larger_than_a_host_file_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "node1"
    with state.open("wb") as f:
        f.truncate(TOTAL_LIMIT + 1)
    got = qatprep("plan", "--simulate", "srf-1s", env={"QATPREP_STATE": str(state)})
    assert got.code == 2
    assert f"has {TOTAL_LIMIT + 1} bytes, at most {TOTAL_LIMIT} are read" in got.err


def test_a_full_disk_here_is_a_full_disk_there(tmp_path: Path) -> None:
    """The state before stays whole, and the run ends as on a host whose journal cannot be written."""
    state = tmp_path / "node1"
    env = {**os.environ, "QATPREP_STATE": str(state)}

    def call(verb: str, limit: str) -> subprocess.CompletedProcess[str]:
        command = f"ulimit -f {limit}; exec {sys.executable} -m qatprep {verb} --simulate srf-1s"
        return subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False)

    assert call("bootstrap", "unlimited").returncode == 0
    before = state.read_bytes()
    limited = call("rollback", "4")
    assert limited.returncode == 1, limited.stdout
    assert f"QATPREP_STATE='{state}': cannot be written: File too large" in limited.stderr
    assert "Traceback" not in limited.stderr and "mistake in qatprep" not in limited.stderr
    assert state.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["node1", "node1.lock"]
