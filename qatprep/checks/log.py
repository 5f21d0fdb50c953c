"""What the kernel log says that nothing else explains. Causes and advice are in findings/messages.

The log is an open world: a line at warning or worse about a QAT function or driver of this node is always shown, also
when no row of findings/messages knows it, when another finding explains it, and when what is seen now contradicts it.
Where the log has no priorities, every such line is that no row calls harmless.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Set
from typing import NamedTuple

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import unseen
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.log import LogLine
from qatprep.facts.pci import Pf, Stranger, Vf
from qatprep.findings import SEEN, Evidence, Finding, Status, warned
from qatprep.findings.messages import BY_KEY
from qatprep.host.kmsg import WARNING
from qatprep.text import plural

_QUOTED = 12
"""Kinds of lines that one finding quotes."""


class Reading(NamedTuple):
    """How a kind of line is held against what is seen now."""

    explained_by: tuple[str, ...] = ()
    """Globs of finding ids: when one of them speaks, about this device or the whole host, the line is its evidence."""
    settled: Callable[[Facts, str], bool] = lambda facts, bdf: False
    """Whether what is seen now contradicts the line: it is history. The BDF is "" when the line names none."""


def _pfs(facts: Facts, bdf: str) -> list[Pf]:
    """The PFs a line may be about: the one it names, that of the VF it names, else all that count."""
    owner = next((vf.pf for vf in facts.pci.all_vfs if vf.bdf == bdf), None) or bdf
    return [pf for pf in facts.pci.pfs if pf.bdf == owner or (not bdf and pf.family.supported)]


def _bound(facts: Facts, bdf: str) -> bool:
    mine = _pfs(facts, bdf)
    return bool(mine) and all(pf.driver == pf.family.driver for pf in mine)


def _up(facts: Facts, bdf: str) -> bool:
    return _bound(facts, bdf) and all(pf.state in ("up", None) for pf in _pfs(facts, bdf))


def _whole(facts: Facts, bdf: str) -> bool:
    return _up(facts, bdf) and all(pf.num_vfs == pf.total_vfs for pf in _pfs(facts, bdf))


def _vf_bound(facts: Facts, bdf: str) -> bool:
    mine = [vf for vf in facts.pci.all_vfs if bdf in ("", vf.bdf)]
    return bool(mine) and all(vf.bound is True for vf in mine)


def _iommu_on(facts: Facts, bdf: str) -> bool:
    return bool(facts.iommu.units) if not isinstance(facts.iommu.units, Unknown) else False


def _always(facts: Facts, bdf: str) -> bool:
    """Says nothing about the present: somebody's wrong order of steps, or a message that is no trouble by itself."""
    return True


_DRIVER = ("QP-FW-*", "QP-PF-*", "QP-KRN-*", "QP-MOD-*", "QP-STACK-*")
_VFS = ("QP-PF-*", "QP-SRIOV-*")

READINGS: dict[str, Reading] = {
    "firmware-missing": Reading(_DRIVER, _up),
    "firmware-rejected": Reading(_DRIVER, _up),
    "firmware-svn": Reading(_DRIVER, _up),
    "firmware-suffix": Reading(_DRIVER, _up),
    "firmware-gave-up": Reading(_DRIVER, _up),
    "engines": Reading(_DRIVER, _up),
    "init-message": Reading(_DRIVER, _up),
    "interrupts": Reading(_DRIVER, _up),
    "driver-failed": Reading(_DRIVER, _bound),
    "driver-services": Reading(_DRIVER, _up),
    "foreign-module": Reading(("QP-STACK-*",), _bound),
    "counters": Reading(("QP-PF-*",), _up),
    "not-registered": Reading(_VFS, _whole),
    "vf-silent": Reading(_VFS, _up),
    "pf-in-vfio": Reading(_VFS, _bound),
    "vf-token": Reading(_VFS, _bound),
    "noiommu": Reading(("QP-IOMMU-*",)),
    "vfio-ids": Reading(("QP-MOD-004", "QP-KRN-004")),
    "rmrr": Reading(("QP-VFIO-*", "QP-IOMMU-*")),
    "probe-failed": Reading(_DRIVER, _bound),
    "power": Reading(_DRIVER, _up),
    "numa": Reading(_DRIVER, _bound),
    "fused": Reading(_DRIVER, _bound),
    "start-failed": Reading(("QP-PF-*", "QP-FW-*", "QP-SVC-*"), _up),
    "order": Reading(("QP-SVC-*",), _always),
    "out-of-tree": Reading(("QP-STACK-*",)),
    "pf-iommu": Reading(("QP-STACK-*",)),
    "started": Reading((), _always),
    "hang": Reading(("QP-PF-002", "QP-PF-003", "QP-PF-004")),
    "cold-reset": Reading(("QP-PF-002", "QP-PF-003", "QP-PF-004")),
    "heartbeat-lost": Reading(("QP-PF-002", "QP-PF-003", "QP-PF-004")),
    "reset-failed": Reading(("QP-PF-*",)),
    "ras": Reading(("QP-PF-003", "QP-PF-004")),
    "ras-correctable": Reading(("QP-PF-003", "QP-PF-004")),
    "pfvf": Reading(_VFS),
    "vfs-already": Reading(("QP-SRIOV-*",), _always),
    "vfs-rounded": Reading(("QP-SRIOV-*",), _always),
    "vfs-busy": Reading(("QP-SRIOV-*",), _always),
    "no-driver": Reading(_DRIVER, _bound),
    "mmio": Reading(("QP-SRIOV-*",), _whole),
    "busy": Reading(("QP-SRIOV-*", "QP-SVC-*", "QP-PF-*"), _up),
    "vf-running": Reading(_VFS, _whole),
    "held": Reading(
        _VFS,
        lambda facts, bdf: _up(facts, "") and not any(isinstance(pf.num_vfs, Unknown) for pf in facts.pci.pfs),
    ),
    "iommu-off": Reading(("QP-IOMMU-*",), _iommu_on),
    "vfio-probe": Reading(("QP-VFIO-*", "QP-IOMMU-*", "QP-DEV-003"), _vf_bound),
    "denylist": Reading(("QP-DEV-003",)),
    "memlock": Reading(("QP-MEM-*",)),
    "no-remapping": Reading(("QP-IOMMU-*",)),
    "lockdown": Reading(("QP-KRN-003", "QP-SVC-002"), _always),
}
"""By the key of the row in findings/messages. For any other kind of line nothing explains or contradicts it."""
_PLAIN = Reading()
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)


def _ours(here: Set[str], line: LogLine) -> bool:
    """Whether a line is about QAT on this node, whose functions are `here`: not about a NIC, nor about VFs that are
    gone."""
    if line.key == "out-of-tree" and "disagrees about version" in line.text:
        return line.driver
    if line.bdf and line.bdf not in here:
        return not line.key and line.driver
    return bool(line.bdf or line.key) or line.driver


def _explained(ctx: Context, reading: Reading, bdf: str) -> bool:
    pf = next((vf.pf for vf in ctx.facts.pci.all_vfs if vf.bdf == bdf), None)
    for f in ctx.findings:
        if f.status in (Status.FAIL, Status.WARN, Status.UNKNOWN) and any(
            fnmatch.fnmatchcase(f.id, pattern) for pattern in reading.explained_by
        ):
            related = {bdf, pf} | {vf.bdf for vf in ctx.facts.pci.all_vfs if vf.pf == bdf}
            if not f.subjects or not bdf or related & set(f.subjects):
                return True
    return False


class _Sorted(NamedTuple):
    """The lines of the log that are about QAT on this node."""

    trouble: dict[str, list[LogLine]]
    """Known, and neither explained nor contradicted: by the key of the row."""
    unknown: list[LogLine]
    aside: list[LogLine]
    """At warning or worse, or of unknown priority, and known to need nothing now: history, harmless, or explained by
    another finding."""


def _sort(ctx: Context, lines: Iterable[LogLine]) -> _Sorted:
    found = _Sorted({}, [], [])
    pci = ctx.facts.pci
    functions: tuple[Pf | Vf | Stranger, ...] = (*pci.pfs, *pci.all_vfs, *pci.strangers)
    here = {f.bdf for f in functions}
    for line in lines:
        if not _ours(here, line):
            continue
        loud = line.level is None or line.level <= WARNING
        if not line.key:
            if loud:
                found.unknown.append(line)
            continue
        reading = READINGS.get(line.key, _PLAIN)
        if BY_KEY[line.key].status is Status.OK:
            if line.level is not None and loud:
                found.aside.append(line)
        elif reading.settled(ctx.facts, line.bdf) or _explained(ctx, reading, line.bdf):
            if loud:
                found.aside.append(line)
        else:
            found.trouble.setdefault(line.key, []).append(line)
    return found


def quote(lines: Iterable[LogLine]) -> tuple[Evidence, ...]:
    """The newest line of each kind, in order; lines of a kind differ in devices and numbers alone."""
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kind = _NUMBERS.sub("#", line.text.replace(line.bdf, "") if line.bdf else line.text)
        kinds[kind] = [*kinds.pop(kind, []), line.text]
    quoted = [
        Evidence("kernel log", f"{texts[-1]} ({len(texts)} such lines)" if len(texts) > 1 else texts[-1])
        for texts in kinds.values()
    ]
    if len(quoted) > _QUOTED:
        more = Evidence("kernel log", f"and {plural(len(quoted) - _QUOTED, 'other kind')} of lines before these")
        return (more, *quoted[-_QUOTED:])
    return tuple(quoted)


def _named(lines: Iterable[LogLine]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.bdf for line in lines if line.bdf))


def _unexplained(ctx: Context) -> Iterable[Finding]:
    lines = ctx.facts.log.lines
    if isinstance(lines, Unknown):
        yield unseen("QP-LOG-001", "the kernel log cannot be read", lines)
        return
    found = _sort(ctx, lines)
    for key, mine in found.trouble.items():
        message = BY_KEY[key]
        told = [*ctx.facts.log.before(mine[-1]), *mine] if message.leading else mine
        yield warned(
            "QP-LOG-001",
            f"kernel log: {message.title} ({plural(len(mine), 'line')})",
            subjects=_named(mine),
            evidence=quote(told),
            cause=message.cause,
            fix=message.fix,
        )
    if found.unknown:
        yield warned(
            "QP-LOG-001",
            f"kernel log: {plural(len(found.unknown), 'line')} about QAT not recognised: {found.unknown[-1].text}",
            subjects=_named(found.unknown),
            evidence=quote(found.unknown),
            cause="qatprep does not know "
            + ("this sentence" if len(found.unknown) == 1 else "these sentences")
            + ", so it cannot tell whether the device works.",
            fix=("Read the lines, and prove that the device signs:", "qatprep smoke --provider qat"),
        )
    if found.aside:
        number = plural(len(found.aside), "line")
        seen = () if found.trouble or found.unknown else (Evidence(SEEN, _read(ctx)),)
        yield Finding(
            "QP-LOG-001",
            Status.OK,
            f"kernel log: {number} of no concern: history, harmless, or explained by another finding",
            subjects=_named(found.aside),
            evidence=(*seen, *quote(found.aside)),
        )


def _read(ctx: Context) -> str:
    """Without a number: a capture leaves out lines that say nothing."""
    return "nothing about these devices that needs attention"


def reservation(findings: Iterable[Finding]) -> str:
    """What a verdict that finds no fault has to add for the kernel log, "" for nothing: READY is never said over a line
    that nobody has looked at."""
    told = [f.title.removeprefix("kernel log: ") for f in findings if f.id == "QP-LOG-001" and f.status is Status.WARN]
    return f"; but see the kernel log (QP-LOG-001): {'; '.join(told)}" if told else ""


CHECKS = (
    Check(
        "QP-LOG-001",
        Stage.LOG,
        _unexplained,
        needs=("QP-DEV-001",),
        saw=_read,
        absent=lambda ctx: "no kernel log to read",
        applies=lambda ctx: not isinstance(ctx.facts.log.lines, Unknown) or ctx.facts.log.lines.denied,
    ),
)
