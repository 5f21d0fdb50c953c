"""What bootstrap installs, what the next boot makes of it, and that rollback takes it away."""

from __future__ import annotations

import pytest

from qatprep.exits import ExitCode
from qatprep.facts import gather, persist
from qatprep.host.tree import Node
from qatprep.persist import units
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot
from tests.persist.hosts import PROGRAM, installed, reboot, text

OURS = (persist.MODULES, persist.SYSUSERS, persist.HELPER, persist.RULES, persist.APPLY)
LINK = "/etc/systemd/system/multi-user.target.wants/qatprep-apply.service"


def there(host: SimulatedHost, path: str) -> bool:
    return host.tree.find(path, follow=False) is not None


def nodes(host: SimulatedHost) -> set[tuple[str, str]]:
    """Group and mode of the VFs' nodes."""
    shown = qatprep("device", "list", "-o", "json", host=host).json
    return {(vf["node"]["group"], vf["node"]["mode"]) for pf in shown["pfs"] for vf in pf["vfs"]}


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])
def test_a_node_stays_prepared_over_a_boot_and_goes_back(kernel: str) -> None:
    host = installed(kernel=kernel)
    first = qatprep("bootstrap", "-o", "json", "--no-smoke", host=host)
    assert first.code == ExitCode.OK, first.err
    assert all(there(host, path) for path in (*OURS, LINK))
    assert qatprep("bootstrap", "--no-smoke", "-o", "json", host=host).json["status"] == "unchanged"

    booted, run = reboot(host)
    assert run is not None and run.code == ExitCode.OK, run
    assert nodes(booted) == {("qat", "0660")}
    assert qatprep("doctor", "--profile", "qat", host=booted).code == ExitCode.OK
    assert qatprep("bootstrap", "--no-smoke", "-o", "json", host=booted).json["status"] == "unchanged"

    back = qatprep("rollback", "--yes", "-o", "json", host=booted)
    assert back.code == ExitCode.OK and len(back.json["runs"]) == 2, back.err
    assert not any(there(booted, path) for path in (*OURS, LINK))
    assert qatprep("rollback", host=booted).out == "Nothing to undo.\n"
    again, run = reboot(booted)
    assert run is None
    bare = installed(kernel=kernel).reboot().reboot()
    assert difference(snapshot(bare), snapshot(again)) == []


def test_without_a_boot_rollback_returns_the_very_start() -> None:
    host = installed()
    before = snapshot(host)
    assert qatprep("bootstrap", "--no-smoke", host=host).code == ExitCode.OK
    assert qatprep("rollback", "--yes", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []


def test_many_boots_leave_one_journal_of_a_boot() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    for _ in range(3):
        host, run = reboot(host)
        assert run is not None and run.code == ExitCode.OK
    runs = qatprep("rollback", "--list", "-o", "json", host=host).json["runs"]
    assert [run["command"] for run in runs] == ["bootstrap", "boot"]


def test_the_rule_gives_nodes_to_the_group_before_anybody_asks() -> None:
    """A VF that is bound by hand after the boot gets its group from udev, other VFIO nodes stay root's."""
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    assert qatprep("device", "unbind", "6b:00.1", "--yes", host=host).code == ExitCode.OK
    assert qatprep("device", "bind", "6b:00.1", host=host).code == ExitCode.OK
    host.settle()
    assert nodes(host) == {("qat", "0660")}
    assert qatprep("device", "bind", "0000:17:00.0", "--force", "--yes", host=host).code == ExitCode.OK
    host.settle()
    group = host.readlink("/sys/bus/pci/devices/0000:17:00.0/iommu_group").rsplit("/", 1)[-1]
    node = host.stat(f"/dev/vfio/{group}")
    assert (node.gid, node.mode) == (0, 0o600)


def test_persistence_can_be_declined() -> None:
    host = installed()
    assert qatprep("bootstrap", "--no-smoke", "--set", "persist=false", host=host).code == ExitCode.OK
    assert not any(there(host, path) for path in (*OURS, LINK, persist.CONFIG))
    found = qatprep("doctor", "--set", "persist=false", "--only", "QP-PERS-001", "-a", host=host)
    assert found.code == ExitCode.OK and "skipped" in found.out


def test_declining_it_later_takes_it_away_and_rollback_brings_it_back() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    with_files = snapshot(host)
    assert qatprep("bootstrap", "--no-smoke", "--set", "persist=false", host=host).code == ExitCode.OK
    assert not any(there(host, path) for path in (*OURS, LINK))
    assert qatprep("rollback", "--yes", host=host).code == ExitCode.OK
    assert difference(with_files, snapshot(host)) == []


@pytest.mark.parametrize("missing", ["systemd", "qatprep"])
def test_left_out_where_it_cannot_be(missing: str) -> None:
    """By default in silence; asked for by name, with the reason."""
    for settings, code in (([], ExitCode.OK), (["--set", "persist=true"], ExitCode.FINDINGS)):
        host = installed()
        host.tree.remove("/run/systemd" if missing == "systemd" else PROGRAM)
        called = qatprep("bootstrap", "--no-smoke", *settings, host=host)
        assert called.code == code, called.err
        assert not there(host, persist.APPLY)
        assert ("does not run systemd" in called.out or "no qatprep on that host" in called.out) == bool(settings)


def test_a_foreign_file_is_left_alone_and_named() -> None:
    host = installed()
    host.tree.file(persist.RULES, b'SUBSYSTEM=="vfio", GROUP="kvm"\n')
    called = qatprep("bootstrap", "--no-smoke", host=host)
    assert called.code == ExitCode.FINDINGS
    assert persist.RULES in called.out
    assert text(host, persist.RULES) == 'SUBSYSTEM=="vfio", GROUP="kvm"\n'
    assert there(host, LINK)
    found = qatprep("doctor", "--only", "QP-PERS-001", host=host)
    assert f"{persist.RULES} belongs to another user" in found.out


def test_a_file_that_was_edited_is_not_removed() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    host.tree.get(persist.MODULES).data += b"nvme\n"
    called = qatprep("rollback", "--yes", host=host)
    assert called.code == ExitCode.PARTIAL
    assert f"{persist.MODULES} was changed since by another program" in called.out + called.err
    assert there(host, persist.MODULES) and not there(host, persist.APPLY)


def test_what_was_asked_for_on_the_command_line_holds_at_the_next_boot() -> None:
    host = installed()
    config = ["--set", "devices.services=dc", "--set", "nodes.mode=0600"]
    assert qatprep("bootstrap", "--no-smoke", *config, host=host).code == ExitCode.OK
    assert "services: dc" in text(host, persist.CONFIG)
    booted, run = reboot(host)
    assert run is not None and run.code == ExitCode.OK
    pf = qatprep("device", "list", "-o", "json", host=booted).json["pfs"][0]
    assert pf["services"] == ["dc"] and pf["vfs"][0]["node"]["mode"] == "0600"
    assert qatprep("status", host=booted).code == ExitCode.OK
    # Another configuration replaces a file of ours ...
    assert (
        qatprep("bootstrap", "--yes", "--no-smoke", "--set", "devices.services=asym", host=booted).code == ExitCode.OK
    )
    assert "services: asym" in text(booted, persist.CONFIG)


def test_the_owners_own_config_is_never_replaced() -> None:
    host = installed()
    mine = "# mine\ndevices: {services: asym}\n"
    host.tree.file(persist.CONFIG, mine.encode())
    assert qatprep("bootstrap", "--no-smoke", host=host).code == ExitCode.OK
    called = qatprep("bootstrap", "--yes", "--no-smoke", "--set", "devices.services=dc", host=host)
    assert called.code == ExitCode.FINDINGS
    assert persist.CONFIG in called.out
    assert text(host, persist.CONFIG) == mine


def test_only_some_devices_install_nothing() -> None:
    """At the next boot the unit would prepare them all."""
    host = installed()
    assert qatprep("bootstrap", "--no-smoke", "-d", "6b:00.0", host=host).code == ExitCode.OK
    assert not there(host, persist.APPLY)


def test_another_version_of_a_file_is_replaced() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    host.tree.get(persist.HELPER).data = b"#!/bin/sh\n# Written by qatprep: of long ago\nexit 0\n"
    found = qatprep("doctor", "--only", "QP-PERS-001", host=host)
    assert "QP-PERS-001 WARN" in found.out
    called = qatprep("bootstrap", "--no-smoke", "-o", "json", host=host)
    assert [change["subject"] for change in called.json["made"]] == [persist.HELPER]


def test_the_unit_whose_program_vanished() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    host.tree.remove(PROGRAM)
    host.tree.file("/opt/qatprep/bin/qatprep", b"", 0o755)
    found = qatprep("doctor", host=host)
    assert found.code == ExitCode.FINDINGS
    assert "QP-PERS-002 FAIL" in found.out and PROGRAM in found.out
    assert qatprep("bootstrap", "--no-smoke", host=host).code == ExitCode.OK
    assert "ExecStart=/opt/qatprep/bin/qatprep bootstrap --boot --yes" in text(host, persist.APPLY)
    assert qatprep("doctor", host=host).code == ExitCode.OK


def test_two_installations_do_not_take_turns() -> None:
    host = installed()
    host.tree.file("/opt/qatprep/bin/qatprep", b"", 0o755)
    qatprep("bootstrap", "--no-smoke", host=host)
    host.tree.file(persist.APPLY, units.apply(("/opt/qatprep/bin/qatprep",)).encode())
    assert qatprep("bootstrap", "--no-smoke", "-o", "json", host=host).json["status"] == "unchanged"


def test_qatlibs_service_beside_ours_is_told() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    path = "/etc/systemd/system/multi-user.target.wants/qat.service"
    host.tree.add(path, Node("link", 0o777, target="/usr/lib/systemd/system/qat.service"))
    found = qatprep("doctor", host=host)
    assert found.code == ExitCode.OK
    assert "QP-PERS-003 WARN" in found.out and "systemctl disable --now qat.service" in found.out


def test_a_unit_that_cannot_be_enabled_undoes_everything() -> None:
    host = SimulatedHost(
        installed().tree, kernel="6.12", faults=Faults(Fault("errno", 1, 5, "run", "systemctl enable*"))
    )
    before = snapshot(host)
    called = qatprep("bootstrap", "--no-smoke", host=host)
    assert called.code == ExitCode.ROLLED_BACK, called.err
    assert difference(before, snapshot(host)) == []


def test_metrics_timer_by_the_config() -> None:
    host = installed()
    path = "/var/lib/prometheus/node-exporter/qatprep.prom"
    before = snapshot(host)
    assert qatprep("bootstrap", "--no-smoke", "--set", f"metrics={path}", host=host).code == ExitCode.OK
    assert there(host, "/etc/systemd/system/timers.target.wants/qatprep-metrics.timer")
    assert f"ExecStart={PROGRAM} metrics --write {path}" in text(host, persist.METRICS_SERVICE)
    assert gather(host).persist.enabled[persist.METRICS_TIMER] is True
    assert qatprep("rollback", "--yes", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []
