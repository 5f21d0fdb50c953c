"""/dev/vfio/vfio, the groups of the host, and who holds a VF open."""

from __future__ import annotations

import re
from functools import cached_property
from typing import NamedTuple

from qatprep.facts.base import ABSENT, Unknown, link_name, names, read_words, unknown, whole
from qatprep.facts.pci import DeviceNode, Vf, device_node
from qatprep.hardware import PCI_DEVICES, VFIO_DEV
from qatprep.host.base import Host

CONTAINER_NODE = f"{VFIO_DEV}/vfio"
_POD = r"pod([0-9a-f]{8}[-_][0-9a-f_-]{27})"
_CONTAINER = r"([0-9a-f]{64})"
POD_LOGS = "/var/log/pods"


class Holder(NamedTuple):
    """A process that has a VF open. Closing needs the process: the kernel waits for it without end."""

    pid: int
    command: str
    vf: str
    container: str
    """"pod <uid>" or "container <id>" as its cgroup tells, "" for neither."""
    path: str = ""
    """The device node that it has open."""
    pod: str = ""
    """"namespace/name" of its pod, "" outside a pod or where POD_LOGS does not tell."""

    @property
    def where(self) -> str:
        """Its pod or container, for people; "" outside both."""
        return f"pod {self.pod}" if self.pod else self.container

    def __str__(self) -> str:
        where = f", {self.where}" if self.where else ""
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


def gather(host: Host, vfs: tuple[Vf, ...], pods: PodNames | None = None) -> NodeFacts:
    """`pods`: their names where something else asks for them, too."""
    found, complete = holders(host, vfs, pods)
    return NodeFacts(device_node(host, CONTAINER_NODE), groups(host), found, complete)


def groups(host: Host) -> dict[str, int] | Unknown:
    """group(5), first entry of a name counts."""
    try:
        text = host.read_text("/etc/group", limit=1 << 24).text
    except OSError as e:
        return {} if e.errno in ABSENT else unknown(e)
    found: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split(":")
        gid = whole(fields[2]) if len(fields) >= 3 else None
        if gid is not None:
            found.setdefault(fields[0], gid)
    return found


def user_id(host: Host, name: str) -> int | None:
    """The number of a user by passwd(5); a number is taken as it is. None where there is no such user."""
    if name.isdigit():
        return int(name)
    try:
        text = host.read_text("/etc/passwd", limit=1 << 24).text
    except OSError:
        return None
    found = next((fields for line in text.splitlines() if (fields := line.split(":"))[0] == name), [])
    return whole(found[2]) if len(found) > 2 else None


def members(host: Host, name: str) -> tuple[str, ...]:
    """The users that /etc/group names as members of a group; () when there is no such group."""
    try:
        text = host.read_text("/etc/group", limit=1 << 24).text
    except OSError:
        return ()
    found = next((fields for line in text.splitlines() if (fields := line.split(":"))[0] == name), [])
    return tuple(user for user in found[3].split(",") if user) if len(found) > 3 else ()


def holders(host: Host, vfs: tuple[Vf, ...], pods: PodNames | None = None) -> tuple[tuple[Holder, ...], bool]:
    """Every process with a group or device node of these VFs open, and whether all processes could be looked into."""
    by_path: dict[str, str] = {}
    for vf in vfs:
        if isinstance(vf.node, DeviceNode):
            by_path[vf.node.path] = vf.bdf
        if vf.cdev:
            by_path[vf.cdev] = vf.bdf
    # A VF that is being unbound has lost its driver, and keeps its node until whoever has it open lets go.
    for vf in vfs:
        if vf.driver is None and isinstance(group := link_name(host, f"{PCI_DEVICES}/{vf.bdf}/iommu_group"), str):
            by_path.setdefault(f"{VFIO_DEV}/{group}", vf.bdf)
    if not by_path:
        return (), True
    listed = names(host, "/proc")
    if isinstance(listed, Unknown):
        return (), False
    found: dict[tuple[int, str], Holder] = {}
    pods = pods or PodNames(host)
    complete = True
    for pid in (name for name in listed if name.isdigit()):
        try:
            descriptors = host.listdir(f"/proc/{pid}/fd")
        except OSError as e:
            complete = complete and e.errno in ABSENT
            continue
        for descriptor in descriptors:
            try:
                path = host.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError as e:
                complete = complete and e.errno in ABSENT
                continue
            vf_bdf = by_path.get(path)
            if vf_bdf and (int(pid), vf_bdf) not in found:
                where = _container(host, pid)
                pod = pods.of(where.removeprefix("pod ")) if where.startswith("pod ") else ""
                found[int(pid), vf_bdf] = Holder(int(pid), _command(host, pid), vf_bdf, where, path, pod)
    return tuple(found.values()), complete


class PodNames:
    """UID -> "namespace/name" of the pods that run here, as far as it can be seen; read once, when first asked.

    The kubelet names each pod's log folder NAMESPACE_NAME_UID (kubernetes pkg/kubelet/kuberuntime/helpers.go,
    BuildPodLogsDirectory); none of the three has an underscore.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def of(self, uid: str) -> str:
        """ "" where it is not known."""
        return self._all.get(uid, "")

    @cached_property
    def _all(self) -> dict[str, str]:
        listed = names(self._host, POD_LOGS)
        parts = [name.split("_") for name in listed] if not isinstance(listed, Unknown) else []
        return {part[2]: f"{part[0]}/{part[1]}" for part in parts if len(part) == 3}


def _command(host: Host, pid: str) -> str:
    for path in (f"/proc/{pid}/cmdline", f"/proc/{pid}/comm"):
        first = (*read_words(host, path, 2 << 20), "")[0].removesuffix("\\n").strip()
        if first:
            return first.rsplit("/", 1)[-1]
    return "?"


def _container(host: Host, pid: str) -> str:
    """What cgroup(7) tells: kubelet and the runtimes put the pod's uid and the container's id into the path."""
    try:
        text = host.read_text(f"/proc/{pid}/cgroup", limit=1 << 16).text
    except OSError:
        return ""
    if match := re.search(_POD, text):
        return f"pod {match[1].replace('_', '-')}"
    if match := re.search(_CONTAINER, text):
        return f"container {match[1][:12]}"
    return ""
