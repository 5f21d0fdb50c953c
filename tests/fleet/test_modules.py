"""What the modules say of simulated hosts on this machine (connection: local), and the report of the fleet."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.lab import ALL_AT_ONCE, PLAYBOOKS, local, script

pytestmark = pytest.mark.usefixtures("ansible")


def test_every_outcome_is_told(tmp_path: Path, tools: Path) -> None:
    log = tmp_path / "kubectl.log"
    script(tools / "kubectl", f'echo "$@" >>{log}')
    to_dc = {"devices": {"services": "dc"}, "nodes.group": "qat"}
    nodes: dict[str, dict[str, Any]] = {
        "fresh": {"qatprep_simulate": "srf-1s"},
        "ready": {"qatprep_simulate": "spr-2s-ready"},
        "held": {"qatprep_simulate": "vf-held"},
        "costly": {"qatprep_simulate": "dc-only"},
        "agreed": {
            "qatprep_simulate": "spr-2s-ready", "qatprep_settings": to_dc, "qatprep_accept_cost": True,
            "qatprep_smoke": False,
        },
        "skipped": {"qatprep_simulate": "fw-missing", "qatprep_allow_skipped": True},
        "unknown": {"qatprep_simulate": "spr-3s"},
        "mistyped": {"qatprep_simulate": "srf-1s", "qatprep_settings": {"nodes": {"mood": "0660"}}},
        "twice": {"qatprep_simulate": "srf-1s", "qatprep_settings": {**to_dc, "devices.services": "asym"}},
        "other": {"qatprep_simulate": "srf-1s", "qatprep_settings": {"devices.vfs": False}, "qatprep_devices": ["6b*"]},
        "k8s": {"qatprep_simulate": "k8s-as-the-paper-says"},
    }  # fmt: skip
    got = local(tmp_path, "bootstrap", nodes, *ALL_AT_ONCE, "-v")
    rows = {name: got.node(name) for name in nodes}
    failed = {name for name, row in rows.items() if row["failed"]}
    assert failed == {"held", "costly", "unknown", "mistyped", "twice"}, got.out
    assert {name: row["status"] for name, row in rows.items()} == {
        "fresh": "applied",
        "ready": "unchanged",
        "held": "refused",
        "costly": "unconfirmed",
        "agreed": "applied",
        "skipped": "unchanged",
        "unknown": "failed",
        "mistyped": "failed",
        "twice": "failed",
        "other": "unchanged",
        "k8s": "applied",
    }
    assert rows["fresh"]["changes"] == 67
    assert "0000:6b:00.3" in rows["held"]["message"] and "envoy (process 4711)" in rows["held"]["message"]
    assert rows["costly"]["message"].startswith("this has a cost that must be accepted: 16 VFs are destroyed")
    assert '"hint": "accept_cost: true (qatprep_accept_cost of the role) goes ahead"' in got.out
    assert "'spr-3s'" in rows["unknown"]["message"]
    assert '"hint": "did you mean' in got.out
    assert "'mood'" in rows["mistyped"]["message"]
    assert rows["twice"]["message"] == "settings: devices.services is set twice, to 'dc' and to 'asym'"
    assert [f["id"] for f in got.report["findings"]] == ["QP-FW-001"]
    assert [verdict["state"] for verdict in rows["fresh"]["verdicts"]] == ["configured", "configured"]
    assert not log.exists(), "draining is off unless asked for"
    _remains(got.task("changed", "k8s"), "systemctl restart containerd.service")


def _remains(result: dict[str, Any], *also: str) -> None:
    """As qatprep decided it: restarts, pods, a reboot; and the command that goes on."""
    pod = "recreate pod istio-system/istio-ingressgateway-7c86d77d76-qrfbx (envoy)"
    assert {pod, *also} <= set(result["remaining"])
    assert ("systemctl restart containerd.service" in result["remaining"]) is bool(also)
    assert result["next"][0]["command"] and result["verdicts"]


def test_doctor_fails_where_asked_to(tmp_path: Path, tools: Path) -> None:
    nodes = {
        "told": {"qatprep_simulate": "dmar-absent"},
        "strict": {"qatprep_simulate": "dmar-absent", "qatprep_fail_on": "fail"},
        "well": {"qatprep_simulate": "spr-2s-ready", "qatprep_fail_on": "fail"},
        "k8s": {"qatprep_simulate": "k8s-as-the-paper-says"},
    }
    got = local(tmp_path, "doctor", nodes, "-e", "qatprep_profile=qat", "-v")
    assert {name: got.recap(name)["failed"] for name in nodes} == {"told": 0, "strict": 1, "well": 0, "k8s": 0}, got.out
    assert got.node("strict")["message"].startswith("QP-IOMMU-001 ")
    found = {f["id"]: f for f in got.report["findings"]}["QP-IOMMU-001"]
    assert found["statement"] == "the firmware offers an IOMMU"
    assert found["texts"] == [{"text": "the firmware offers no IOMMU", "nodes": ["strict", "told"]}]
    assert re.search(r"^told +doctor +fail +0 +\S+  NOT READY +- +QP-IOMMU-001$", got.out, re.MULTILINE)
    assert re.search(r"^QP-IOMMU-001 +fail +2  the firmware offers no IOMMU +strict told$", got.out, re.MULTILINE)
    _remains(got.task("ok", "k8s"))


def test_a_rollback_that_is_refused_names_the_process(tmp_path: Path) -> None:
    refused = {
        "schema": "qatprep.rollback/1", "host": "a", "status": "refused", "changed": False, "runs": ["1"],
        "changes": [], "not_undone": [],
        "refused": [{"subject": "0000:6b:00.1", "reason": "in use", "holders": ["envoy (process 4711)"]}],
    }  # fmt: skip
    program = tmp_path / "refuses"
    script(program, f"cat <<'END'\n{json.dumps(refused)}\nEND\nexit 1")
    row = local(tmp_path, "rollback", {"a": {"qatprep_executable": str(program)}}).node("a")
    assert (row["status"], row["failed"]) == ("refused", True)
    assert row["message"] == "refused: 0000:6b:00.1 is held by envoy (process 4711)"


WRONG = {
    "no-file": ({"qatprep_executable": "/nowhere/qatprep"}, "executable: /nowhere/qatprep is not there on this node"),
    "folder": ({"qatprep_executable": "/etc"}, "executable: /etc is not a file on this node"),
    "no-program": ({"qatprep_executable": "/etc/passwd"}, "executable: /etc/passwd is not executable on this node"),
    "other": (
        {"qatprep_executable": "/bin/true"},
        "/bin/true ended with status 0 and gave no document: is it qatprep?",
    ),
    "no-python": (
        {"qatprep_executable": "/etc/passwd", "qatprep_python": "/nowhere/python"},
        "python: /nowhere/python is not there",
    ),
    # From the folder where ansible-playbook was called, not from the role's own.
    "no-pyz": ({"qatprep_pyz": "nowhere/qatprep.pyz"}, "find or access '/nowhere/qatprep.pyz'"),
    "none": ({}, "there is no qatprep on this node"),
}
"""Node: its variables, and what is said of the program that they name."""


def test_a_wrong_program_is_named(tmp_path: Path) -> None:
    nodes = {name: variables for name, (variables, _) in WRONG.items() if variables or not shutil.which("qatprep")}
    got = local(tmp_path, "doctor", nodes)
    said = {name: got.node(name)["message"] for name in nodes}
    assert {name: WRONG[name][1] in text for name, text in said.items()} == dict.fromkeys(nodes, True), said
    assert all(got.node(name)["failed"] for name in nodes)


MATCH: dict[str, Any] = {"device": "6b:00.0", "numa_node": 1}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"devices.services": "dc"}, {"devices.services": "dc"}),
        ({"devices": {"services": "dc", "vfs": True}}, {"devices.services": "dc", "devices.vfs": True}),
        ({"devices": {"vfs": True}, "devices.services": "dc"}, {"devices.vfs": True, "devices.services": "dc"}),
        ({"devices.vfs": True, "devices": {"vfs": True}}, {"devices.vfs": True}),
        ({"devices.vfs": True, "devices": {"vfs": False}}, "devices.vfs is set twice, to True and to False"),
        ({"persist": False, "devices": {}}, {"persist": False}),
        ({"devices@numa1": {"services": "dc"}}, {"devices@numa1.services": "dc"}),
        ({"overrides": [{"match": MATCH, "services": "dc"}]}, {"devices@numa1@6b:00.0.services": "dc"}),
        ({"overrides": ["dc"]}, {"overrides": ["dc"]}),
    ],
    ids=str,
)
def test_settings_with_dots_and_as_mappings(
    settings: dict[str, Any], wanted: dict[str, Any] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLAYBOOKS)
    from ansible_collections.qatprep.host.plugins.module_utils.tool import flat  # type: ignore[import-not-found]

    try:
        assert flat(settings) == wanted
    except ValueError as e:
        assert str(e) == wanted


def fleet(*said: tuple[str, str]) -> Iterable[str]:
    """The table by finding of nodes with these texts of one finding."""
    from ansible_collections.qatprep.host.plugins.callback import fleet as callback  # type: ignore[import-not-found]

    finding = {"id": "QP-SVC-001", "status": "fail", "statement": "each PF offers the services configured"}
    common = {"verb": "doctor", "status": "fail", "failed": False, "changes": 0, "seconds": 1.0, "message": ""}
    nodes = [
        {"node": name, "verdicts": [], "findings": [{**finding, "text": text}], **common} for name, text in said
    ]  # fmt: skip
    lines = list(callback.tables(nodes))
    return lines[lines.index("QATPREP BY FINDING") + 2 : -1]


def test_a_finding_is_shown_as_the_nodes_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLAYBOOKS)
    assert fleet(("a", "all 8 PFs offer dc"), ("b", "all 8 PFs offer dc")) == [
        "QP-SVC-001  fail        2  all 8 PFs offer dc  a b"
    ]
    assert fleet(("a", "PF 1 offers dc"), ("b", "all 8 PFs offer dc"), ("c", "all 8 PFs offer dc")) == [
        "QP-SVC-001  fail        2  all 8 PFs offer dc  b c",
        "                        1  PF 1 offers dc      a",
    ]
    assert fleet(*((f"n{n}", f"PF {n} offers dc") for n in range(4))) == [
        "QP-SVC-001  fail        4  expected: each PF offers the services configured  n0 n1 n2 n3"
    ]
