"""Device nodes and boots with real udevd and systemd: who owns a node, and when; what a reboot takes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import disks
from .conftest import Boot, full
from .node import PF0, PF1, Node, vf

pytestmark = [pytest.mark.vm, full]

READY = ["660 root:qat"] * 32
REBIND = "cd /sys/bus/pci/drivers/vfio-pci && echo {0} >unbind && echo {0} >bind"


def test_nodes_are_right_when_udevd_has_settled(boot: Boot) -> None:
    with boot(boot="udev") as guest:
        node = Node(guest)
        assert node.driver(PF0) == "4xxx"  # udevd has loaded it
        node.qatprep("bootstrap --yes --no-smoke")
        assert node.nodes() == READY
        guest.check("udevadm settle")
        assert node.nodes() == READY
        # Without a rule, which needs systemd to be worth having, a node that is made again is root's.
        guest.check(REBIND.format(vf(PF0, 0)) + "; udevadm settle")
        assert node.nodes() == ["600 root:root", *READY[1:]]
        assert node.failed() == {"QP-NODE-001"}
        node.qatprep("bootstrap --yes --no-smoke")
        guest.check("udevadm settle")
        assert node.nodes() == READY


def test_with_systemd_a_rule_gives_nodes_their_group_whoever_binds(boot: Boot) -> None:
    with boot(boot="systemd") as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke")
        assert node.nodes() == READY
        assert node.failed() == set()
        for number in range(16):
            guest.check(REBIND.format(vf(PF0, number)))
        guest.check("udevadm settle")
        assert node.nodes() == READY
        node.qatprep(f"device unbind {vf(PF1, 0)} --yes")
        node.qatprep(f"device bind {vf(PF1, 0)} --yes")
        guest.check("udevadm settle")
        assert node.nodes() == READY
        # Even VFs that are made again behind qatprep's back, once they are bound.
        guest.check(
            f"echo down >/sys/bus/pci/devices/{PF0}/qat/state; echo 16 >/sys/bus/pci/devices/{PF0}/sriov_numvfs"
        )
        assert len(node.nodes()) == 16
        node.qatprep(f"device bind {vf(PF0, 0)} --yes")
        guest.check("udevadm settle")
        assert node.nodes() == READY[:17]
        assert not node.complaints()


def test_a_reboot_without_systemd_takes_everything_and_the_doctor_says_so(boot: Boot, tmp_path: Path) -> None:
    disk = disks.make(str(tmp_path))
    with boot(disk=disk) as guest:
        node = Node(guest)
        untouched = node.picture()
        node.qatprep("bootstrap --yes --no-smoke")
        guest.shut_down()
    with boot(disk=disk) as guest:
        node = Node(guest)
        assert node.failed() == {"QP-MOD-003", "QP-MOD-004"}  # the group has stayed
        node.qatprep("status", status=3)
        node.qatprep("bootstrap --yes --no-smoke")
        assert node.nodes() == READY
        guest.shut_down()
    with boot(disk=disk) as guest:
        # What the kernel forgot needs no undoing; what is on disk does.
        node = Node(guest)
        for _ in range(4):
            if "Nothing to undo" in node.qatprep("rollback --yes").out:
                break
        assert node.picture() == untouched
