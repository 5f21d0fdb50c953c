"""A host's whole state, to compare before and after."""

from __future__ import annotations

import re

from qatprep.simulator.host import SimulatedHost

State = dict[str, tuple[object, ...]]

LEFT_BEHIND = (
    "/var/lib/qatprep",  # the journal is there to stay
    "/run/qatprep.lock",
    "/.qatprep",  # the kernel log only grows
)
_GROUP = re.compile(r"(iommu_groups|/dev/vfio|/vfio)/(?:noiommu-)?(\d+)(?=/|$)")


def snapshot(host: SimulatedHost) -> State:
    """Path -> kind, mode, owner, content or target, of everything but what a run is meant to leave.

    IOMMU groups go by their first device: their numbers are handed out again each time VFs are made.
    """
    owners = {}
    groups = host.tree.find("/sys/kernel/iommu_groups")
    for number, node in groups.children.items() if groups else ():
        members = node.children["devices"].children if "devices" in node.children else {}
        owners[number] = min(members, default="empty")

    def named(text: str) -> str:
        return _GROUP.sub(lambda match: f"{match[1]}/<{owners.get(match[2], match[2])}>", text)

    state: State = {}
    for path, node in host.tree.walk():
        if path.startswith(LEFT_BEHIND) or path in ("/var/lib", "/var", "/run"):
            continue
        if "/heartbeat/" in path:  # looking at a host asks its devices, and they count that
            continue
        if path.endswith("/dev_cfg"):
            # SriovEnabled stays in [GENERAL] when VFs go: no code of the kernel removes it (adf_sriov.c).
            continue
        content: object = named(node.target)
        if node.kind == "file":
            try:
                content = node.content()
            except OSError as e:
                content = e.errno
        if path.endswith("/qat/cfg_services") and isinstance(content, bytes):
            # From 6.15 on a written value reads back in the kernel's own order: only what it means can come back.
            content = frozenset(content.decode().strip().split(";"))
        state[named(path)] = (node.kind, node.mode, node.uid, node.gid, content)
    return state


def difference(before: State, after: State) -> list[str]:
    """What differs, in words."""
    out = [f"gone: {path}" for path in before.keys() - after.keys()]
    out += [f"new: {path}" for path in after.keys() - before.keys()]
    common = before.keys() & after.keys()
    out += [f"{path}: {before[path]} -> {after[path]}" for path in common if before[path] != after[path]]
    return sorted(out)
