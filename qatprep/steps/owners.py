"""Who may open the VFs' device nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import Unknown
from qatprep.facts.nodes import group_name, groups, members
from qatprep.facts.pci import DeviceNode, Vf, node_of
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Summary
from qatprep.steps.nodes import AS_MADE, own
from qatprep.steps.places import Place


@dataclass(frozen=True)
class CreateGroup(Change):
    kind: ClassVar[str] = "create-group"
    what: ClassVar[str] = "group"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {"name": place.NAME}

    name: str

    @property
    def summary(self) -> Summary:
        return Summary(self.name, "absent", "system group")

    def do(self, host: Host) -> None:
        result = host.run(["groupadd", "--system", self.name])
        if result.rc != 0:
            raise ChangeFailed(
                f"groupadd --system {self.name} ended with status {result.rc}: {result.stderr.text.strip()}",
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
            raise ChangeFailed(f"groupdel {self.name} ended with status {result.rc}: {result.stderr.text.strip()}")


def _gid(host: Host, name: str) -> int | None:
    """The number of a group; a number without a name is taken as it is."""
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
    what: ClassVar[str] = "device node"
    batch: ClassVar[bool] = True
    spares_holders: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {"bdf": place.BDF, "group": place.ENTRY, "old_text": place.TEXT}

    bdf: str
    group: str
    mode: int
    old: tuple[int, int, int] | None
    """uid, gid, mode; None when the VF is bound only in the same run."""
    old_text: str
    """How it was, for people."""
    uid: int = 0

    @classmethod
    def of(
        cls, vf: Vf, group: str, mode: int, known: dict[str, int] | Unknown, uid: int | None = None
    ) -> SetOwnership | None:
        """The change for the node of a VF that stays bound; None where it has none, or is as wanted already.

        `known`: the groups of the host; `uid`: of the user who is to own it, None for whoever does.
        """
        node = vf.node
        gid = None if isinstance(known, Unknown) else known.get(group)
        if not isinstance(node, DeviceNode) or (node.gid, node.mode, node.uid) == (
            gid,
            mode,
            node.uid if uid is None else uid,
        ):
            return None
        owner = "root" if node.uid == 0 else str(node.uid)
        return cls(vf.bdf, group, mode, node.owner, f"{owner}:{group_name(known, node.gid)} {node.mode:04o}", uid or 0)

    @classmethod
    def fresh(cls, bdf: str, group: str, mode: int, uid: int = 0) -> SetOwnership:
        """The change for the node of a VF that is bound only in the same run."""
        return cls(bdf, group, mode, None, AS_MADE, uid)

    @property
    def quick(self) -> bool:
        return True

    @property
    def summary(self) -> Summary:
        return Summary(self.bdf, self.old_text, f"{self.uid or 'root'}:{self.group} {self.mode:04o}")

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
