"""device take-over: driverctl's overrides of QAT devices go, journalled; what the devices are bound to stays."""

from __future__ import annotations

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot

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
    called = qatprep("device", "take-over", "6b:00.0", "70:00.1", host=machine)
    assert called.code == ExitCode.OK, called.err
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
