"""/dev/vfio/vfio, the groups of the host, and who holds a VF open."""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep.facts.base import ABSENT, Unknown, names, unknown, whole
from qatprep.facts.pci import DeviceNode, Vf, device_node
from qatprep.hardware import VFIO_DEV
from qatprep.host.base import Host

CONTAINER_NODE = f"{VFIO_DEV}/vfio"
_POD = r"pod([0-9a-f]{8}[-_][0-9a-f_-]{27})"
_CONTAINER = r"([0-9a-f]{64})"


class Holder(NamedTuple):
    """A process that has a VF open. Closing needs the process: the kernel waits for it without end."""

    pid: int
    command: str
    vf: str
    container: str
    """"pod <uid>" or "container <id>" as its cgroup tells, "" for neither."""

    def __str__(self) -> str:
        where = f", {self.container}" if self.container else ""
        return f"{self.command} (process {self.pid}{where})"


class NodeFacts(NamedTuple):
    container: DeviceNode | Unknown | None
    """/dev/vfio/vfio, through which every user of VFIO goes."""
    groups: dict[str, int] | Unknown
    """/etc/group: name -> gid."""
    holders: tuple[Holder, ...]
    holders_complete: bool
    """False when some process could not be looked into: there may be more holders."""

    def gid(self, name: str) -> int | Unknown | None:
        return self.groups if isinstance(self.groups, Unknown) else self.groups.get(name)

    def group_name(self, gid: int) -> str:
        """The group's name, or its number where there is none."""
        return group_name(self.groups, gid)


def group_name(known: dict[str, int] | Unknown, gid: int) -> str:
    """The name of a group, or its number where there is none."""
    if not isinstance(known, Unknown):
        for name, number in known.items():
            if number == gid:
                return name
    return str(gid)


def gather(host: Host, vfs: tuple[Vf, ...]) -> NodeFacts:
    found, complete = holders(host, vfs)
    return NodeFacts(device_node(host, CONTAINER_NODE), groups(host), found, complete)


def groups(host: Host) -> dict[str, int] | Unknown:
    """group(5), first entry of a name counts."""
    try:
        text = host.read_text("/etc/group", limit=1 << 24)
    except OSError as e:
        return {} if e.errno in ABSENT else unknown(e)
    found: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split(":")
        gid = whole(fields[2]) if len(fields) >= 3 else None
        if gid is not None:
            found.setdefault(fields[0], gid)
    return found


def members(host: Host, name: str) -> tuple[str, ...]:
    """The users that /etc/group names as members of a group; () when there is no such group."""
    try:
        text = host.read_text("/etc/group", limit=1 << 24)
    except OSError:
        return ()
    found = next((fields for line in text.splitlines() if (fields := line.split(":"))[0] == name), [])
    return tuple(user for user in found[3].split(",") if user) if len(found) > 3 else ()


def holders(host: Host, vfs: tuple[Vf, ...]) -> tuple[tuple[Holder, ...], bool]:
    """Every process with a group or device node of these VFs open, and whether all processes could be looked into."""
    by_path: dict[str, str] = {}
    for vf in vfs:
        if isinstance(vf.node, DeviceNode):
            by_path[vf.node.path] = vf.bdf
        if vf.cdev:
            by_path[vf.cdev] = vf.bdf
    if not by_path:
        return (), True
    listed = names(host, "/proc")
    if isinstance(listed, Unknown):
        return (), False
    found: dict[tuple[int, str], Holder] = {}
    complete = True
    for pid in (name for name in listed if name.isdigit()):
        try:
            descriptors = host.listdir(f"/proc/{pid}/fd")
        except OSError as e:
            complete = complete and e.errno in ABSENT
            continue
        for descriptor in descriptors:
            try:
                vf_bdf = by_path.get(host.readlink(f"/proc/{pid}/fd/{descriptor}"))
            except OSError as e:
                complete = complete and e.errno in ABSENT
                continue
            if vf_bdf and (int(pid), vf_bdf) not in found:
                found[int(pid), vf_bdf] = Holder(int(pid), _command(host, pid), vf_bdf, _container(host, pid))
    return tuple(found.values()), complete


def _command(host: Host, pid: str) -> str:
    for path in (f"/proc/{pid}/cmdline", f"/proc/{pid}/comm"):
        try:
            text = host.read_text(path, limit=2 << 20).split("\0", 1)[0].strip()
        except OSError:
            continue
        if text:
            return text.rsplit("/", 1)[-1]
    return "?"


def _container(host: Host, pid: str) -> str:
    """What cgroup(7) tells: kubelet and the runtimes put the pod's uid and the container's id into the path."""
    try:
        text = host.read_text(f"/proc/{pid}/cgroup", limit=1 << 16)
    except OSError:
        return ""
    if match := re.search(_POD, text):
        return f"pod {match[1].replace('_', '-')}"
    if match := re.search(_CONTAINER, text):
        return f"container {match[1][:12]}"
    return ""
