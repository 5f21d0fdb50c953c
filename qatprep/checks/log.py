"""What the kernel log says that nothing else explains. Causes and advice are in findings/messages."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import unseen
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.log import LogLine
from qatprep.facts.pci import Pf, Stranger, Vf
from qatprep.findings import Evidence, Finding, Status, warned
from qatprep.findings.messages import BY_KEY
from qatprep.text import plural

_QUOTED = 4
"""Lines one finding quotes."""


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
    "probe-failed": Reading(_DRIVER, _bound),
    "power": Reading(_DRIVER, _up),
    "engines": Reading(_DRIVER, _up),
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
    "device-errors": Reading(("QP-PF-003", "QP-PF-004")),
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

_FAULT = re.compile(r"Request device \[(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.\d)\]")


def _device(line: LogLine) -> str:
    """The BDF a line is about; DMA faults name it without the domain on older kernels."""
    match = _FAULT.search(line.text) if line.key == "dma-fault" else None
    return f"{match[1] or '0000'}:{match[2]}" if match else line.bdf


def _ours(facts: Facts, line: LogLine, bdf: str) -> bool:
    """Whether a line is about QAT as it is now: not about a NIC, nor about VFs that are gone."""
    if line.key == "out-of-tree" and "disagrees about version" in line.text:
        return "qat" in line.text or "usdm" in line.text
    functions: tuple[Pf | Vf | Stranger, ...] = (*facts.pci.pfs, *facts.pci.all_vfs, *facts.pci.strangers)
    known = {f.bdf for f in functions}
    return not bdf or bdf in known


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


def _unexplained(ctx: Context) -> Iterable[Finding]:
    lines = ctx.facts.log.lines
    if isinstance(lines, Unknown):
        yield unseen("QP-LOG-001", "the kernel log cannot be read", lines)
        return
    kinds: dict[str, list[tuple[LogLine, str]]] = {}
    for line in lines:
        bdf = _device(line)
        reading = READINGS.get(line.key, _PLAIN)
        if _ours(ctx.facts, line, bdf) and not reading.settled(ctx.facts, bdf) and not _explained(ctx, reading, bdf):
            kinds.setdefault(line.key, []).append((line, bdf))
    for key, mine in kinds.items():
        message = BY_KEY[key]
        yield warned(
            "QP-LOG-001",
            f"kernel log: {message.title} ({plural(len(mine), 'line')})",
            subjects=tuple(dict.fromkeys(bdf for _, bdf in mine if bdf)),
            evidence=tuple(Evidence("kernel log", line.text) for line, _ in mine[-_QUOTED:]),
            cause=message.cause,
            fix=message.fix,
        )


CHECKS = (
    Check(
        "QP-LOG-001",
        Stage.LOG,
        _unexplained,
        needs=("QP-DEV-001",),
        applies=lambda ctx: not isinstance(ctx.facts.log.lines, Unknown) or ctx.facts.log.lines.denied,
    ),
)
