"""device take-over: driverctl's overrides of QAT devices go, journalled; what the devices are bound to stays."""

from __future__ import annotations

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot
from tests.persist.hosts import installed, reboot

PF = "/etc/driverctl.d/pci-0000:6b:00.0"
VF = "/etc/driverctl.d/pci-0000:70:00.1"
CARD = "/etc/driverctl.d/pci-0000:17:00.0"


def host() -> SimulatedHost:
    found = open_host("/", "driverctl-takes-a-pf")
    assert isinstance(found, SimulatedHost)
    return found


def test_an_override_is_taken_over_and_given_back() -> None:
    machine = host()
    before = snapshot(machine)
    assert "qatprep device take-over 0000:6b:00.0" in qatprep("doctor", "--only", "QP-PERS-004", host=machine).out
    called = qatprep("device", "take-over", "6b:00.0", "70:00.1", "--yes", host=machine)
    assert called.code == ExitCode.OK, called.err
    assert f"{PF} stored override: vfio-pci -> removed: a PF is left to its own driver, 4xxx" in called.out
    assert not machine.exists(PF) and not machine.exists(VF) and machine.exists(CARD)
    assert machine.readlink("/sys/bus/pci/devices/0000:70:00.1/driver").endswith("/vfio-pci")
    assert qatprep("doctor", "--only", "QP-PERS-004", "--profile", "qat", host=machine).code == ExitCode.OK
    assert qatprep("device", "take-over", "6b:00.0", host=machine).out.startswith("Nothing to do")
    assert qatprep("rollback", "--yes", host=machine).code == ExitCode.OK
    assert difference(before, snapshot(machine)) == []


def test_only_said() -> None:
    machine = host()
    called = qatprep("device", "take-over", "6b:00.0", "--check", host=machine)
    assert called.code == ExitCode.FINDINGS and PF in called.out and machine.exists(PF)


def test_other_devices_are_none_of_its_business() -> None:
    machine = host()
    called = qatprep("device", "take-over", "17:00.0", host=machine)
    assert called.code == ExitCode.USAGE and "0000:17:00.0 is no QAT function" in called.err
    assert machine.exists(CARD)


# -- the configuration says what drives them from then on --------------------------------------------------------------

CONFIG = "/etc/qatprep.yaml"
SECOND = "/etc/driverctl.d/pci-0000:70:00.2"


def put(machine: SimulatedHost, path: str, text: str) -> None:
    machine.tree.file(path, text.encode(), 0o640)


def prepared() -> SimulatedHost:
    """A node that qatprep prepares at boot, and on which driverctl has a VF at another driver of VFIO's."""
    machine = installed()
    assert qatprep("bootstrap", "--no-smoke", host=machine).code == ExitCode.OK
    machine.tree.make_dirs("/etc/driverctl.d")
    put(machine, VF, "qat_vfio_pci\n")
    return machine


def test_a_vf_that_the_configuration_binds_at_boot_costs_nothing() -> None:
    machine = prepared()
    put(machine, VF, "vfio-pci\n")
    called = qatprep("device", "take-over", "70:00.1", host=machine)
    assert called.code == ExitCode.OK and "the configuration binds it to vfio-pci" in called.out, called.err
    booted, _ = reboot(machine)
    assert booted.readlink("/sys/bus/pci/devices/0000:70:00.1/driver").endswith("/vfio-pci")


def test_a_vf_that_nothing_else_binds_is_asked_about() -> None:
    machine = host()
    called = qatprep("device", "take-over", "70:00.1", host=machine)
    assert called.code != ExitCode.OK and machine.exists(VF)
    assert "it is on vfio-pci now and will not be after the next boot" in called.out + called.err
    assert "nothing binds it to vfio-pci before bootstrap runs" in called.out + called.err


def test_where_they_differ_the_configuration_wins_unless_asked() -> None:
    machine = prepared()
    called = qatprep("device", "take-over", "70:00.1", host=machine)
    assert called.code == ExitCode.OK and not machine.exists(CONFIG)
    assert "qat_vfio_pci -> removed: the configuration binds it to vfio-pci" in called.out


def test_adopted_into_the_configuration_and_given_back() -> None:
    machine = prepared()
    before = snapshot(machine)
    only = qatprep("device", "take-over", "70:00.1", "--adopt", "--check", host=machine)
    assert "all VFs of 0000:70:00.0 go to qat_vfio_pci" in only.out and difference(before, snapshot(machine)) == []
    asked = qatprep("device", "take-over", "70:00.1", "--adopt", host=machine)
    assert asked.code != ExitCode.OK and difference(before, snapshot(machine)) == []

    assert qatprep("device", "take-over", "70:00.1", "--adopt", "--yes", host=machine).code == ExitCode.OK
    assert not machine.exists(VF)
    shown = qatprep("config", "show", "-o", "json", host=machine).json["devices"]
    drivers = {pf["device"]: next(row["value"] for row in pf["values"] if row["key"] == "driver") for pf in shown}
    assert [bdf for bdf, driver in drivers.items() if driver == "qat_vfio_pci"] == ["0000:70:00.0"]
    assert machine.stat(CONFIG).mode == 0o644

    undone = qatprep("rollback", "--yes", host=machine)
    assert undone.code == ExitCode.OK, undone.err
    assert difference(before, snapshot(machine)) == []


REFUSED = {
    "a PF": ({PF: "vfio-pci"}, "", ("6b:00.0",), "the PF 0000:6b:00.0 on vfio-pci"),
    "a driver no configuration has": ({VF: "igb_uio"}, "", ("70:00.1",), "knows vfio-pci and qat_vfio_pci alone"),
    "two drivers of one PF": (
        {VF: "vfio-pci", SECOND: "qat_vfio_pci"},
        "devices: {driver: none}\n",
        ("70:00.1", "70:00.2"),
        "one driver a PF",
    ),
    "a file of somebody else's": (
        {VF: "qat_vfio_pci"},
        "smoke: false\n",
        ("70:00.1",),
        "- {match: {device: '0000:70:00.0'}, driver: qat_vfio_pci}",
    ),
    "a mistake in it": ({VF: "qat_vfio_pci"}, "smoke: 5\n", ("70:00.1",), "smoke is 5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_adopted_changes_nothing(name: str) -> None:
    files, config, devices, said = REFUSED[name]
    machine = host()
    for path, driver in files.items():
        put(machine, path, f"{driver}\n")
    if config:
        machine.tree.file(CONFIG, config.encode(), 0o644)
    before = snapshot(machine)
    called = qatprep("device", "take-over", *devices, "--adopt", "--yes", host=machine)
    assert called.code == ExitCode.USAGE and said in called.err, called.err
    assert difference(before, snapshot(machine)) == []


def test_a_name_with_control_characters_is_shown_and_given_back() -> None:
    machine = prepared()
    put(machine, VF, "\x1b[31mvfio\u202e\n")
    before = snapshot(machine)
    called = qatprep("device", "take-over", "70:00.1", host=machine)
    assert called.code == ExitCode.OK and "\x1b" not in called.out, called.err
    assert qatprep("rollback", "--yes", host=machine).code == ExitCode.OK
    assert difference(before, snapshot(machine)) == []
