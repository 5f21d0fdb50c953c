"""A node stays prepared: systemd and udev of a real boot, the unit in its sandbox, before whatever hands out VFs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import disks
from .conftest import Boot, full
from .machine import REPOSITORY, Guest, Hardware
from .node import PF0, PF1, Node, vf

pytestmark = [
    pytest.mark.vm,
    # Its PrivateTmp, which is there to be tested, would hide the program from the unit.
    pytest.mark.skipif(REPOSITORY.startswith("/tmp/"), reason="the project lies below /tmp: clone it elsewhere"),
]

READY = ["660 root:qat"] * 32
UNIT = "qatprep-apply.service"
KUBELET = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cd /dev/vfio 2>/dev/null && stat -c "%%a %%U:%%G" [0-9]* | sort >/root/at-kubelet'
ExecStart=/bin/sh -c 'systemctl show -p ActiveState --value qatprep-apply.service >>/root/at-kubelet'
[Install]
WantedBy=multi-user.target
"""
"""Writes down what it finds when it starts."""


def booted(boot: Boot, kernel: str, disk: str, **more: Any) -> Guest:
    # The machine's own /tmp, seen through the overlay, would be cleaned for minutes.
    arguments = "systemd.mask=systemd-tmpfiles-setup.service"
    return boot(kernel, boot="systemd", disk=disk, arguments=arguments, seconds=300, **more)


def prepare(boot: Boot, kernel: str, disk: str) -> None:
    """The first boot: bootstrap, and a kubelet that looks at the nodes when it starts."""
    with booted(boot, kernel, disk) as guest:
        guest.check("modprobe qat_4xxx")
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke", timeout=240)
        assert node.nodes() == READY
        assert "enabled" in guest.check(f"systemctl is-enabled {UNIT}")
        guest.put("/etc/systemd/system/kubelet.service", KUBELET)
        guest.check("systemctl enable kubelet.service; sync")
        guest.shut_down()


def start(guest: Guest) -> list[str]:
    """Start both units as the boot's transaction would; what the kubelet found."""
    guest.run(f"rm -f /root/at-kubelet; systemctl start {UNIT} kubelet.service", timeout=300)
    return guest.read("/root/at-kubelet").split("\n")[:-1]


def shown(guest: Guest, name: str) -> str:
    return guest.check(f"systemctl show -p {name} --value {UNIT}").strip()


def test_a_node_is_ready_before_kubelet_starts(boot: Boot, kernel: str, tmp_path: Path) -> None:
    disk = disks.make(str(tmp_path))
    prepare(boot, kernel, disk)
    with booted(boot, kernel, disk) as guest:
        node = Node(guest)
        assert node.nodes() == []
        assert "vfio_pci" in guest.check("lsmod")  # modules-load.d
        assert start(guest) == [*READY, "active"]
        assert shown(guest, "Result") == "success"
        assert set(node.findings(status=0).values()) <= {"ok"}
        assert "Nothing to do" in node.qatprep("bootstrap --yes --no-smoke").out

        # A VF bound by hand gets its group from the udev rule; what is no QAT stays root's.
        first = vf(PF0, 0)
        bind = (
            "echo {0} >/sys/bus/pci/devices/{0}/driver/unbind; echo vfio-pci >/sys/bus/pci/devices/{0}/driver_override"
        )
        bind += "; echo {0} >/sys/bus/pci/drivers/vfio-pci/bind"
        guest.check(f"{bind.format(first)}; udevadm settle")
        assert node.nodes() == READY
        guest.check(f"{bind.format('0000:00:01.0')}; udevadm settle")  # QEMU's virtio-rng
        assert node.nodes() == ["600 root:root", *READY]
        guest.check("echo 0000:00:01.0 >/sys/bus/pci/drivers/vfio-pci/unbind")

        back = node.json("rollback --yes", status=0)
        assert len(back["runs"]) == 2
        assert node.nodes() == []
        assert guest.run("grep -rl 'Written by qatprep' /etc").out == ""
        assert guest.run(f"systemctl is-enabled {UNIT}").status != 0
        assert not node.complaints()


@pytest.mark.parametrize("trouble", ["no devices", "a PF that refuses"])
@full
def test_a_boot_goes_on_whatever_is_missing(boot: Boot, kernel: str, tmp_path: Path, trouble: str) -> None:
    disk = disks.make(str(tmp_path))
    prepare(boot, kernel, disk)
    hardware = Hardware(pfs=0) if trouble == "no devices" else Hardware(pfs=2)
    with booted(boot, kernel, disk, hardware=hardware) as guest:
        node = Node(guest)
        if trouble == "a PF that refuses":
            file = f"/sys/bus/pci/devices/{PF1}/sriov_numvfs"
            guest.check(f"mount --bind {file} {file} && mount -o remount,bind,ro {file}")
        found = start(guest)
        assert guest.check("systemctl is-active kubelet.service").strip() == "active"
        if trouble == "no devices":
            assert found == ["active"]
            assert shown(guest, "Result") == "success"
        else:
            assert found == [*READY[:16], "failed"]
            assert node.sysfs(PF1, "sriov_numvfs") == "0"
            assert "given up" in guest.run(f"journalctl --no-pager -u {UNIT}").out


def test_the_script_for_hosts_without_qatprep(boot: Boot, kernel: str) -> None:
    """gen-conf --standalone: the same nodes, by nothing but a shell."""
    with boot(kernel) as guest:
        node = Node(guest)
        guest.check("modprobe qat_4xxx && groupadd --system qat")
        node.qatprep("gen-conf --standalone --write /root/out")
        for _ in range(2):
            done = guest.run("sh /root/out/etc/qatprep-apply.sh")
            assert (done.status, done.err) == (0, "")
            assert node.nodes() == READY
        assert {frozenset(node.sysfs(pf, "qat/cfg_services").split(";")) for pf in (PF0, PF1)} == {
            frozenset({"sym", "asym"})
        }
        assert set(node.findings(status=0).values()) <= {"ok"}
        # What it was not asked to change stays; what is wrong is fixed.
        guest.check(f"echo down >/sys/bus/pci/devices/{PF0}/qat/state; chmod 600 /dev/vfio/[0-9]*")
        assert guest.run("sh /root/out/etc/qatprep-apply.sh").status == 0
        assert node.nodes() == READY
