"""A capture stands for the host: every read-only verb says the same of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatprep.cli.look import look
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.exits import ExitCode
from qatprep.host import manifest
from qatprep.host.base import Host
from qatprep.host.capture import Capture
from qatprep.report import device, doctor, plan, status
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.scenarios import scenarios
from tests.conftest import qatprep, some
from tests.persist.hosts import installed

NAMES = [scenario.name for scenario in scenarios()]


def captured(host: Host) -> Capture:
    called = qatprep("capture", host=host)
    assert called.code == ExitCode.OK, called.err
    return Capture(manifest.parse(called.out, "capture"), host.label)


def as_if(copy: Capture, host: Host) -> Capture:
    """The copy with what a recorded host is not: to be signed on or changed, which the next actions speak of."""
    copy.simulated, copy.writable = host.simulated, host.writable
    return copy


def documents(host: Host) -> dict[str, Any]:
    """What doctor, plan, status and device list tell, in one look."""
    facts, judged, planned, outcome = look(host, NodeConfig())
    found = {
        "plan": plan.plan_document(planned, host.label, ""),
        "status": status.status_document(host, status.Seen(facts, judged, planned, outcome, [])),
        "devices": device.devices_document(host, facts.pci, facts.nodes),
    }
    found["doctor"] = doctor.document(judged, outcome, outcome.exit_status())
    found["doctor"]["host"]["simulated"] = None
    del found["doctor"]["outcome"]  # where a host may be changed, it says by what
    return found


@pytest.mark.parametrize("name", some(NAMES, 3))
def test_every_recorded_host(name: str) -> None:
    host = open_host("/", name)
    copy = captured(host)
    assert documents(as_if(copy, host)) == documents(host)
    assert isinstance(host, SimulatedHost) and host.operations == []


VERBS = (
    ["doctor", "--all", "--verbose"],
    ["plan", "--diff"],
    ["status"],
    ["status", "--as-config"],
    ["device", "list"],
    ["device", "list", "--all"],
    ["bootstrap", "--check"],
    ["rollback", "--list"],
    ["metrics"],
)


@pytest.mark.parametrize("name", ["spr-2s-ready", "vf-held", "iommu-staged", "k8s-as-the-paper-says"])
def test_the_verbs_themselves(name: str, tmp_path: Path) -> None:
    file = tmp_path / "node.txt"
    host = open_host("/", name)
    assert qatprep("capture", str(file), host=host).code == ExitCode.OK
    copy = as_if(Capture(manifest.load(str(file)), host.label), host)
    for verb in VERBS:
        one, other = qatprep(*verb, host=host), qatprep(*verb, host=copy)
        assert (other.code, other.out) == (one.code, one.out), verb
    one, other = qatprep("plan", "-o", "json", host=host), qatprep("plan", "-o", "json", "--root", str(file))
    assert {**other.json, "host": "", "outcome": {}} == {**one.json, "host": "", "outcome": {}}
    told = {key: other.json["outcome"][key] for key in ("verdicts", "remaining", "exit")}
    assert told == {key: one.json["outcome"][key] for key in told}


def test_a_prepared_node_with_its_runs_and_files() -> None:
    """Journals and the files of persistence are part of what status, rollback and doctor read."""
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    copy = as_if(captured(host), host)
    for verb in (["status"], ["rollback", "--list"], ["doctor", "-p", "qat", "--all"], ["plan"], ["metrics"]):
        one, other = qatprep(*verb, host=host), qatprep(*verb, host=copy)
        assert (other.code, other.out) == (one.code, one.out), verb
    assert qatprep("rollback", "--check", "-o", "json", host=copy).json["status"] == "planned"


def test_a_capture_can_be_captured() -> None:
    """Taking out twice takes out no more."""
    once = qatprep("capture", host=installed("spr-2s-ready")).out
    assert qatprep("capture", host=installed("spr-2s-ready")).out == once
    again = qatprep("capture", host=Capture(manifest.parse(once, "x"), "x")).out
    assert again == once


def test_a_capture_of_a_simulated_host_says_so(tmp_path: Path) -> None:
    file = tmp_path / "node.txt"
    assert "this host is simulated" in qatprep("capture", str(file), "--simulate", "spr-2s-ready").err
    again = tmp_path / "again.txt"
    assert qatprep("capture", str(again), "--root", str(file)).code == ExitCode.OK
    for copy in (file, again):
        assert "CONFIGURED (simulated)" in qatprep("status", "--root", str(copy)).out


def test_a_file_that_is_there_is_replaced_when_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "node.txt"
    file.write_text("notes\n")
    refused = qatprep("capture", str(file), "--simulate", "spr-2s")
    assert refused.code == ExitCode.USAGE and "--force" in refused.err and file.read_text() == "notes\n"
    assert qatprep("capture", str(file), "--force", "--simulate", "spr-2s").code == ExitCode.OK
    assert file.read_text().startswith(manifest.HEADER)


def test_what_programs_answered_is_replayed() -> None:
    host = open_host("/", "spr-2s")
    answer = json.dumps({"argv": ["containerd", "--version"], "rc": 0, "stdout": "containerd v2.1.4\n", "stderr": ""})
    assert isinstance(host, SimulatedHost)
    host.tree.file("/.qatprep/programs", f"{answer}\n".encode())
    copy = Capture(host.tree, "x")
    assert copy.run(["containerd", "--version"]).stdout == "containerd v2.1.4\n"
    assert copy.run(["containerd", "--help"]).rc == 127
