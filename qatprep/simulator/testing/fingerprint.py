"""Two states of a host made comparable: left out is what no write can bring back, and what qatprep itself keeps."""

from __future__ import annotations

import re

from qatprep.hardware import DEBUGFS, IOMMU_GROUPS, PCI_DEVICES
from qatprep.host import manifest
from qatprep.host.tree import Node, Tree
from qatprep.simulator.disk import copy

LEFT_OUT = ("/.qatprep", "/run/qatprep.lock", "/var/lib/qatprep", "/proc/sys/kernel/random/boot_id")
_NODE = re.compile(r"/dev/vfio/(noiommu-)?(\d+)(?=$| )")
_CDEV = re.compile(r"(?<=/vfio)\d+(?=$| )")
_GROUP = re.compile(r"(?<=/iommu_groups/)(\d+)")


Fingerprint = dict[str, str]
"""Path -> its entry in the manifest, the lines of a file included."""


def fingerprint(tree: Tree) -> Fingerprint:
    """What a tree holds, with
    - names of functions in place of group and device numbers, which no kernel gives out twice the same;
    - services as sets: 6.15 and later do not give the spelling of the default back (qat_common/adf_cfg_services.c);
    - no SriovEnabled in dev_cfg: the kernel never takes it back (qat_common/adf_sriov.c);
    - no heartbeat: a device that is asked counts that (Documentation/ABI/testing/debugfs-driver-qat).
    """
    other = Tree()
    other.root = copy(tree.root)
    for path in LEFT_OUT:
        other.remove(path)
    for path, node in _services(other):
        node.data = _as_set(node.data) if path == "cfg_services" else _settings(node.data)
    names = _group_names(other)

    def name(number: str) -> str:
        return names.get(number, number)

    entries: Fingerprint = {}
    path = ""
    for line in manifest.dump(other).splitlines()[1:]:
        if not line.startswith("/"):
            entries[path] += "\n" + line
            continue
        line = _GROUP.sub(lambda match: name(match[1]), line)
        line = _NODE.sub(lambda match: f"/dev/vfio/{match[1] or ''}{name(match[2])}", line)
        if line.startswith("/dev/vfio/<"):
            line = re.sub(r" c \d+:\d+$", " c", line)
        elif line.startswith("/dev/vfio/devices/") or "/vfio-dev/" in line:
            line = re.sub(r" c \d+:\d+$", " c", _CDEV.sub("<any>", line))
        path, _, entry = line.partition(" ")
        if "/heartbeat/" not in path:
            entries[path] = entries[path] + "\n" + entry if path in entries else entry
    return entries


def difference(before: Fingerprint, after: Fingerprint) -> list[str]:
    """What differs, a line for each path."""
    out = [f"gone: {path}" for path in before.keys() - after.keys()]
    out += [f"new: {path}" for path in after.keys() - before.keys()]
    common = before.keys() & after.keys()
    out += [f"{path}: {before[path]!r} -> {after[path]!r}" for path in common if before[path] != after[path]]
    return sorted(out)


def _group_names(tree: Tree) -> dict[str, str]:
    listing = tree.find(IOMMU_GROUPS)
    names = {}
    for number, group in (listing.children if listing else {}).items():
        members = group.children.get("devices")
        names[number] = "<group-of-" + "+".join(sorted(members.children if members else ())) + ">"
    return names


def _services(tree: Tree) -> list[tuple[str, Node]]:
    """Every cfg_services and dev_cfg."""
    found = []
    for parent, below in ((PCI_DEVICES, "qat/cfg_services"), (DEBUGFS, "dev_cfg")):
        listing = tree.find(parent)
        for name in sorted(listing.children) if listing else ():
            node = tree.find(f"{parent}/{name}/{below}")
            if node is not None and not node.error:
                found.append((below.rsplit("/", 1)[-1], node))
    return found


def _as_set(data: bytes) -> bytes:
    return b";".join(sorted(data.strip().split(b";"))) + b"\n"


def _settings(data: bytes) -> bytes:
    """dev_cfg with its first section in alphabetical order, less what is left out.

    ServicesEnabled too: cfg_services says it, and before 6.0 nobody can choose it (sysfs-driver-qat).
    """
    head, _, rest = data.partition(b"\n[")
    title, *pairs = head.splitlines()
    kept = [pair for pair in sorted(pairs) if not pair.startswith((b"SriovEnabled =", b"ServicesEnabled ="))]
    return b"\n".join([title, *kept]) + (b"\n[" + rest if rest else b"")
