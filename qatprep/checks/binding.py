"""Each VF and its driver, override and IOMMU group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qatprep import hardware
from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, attribute, for_each, have, log_lines, some_vfs, unseen, vfs
from qatprep.facts.base import Unknown
from qatprep.facts.iommu import MAPPINGS
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import Pf, Vf
from qatprep.findings import Evidence, Finding, failed, warned
from qatprep.text import listed, plural

_MAPPINGS = 65535
"""drivers/vfio/vfio_iommu_type1.c, dma_entry_limit: the default is U16_MAX."""
_BIND = "echo vfio-pci > $q/driver_override; echo $vf > /sys/bus/pci/drivers/vfio-pci/bind"


def _mine(ctx: Context) -> list[Vf]:
    wanted = set(vfs(ctx))
    return [vf for vf in ctx.vfs if vf.bdf in wanted]


def _bound(ctx: Context) -> Iterable[Finding]:
    every = _mine(ctx)
    groups: dict[str | None, list[Vf]] = {}
    blind = [vf for vf in every if isinstance(vf.driver, Unknown)]
    held = {holder.vf: holder for holder in ctx.facts.nodes.holders}
    leaving = [vf for vf in every if vf.driver is None and vf.bdf in held]
    for vf in every:
        if not isinstance(vf.driver, Unknown) and vf.driver not in hardware.VFIO_DRIVERS and vf not in leaving:
            groups.setdefault(vf.driver, []).append(vf)
    for vf in leaving:
        yield _leaving(vf, held[vf.bdf])
    for vf in blind[:1]:
        if isinstance(vf.driver, Unknown):
            yield unseen("QP-VFIO-001", "cannot see the driver of some VFs", vf.driver, tuple(v.bdf for v in blind))
    for driver, mine in groups.items():
        bdfs = tuple(vf.bdf for vf in mine)
        who = some_vfs(ctx, bdfs)
        log = tuple(line for bdf in bdfs[:2] for line in log_lines(ctx, "vfio-probe", "denylist", bdf=bdf))
        evidence = tuple(attribute(vf.bdf, "driver", vf.driver) for vf in mine) + log[-3:]
        evidence += tuple(
            attribute(vf.bdf, "driver_override", vf.override)
            for vf in mine
            if driver is None and isinstance(vf.override, str)
        )[:2]
        if driver is None:
            cause = "vfio-pci tried and refused: see the kernel log." if log else _why_unbound(ctx, mine, len(every))
            yield failed(
                "QP-VFIO-001",
                f"{who} {have(bdfs)} no driver",
                subjects=bdfs,
                evidence=evidence,
                cause=cause,
                fix=for_each(bdfs, f"q=/sys/bus/pci/devices/$vf; {_BIND}", "vf"),
                step=BOOTSTRAP,
            )
        else:
            native = {family.vf_driver for family in hardware.FAMILIES}
            yield failed(
                "QP-VFIO-001",
                f"{who} {'is' if len(bdfs) == 1 else 'are'} bound to {driver} instead of vfio-pci",
                subjects=bdfs,
                evidence=evidence,
                cause=f"{driver} is a kernel driver for VFs, of the out-of-tree stack: it uses the VFs for the "
                "kernel's own cryptography."
                if driver in native
                else f"They were bound {driver} to {'it' if len(bdfs) == 1 else 'them'}. qatlib opens VFs through VFIO "
                "only.",
                fix=for_each(bdfs, f"q=/sys/bus/pci/devices/$vf; echo $vf > $q/driver/unbind; {_BIND}", "vf"),
                step=BOOTSTRAP,
            )


def _leaving(vf: Vf, holder: Holder) -> Finding:
    """A VF that has lost its driver in sysfs, and that a process still has open: the driver's remove waits for it
    (drivers/base/dd.c, __device_release_driver; drivers/vfio/vfio_main.c, vfio_unregister_group_dev)."""
    return failed(
        "QP-VFIO-001",
        f"VF {vf.bdf} is being taken from its driver, which waits for {holder}",
        subjects=(vf.bdf,),
        evidence=(attribute(vf.bdf, "driver", None), Evidence(holder.path, f"open in {holder}")),
        cause="Its PF is being brought down, reset or given other services, or the VF is being unbound: the write "
        f"blocks in the kernel until {holder.command} closes the VF.",
        fix=(f"Stop {holder}. What waits then goes on, and the VF is gone or free; look again after that.",),
    )


def _taken(ctx: Context) -> str:
    every = [vf for vf in ctx.facts.pci.all_vfs if vf.family.supported]
    drivers = Counter(vf.driver for vf in _mine(ctx) if isinstance(vf.driver, str))
    return ", ".join(f"{count} of {plural(len(every), 'VF')} on {driver}" for driver, count in drivers.items())


def _why_unbound(ctx: Context, mine: list[Vf], total: int) -> str:
    foreign = sorted({vf.override for vf in mine if isinstance(vf.override, str)} - set(hardware.VFIO_DRIVERS))
    if foreign:
        return f"driver_override names {listed(foreign)}, and no other driver may take them; a tool left it there."
    waiting = [vf for vf in mine if vf.override in hardware.VFIO_DRIVERS]
    closed = [pf for pf in ctx.facts.pci.pfs if pf.autoprobe is False and any(vf.pf == pf.bdf for vf in mine)]
    cause = (
        "They were not bound since they were created: no kernel driver takes a QAT VF by itself."
        if len(mine) == total
        else "The program that bound the others stopped partway, or skipped these."
    )
    if waiting and len(waiting) == len(mine):
        cause = (
            "driver_override is set, but the driver was not asked to probe again (or it refused, and the message has "
            "been rotated out of the log)."
        )
    if closed:
        cause += " sriov_drivers_autoprobe is 0, which keeps drivers from taking them without an override."
    return cause


def _functions(ctx: Context) -> list[Pf | Vf]:
    return [*ctx.pfs, *_mine(ctx)]


def _overrides(ctx: Context) -> Iterable[Finding]:
    stale: dict[tuple[str, str], list[Pf | Vf]] = {}
    for f in _functions(ctx):
        if isinstance(f.override, str) and isinstance(f.driver, str) and f.override != f.driver:
            stale.setdefault((f.driver, f.override), []).append(f)
    for (driver, override), mine in stale.items():
        bdfs = tuple(f.bdf for f in mine)
        yield warned(
            "QP-VFIO-002",
            f"driver_override of {listed(bdfs) if len(bdfs) < 3 else f'{len(bdfs)} devices'} says {override}, "
            f"the driver is {driver}",
            subjects=bdfs,
            evidence=tuple(attribute(bdf, "driver_override", override) for bdf in bdfs),
            cause="A tool set it and did not clear it. At the next probe (a reload of the driver, a rescan) only "
            f"{override} may take the device.",
            fix=for_each(bdfs, "echo > /sys/bus/pci/devices/$d/driver_override", "d"),
        )


_TOGETHER = "Or bind the other devices of the group to vfio-pci as well, or leave them without a driver."


def _viable(ctx: Context) -> Iterable[Finding]:
    groups: dict[tuple[str, ...], list[Vf]] = {}
    for vf in _mine(ctx):
        if vf.neighbours:
            groups.setdefault(vf.neighbours, []).append(vf)
    pfs = {pf.bdf for pf in ctx.facts.pci.pfs}  # a PF that goes to vfio-pci takes its VFs away
    for neighbours, mine in groups.items():
        bdfs = tuple(vf.bdf for vf in mine)
        yield failed(
            "QP-VFIO-003",
            f"the IOMMU group of {listed(bdfs) if len(bdfs) < 3 else f'{len(bdfs)} VFs'} also holds "
            f"{listed(neighbours) if len(neighbours) < 3 else f'{len(neighbours)} devices'} with another driver",
            subjects=bdfs,
            evidence=tuple(
                Evidence(f"{hardware.PCI_DEVICES}/{bdf}/iommu_group/devices", " ".join(neighbours)) for bdf in bdfs
            ),
            cause="The PCIe path to the device does not isolate its functions (no ACS), so they share one group; VFIO "
            "hands a "
            'group out whole or not at all ("Group is not viable").',
            fix=(
                "In the BIOS setup switch on ACS, or move the card to another slot.",
                *(() if pfs & set(neighbours) else (_TOGETHER,)),
            ),
        )


def _mappings(ctx: Context) -> Iterable[Finding]:
    limit = ctx.facts.iommu.mappings
    if isinstance(limit, int) and limit < _MAPPINGS:
        yield warned(
            "QP-VFIO-004",
            f"a user of VFIO may have {limit} DMA mappings; the kernel's own limit is {_MAPPINGS}",
            evidence=(Evidence(MAPPINGS, str(limit)),),
            cause="vfio_iommu_type1's dma_entry_limit. Beyond it mapping memory fails with ENOSPC "
            '("No space left on device", errno=28).',
            fix=(
                f"echo {_MAPPINGS} > {MAPPINGS}",
                "Take the option dma_entry_limit out of /etc/modprobe.d or the kernel command line. Programs that "
                "run keep the limit they began with.",
            ),
        )


CHECKS = (
    Check(
        "QP-VFIO-001",
        Stage.BINDING,
        _bound,
        needs=("QP-SRIOV-001", "QP-IOMMU-002", "QP-IOMMU-004", "QP-MOD-004"),
        about=vfs,
        saw=_taken,
    ),
    Check(
        "QP-VFIO-002",
        Stage.BINDING,
        _overrides,
        needs=("QP-PF-001", "QP-VFIO-001"),
        about=lambda ctx: [f.bdf for f in _functions(ctx)],
    ),
    Check(
        "QP-VFIO-003",
        Stage.BINDING,
        _viable,
        needs=("QP-VFIO-001",),
        about=vfs,
    ),
    Check(
        "QP-VFIO-004",
        Stage.BINDING,
        _mappings,
        needs=("QP-VFIO-001",),
        about=vfs,
    ),
)
