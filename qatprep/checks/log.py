"""What the kernel log says that nothing else explains: each kind of line with its cause and what to do."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from qatprep.checks.base import Check, Context, Evidence, Finding, Stage, Status
from qatprep.checks.text import many, unseen, warned
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.log import LogLine
from qatprep.facts.pci import Pf, Stranger, Vf

_QUOTED = 4
"""Lines one finding quotes."""


class Rule(NamedTuple):
    """One kind of line."""

    title: str
    cause: str
    fix: tuple[str, ...]
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
_LOOK = ("Look at the lines before it: dmesg | grep -i -e qat -e 4xxx -e 420xx -e 6xxx",)

RULES: dict[str, Rule] = {
    "firmware-missing": Rule(
        "the driver did not find its firmware",
        "The files were not there when the driver asked for them: not installed, or not in the initramfs.",
        ("qatprep explain QP-FW-001",),
        _DRIVER,
        _up,
    ),
    "firmware-rejected": Rule(
        "the device rejected its firmware",
        "The files are of another driver, too old, or damaged.",
        ("Install the distribution's firmware package again, then load the driver again.",),
        _DRIVER,
        _up,
    ),
    "firmware-svn": Rule(
        "the firmware is below the device's security version",
        "The device was told to accept newer firmware only.",
        ("Install newer firmware, then load the driver again.",),
        _DRIVER,
        _up,
    ),
    "probe-failed": Rule(
        "the driver could not start a device", "The line before it tells why.", _LOOK, _DRIVER, _bound
    ),
    "power": Rule(
        "a device could not be powered up",
        "Its power management, or the BIOS.",
        ("Switch the machine off altogether and on again.",),
        _DRIVER,
        _up,
    ),
    "numa": Rule(
        "the BIOS does not tell a device's NUMA node",
        "The driver refuses such a device on a machine of several nodes.",
        ("Update the BIOS.",),
        _DRIVER,
        _bound,
    ),
    "fused": Rule("a device has no acceleration units", "This CPU is sold without QAT.", (), _DRIVER, _bound),
    "iommu-off": Rule(
        "the QAT driver misses the IOMMU",
        "It was off when VFs were made.",
        ("qatprep explain QP-IOMMU-002",),
        ("QP-IOMMU-*",),
        _iommu_on,
    ),
    "vfio-probe": Rule(
        "vfio-pci refused a device",
        "Error -22: no IOMMU group, or a device on the denylist.",
        ("qatprep explain QP-VFIO-001",),
        ("QP-VFIO-*", "QP-IOMMU-*", "QP-DEV-003"),
        _vf_bound,
    ),
    "denylist": Rule(
        "vfio-pci refuses a device of generation 2",
        "It is on the kernel's denylist.",
        ("qatprep explain QP-DEV-003",),
        ("QP-DEV-003",),
    ),
    "vfs-already": Rule("", "", (), ("QP-SRIOV-*",), _always),
    "vfs-rounded": Rule("", "", (), ("QP-SRIOV-*",), _always),
    "vfs-busy": Rule("", "", (), ("QP-SRIOV-*",), _always),
    "order": Rule("", "", (), ("QP-SVC-*",), _always),
    "no-driver": Rule(
        "VFs were asked of a PF without a driver",
        "The QAT driver did not have the PF then.",
        ("qatprep explain QP-PF-001",),
        _DRIVER,
        _bound,
    ),
    "mmio": Rule(
        "there was no room for VFs on the bus or in the address space",
        "The BIOS left too little.",
        ("In the BIOS setup: SR-IOV, ARI, MMIO above 4 GB; or the kernel argument pci=realloc.",),
        ("QP-SRIOV-*",),
        _whole,
    ),
    "busy": Rule(
        "kernel users kept a device busy",
        "dm-crypt, IPsec or zswap use QAT through the kernel's crypto interface.",
        ("grep -A9 qat /proc/crypto",),
        ("QP-SRIOV-*", "QP-SVC-*", "QP-PF-*"),
        _up,
    ),
    "start-failed": Rule(
        "a device did not start", "The driver put it down again.", _LOOK, ("QP-PF-*", "QP-FW-*", "QP-SVC-*"), _up
    ),
    "vf-running": Rule(
        "programs did not let go of their VFs when a PF restarted",
        "They were told and did not answer within 10 seconds.",
        ("Restart the programs that use QAT.",),
        ("QP-PF-*", "QP-SRIOV-*"),
        _whole,
    ),
    "held": Rule(
        "the kernel waited for somebody who has a VF open",
        "Taking VFs away waits without end for their users.",
        ("ls -l /proc/*/fd 2>/dev/null | grep /dev/vfio/",),
        ("QP-SRIOV-*", "QP-PF-*"),
        lambda facts, bdf: _up(facts, "") and not any(isinstance(pf.num_vfs, Unknown) for pf in facts.pci.pfs),
    ),
    "out-of-tree": Rule(
        "modules of two QAT drivers were mixed",
        "A module of the out-of-tree stack met the kernel's, or the other way round.",
        ("qatprep explain QP-STACK-001",),
        ("QP-STACK-*",),
    ),
    "vf-interrupts": Rule(
        "a VF sent too many interrupts",
        "The program that has it misbehaves; the PF stopped listening to it.",
        ("Restart the program that uses the VF.",),
    ),
    "hang": Rule(
        "a device stopped answering",
        "The firmware hung, or an uncorrectable error came up. auto_reset is off unless somebody switched it on (6.9).",
        (
            "Bring the PF down and up (this takes its VFs away), then make the VFs again: qatprep bootstrap",
            "echo 1 > /sys/bus/pci/devices/<PF>/qat/auto_reset",
        ),
        ("QP-PF-002",),
    ),
    "reset-failed": Rule(
        "the reset of a device failed",
        "It is unusable until its driver is loaded again, or the machine is switched off and on.",
        ("Load the driver again; if that does not help, switch the machine off altogether.",),
        ("QP-PF-*",),
    ),
    "memlock": Rule(
        "a program was not allowed to lock enough memory",
        "VFIO locks the memory that a device works on: 16 MB for each VF and what the program uses beside. The "
        "limit of the program (RLIMIT_MEMLOCK) was lower.",
        ("For containers: LimitMEMLOCK= of the container runtime's unit; for a service: of its own unit.",),
        ("QP-MEM-*",),
    ),
    "no-remapping": Rule(
        "the IOMMU has no interrupt remapping",
        "VFIO refuses devices then, unless unsafe interrupts are allowed.",
        ("In the BIOS setup switch on x2APIC and interrupt remapping.",),
        ("QP-IOMMU-*",),
    ),
    "dma-fault": Rule(
        "a QAT device reached for memory it was not given",
        "The program that has the VF went away or gave it a wrong address; the IOMMU stopped it.",
        ("Restart the program that uses the VF.",),
    ),
    "lockdown": Rule("", "", (), ("QP-KRN-003", "QP-SVC-002"), _always),
    "heartbeat": Rule(
        "two programs ask for the heartbeat at the same time",
        "Asked twice within 200 ms the driver answers -1 although the device is well; the Kubernetes plugin then "
        "calls it unhealthy.",
        ("Let only one program read heartbeat/status.",),
    ),
    "pfvf": Rule(
        "a PF and a VF did not understand each other",
        "A message between them got no answer.",
        ("Restart the program that uses the VF.",),
        ("QP-PF-*", "QP-SRIOV-*"),
    ),
    "pf-iommu": Rule(
        "a driver refuses the PF because the IOMMU is on",
        "That is the out-of-tree stack speaking; the kernel's own driver and qatlib need the IOMMU. Do not switch it "
        "off.",
        ("qatprep explain QP-STACK-001",),
        ("QP-STACK-*",),
    ),
}

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


def _explained(ctx: Context, rule: Rule, bdf: str) -> bool:
    pf = next((vf.pf for vf in ctx.facts.pci.all_vfs if vf.bdf == bdf), None)
    for f in ctx.findings:
        if f.status in (Status.FAIL, Status.WARN, Status.UNKNOWN) and any(
            fnmatch.fnmatchcase(f.id, pattern) for pattern in rule.explained_by
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
        rule = RULES[line.key]
        if _ours(ctx.facts, line, bdf) and not rule.settled(ctx.facts, bdf) and not _explained(ctx, rule, bdf):
            kinds.setdefault(line.key, []).append((line, bdf))
    for key, mine in kinds.items():
        rule = RULES[key]
        yield warned(
            "QP-LOG-001",
            f"kernel log: {rule.title} ({many(len(mine), 'line')})",
            subjects=tuple(dict.fromkeys(bdf for _, bdf in mine if bdf)),
            evidence=tuple(Evidence("kernel log", line.text) for line, _ in mine[-_QUOTED:]),
            cause=rule.cause,
            fix=rule.fix,
        )


CHECKS = (
    Check(
        "QP-LOG-001",
        Stage.LOG,
        "the kernel log has no trouble that nothing else explains",
        _unexplained,
        needs=("QP-DEV-001",),
        applies=lambda ctx: not isinstance(ctx.facts.log.lines, Unknown) or ctx.facts.log.lines.denied,
        explain="""\
The kernel log of this boot is searched for about thirty kinds of lines from the QAT driver, the firmware loader,
SR-IOV, VFIO and the IOMMU.

Why it matters: some troubles leave no trace in sysfs: a device that hung, a program that was not allowed to lock
memory, a DMA fault, two programs asking for the heartbeat.

How it is found out: a line is left out when another finding explains it (it is shown as that finding's evidence),
when what is seen now contradicts it (the firmware was missing, but the PF runs), when it is about another device,
or about VFs that no longer exist. Lines that only tell of steps taken in the wrong order are never a finding by
themselves. Mostly only root may read the log.

How to mend it: each kind of line has its own cause and advice.""",
    ),
)
