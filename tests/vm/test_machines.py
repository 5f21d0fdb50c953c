"""Machines of other shapes: many PFs, another PCI domain, no IOMMU, a PF in use, modules or firmware missing."""

from __future__ import annotations

import pytest

from .conftest import Boot, full
from .machine import Hardware
from .node import PF0, PF1, Node, keep_busy, vf

pytestmark = [pytest.mark.vm, full]

# What VFIO needs where the IOMMU does not remap interrupts; without it opening a VF is refused.
SOFT = "vfio_iommu_type1.allow_unsafe_interrupts=1"


def test_two_sockets_with_eight_pfs(boot: Boot) -> None:
    with boot(hardware=Hardware(pfs=8, kind="soft", sockets=2, memory=1024)) as guest:
        node = Node(guest)
        untouched = node.picture()
        node.qatprep("bootstrap --yes --no-smoke")
        pfs = node.pfs()
        assert [pf["numa_node"] for pf in pfs.values()] == [0] * 4 + [1] * 4
        assert all(pf["num_vfs"] == 16 and pf["state"] == "up" for pf in pfs.values())
        assert {v["driver"] for pf in pfs.values() for v in pf["vfs"]} == {"vfio-pci"}
        assert node.nodes() == ["660 root:qat"] * 128
        assert node.failed() == set()
        assert "Nothing to do" in node.qatprep("bootstrap --yes --no-smoke").out
        node.qatprep("rollback --yes", timeout=300)
        assert node.picture() == untouched
        assert not node.complaints()


def test_pfs_in_another_pci_domain(boot: Boot) -> None:
    with boot(hardware=Hardware(kind="soft", domain=1)) as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke")
        assert list(node.pfs()) == ["0001:6b:00.0", "0001:70:00.0"]
        assert node.driver("0001:6b:02.0") == "vfio-pci"
        assert node.failed() == set()
        # A short address means domain 0000, where there is nothing.
        assert node.qatprep("device services dc 6b:00.0 --yes", status=None).status in (1, 2)
        node.qatprep("device services dc 0001:6b:00.0 --yes")
        assert node.sysfs("0001:6b:00.0", "qat/cfg_services") == "dc"


@pytest.mark.parametrize(("iommu", "finding"), [("off", "QP-IOMMU-002"), ("absent", "QP-IOMMU-001")])
def test_without_an_iommu_nothing_is_begun(boot: Boot, iommu: str, finding: str) -> None:
    with boot(hardware=Hardware(iommu=iommu)) as guest:  # type: ignore[arg-type]
        node = Node(guest)
        found = node.findings(status=3)
        assert finding in {name for name, status in found.items() if status == "fail"}
        assert found["QP-VFIO-001"] == "blocked"
        result = node.qatprep("bootstrap --yes --no-smoke", status=3)
        assert "Nothing was changed" in result.out and finding in result.out
        for pf in (PF0, PF1):
            assert node.sysfs(pf, "sriov_numvfs") == "0"


def test_a_pf_that_the_kernel_uses_itself_is_left_alone(boot: Boot) -> None:
    with boot() as guest:
        node = Node(guest)
        guest.check("modprobe qat_4xxx")
        job = keep_busy(guest)
        result = node.qatprep("bootstrap --yes --no-smoke", status=None)
        assert result.status in (1, 3, 4, 5), result.out
        assert PF0 in result.out + result.err
        assert node.sysfs(PF0, "sriov_numvfs") == "0"
        assert node.sysfs(PF0, "qat/state") == "up"
        refused = node.qatprep(f"device services dc {PF0} --yes", status=None)
        assert refused.status in (1, 3, 4), refused.out
        assert "kernel use" in refused.out + refused.err
        job.kill()
        node.qatprep("bootstrap --yes --no-smoke")
        assert node.failed() == set()


def test_a_kernel_without_the_driver_is_told_from_a_driver_not_loaded(boot: Boot) -> None:
    with boot() as guest:
        node = Node(guest)
        guest.check("rm /lib/modules/$(uname -r)/kernel/drivers/crypto/intel/qat/qat_4xxx/qat_4xxx.ko; depmod")
        found = node.findings(status=3)
        assert found["QP-MOD-001"] == "fail"
        assert found["QP-MOD-003"] == "blocked"
        result = node.qatprep("bootstrap --yes --no-smoke", status=None)
        assert "QP-MOD-001" in result.out + result.err


def test_firmware_that_is_missing_is_found_before_the_driver_is_loaded(boot: Boot) -> None:
    with boot() as guest:
        node = Node(guest)
        guest.check("rm /lib/firmware/qat_4xxx_mmp.bin")
        assert node.findings(status=3)["QP-FW-001"] == "fail"


def test_an_ordinary_sriov_device_with_the_generic_verbs(boot: Boot) -> None:
    with boot(hardware=Hardware(pfs=1, kind="nvme")) as guest:
        node = Node(guest)
        guest.check("modprobe nvme; modprobe vfio-pci; sleep 1")
        pf = guest.check("basename $(dirname /sys/bus/pci/devices/*/sriov_totalvfs)").strip()
        node.qatprep(f"device vfs create {pf} --count 4 --yes")
        assert node.sysfs(pf, "sriov_numvfs") == "4"
        first = guest.check(f"basename $(readlink /sys/bus/pci/devices/{pf}/virtfn0)").strip()
        node.qatprep(f"device bind {first} --force --yes")
        assert node.driver(first) == "vfio-pci"
        node.qatprep(f"device unbind {first} --yes")
        assert node.driver(first) == ""
        node.qatprep(f"device vfs remove {pf} --yes")
        assert node.sysfs(pf, "sriov_numvfs") == "0"


def test_a_network_card_with_the_generic_verbs(boot: Boot) -> None:
    """igb and its driver as they are: VFs in any number, two apart, and an interface that is not to be taken away."""
    with boot(hardware=Hardware(pfs=1, kind="igb")) as guest:
        node = Node(guest)
        guest.check("modprobe igb; modprobe vfio-pci; groupadd --system qat; sleep 1")
        pf = guest.check("basename $(dirname /sys/bus/pci/devices/*/sriov_totalvfs)").strip()
        interface = guest.check(f"ls /sys/bus/pci/devices/{pf}/net").strip()
        untouched = node.picture()
        too_many = node.qatprep(f"device vfs create {pf} --count 8 --yes", status=2)
        assert "at most 7" in too_many.err
        node.qatprep(f"device vfs create {pf} --count 3 --yes")
        assert node.sysfs(pf, "sriov_numvfs") == "3"
        vfs = [guest.check(f"basename $(readlink /sys/bus/pci/devices/{pf}/virtfn{n})").strip() for n in range(3)]
        assert [v[-4:] for v in vfs] == ["10.0", "10.2", "10.4"]
        node.qatprep(f"device bind {' '.join(vfs)} --group qat --yes")
        assert node.drivers(vfs) == ["vfio-pci"] * 3
        assert node.nodes() == ["660 root:qat"] * 3
        assert "Nothing to do" in node.qatprep(f"device bind {' '.join(vfs)} --group qat --yes").out

        guest.check(f"ip link set {interface} up; sleep 1")
        refused = node.qatprep(f"device bind {pf} --yes", status=2)
        assert interface in refused.err and node.driver(pf) == "igb"
        guest.check(f"ip link set {interface} down")

        for _ in range(4):
            if "Nothing to undo" in node.qatprep("rollback --yes").out:
                break
        assert node.sysfs(pf, "sriov_numvfs") == "0"
        assert node.picture() == untouched
        assert not node.complaints()


def test_vf_addresses_are_what_the_kernel_gives(boot: Boot) -> None:
    with boot(hardware=Hardware(pfs=1)) as guest:
        guest.check(f"modprobe qat_4xxx; echo 16 >/sys/bus/pci/devices/{PF0}/sriov_numvfs")
        for number in range(16):
            assert guest.check(f"basename $(readlink /sys/bus/pci/devices/{PF0}/virtfn{number})").strip() == vf(
                PF0, number
            )
