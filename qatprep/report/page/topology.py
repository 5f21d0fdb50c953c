"""The picture of a node before it is drawn: NUMA nodes, their PFs, and a square for each VF."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from qatprep.assess import Assessment, stage_of
from qatprep.checks.base import Stage
from qatprep.facts.base import Unknown
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import DeviceNode, Pf, Services, Vf
from qatprep.findings import Finding, Status
from qatprep.text import plural


class Mark(StrEnum):
    """How the square of a VF is drawn."""

    USABLE = "usable"
    HELD = "held"
    """Usable, and a process has it open."""
    SERVICES = "services"
    BINDING = "binding"
    NODE = "node"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    ABSENT = "absent"


LEGEND = {
    Mark.USABLE: "usable",
    Mark.HELD: "usable, open in a process",
    Mark.SERVICES: "services not as configured",
    Mark.BINDING: "not bound to a VFIO driver",
    Mark.NODE: "device node not as configured",
    Mark.BROKEN: "PF, driver or a link above it failed",
    Mark.UNKNOWN: "unknown",
    Mark.ABSENT: "VF not created",
}
_BY_STAGE = {Stage.SERVICES: Mark.SERVICES, Stage.BINDING: Mark.BINDING, Stage.NODES: Mark.NODE}
_CHAIN = (
    *(Stage.STACK, Stage.DEVICE, Stage.KERNEL, Stage.IOMMU, Stage.MODULES, Stage.FIRMWARE, Stage.DRIVER),
    *(Stage.SERVICES, Stage.SRIOV, Stage.BINDING, Stage.NODES),
)
"""The links between a VF and a program that opens it."""


@dataclass(frozen=True)
class Square:
    bdf: str
    """"" for a VF that does not exist."""
    mark: Mark
    text: str
    """What a pointer over it shows."""


@dataclass(frozen=True)
class Device:
    """A PF with its VFs; in a VM, the VFs without one."""

    name: str
    services: str
    squares: tuple[Square, ...]
    first: Finding | None
    """The first failure about it or its VFs."""
    groups: str
    """The IOMMU groups of its VFs, "" where no device node shows them."""

    @property
    def usable(self) -> int:
        return sum(square.mark in (Mark.USABLE, Mark.HELD) for square in self.squares)

    @property
    def usable_text(self) -> str:
        return f"{self.usable} of {plural(len(self.squares), 'VF')} usable"


@dataclass(frozen=True)
class Numa:
    name: str
    devices: tuple[Device, ...]


def topology(judged: Assessment) -> tuple[Numa, ...]:
    """Every NUMA node that has QAT devices, in order; what the kernel assigns to none comes last."""
    facts = judged.facts
    found = [(pf.numa_node, _device(judged, pf)) for pf in facts.pci.pfs]
    loose = sorted(facts.pci.vfs, key=lambda vf: (vf.numa_node < 0, vf.numa_node))
    found += [(number, _vm(judged, list(vfs))) for number, vfs in groupby(loose, key=lambda vf: vf.numa_node)]
    found.sort(key=lambda item: (item[0] < 0, item[0]))
    return tuple(
        Numa(_place(judged, number), tuple(device for _, device in members))
        for number, members in groupby(found, key=lambda item: item[0])
    )


def _place(judged: Assessment, number: int) -> str:
    """ "socket 1, NUMA node 3"."""
    if number < 0:
        return "no NUMA node"
    socket = judged.facts.cpu.sockets.get(number)
    return f"NUMA node {number}" if socket is None else f"socket {socket}, NUMA node {number}"


def _device(judged: Assessment, pf: Pf) -> Device:
    squares = [_square(judged, vf) for vf in pf.vfs]
    total = pf.total_vfs if isinstance(pf.total_vfs, int) else 0
    squares += [Square("", Mark.ABSENT, "not created")] * (total - len(squares))
    services = pf.services.text if isinstance(pf.services, Services) else "services unknown"
    names = {pf.bdf, *(vf.bdf for vf in pf.vfs)}
    return Device(pf.bdf, services, tuple(squares), _first(judged, names), _groups(pf.vfs))


def _vm(judged: Assessment, vfs: Sequence[Vf]) -> Device:
    squares = tuple(_square(judged, vf) for vf in vfs)
    return Device("VFs of this VM", "", squares, _first(judged, {vf.bdf for vf in vfs}), _groups(vfs))


def _first(judged: Assessment, names: set[str]) -> Finding | None:
    """The first failure of the chain about one of these, or about the host as a whole."""
    return next((f for f in _failures(judged) if not f.subjects or names & set(f.subjects)), None)


def _failures(judged: Assessment) -> Iterable[Finding]:
    return (f for f in judged.report.every if f.status is Status.FAIL and stage_of(f) in _CHAIN)


def _square(judged: Assessment, vf: Vf) -> Square:
    holders = [holder for holder in judged.facts.nodes.holders if holder.vf == vf.bdf]
    failure = _first(judged, {name for name in (vf.bdf, vf.pf) if name})
    why = judged.unusable(vf)
    return Square(vf.bdf, _mark(vf, why, failure, holders), "; ".join(_facts(judged, vf, why, failure, holders)))


def _mark(vf: Vf, why: str, failure: Finding | None, holders: Sequence[Holder]) -> Mark:
    """`why` it cannot serve TLS, as status counts it; the first failure about it gives the kind."""
    if not why:
        return Mark.HELD if holders else Mark.USABLE
    if failure is not None:
        stage = stage_of(failure)
        return _BY_STAGE.get(stage, Mark.BROKEN) if stage else Mark.BROKEN
    if isinstance(vf.bound, Unknown) or isinstance(vf.node, Unknown):
        return Mark.UNKNOWN
    return Mark.BROKEN if vf.bound else Mark.BINDING


def _facts(judged: Assessment, vf: Vf, why: str, failure: Finding | None, holders: Sequence[Holder]) -> Iterable[str]:
    driver = "driver unknown" if isinstance(vf.driver, Unknown) else vf.driver or "no driver"
    yield f"{vf.bdf}: {driver}"
    if isinstance(vf.node, DeviceNode):
        owner = "root" if vf.node.uid == 0 else str(vf.node.uid)
        yield f"{vf.node.path} {owner}:{judged.facts.nodes.group_name(vf.node.gid)} {vf.node.mode:04o}"
    for holder in holders:
        yield f"open in {holder}"
    if why:
        yield why
    if failure is not None:
        yield f"{failure.id}: {failure.title}"


def _groups(vfs: Sequence[Vf]) -> str:
    """Group numbers as ranges: "0, 11-25"."""
    paths = [vf.node.path for vf in vfs if isinstance(vf.node, DeviceNode)]
    names = [path.rsplit("/", 1)[-1] for path in paths]
    numbers = sorted(int(name) for name in names if name.isdigit())
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    parts = [f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in ranges]
    return ", ".join([*parts, *(name for name in names if not name.isdigit())])
