"""Who may open the VFs' device nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import Unknown
from qatprep.facts.nodes import groups, members
from qatprep.facts.pci import DeviceNode, node_of
from qatprep.host.base import Host
from qatprep.steps.base import Change, ChangeFailed

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
            raise ChangeFailed(f"cannot look at the device node of {bdf}: {node.reason}")
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


@dataclass(frozen=True)
class CreateGroup(Change):
    kind: ClassVar[str] = "create-group"
    what: ClassVar[str] = "group"
    persistent: ClassVar[bool] = True

    name: str

    @property
    def subject(self) -> str:
        return self.name

    @property
    def before(self) -> str:
        return "absent"

    @property
    def after(self) -> str:
        return "system group"

    def do(self, host: Host) -> None:
        result = host.run(["groupadd", "--system", self.name])
        if result.rc != 0:
            raise ChangeFailed(
                f"groupadd --system {self.name} ended with status {result.rc}: {result.stderr.strip()}",
                "make the group by hand, or choose another one: --set nodes.group=NAME",
            )
        if _gid(host, self.name) is None:
            raise ChangeFailed(f"groupadd --system {self.name} reports success, but /etc/group does not have it")

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if _gid(host, self.name) is None:
            return
        if users := members(host, self.name):
            raise ChangeFailed(f"the group {self.name} has members now ({', '.join(users)}); it is left as it is")
        result = host.run(["groupdel", self.name])
        if result.rc != 0:
            raise ChangeFailed(f"groupdel {self.name} ended with status {result.rc}: {result.stderr.strip()}")


def _gid(host: Host, name: str) -> int | None:
    """The number of a group; a number without a name stands for itself."""
    found = groups(host)
    if isinstance(found, Unknown):
        raise ChangeFailed(f"cannot read the groups: {found.reason}")
    return found.get(name, int(name) if name.isdigit() else None)


@dataclass(frozen=True)
class SetOwnership(Change):
    """Group and mode of a VF's node.

    The group goes by name (a bare number only where there is no name), the node by its VF: their numbers change.
    """

    kind: ClassVar[str] = "set-ownership"
    what: ClassVar[str] = "node"
    batch: ClassVar[bool] = True
    spares_holders: ClassVar[bool] = True

    bdf: str
    group: str
    mode: int
    old: tuple[int, int, int] | None
    """uid, gid, mode; None when the VF is bound only in the same run."""
    old_words: str
    uid: int = 0

    @property
    def subject(self) -> str:
        return self.bdf

    @property
    def before(self) -> str:
        return self.old_words

    @property
    def after(self) -> str:
        return f"{self.uid or 'root'}:{self.group} {self.mode:04o}"

    def do(self, host: Host) -> None:
        host.settle()  # udev sets its own idea of the node when it sees the event; ours has to come after
        gid = _gid(host, self.group)
        if gid is None:
            raise ChangeFailed(
                f"there is no group {self.group!r}", "make it, or choose another: --set nodes.group=NAME"
            )
        own(host, self.bdf, self.uid, gid, self.mode)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if self.old is not None and isinstance(node_of(host, self.bdf), DeviceNode):
            own(host, self.bdf, *self.old)
