"""The low-level verbs where they could do harm: what they refuse, and what rollback gives back."""

from __future__ import annotations

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


@pytest.mark.parametrize(
    ("arguments", "kernels"),
    [
        (["unbind", "6b:00.1"], ["6.1", "7.2"]),  # its node belongs to a group
        (["bind", "6b:00.1", "--driver", "qat_vfio_pci"], ["6.12"]),
        (["bind", "6b:00.1", "--group", "render", "--mode", "0600"], ["6.12"]),
        (["unbind", "70:00.0", "--force"], ["5.17", "6.1", "7.2"]),  # a PF: its VFs and services go with its driver
        (["bind", "70:00.0", "--force"], ["6.12"]),
        (["services", "asym", "6b:00.0", "70:00.0"], ["6.12", "7.2"]),
        (["vfs", "remove", "6b:00.0"], ["5.17", "6.1", "7.2"]),
    ],
    ids=" ".join,
)
def test_rollback_gives_back_what_the_verb_took(arguments: list[str], kernels: list[str]) -> None:
    for kernel in kernels:
        host = simulated(f"spr-2s-ready@{kernel}")
        before = snapshot(host)
        called = qatprep("device", *arguments, "--yes", host=host)
        assert called.code == ExitCode.OK, called.err
        assert difference(before, snapshot(host)) != []
        assert qatprep("device", *arguments, "--yes", host=host).out == "Nothing to do: already as requested.\n"
        assert qatprep("rollback", host=host).code == ExitCode.OK
        assert difference(before, snapshot(host)) == []


def test_a_driver_that_will_not_have_it() -> None:
    host = simulated("spr-2s-ready")
    before = snapshot(host)
    called = qatprep("device", "bind", "6b:00.1", "--driver", "4xxx", host=host)
    assert called.code == ExitCode.ROLLED_BACK
    assert "ENODEV" in called.err and "as it was" in called.err
    assert difference(before, snapshot(host)) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--driver", "nosuch"], ExitCode.ERROR, "no driver 'nosuch'"),
        (["--driver", "../../../etc"], ExitCode.USAGE, "not the name of a driver"),
        (["--driver", ""], ExitCode.USAGE, "--driver"),
        (["--group", "--gid=0"], ExitCode.USAGE, "not the name of a group"),
        (["--group", "a:b"], ExitCode.USAGE, "not the name of a group"),
        (["--mode", "-1"], ExitCode.USAGE, "octal"),
        (["--mode", "10000"], ExitCode.USAGE, "octal"),
    ],
)
def test_bad_names(arguments: list[str], code: ExitCode, words: str) -> None:
    host = simulated("spr-2s-ready")
    called = qatprep("device", "bind", "6b:00.1", *arguments, host=host)
    assert called.code == code, called.err
    assert words in called.err
    assert host.operations == []


def test_the_modules_spelling_of_vfio_pci_will_do() -> None:
    host = simulated("spr-2s-ready")
    assert qatprep("device", "unbind", "6b:00.1", host=host).code == ExitCode.OK
    assert qatprep("device", "bind", "6b:00.1", "--driver", "vfio_pci", host=host).code == ExitCode.OK
    assert host.readlink("/sys/bus/pci/devices/0000:6b:00.1/driver").endswith("/vfio-pci")


def test_what_hangs_on_a_function_is_seen_behind_every_bus() -> None:
    """A network card and a disk of virtio have another bus between them and their PCI function."""
    host = simulated("spr-2s")
    devices = "../../devices/pci0000:17/0000:17:00.0"
    host.tree.link("/sys/class/net/eth0", f"{devices}/virtio1/net/eth0")
    host.tree.file("/sys/devices/pci0000:17/0000:17:00.0/virtio1/net/eth0/operstate", b"unknown\n")
    up = qatprep("device", "unbind", "17:00.0", host=host)
    assert up.code == ExitCode.USAGE and "eth0, which is up" in up.err and "--force" in up.err
    host.tree.file("/sys/devices/pci0000:17/0000:17:00.0/virtio1/net/eth0/operstate", b"down\n")
    assert qatprep("device", "unbind", "17:00.0", "--check", host=host).code == ExitCode.FINDINGS
    host.tree.link("/sys/class/block/vda", f"{devices}/virtio1/block/vda")
    disk = qatprep("device", "unbind", "17:00.0", host=host)
    assert disk.code == ExitCode.USAGE and "disk vda" in disk.err
    assert host.operations == []


def test_a_pf_without_sriov_is_a_pf_all_the_same() -> None:
    called = qatprep("device", "bind", "6b:00.0", host=simulated("sriov-off-in-bios"))
    assert called.code == ExitCode.USAGE and "is a PF" in called.err


def test_the_driver_of_another_card_is_not_taken_from_it() -> None:
    """sriov_numvfs=0 refused by a network card is told, not worked around by taking its driver away."""
    host = simulated("spr-2s")
    base = "/sys/devices/pci0000:17/0000:17:00.0"
    host.tree.file(f"{base}/sriov_totalvfs", b"2\n")
    host.tree.file(f"{base}/sriov_numvfs", b"1\n").store = _refuse
    host.tree.link(f"{base}/virtfn0", "../0000:17:01.0")
    called = qatprep("device", "vfs", "remove", "17:00.0", host=host)
    assert called.code == ExitCode.ROLLED_BACK, called.err
    assert "EINVAL" in called.err
    assert not [op for op in host.operations if "unbind" in op.path]


def _refuse(data: bytes) -> None:
    raise OSError(22, "Invalid argument")


def test_owners_of_nodes_survive_a_change_of_services() -> None:
    host = simulated("spr-2s-ready")
    group = host.readlink("/sys/bus/pci/devices/0000:6b:00.1/iommu_group").rsplit("/", 1)[-1]
    host.chown(f"/dev/vfio/{group}", 1000, 4711)  # a user, and a group without a name
    assert qatprep("device", "services", "asym", "6b:00.0", "--yes", host=host).code == ExitCode.OK
    group = host.readlink("/sys/bus/pci/devices/0000:6b:00.1/iommu_group").rsplit("/", 1)[-1]
    node = host.stat(f"/dev/vfio/{group}")
    assert (node.uid, node.gid, node.mode) == (1000, 4711, 0o660)
