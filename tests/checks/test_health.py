"""Dead PFs: how they are asked, what every verb makes of them, and that restarting them cures."""

from __future__ import annotations

import re

import pytest

from qatprep.assess import State
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.exits import ExitCode
from qatprep.facts import gather
from qatprep.findings import Status
from qatprep.hardware import DEBUGFS
from qatprep.simulator.host import SimulatedHost
from tests.checks.hosts import assessed, found, judge
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot

PF = "0000:6b:00.0"
DEAD = ("pf-heartbeat-lost", "pf-hung", "pf-fatal-error", "pf-reset-by-sysfs", "gen6-cold-reset")
CHECKPOINT = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"
REGISTERED = '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"qat.intel.com/cy":["0000:6b:00.1"]}}}'


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


def heartbeat(host: SimulatedHost, name: str, pf: str = PF) -> str:
    return host.read_text(f"{DEBUGFS}/qat_4xxx_{pf}/heartbeat/{name}").raw.strip("\0\n")


@pytest.mark.parametrize("name", ["spr-2s-ready", "spr-2s-ready@7.2", "gen6-6xxx"])
def test_queries_are_spaced_as_the_driver_wants_them(name: str) -> None:
    host = simulated(name)
    for _ in range(2):
        assert all(health.beats for health in gather(host).health.pfs.values())
    assert "too frequent" not in host.kernel_log()


def test_a_heartbeat_that_nobody_asked_for_is_seen_lost_at_the_first_look() -> None:
    host = simulated("spr-2s-ready")
    host.model.qat.table[PF].hung = True
    health = gather(host).health
    assert {bdf for bdf, h in health.pfs.items() if h.beats is False} == {PF}
    assert heartbeat(host, "queries_failed") == "1"


def test_nobody_is_asked_twice_for_one_bootstrap_that_changes_nothing() -> None:
    host = simulated("spr-2s-ready")
    assert bootstrap(host, NodeConfig(smoke=False, persist=False)).status == "unchanged"
    assert heartbeat(host, "queries_sent") == "4"


def test_nothing_is_asked_where_a_device_plugin_asks() -> None:
    """A query that comes within 200 ms of the plugin's makes it call the VFs unhealthy: only its count is read."""
    host = simulated("spr-2s-ready")
    host.tree.file(CHECKPOINT, REGISTERED.encode())
    assert gather(host).health.of(PF).beats is None
    assert heartbeat(host, "queries_sent") == "0"
    accel = host.model.qat.table[PF]
    accel.queries, accel.failed = 400, 9
    facts = gather(host)
    assert facts.health.of(PF).beats is False
    assert heartbeat(host, "queries_sent") == "400"


def test_an_ordinary_user_asks_nothing_and_sees_the_counters() -> None:
    host = simulated("pf-fatal-error")
    host.tree.file("/.qatprep/euid", b"1000\n")
    host = SimulatedHost(host.tree, "6.12")
    health = gather(host).health.of(PF)
    assert health.status is None and health.errors["errors_fatal"] == 1
    called = qatprep("doctor", "--profile", "qat", host=host)
    assert called.code == ExitCode.FINDINGS and "QP-PF-003 FAIL" in called.out


@pytest.mark.parametrize("name", DEAD)
def test_every_verb_says_that_a_dead_pf_is_not_ready(name: str) -> None:
    verdict = assessed(name).verdicts[0]
    assert verdict.state is State.NOT_READY and verdict.first == "QP-PF-003"
    doctor = qatprep("doctor", "--profile", "qat", "--simulate", name)
    assert doctor.code == ExitCode.FINDINGS and re.search(r"^QAT +NOT READY +QP-PF-003", doctor.out, re.MULTILINE)
    for verb in (("plan",), ("bootstrap", "--no-smoke", "--set", "persist=false"), ("bootstrap", "--check")):
        called = qatprep(*verb, "--simulate", name, "-o", "json")
        assert called.code == ExitCode.FINDINGS, verb
        assert [(item["subject"], item["finding"]) for item in called.json["skipped"]] == [(PF, "QP-PF-003")], verb
        assert "does not answer" in called.json["skipped"][0]["reason"]
    metrics = qatprep("metrics", "--simulate", name).out
    assert 'id="QP-PF-003"' in metrics


@pytest.mark.parametrize("name", ["pf-heartbeat-lost", "pf-hung", "pf-fatal-error", "pf-reset-by-sysfs"])
def test_the_fix_of_a_dead_pf_works(name: str) -> None:
    host = simulated(name)
    (f,) = judge_host(host).of(Status.FAIL)
    assert f.fix == (f"qatprep device reset {PF}",)
    before = snapshot(host)
    called = qatprep(*f.fix[0].split()[1:], "--yes", host=host)
    assert called.code == ExitCode.OK, called.err
    assert judge_host(host).of(Status.FAIL) == ()
    changed = difference(before, snapshot(host))
    assert all("qat_ras" in line or "fw_counters" in line or "qat_4xxx_" in line for line in changed), changed


def test_a_cold_reset_is_asked_for_where_the_kernel_does() -> None:
    (f,) = judge("gen6-cold-reset", "").of(Status.FAIL)
    assert "completely and on again" in f.fix[0] and "device reset" not in "".join(f.fix)


def judge_host(host: SimulatedHost):  # type: ignore[no-untyped-def]
    from qatprep.checks.base import Profile
    from qatprep.checks.registry import evaluate

    return evaluate(gather(host), NodeConfig(), Profile.QAT)


def test_a_capture_keeps_what_the_heartbeat_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("capture") / "host.txt"
    host = simulated("spr-2s-ready")
    host.model.qat.table[PF].hung = True
    assert qatprep("capture", str(path), host=host).code == ExitCode.OK
    called = qatprep("doctor", "--profile", "qat", "--root", str(path))
    assert "QP-PF-003 FAIL" in called.out


def test_errors_are_counted_since_the_device_started() -> None:
    host = simulated("pf-errors")
    assert found(judge("pf-errors", "")) == {"warn": ["QP-PF-004"]}
    assert qatprep("device", "reset", PF, "70:00.0", "--yes", host=host).code == ExitCode.OK
    assert all(not health.errors for health in gather(host).health.pfs.values())


def test_auto_reset_is_set_read_back_and_undone() -> None:
    host = simulated("spr-2s-ready")
    wanted = ("--set", "devices.auto_reset=true", "--set", "persist=false", "--no-smoke")
    before = snapshot(host)
    called = qatprep("bootstrap", *wanted, "-o", "json", host=host)
    assert called.code == ExitCode.OK
    assert {change["kind"] for change in called.json["made"]} == {"set-auto-reset"} and len(called.json["made"]) == 8
    assert host.read_text(f"/sys/bus/pci/devices/{PF}/qat/auto_reset") == "on\n"
    assert "auto_reset: true" in qatprep("status", "--as-config", host=host).out
    assert qatprep("bootstrap", *wanted, "-o", "json", host=host).json["status"] == "unchanged"
    taken = snapshot(host)
    assert qatprep("device", "unbind", "6b:00.0", "--force", "--yes", host=host).code == ExitCode.OK
    assert qatprep("rollback", host=host).code == ExitCode.OK
    assert difference(taken, snapshot(host)) == []
    assert qatprep("rollback", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []


def test_auto_reset_is_not_planned_where_the_kernel_has_none() -> None:
    called = qatprep(
        "plan", "--simulate", "spr-2s-ready@6.6", "--set", "devices.auto_reset=true", "--set", "persist=no"
    )
    assert called.code == ExitCode.OK
