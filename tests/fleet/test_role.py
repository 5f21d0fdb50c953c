"""The role and its playbooks over simulated hosts on this machine: batches, check mode, draining, variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.lab import ALL_AT_ONCE, local, script

pytestmark = pytest.mark.usefixtures("ansible")


def test_one_broken_node_stops_the_others(tmp_path: Path, tools: Path) -> None:
    """The first node goes alone, and no failure is allowed unless said otherwise."""
    nodes = {name: {"qatprep_simulate": host} for name, host in {"a": "fw-missing", "b": "srf-1s"}.items()}
    got = local(tmp_path, "bootstrap", nodes)
    assert got.code == 2
    assert [(row["node"], row["status"]) for row in got.report["nodes"]] == [("a", "unchanged"), ("b", "not tried")]
    assert re.search(r"^1 failed, 1 not tried$", got.out, re.MULTILINE)


def test_a_preview_looks_at_every_node(tmp_path: Path, tools: Path) -> None:
    """Says on each what it comes to and the cost that the run will ask for, and drains nothing."""
    log = tmp_path / "kubectl.log"
    script(tools / "kubectl", f'echo "$@" >>{log}')
    nodes: dict[str, dict[str, Any]] = {
        "a": {"qatprep_simulate": "fw-missing"},
        "b": {"qatprep_simulate": "srf-1s"},
        "asks": {"qatprep_simulate": "dc-only"},
        "agreed": {"qatprep_simulate": "dc-only", "qatprep_accept_cost": True},
    }
    got = local(tmp_path, "bootstrap", nodes, "--check", "-v", "-e", "qatprep_drain=true")
    assert {row["node"]: (row["failed"], row["status"]) for row in got.report["nodes"]} == {
        "a": (True, "unchanged"),
        "b": (False, "planned"),
        "asks": (False, "planned"),
        "agreed": (False, "planned"),
    }, got.out
    assert '"msg": "67 changes planned; QAT NOT READY: ' in got.out
    assert "(QP-FW-001); qatprep explain QP-FW-001" in got.node("a")["message"] + got.out
    assert got.node("asks")["message"].startswith("needs qatprep_accept_cost: 16 VFs are destroyed")
    assert got.node("agreed")["message"] == ""
    assert not log.exists()


def test_a_drain_that_fails_is_the_nodes_failure(tmp_path: Path, tools: Path) -> None:
    """And secrets of its command are kept out of the log."""
    script(tools / "kubectl", 'case "$*" in drain*) echo "error: cannot evict pod" >&2; exit 1 ;; esac')
    secret = ["kubectl", "drain", "b", "--token=t0p-s3cret"]
    nodes: dict[str, dict[str, Any]] = {
        "a": {"qatprep_simulate": "srf-1s"},
        "b": {"qatprep_simulate": "srf-1s", "qatprep_drain_command": secret},
    }
    got = local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE, "-vvv", "-e", "qatprep_drain=true")
    for row in map(got.node, nodes):
        assert (row["status"], row["failed"], row["changed"], row["changes"]) == ("failed", True, False, 0), got.out
    assert "Drain: non-zero return code; error: cannot evict pod" in got.node("a")["message"]
    assert "kubectl drain a" in got.task("fatal", "a")["msg"]
    assert "t0p-s3cret" not in got.out


def test_nodes_are_drained_only_for_a_change(tmp_path: Path, tools: Path) -> None:
    log = tmp_path / "kubectl.log"
    script(tools / "kubectl", f'echo "$@" >>{log}; case "$2 $3" in "node mine") echo true ;; esac')
    nodes = {
        "busy": {"qatprep_simulate": "srf-1s"},
        "mine": {"qatprep_simulate": "srf-1s"},
        "ready": {"qatprep_simulate": "spr-2s-ready"},
        "held": {"qatprep_simulate": "vf-held"},
        "broken": {"qatprep_simulate": "fw-missing"},
    }
    got = local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE, "-e", "qatprep_drain=true")
    calls = log.read_text().splitlines()
    drained = {line.split()[1] for line in calls if line.startswith("drain ")}
    assert drained == {"busy", "mine", "held"}, got.out
    assert "drain busy --ignore-daemonsets --delete-emptydir-data --timeout=300s" in calls
    # Who was cordoned before stays so, and so does a node that could not be prepared.
    assert [line for line in calls if line.startswith("uncordon")] == ["uncordon busy"]
    assert {name for name in nodes if got.recap(name)["failed"]} == {"held", "broken"}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"qatprep_setings": {}}, "unknown variable: qatprep_setings (did you mean qatprep_settings?)"),
    "strange": ({"qatprep_color": "blue"}, "unknown variable: qatprep_color; names that begin with qatprep_ are the"),
    "mistyped": ({"qatprep_accept_cost": "perhaps"}, "argument 'qatprep_accept_cost' is of type"),
    "choice": ({"qatprep_fail_on": "always"}, "value of qatprep_fail_on must be one of: never, fail, unknown"),
    "number": ({"qatprep_settings": 5}, "argument 'qatprep_settings' is of type"),
}
"""Node: its variables, and how they are refused."""


def test_wrong_variables_are_refused_before_anything_happens(tmp_path: Path) -> None:
    """Without a qatprep to call: whoever tries one says that there is none."""
    got = local(tmp_path, "bootstrap", {name: variables for name, (variables, _) in WRONG.items()}, *ALL_AT_ONCE)
    said = {name: got.node(name)["message"] for name in WRONG}
    assert {name: text.startswith(WRONG[name][1]) for name, text in said.items()} == dict.fromkeys(WRONG, True), said
    assert {(got.node(name)["failed"], got.node(name)["verb"]) for name in WRONG} == {(True, "")}
