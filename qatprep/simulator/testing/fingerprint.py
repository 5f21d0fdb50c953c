"""Two states of a host made comparable: left out is what no write can bring back, and what qatprep itself keeps."""

from __future__ import annotations

import re

from qatprep.hardware import DEBUGFS, IOMMU_GROUPS, PCI_DEVICES
from qatprep.host import manifest
from qatprep.host.tree import Node, Tree
from qatprep.simulator.disk import copy

OWN = ("/.qatprep", "/run/qatprep.lock", "/var/lib/qatprep")
_NODE = re.compile(r"/dev/vfio/(noiommu-)?(\d+)(?=$| )")
_CDEV = re.compile(r"(?<=/vfio)\d+(?=$| )")
_GROUP = re.compile(r"(?<=/iommu_groups/)(\d+)")


def fingerprint(tree: Tree) -> str:
    """The manifest of a tree with its lines in order and
    - names of functions in place of group and device numbers, which no kernel gives out twice the same;
    - services as sets: 6.15 and later do not give the spelling of the default back (qat_common/adf_cfg_services.c);
    - no SriovEnabled in dev_cfg: the kernel never takes it back (qat_common/adf_sriov.c).
    """
    other = Tree()
    other.root = copy(tree.root)
    for path in OWN:
        other.remove(path)
    for path, node in _services(other):
        node.data = _as_set(node.data) if path == "cfg_services" else _settings(node.data)
    names = _group_names(other)

    def name(number: str) -> str:
        return names.get(number, number)

    lines = []
    for line in manifest.dump(other).splitlines():
        line = _GROUP.sub(lambda match: name(match[1]), line)
        line = _NODE.sub(lambda match: f"/dev/vfio/{match[1] or ''}{name(match[2])}", line)
        if line.startswith("/dev/vfio/<"):
            line = re.sub(r" c \d+:\d+$", " c", line)
        elif line.startswith("/dev/vfio/devices/") or "/vfio-dev/" in line:
            line = re.sub(r" c \d+:\d+$", " c", _CDEV.sub("<any>", line))
        lines.append(line)
    return "\n".join(sorted(lines)) + "\n"


def _group_names(tree: Tree) -> dict[str, str]:
    listing = tree.find(IOMMU_GROUPS)
    names = {}
    for number, group in (listing.children if listing else {}).items():
        members = group.children.get("devices")
        names[number] = "<group of " + "+".join(sorted(members.children if members else ())) + ">"
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
    """dev_cfg with the keys of its first section in alphabetical order."""
    head, _, rest = data.partition(b"\n[")
    title, *pairs = head.splitlines()
    kept = []
    for pair in sorted(pairs):
        key, equals, value = pair.partition(b" = ")
        if key == b"ServicesEnabled":
            kept.append(key + equals + _as_set(value).strip())
        elif key != b"SriovEnabled":
            kept.append(pair)
    return b"\n".join([title, *kept]) + (b"\n[" + rest if rest else b"")
