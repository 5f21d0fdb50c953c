"""The run at boot: whatever is wrong, the rest is prepared, the status tells, and nothing hangs."""

from __future__ import annotations

import errno

import pytest

from qatprep.exits import ExitCode
from qatprep.persist import units
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.persist.hosts import installed, reboot

BAD = "0000:70:00.0"


def ready(host: SimulatedHost) -> dict[str, int]:
    """PF -> its VFs with the right node."""
    shown = qatprep("device", "list", "-o", "json", host=host).json
    return {
        pf["device"]: sum(1 for vf in pf["vfs"] if vf["node"] and vf["node"]["mode"] == "0660") for pf in shown["pfs"]
    }


def booted(name: str = "spr-2s", *faults: Fault) -> SimulatedHost:
    """A host with everything installed, right after a boot, before its unit ran."""
    host = installed(name)
    assert qatprep("bootstrap", "--no-smoke", host=host).code in (ExitCode.OK, ExitCode.FINDINGS)
    return SimulatedHost(host.reboot().tree, kernel="6.12", faults=Faults(*faults))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("errno", 1, errno.EIO, "write", f"*/{BAD}/sriov_numvfs", times=0),
        Fault("errno", 1, errno.EBUSY, "write", f"*/{BAD}/qat/state", times=0),
        Fault("hang", 1, 0, "write", f"*/{BAD}/sriov_numvfs", times=0),
        Fault("errno", 3, errno.EINVAL, "write", "*/vfio-pci/bind", times=1),
    ],
    ids=["vfs", "state", "hang", "bind"],
)
def test_one_pf_fails_and_the_others_are_prepared(fault: Fault) -> None:
    host = booted("spr-2s", fault)
    called = qatprep("bootstrap", "--boot", "--yes", host=host)
    assert called.code == ExitCode.FINDINGS, called.out
    assert "given up: 0000:" in called.out
    counts = ready(host)
    assert sorted(counts.values()) == [0] + [16] * 7
    if fault.op == "write" and BAD in fault.path:
        assert counts[BAD] == 0
    assert host.now() < 120


def test_every_pf_fails() -> None:
    host = booted("spr-2s", Fault("errno", 1, errno.EIO, "write", "*/sriov_numvfs", times=0))
    called = qatprep("bootstrap", "--boot", "--yes", "-o", "json", host=host)
    assert called.code == ExitCode.FINDINGS
    assert len(called.json["given_up"]) == 8
    assert set(ready(host).values()) == {0}


def test_a_host_whose_devices_are_gone_boots_green() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    bare = host.reboot()
    for bdf in list(bare.tree.get("/sys/bus/pci/devices").children):
        bare.tree.remove(f"/sys/bus/pci/devices/{bdf}")
    called = qatprep("bootstrap", "--boot", "--yes", host=bare)
    assert called.code == ExitCode.OK
    assert called.out.startswith("nothing to do\nQAT: NOT PRESENT, ")


def test_a_broken_link_above_is_told_by_its_finding() -> None:
    host = installed()
    qatprep("bootstrap", "--no-smoke", host=host)
    host.tree.file("/etc/modprobe.d/no.conf", b"blacklist vfio-pci\n")
    after, run = reboot(host)
    assert run is not None and run.code == ExitCode.FINDINGS
    assert "skipped: " in run.out and "(QP-MOD-005)" in run.out
    assert set(ready(after).values()) == {0}


def test_held_vfs_are_left_to_their_holder() -> None:
    host = installed("vf-held")
    called = qatprep("bootstrap", "--boot", "--yes", host=host)
    assert called.code in (ExitCode.FINDINGS, ExitCode.OK)
    assert "given up" in called.out


def test_boot_is_for_the_whole_node() -> None:
    for option in (["--check"], ["--diff"], ["-d", "6b:00.0"]):
        called = qatprep("bootstrap", "--boot", *option, host=installed())
        assert called.code == ExitCode.USAGE and "--boot" in called.err


def test_the_unit_may_open_what_it_proves() -> None:
    """tests/vm/test_emulated.py runs it in its sandbox, with VFs that answer."""
    lines = units.apply(("/usr/bin/qatprep",)).splitlines()
    allowed = {line.removeprefix("DeviceAllow=") for line in lines if line.startswith("DeviceAllow=")}
    nodes = {"/dev/vfio/vfio rw", "/dev/iommu rw", "char-vfio rw", "char-vfio-dev rw"}
    assert allowed == {"/dev/kmsg r", *nodes}
    assert "LimitMEMLOCK=infinity" in lines
