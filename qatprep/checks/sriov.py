"""Virtual functions: possible, made, and taken by drivers as they come."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, FIND_HOLDERS, attribute, for_each, have, log_lines, pfs, some_pfs, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf
from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.text import listed, plural


def _possible(ctx: Context) -> Iterable[Finding]:
    groups: dict[int | None, list[Pf]] = {}
    for pf in ctx.pfs:
        if isinstance(pf.total_vfs, Unknown):
            yield unseen("QP-SRIOV-002", f"cannot see how many VFs PF {pf.bdf} can have", pf.total_vfs, (pf.bdf,))
        elif not pf.total_vfs and ctx.config.of(pf).vfs:
            groups.setdefault(pf.total_vfs, []).append(pf)
    for total, mine in groups.items():
        bdfs = tuple(pf.bdf for pf in mine)
        yield failed(
            "QP-SRIOV-002",
            f"no VFs are possible on {some_pfs(ctx, bdfs)}",
            subjects=bdfs,
            evidence=tuple(attribute(bdf, "sriov_totalvfs", total) for bdf in bdfs)
            + log_lines(ctx, "mmio", bdf=bdfs[0]),
            cause="The device does not show the SR-IOV capability: SR-IOV is switched off in the BIOS, or this is "
            "a PF passed through to a VM."
            if total is None
            else "SR-IOV is switched off in the BIOS, or the BIOS left no room on the bus or in the address space.",
            fix=(
                "In the BIOS setup switch on SR-IOV, ARI and MMIO above 4 GB (above 4G decoding), then boot again.",
                "If the log speaks of MMIO resources, the kernel argument pci=realloc may help.",
            ),
        )


_NOT_CREATED = "They were not created since boot, or the PF was down in between: VFs survive neither."
# drivers/pci/iov.c, qat_common/adf_sriov.c
_TROUBLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mmio": (
        "An attempt to make them failed: the BIOS left no room for them on the bus or in the address space.",
        (
            "In the BIOS setup switch on SR-IOV, ARI and MMIO above 4 GB (above 4G decoding), then boot again.",
            "If the BIOS has no such setting, try the kernel argument pci=realloc.",
        ),
    ),
    "busy": (
        "An attempt to make them failed: users inside the kernel (dm-crypt, IPsec, zswap) kept the device busy.",
        ("Stop these users; their references are counted here: grep -B1 -A9 qat /proc/crypto",),
    ),
    "start-failed": ("An attempt to make them failed: the device did not start again; the log says why.", ()),
    "iommu-off": ("An attempt to make them failed for want of the IOMMU, which runs now.", ()),
}


def _made(ctx: Context) -> Iterable[Finding]:
    none: dict[str, list[Pf]] = {}
    surplus: list[Pf] = []
    for pf in ctx.pfs:
        wanted = ctx.config.of(pf).vfs
        if isinstance(pf.num_vfs, Unknown):
            yield _blocked_read(ctx, pf, pf.num_vfs)
        elif wanted and (not pf.num_vfs or not pf.vfs):
            known = (key for key in _TROUBLES if ctx.facts.log.of(key, bdf=pf.bdf))
            none.setdefault(next(known, ""), []).append(pf)
        elif wanted and pf.lost:
            yield _unplugged(ctx, pf) if pf.dangling else _incomplete(pf)
        elif wanted and isinstance(pf.total_vfs, int) and pf.num_vfs != pf.total_vfs:
            yield failed(
                "QP-SRIOV-001",
                f"PF {pf.bdf} has {pf.num_vfs} of its {pf.total_vfs} VFs",
                subjects=(pf.bdf,),
                evidence=(
                    attribute(pf.bdf, "sriov_numvfs", pf.num_vfs),
                    attribute(pf.bdf, "sriov_totalvfs", pf.total_vfs),
                ),
                cause="The kernel's driver only ever makes all of them: another driver made these.",
                fix=(
                    f"q=/sys/bus/pci/devices/{pf.bdf}; echo down > $q/qat/state; echo {pf.total_vfs} > $q/sriov_numvfs",
                ),
            )
        elif not wanted and pf.vfs:
            surplus.append(pf)
    for key, mine in none.items():
        bdfs = tuple(pf.bdf for pf in mine)
        all_of_them = {*bdfs, *([] if key else _waiting(ctx))}
        loop = for_each(
            [pf.bdf for pf in ctx.facts.pci.pfs if pf.bdf in all_of_them],
            "q=/sys/bus/pci/devices/$pf; cat $q/sriov_totalvfs > $q/sriov_numvfs",
        )
        cause, advice = _TROUBLES.get(key, (_NOT_CREATED, ()))
        log = [line for pf in mine[:2] for line in ctx.facts.log.of(*_TROUBLES, bdf=pf.bdf)[-2:]]
        yield failed(
            "QP-SRIOV-001",
            _without(ctx, bdfs),
            subjects=bdfs,
            evidence=tuple(attribute(pf.bdf, "sriov_numvfs", pf.num_vfs) for pf in mine)
            + tuple(Evidence("kernel log", line.text) for line in log),
            cause=cause,
            fix=(*advice, *loop),
            step="" if key == "mmio" else BOOTSTRAP,
        )
    if surplus:
        bdfs = tuple(pf.bdf for pf in surplus)
        count = sum(len(pf.vfs) for pf in surplus)
        yield failed(
            "QP-SRIOV-001",
            f"{some_pfs(ctx, bdfs)} {have(bdfs)} {plural(count, 'VF')}, and the configuration wants none",
            subjects=bdfs,
            evidence=tuple(attribute(pf.bdf, "sriov_numvfs", pf.num_vfs) for pf in surplus),
            cause=f"The configuration ({ctx.config.source}) says vfs: false.",
            fix=for_each(bdfs, "q=/sys/bus/pci/devices/$pf/qat; echo down > $q/state; echo up > $q/state"),
            step=BOOTSTRAP,
        )


def _waiting(ctx: Context) -> set[str]:
    """PFs without VFs that only wrong services keep from being judged here: once these are set by hand they need their
    VFs too."""
    failures = [f for f in ctx.findings if f.status is Status.FAIL]
    wrong = {bdf for f in failures if f.id == "QP-SVC-001" for bdf in f.subjects}
    broken = {bdf for f in failures if f.id != "QP-SVC-001" for bdf in f.subjects}
    free = {pf.bdf for pf in ctx.facts.pci.pfs if ctx.config.of(pf).vfs and pf.num_vfs == 0}
    return (wrong & free) - broken


def _without(ctx: Context, bdfs: tuple[str, ...]) -> str:
    """Every PF without VFs counts, also one that something earlier keeps from being judged."""
    every = [pf for pf in ctx.facts.pci.pfs if pf.family.supported]
    if len(every) > 1 and not any(pf.vfs for pf in every) and all(ctx.config.of(pf).vfs for pf in every):
        return f"none of the {len(every)} PFs has VFs"
    return f"{some_pfs(ctx, bdfs)} {have(bdfs)} no VFs"


def _there(ctx: Context) -> str:
    total = sum(pf.total_vfs for pf in ctx.pfs if isinstance(pf.total_vfs, int) and ctx.config.of(pf).vfs)
    return f"{sum(len(pf.vfs) for pf in ctx.pfs)} of {plural(total, 'VF')}"


def _incomplete(pf: Pf) -> Finding:
    """VFs that sriov_numvfs counts and that are not there."""
    base = f"/sys/bus/pci/devices/{pf.bdf}"
    again = f"q={base}; echo down > $q/qat/state; cat $q/sriov_totalvfs > $q/sriov_numvfs"
    shown = listed(pf.lost, 3 if len(pf.lost) > 4 else None)
    return failed(
        "QP-SRIOV-001",
        f"PF {pf.bdf} has {len(pf.vfs)} of its {pf.num_vfs} VFs: {shown} "
        f"{'is' if len(pf.lost) == 1 else 'are'} not there",
        subjects=(pf.bdf,),
        evidence=_counted(pf),
        cause="Creating them failed partway; sriov_numvfs counts them nevertheless.",
        fix=(again, "This removes the other VFs of the PF for a moment: stop the programs that use them first."),
        step=BOOTSTRAP,
    )


def _unplugged(ctx: Context, pf: Pf) -> Finding:
    """Hot-plug removes the functions of a slot from the last to the first, so VFs before their PF, and each as if it
    were no VF: the PF keeps its link (drivers/pci/hotplug/pciehp_pci.c, pciehp_unconfigure_device)."""
    mine = {vf.bdf for vf in pf.vfs}
    who = listed(dict.fromkeys(str(holder) for holder in ctx.facts.nodes.holders if holder.vf in mine))
    return failed(
        "QP-SRIOV-001",
        f"PF {pf.bdf} is being taken out of its slot: {len(pf.lost)} of its {pf.num_vfs} VFs "
        f"{'is' if len(pf.lost) == 1 else 'are'} gone",
        subjects=(pf.bdf,),
        evidence=_counted(pf),
        cause="Hot-plug removes its VFs one by one, the last one first, then the PF. It waits for "
        f"{who or 'every process that has one of the others open'}.",
        fix=(
            *(() if who else (FIND_HOLDERS,)),
            f"Stop {who or 'the processes that hold a VF'}: the PF goes then. It comes back when its slot has power "
            "again (/sys/bus/pci/slots/*/power).",
        ),
    )


def _counted(pf: Pf) -> tuple[Evidence, ...]:
    lost = (attribute(pf.bdf, name, "leads nowhere" if name in pf.dangling else None) for name in pf.lost[:4])
    return attribute(pf.bdf, "sriov_numvfs", pf.num_vfs), *lost


def _blocked_read(ctx: Context, pf: Pf, fact: Unknown) -> Finding:
    finding = unseen("QP-SRIOV-001", f"cannot see how many VFs PF {pf.bdf} has", fact, (pf.bdf,))
    if fact.denied:
        return finding
    return Finding(
        finding.id,
        finding.status,
        finding.title,
        finding.subjects,
        log_lines(ctx, "held", bdf=""),
        cause=f"{fact.reason}. VFs of this PF are being created or removed right now; the removal waits until every "
        "process has closed its VF.",
        fix=(FIND_HOLDERS, "Stop the processes that hold a VF, then run doctor again."),
    )


def _autoprobe(ctx: Context) -> Iterable[Finding]:
    # A driver_override lets a VF be probed all the same (drivers/pci/pci-driver.c, pci_device_can_probe), which is how
    # qatprep binds: only VFs that wait for a driver by themselves depend on it.
    for pf in ctx.pfs:
        if isinstance(pf.autoprobe, Unknown):
            yield unseen("QP-SRIOV-003", f"cannot read sriov_drivers_autoprobe of {pf.bdf}", pf.autoprobe, (pf.bdf,))
    mine = [pf for pf in ctx.pfs if pf.autoprobe is False and any(vf.driver is None for vf in pf.vfs)]
    if mine:
        bdfs = tuple(pf.bdf for pf in mine)
        yield warned(
            "QP-SRIOV-003",
            f"no driver may take the VFs of {some_pfs(ctx, bdfs)} by itself",
            subjects=bdfs,
            evidence=tuple(attribute(bdf, "sriov_drivers_autoprobe", 0) for bdf in bdfs),
            cause="sriov_drivers_autoprobe is 0: VFs stay without a driver, and a bind without driver_override fails "
            "with "
            '"No such device".',
            fix=for_each(bdfs, "echo 1 > /sys/bus/pci/devices/$pf/sriov_drivers_autoprobe"),
        )


CHECKS = (
    Check(
        "QP-SRIOV-002",
        Stage.SRIOV,
        _possible,
        needs=("QP-PF-001", "QP-KRN-002", "QP-DEV-004"),
        about=pfs,
    ),
    Check(
        "QP-SRIOV-001",
        Stage.SRIOV,
        _made,
        saw=_there,
        needs=("QP-PF-002", "QP-PF-003", "QP-SVC-001", "QP-SRIOV-002", "QP-IOMMU-002", "QP-IOMMU-004"),
        about=pfs,
    ),
    Check(
        "QP-SRIOV-003",
        Stage.SRIOV,
        _autoprobe,
        needs=("QP-SRIOV-001",),
        about=pfs,
    ),
)
