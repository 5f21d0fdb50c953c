"""Modules, role and playbooks over simulated hosts on this machine (connection: local)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.lab import PLAYBOOKS, ROOT, Played, play, program

COLLECTION = PLAYBOOKS / "ansible_collections" / "qatprep" / "host"
ALL_AT_ONCE = ("-e", "qatprep_serial=100%", "-e", "qatprep_max_fail_percentage=100")

pytestmark = pytest.mark.usefixtures("ansible")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for PATH: qatprep as it is installed on a node."""
    directory = tmp_path / "bin"
    directory.mkdir()
    _program(directory / "qatprep", f'PYTHONPATH={ROOT} exec {sys.executable} -m qatprep "$@"')
    return directory


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def local(directory: Path, verb: str, nodes: dict[str, dict[str, Any]], *options: str) -> Played:
    """Hosts on this machine, each with the simulated host of its variables."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    inventory = {name: {**common, **variables} for name, variables in nodes.items()}
    return play(directory, inventory, verb, *options, path=str(directory / "bin"))


def test_every_outcome_is_told(tmp_path: Path, tools: Path) -> None:
    # What a host says to a program that would cost it its VFs.
    asks = tmp_path / "asks"
    _program(asks, 'echo "error: this would cost something" >&2; echo "  fix:   say --yes" >&2; exit 2')
    to_dc = {"qatprep_simulate": "spr-2s-ready", "qatprep_settings": {"devices.services": "dc"}}
    nodes: dict[str, dict[str, Any]] = {
        "fresh": {"qatprep_simulate": "srf-1s"},
        "ready": {"qatprep_simulate": "spr-2s-ready"},
        "held": {"qatprep_simulate": "vf-held"},
        "costly": {"qatprep_pyz": str(asks), "qatprep_path": str(tmp_path / "bin" / "asks")},
        "agreed": {**to_dc, "qatprep_accept_cost": True, "qatprep_smoke": False},
        "skipped": {"qatprep_simulate": "fw-missing", "qatprep_allow_skipped": True},
        "unknown": {"qatprep_simulate": "spr-3s"},
        "mistyped": {"qatprep_simulate": "srf-1s", "qatprep_settings": {"nodes.mood": "0660"}},
        "other": {"qatprep_simulate": "srf-1s", "qatprep_settings": {"devices.vfs": False}, "qatprep_devices": ["6b*"]},
    }
    got = local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE)
    rows = {name: got.node(name) for name in nodes}
    failed = {name for name, row in rows.items() if row["failed"]}
    assert failed == {"held", "costly", "unknown", "mistyped"}, got.out
    assert {name: rows[name]["status"] for name in nodes if name not in failed} == {
        "fresh": "applied",
        "ready": "unchanged",
        "agreed": "applied",
        "skipped": "unchanged",
        "other": "unchanged",
    }
    assert rows["fresh"]["changes"] == 67
    assert "0000:6b:00.3" in rows["held"]["message"] and "envoy (process 4711)" in rows["held"]["message"]
    assert "would cost something" in rows["costly"]["message"]
    assert '"hint": "accept_cost: true (qatprep_accept_cost of the role) goes ahead"' in got.out
    assert "'spr-3s'" in rows["unknown"]["message"]
    assert '"hint": "did you mean' in got.out
    assert "'mood'" in rows["mistyped"]["message"]
    assert [f["id"] for f in got.report["findings"]] == ["QP-FW-001"]


def test_doctor_fails_where_asked_to(tmp_path: Path, tools: Path) -> None:
    nodes = {
        "told": {"qatprep_simulate": "dmar-absent"},
        "strict": {"qatprep_simulate": "dmar-absent", "qatprep_fail_on": "fail"},
        "well": {"qatprep_simulate": "spr-2s-ready", "qatprep_fail_on": "fail"},
    }
    got = local(tmp_path, "doctor", nodes, "-e", "qatprep_profile=qat")
    assert {name: got.recap(name)["failed"] for name in nodes} == {"told": 0, "strict": 1, "well": 0}, got.out
    assert got.node("strict")["message"].startswith("QP-IOMMU-001 ")
    assert {f["id"]: f["nodes"] for f in got.report["findings"]}["QP-IOMMU-001"] == ["strict", "told"]
    assert re.search(r"^told +doctor +fail +0 +\S+  QP-IOMMU-001$", got.out, re.MULTILINE)
    assert re.search(r"^QP-IOMMU-001 +fail +2  .*  strict told$", got.out, re.MULTILINE)


def test_modules_say_what_remains_and_what_is_next(tmp_path: Path, tools: Path) -> None:
    """As qatprep decided it: restarts, pods, a reboot; and the command that goes on."""
    for verb in ("doctor", "bootstrap"):
        nodes: dict[str, dict[str, Any]] = {"k8s": {"qatprep_simulate": "k8s-as-the-paper-says"}}
        words = " ".join(local(tmp_path, verb, nodes, "-v").out.split())
        remaining = words.partition('"remaining": [')[2].partition("]")[0]
        assert '"recreate pod istio-system/istio-ingressgateway-7c86d77d76-qrfbx (envoy)"' in remaining, verb
        assert ('"systemctl restart containerd.service"' in remaining) is (verb == "bootstrap"), verb
        assert '"next": [{"command": "' in words and '"verdicts": [{' in words, verb


def test_one_broken_node_stops_the_others(tmp_path: Path, tools: Path) -> None:
    """The first node goes alone, and no failure is allowed unless said otherwise."""
    nodes = {name: {"qatprep_simulate": host} for name, host in {"a": "fw-missing", "b": "srf-1s"}.items()}
    got = local(tmp_path, "bootstrap", nodes)
    assert got.code == 2
    assert [(row["node"], row["status"]) for row in got.report["nodes"]] == [("a", "unchanged"), ("b", "not tried")]
    assert re.search(r"^1 failed, 1 not tried$", got.out, re.MULTILINE)


def test_a_preview_looks_at_every_node(tmp_path: Path, tools: Path) -> None:
    """And says on each what it comes to."""
    nodes = {name: {"qatprep_simulate": host} for name, host in {"a": "fw-missing", "b": "srf-1s"}.items()}
    got = local(tmp_path, "bootstrap", nodes, "--check", "-v")
    assert [(row["node"], row["failed"], row["status"]) for row in got.report["nodes"]] == [
        ("a", True, "unchanged"),
        ("b", False, "planned"),
    ], got.out
    assert '"msg": "67 changes planned; QAT NOT READY: ' in got.out
    assert "(QP-FW-001); qatprep explain QP-FW-001" in got.node("a")["message"] + got.out


def test_a_preview_names_the_cost_that_the_run_asks_for(tmp_path: Path, tools: Path) -> None:
    nodes: dict[str, dict[str, Any]] = {
        "asks": {"qatprep_simulate": "dc-only"},
        "agreed": {"qatprep_simulate": "dc-only", "qatprep_accept_cost": True},
    }
    got = local(tmp_path, "bootstrap", nodes, "--check", "-v")
    assert got.node("asks")["message"].startswith("needs qatprep_accept_cost: 16 VFs are destroyed"), got.out
    assert got.node("agreed")["message"] == ""
    got = local(tmp_path, "bootstrap", nodes, "--limit", "asks")
    assert got.node("asks")["failed"] and "terminal" not in got.node("asks")["message"], got.out


def test_a_drain_that_fails_is_the_nodes_failure(tmp_path: Path, tools: Path) -> None:
    _program(tools / "kubectl", 'case "$*" in drain*) echo "error: cannot evict pod" >&2; exit 1 ;; esac')
    got = local(tmp_path, "bootstrap", {"a": {"qatprep_simulate": "srf-1s"}}, "-e", '{"qatprep_drain": true}')
    row = got.node("a")
    assert (row["status"], row["failed"], row["changed"], row["changes"]) == ("failed", True, False, 0), got.out
    assert "Drain: non-zero return code; error: cannot evict pod" in row["message"]
    assert "kubectl drain a" in got.out.rpartition("Fail where that failed")[2]


def test_a_single_file_is_looked_for_where_the_playbook_is_called(tmp_path: Path, tools: Path) -> None:
    """And where it is not, the node has a line in the report all the same."""
    got = local(tmp_path, "doctor", {"a": {"qatprep_simulate": "srf-1s"}}, "-e", "qatprep_pyz=nowhere/qatprep.pyz")
    row = got.node("a")
    assert row["failed"] and "/nowhere/qatprep.pyz" in row["message"], got.out
    assert "roles/qatprep" not in row["message"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"executable": "/nowhere/qatprep"}, "executable: /nowhere/qatprep is not there on this node"),
        ({"executable": "/etc"}, "executable: /etc is not a file on this node"),
        ({"executable": "/etc/passwd"}, "executable: /etc/passwd is not executable on this node"),
        ({"executable": "/bin/true"}, "/bin/true ended with status 0 and gave no document: is it qatprep?"),
        ({"executable": "/etc/passwd", "python": "/nowhere/python"}, "python: /nowhere/python is not there"),
    ],
)
def test_a_wrong_program_is_named(tmp_path: Path, tools: Path, options: dict[str, str], words: str) -> None:
    playbook = tmp_path / "one.yml"
    task = {"qatprep.host.doctor": options}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    got = ansible_playbook(
        tmp_path, "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", str(playbook)
    )
    assert got.returncode == 2 and words in got.stdout + got.stderr, got.stdout + got.stderr


def ansible_playbook(home: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """As a user calls it in playbooks/."""
    command = program("ansible-playbook")
    assert command
    path = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    env = {"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
    argv = [command, *arguments]
    return subprocess.run(argv, cwd=PLAYBOOKS, env=env, capture_output=True, text=True, check=False, timeout=600)


def test_the_sample_inventory_runs_as_written(tmp_path: Path, tools: Path) -> None:
    """The commands of docs/fleet.md, in their order."""
    text = (ROOT / "docs" / "fleet.md").read_text()
    commands = re.findall(r"^ansible-playbook (-i nodes.ini \S+(?: --\S+(?: node\d+)?)*)", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        done = ansible_playbook(tmp_path, *command.split(), path=str(tools))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "QATPREP BY NODE" in done.stdout


def test_secrets_of_the_drain_commands_are_kept_out_of_the_log(tmp_path: Path, tools: Path) -> None:
    _program(tools / "kubectl", 'case "$*" in drain*) exit 1 ;; esac')
    nodes: dict[str, dict[str, Any]] = {"a": {"qatprep_simulate": "srf-1s"}}
    plain = '{"qatprep_drain": true, "qatprep_drain_command": ["kubectl", "drain", "a"%s]}'
    assert '"kubectl", "drain", "a"' in local(tmp_path, "bootstrap", nodes, "-e", plain % "").out
    got = local(tmp_path, "bootstrap", nodes, "-vvv", "-e", plain % ', "--token=t0p-s3cret"')
    assert got.recap("a")["failed"] == 1 and "t0p-s3cret" not in got.out


def test_a_node_without_the_tool(tmp_path: Path) -> None:
    if shutil.which("qatprep"):
        pytest.skip("qatprep is installed on this machine")
    got = local(tmp_path, "doctor", {"bare": {}})
    assert got.node("bare")["message"] == "there is no qatprep on this node"
    assert "qatprep_pyz=" in got.out


def test_nodes_are_drained_only_when_asked_and_only_for_a_change(tmp_path: Path, tools: Path) -> None:
    log = tmp_path / "kubectl.log"
    _program(tools / "kubectl", f'echo "$@" >>{log}; case "$2 $3" in "node mine") echo true ;; esac')
    nodes = {
        "busy": {"qatprep_simulate": "srf-1s"},
        "mine": {"qatprep_simulate": "srf-1s"},
        "ready": {"qatprep_simulate": "spr-2s-ready"},
        "held": {"qatprep_simulate": "vf-held"},
        "broken": {"qatprep_simulate": "fw-missing"},
    }
    local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE, "--limit", "busy")
    assert not log.exists(), "draining is off unless asked for"
    got = local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE, "-e", '{"qatprep_drain": true}')
    calls = log.read_text().splitlines()
    drained = {line.split()[1] for line in calls if line.startswith("drain ")}
    assert drained == {"busy", "mine", "held"}, got.out
    assert "drain busy --ignore-daemonsets --delete-emptydir-data --timeout=300s" in calls
    # Who was cordoned before stays so, and so does a node that could not be prepared.
    assert [line for line in calls if line.startswith("uncordon")] == ["uncordon busy"]
    assert {name for name in nodes if got.recap(name)["failed"]} == {"held", "broken"}
    log.unlink()
    local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE, "-e", '{"qatprep_drain": true}', "--check")
    assert not log.exists(), "check mode drains nothing"


def test_the_collection_is_one(tmp_path: Path) -> None:
    """It builds, and what is built has everything; ansible-lint's strictest profile has nothing to say."""
    galaxy, lint = program("ansible-galaxy"), program("ansible-lint")
    assert galaxy
    copy = tmp_path / "ansible_collections" / "qatprep" / "host"
    shutil.copytree(COLLECTION, copy, ignore=shutil.ignore_patterns("__pycache__", ".ansible"))
    env = {**os.environ, "HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "NO_COLOR": "1"}
    env.pop("ANSIBLE_CONFIG", None)
    command = [galaxy, "collection", "build", "--output-path", str(tmp_path), str(copy)]
    subprocess.run(command, env=env, check=True, capture_output=True)
    listing = subprocess.run(
        ["tar", "tzf", tmp_path / "qatprep-host-0.1.0.tar.gz"], capture_output=True, text=True, check=True
    )
    wanted = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} - {"galaxy.yml"}
    assert wanted <= set(listing.stdout.split())
    if lint is None:
        pytest.skip("ansible-lint is not installed (pip install ansible-lint)")
    env["PATH"] = f"{Path(lint).parent}:{env['PATH']}"
    done = subprocess.run(
        [lint, "--offline", "--profile", "production"], cwd=copy, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout + done.stderr
