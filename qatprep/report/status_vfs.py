"""The VFs of a node in a few lines: by driver, owner and mode, and who holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from qatprep.facts.base import Unknown
from qatprep.facts.nodes import Holder, NodeFacts
from qatprep.facts.pci import DeviceNode, PciFacts, Vf
from qatprep.report.console import Console
from qatprep.report.rows import columns
from qatprep.report.text import braces, compact
from qatprep.text import plural

if TYPE_CHECKING:  # `device list` shares this file, and waits for no check
    from qatprep.assess import Assessment
    from qatprep.facts import Facts

_FEW = 4
"""VFs that are named one by one."""


def vf_lines(pci: PciFacts, nodes: NodeFacts) -> Iterator[str]:
    """One line for each driver, owner and mode; the most common first."""
    groups: dict[tuple[str, str], list[Vf]] = {}
    for vf in pci.all_vfs:
        groups.setdefault((driver_of(vf), owner_of(vf, nodes)), []).append(vf)
    if not groups:
        most = sum(pf.total_vfs for pf in pci.pfs if isinstance(pf.total_vfs, int))
        if pci.pfs:
            yield f"none; {plural(len(pci.pfs), 'PF')} can have {most}"
        return
    for (driver, owner), vfs in sorted(groups.items(), key=lambda item: -len(item[1])):
        text = f"{len(vfs)} {f'on {driver}' if driver != 'none' else 'without a driver'}{f', {owner}' if owner else ''}"
        if len(groups) > 1 and vfs is not max(groups.values(), key=len):
            bdfs = [vf.bdf for vf in vfs]
            text += f": {braces(bdfs) if len(bdfs) <= _FEW else compact(bdfs)}"
        yield text + _groups(vfs)


def _groups(vfs: list[Vf]) -> str:
    """What is special about their IOMMU groups."""
    if any(vf.noiommu for vf in vfs):
        return ", without an IOMMU (noiommu)"
    shared = sum(bool(vf.neighbours) for vf in vfs)
    if shared:
        return f", {shared} of them in an IOMMU group with other devices"
    return ", each in its own IOMMU group" if all(vf.grouped is True for vf in vfs) else ", not behind an IOMMU"


def driver_of(vf: Vf) -> str:
    return "an unknown driver" if isinstance(vf.driver, Unknown) else vf.driver or "none"


def owner_of(vf: Vf, nodes: NodeFacts) -> str:
    if not isinstance(vf.node, DeviceNode):
        return "device node unknown" if isinstance(vf.node, Unknown) else ""
    user = "root" if vf.node.uid == 0 else str(vf.node.uid)
    return f"{user}:{nodes.group_name(vf.node.gid)} {vf.node.mode:04o}"


def held_lines(facts: Facts) -> Iterator[str]:
    """One line for each process."""
    by_process: dict[int, list[Holder]] = {}
    for holder in facts.nodes.holders:
        by_process.setdefault(holder.pid, []).append(holder)
    for pid, held in by_process.items():
        first = held[0]
        where = f", {first.where}" if first.where else ", no pod"
        vfs = [holder.vf for holder in held]
        paths = f"  {first.path}" if len(held) == 1 else ""
        yield f"{braces(vfs) if len(vfs) <= _FEW else compact(vfs)}{paths}  {first.command}, pid {pid}{where}"
    if not facts.nodes.holders_complete:
        yield "not every process could be inspected: there may be more holders (run as root)"


def print_loose_vfs(console: Console, judged: Assessment, *, every: bool) -> None:
    """VFs without a PF, as a VM has them. Equal ones share a line."""
    facts = judged.facts
    groups: dict[tuple[str, ...], list[Vf]] = {}
    for vf in facts.pci.vfs:
        why = judged.unusable(vf)
        held = ", ".join(f"{h.command} {h.pid}" for h in facts.nodes.holders if h.vf == vf.bdf)
        iommu = "unknown" if isinstance(vf.grouped, Unknown) else "on" if vf.grouped else "off"
        node = f"{vf.node.path} {owner_of(vf, facts.nodes)}" if isinstance(vf.node, DeviceNode) else "-"
        key = (vf.family.name, driver_of(vf), iommu, "yes" if not why else f"no: {why}", held or "-")
        shown = node if every else owner_of(vf, facts.nodes) or "-"
        groups.setdefault((*key, shown, vf.bdf if every else ""), []).append(vf)
    families = {key[0] for key in groups}
    name = f"VFs {families.pop()}" if len(families) == 1 else "VFs"
    header = [name, "driver", "IOMMU", "device node", "usable", "held"]
    lines: list[list[Text | str]] = []
    for (_, driver, iommu, usable, held, node, _), vfs in groups.items():
        style = "ok" if usable == "yes" else "warn"
        for n in range(0, len(vfs), _FEW):
            bdfs = braces([vf.bdf for vf in vfs[n : n + _FEW]])
            lines.append([bdfs, driver, iommu, node, Text(usable, style), held])
    columns(console, header, lines, set())
