"""Two states of a host made comparable: group numbers, device numbers and qatprep's own traces taken out."""

from __future__ import annotations

import re

from qatprep.devices import IOMMU_GROUPS
from qatprep.host import manifest
from qatprep.host.simulated.disk import copy
from qatprep.host.tree import Tree

OWN = ("/.qatprep", "/run/qatprep.lock", "/var/lib/qatprep")
_NODE = re.compile(r"/dev/vfio/(noiommu-)?(\d+)(?=$| )")
_GROUP = re.compile(r"(?<=/iommu_groups/)(\d+)")


def picture(tree: Tree) -> str:
    """The manifest of a tree with names in place of the numbers that change from one time to the next."""
    other = Tree()
    other.root = copy(tree.root)
    for path in OWN:
        other.remove(path)
    listing = other.find(IOMMU_GROUPS)
    names = {}
    for number, group in (listing.children if listing else {}).items():
        members = group.children.get("devices")
        names[number] = "<group of " + "+".join(sorted(members.children if members else ())) + ">"

    def name(number: str) -> str:
        return names.get(number, number)

    lines = []
    for line in manifest.dump(other).splitlines():
        line = _GROUP.sub(lambda match: name(match[1]), line)
        line = _NODE.sub(lambda match: f"/dev/vfio/{match[1] or ''}{name(match[2])}", line)
        if line.startswith("/dev/vfio/<"):
            line = re.sub(r" c \d+:\d+$", " c", line)
        lines.append(line)
    return "\n".join(sorted(lines)) + "\n"
