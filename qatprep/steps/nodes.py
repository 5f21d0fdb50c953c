"""The device nodes of VFs: waiting for them, and giving them an owner. What the changes of owners are built on."""

from __future__ import annotations

from qatprep.facts.base import Unknown
from qatprep.facts.pci import DeviceNode, node_of
from qatprep.host.base import Host
from qatprep.steps.base import ChangeFailed

AS_MADE = "root:root 0600"
"""How a node that is not there yet will be: drivers/vfio/group.c gives it no mode, devtmpfs then makes it 0600."""
_NODE_DEADLINE = 5.0
"""Seconds for a node to appear: devtmpfs makes it with the binding, only a host without devtmpfs waits for udev."""


def wait_for_node(host: Host, bdf: str) -> DeviceNode:
    """The group node of a VF that was just bound. ChangeFailed when it does not come."""
    end = host.now() + _NODE_DEADLINE
    while True:
        node = node_of(host, bdf)
        if isinstance(node, DeviceNode):
            return node
        if isinstance(node, Unknown):
            raise ChangeFailed(f"cannot read the device node of {bdf}: {node.reason}")
        if host.now() >= end:
            raise ChangeFailed(
                f"{bdf} has no node below /dev/vfio after {_NODE_DEADLINE:g} seconds",
                "is devtmpfs mounted on /dev, and the VF bound to vfio-pci?",
            )
        host.sleep(0.05)


def own(host: Host, bdf: str, uid: int, gid: int, mode: int) -> None:
    """Give a VF's node an owner and a mode, and read them back. -1 leaves the owner as it is."""
    node = wait_for_node(host, bdf)
    if node.mode != mode:
        host.chmod(node.path, mode)
    if (uid, gid) != (node.uid, node.gid) and (uid, gid) != (-1, -1):
        host.chown(node.path, uid, gid)
    now = node_of(host, bdf)
    if not isinstance(now, DeviceNode):
        raise ChangeFailed(f"the device node of {bdf}, {node.path}, went away while it was being set")
    if now.mode != mode or (uid >= 0 and now.uid != uid) or (gid >= 0 and now.gid != gid):
        raise ChangeFailed(
            f"{now.path} of {bdf} reads back {now.uid}:{now.gid} {now.mode:04o}, not {uid}:{gid} {mode:04o}",
            "a udev rule or SELinux may be against it",
        )
