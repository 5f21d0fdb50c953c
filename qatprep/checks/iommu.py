"""The IOMMU, layer by layer: what the BIOS offers, what the kernel made of it, and which devices are behind it."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks import iommu_off
from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.iommu_arguments import (
    OFF,
    arguments,
    dropped_arguments,
    hidden_files,
    staged_arguments,
    token,
    unreadable,
)
from qatprep.checks.iommu_off import UNITS
from qatprep.checks.text import (
    AS_ROOT,
    attribute,
    change_arguments,
    functions,
    in_vm,
    log_lines,
    share,
    some_vfs,
    unseen,
)
from qatprep.facts.base import Unknown
from qatprep.facts.iommu import ACPI_TABLES
from qatprep.facts.pci import Pf, Vf
from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.text import listed


def _offered(ctx: Context) -> Iterable[Finding]:
    iommu = ctx.facts.iommu
    if not isinstance(iommu.units, Unknown) and iommu.units:
        return  # it runs: however the firmware told the kernel, it did
    if iommu.xen:
        yield _xen()
    elif isinstance(iommu.table, Unknown):
        yield unseen("QP-IOMMU-001", "cannot tell whether the firmware offers an IOMMU", iommu.table)
    elif iommu.table is None:
        log = log_lines(ctx, "iommu-off", "vfio-probe")
        if in_vm(ctx.facts):
            cause = "This is a VM, and its hypervisor offers no virtual IOMMU."
            fix: tuple[str, ...] = (
                "On the VM's host, give the VM a virtual IOMMU (QEMU: -device "
                "intel-iommu,intremap=on,caching-mode=on and kernel-irqchip=split; libvirt: <iommu "
                "model='intel'>), and restart the VM.",
            )
        else:
            cause = (
                "VT-d (Intel) or AMD-Vi is switched off in the BIOS setup. The kernel can do nothing about it: "
                "intel_iommu=on has no effect without the table."
            )
            fix = ("In the BIOS setup, switch on Intel VT for Directed I/O (VT-d), on AMD the IOMMU; then boot again.",)
        yield failed(
            "QP-IOMMU-001",
            "the firmware offers no IOMMU",
            evidence=(Evidence(ACPI_TABLES, "neither DMAR nor IVRS among the tables"), *log),
            cause=cause,
            fix=fix,
        )


def _xen() -> Finding:
    return failed(
        "QP-IOMMU-001",
        "Xen has the IOMMU: there is no VFIO in its control domain (dom0)",
        evidence=(
            Evidence("/proc/xen/capabilities", "control_d"),
            Evidence(UNITS, "empty: Xen hides the IOMMU from this kernel"),
        ),
        cause="This kernel runs below Xen, which drives the IOMMU itself and hides the firmware's table. Neither the "
        "BIOS nor a kernel argument changes that.",
        fix=(
            "Boot this host without Xen (choose the plain kernel in the boot menu) to use QAT on it.",
            "Or give VFs to guests with Xen's own means (xl pci-assignable-add): qatprep does not prepare those.",
        ),
    )


def _reserved(ctx: Context) -> Iterable[Finding]:
    mine = [vf for vf in ctx.vfs if vf.reserved]
    if mine:
        bdfs = tuple(vf.bdf for vf in mine)
        yield failed(
            "QP-IOMMU-006",
            f"VFIO refuses {some_vfs(ctx, bdfs)}: the firmware reserves memory there",
            subjects=bdfs,
            evidence=tuple(attribute(bdf, "iommu_group/reserved_regions", "direct") for bdf in bdfs[:4])
            + log_lines(ctx, "rmrr"),
            cause="The BIOS asks for a fixed mapping of memory for this device or its bridge (RMRR of Intel, IVMD of "
            "AMD), for example for management by the BMC. VFIO could not keep such a mapping, so the kernel refuses "
            "to give the device away: VFIO_SET_IOMMU fails with EPERM, from Linux 6.5 on VFIO_GROUP_SET_CONTAINER with "
            "EINVAL.",
            fix=(
                "In the BIOS setup switch off what shares memory with PCIe devices: HPE names it HPE Shared Memory "
                "features (conrep, RMRDS), others USB or BMC emulation for PCIe slots; else update the BIOS.",
                "Ask the vendor of the machine: no kernel argument of mainline lifts it.",
            ),
        )


def _runs(ctx: Context) -> Iterable[Finding]:
    units, table = ctx.facts.iommu.units, ctx.facts.iommu.table
    if isinstance(units, Unknown):
        yield unseen("QP-IOMMU-002", "cannot tell whether the kernel runs an IOMMU", units)
    elif not units and isinstance(table, Unknown):
        yield failed(
            "QP-IOMMU-002",
            "the kernel does not run an IOMMU",
            evidence=(Evidence(UNITS, "empty: the kernel runs none"), Evidence(ACPI_TABLES, table.reason)),
            cause="It is off in the BIOS setup, or in the kernel; which of the two cannot be seen here.",
            fix=(
                "Check the host itself as root, or the start of its log: dmesg | grep -i -e DMAR -e AMD-Vi",
                "In the BIOS setup, switch on Intel VT for Directed I/O (VT-d), on AMD the IOMMU.",
            ),
        )
    elif not units and isinstance(table, str):
        yield iommu_off.finding_of(ctx, table)


def _waiting(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    if isinstance(kernel.cmdline, Unknown):
        yield unseen("QP-IOMMU-003", "cannot see the running kernel's arguments", kernel.cmdline)
        return
    staged = staged_arguments(ctx)
    dropped = dropped_arguments(ctx)
    hidden = hidden_files(ctx)
    if not staged and not dropped:
        if hidden:
            yield _half_seen(ctx, hidden)
        return
    coming = list(dict.fromkeys(token(argument) for _, argument in staged))
    going = [token(argument) for argument in dropped]
    off = any(argument in OFF for _, argument in staged)
    news = [f"add {listed(coming)}" if coming else "", f"remove {listed(going)}" if going else ""]
    certain = not hidden or going or not all(path.startswith("/etc/default/grub") for path, _ in staged)
    old = bool(staged) and not going and all(s.old for s in kernel.staged if s.path in {path for path, _ in staged})
    yield warned(
        "QP-IOMMU-003",
        f"the last boot did not add {listed(coming)}, which the boot loader's files had"
        if old
        else f"{'the next' if certain else 'a later'} boot will {' and '.join(part for part in news if part)}",
        evidence=tuple(Evidence(path, token(argument)) for path, argument in staged)
        + tuple(Evidence("/proc/cmdline", f"{token}, in no boot entry any more") for token in going)
        + hidden,
        cause="These files are older than the running system: another boot entry was chosen, or another file is read."
        if old
        else "The boot loader's files differ from what this kernel was started with."
        + (" That will switch the IOMMU off, and with it QAT." if off else "")
        + ("" if certain else f" Whether it is the next boot already cannot be seen: {unreadable(hidden)}."),
        fix=change_arguments(ctx.facts, remove=[token(a) for _, a in staged if a in OFF])[:-1]
        if off
        else ("Reboot when it suits, or take the change back.",),
    )


def _half_seen(ctx: Context, hidden: tuple[Evidence, ...]) -> Finding:
    """What the boot loader's readable files say is what runs, and others cannot be read."""
    kernel = ctx.facts.kernel
    same = [staged.path for staged in kernel.staged if arguments(staged.tokens)]
    told = f" {listed(same)} {'has' if len(same) == 1 else 'have'} none that does not run already." if same else ""
    return Finding(
        "QP-IOMMU-003",
        Status.UNKNOWN,
        "cannot see whether an IOMMU argument waits for a reboot",
        evidence=hidden,
        cause=f"Cannot be read: {listed(f'{e.path} ({e.value})' for e in hidden)}.{told}",
        fix=(AS_ROOT,) if any(why.denied for why in kernel.hidden.values()) else (),
    )


def _behind(ctx: Context) -> Iterable[Finding]:
    every: list[Pf | Vf] = [*ctx.pfs, *ctx.vfs]
    lost = [f for f in every if not isinstance(f.grouped, Unknown) and (not f.grouped or getattr(f, "noiommu", False))]
    blind = [f for f in every if isinstance(f.grouped, Unknown)]
    for f in blind[:1]:
        if isinstance(f.grouped, Unknown):
            yield unseen(
                "QP-IOMMU-004", "cannot see the IOMMU group of some devices", f.grouped, tuple(f.bdf for f in blind)
            )
    # A PF outside takes its VFs along: name it alone.
    outside = {f.bdf for f in lost}
    bdfs = [f.bdf for f in lost if getattr(f, "pf", None) not in outside]
    if bdfs:
        yield failed(
            "QP-IOMMU-004",
            f"{share(bdfs, len(every), 'QAT device')} {'is' if len(bdfs) == 1 else 'are'} not behind the IOMMU",
            subjects=tuple(bdfs),
            evidence=tuple(attribute(bdf, "iommu_group", None) for bdf in bdfs),
            cause="The kernel runs an IOMMU, but the VM's virtual one does not cover this device."
            if in_vm(ctx.facts)
            else "The kernel runs an IOMMU, but no unit covers these devices: the BIOS left them out of its table, "
            "or a driver made a stand-in group without IOMMU.",
            fix=("On the VM's host, put the device behind the virtual IOMMU.",)
            if in_vm(ctx.facts)
            else ("Update the BIOS; see the lines DMAR: (or AMD-Vi:) at the start of dmesg.",),
        )


def _unsafe(ctx: Context) -> Iterable[Finding]:
    iommu = ctx.facts.iommu
    modes = (
        (
            iommu.noiommu,
            "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
            "VFIO works without an IOMMU (noiommu mode)",
            "A program that has a VF can then read and write all memory of the host; only root can open the nodes, "
            "and the kernel is tainted.",
        ),
        (
            iommu.unsafe_interrupts,
            "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
            "VFIO accepts an IOMMU without interrupt remapping",
            "A program that has a device can then send any interrupt to the host.",
        ),
    )
    for value, path, title, cause in modes:
        if isinstance(value, Unknown):
            yield unseen("QP-IOMMU-005", f"cannot read {path}", value)
        elif value:
            yield Finding(
                "QP-IOMMU-005",
                Status.WARN,
                title,
                evidence=(Evidence(path, "Y"), *log_lines(ctx, "no-remapping")),
                cause=f"It was switched on by hand, in modprobe.d or on the command line. {cause}",
                fix=(
                    f"echo N > {path}",
                    "Take the option out of /etc/modprobe.d or the kernel command line, and switch on VT-d with "
                    "interrupt remapping in the BIOS. qatprep never uses unsafe modes.",
                ),
            )


_DEVICE = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003", "QP-DEV-004")

CHECKS = (
    Check(
        "QP-IOMMU-001",
        Stage.IOMMU,
        _offered,
        needs=_DEVICE,
        about=functions,
    ),
    Check(
        "QP-IOMMU-002",
        Stage.IOMMU,
        _runs,
        saw=lambda ctx: (
            f"in the firmware ({ctx.facts.iommu.table}) and on" if isinstance(ctx.facts.iommu.table, str) else "on"
        ),
        needs=(*_DEVICE, "QP-IOMMU-001"),
        about=functions,
    ),
    Check(
        "QP-IOMMU-003",
        Stage.IOMMU,
        _waiting,
        needs=(*_DEVICE, "QP-IOMMU-002"),
        about=functions,
    ),
    Check(
        "QP-IOMMU-004",
        Stage.IOMMU,
        _behind,
        needs=(*_DEVICE, "QP-IOMMU-002"),
        about=functions,
    ),
    Check(
        "QP-IOMMU-005",
        Stage.IOMMU,
        _unsafe,
        needs=_DEVICE,
        about=functions,
    ),
    Check(
        "QP-IOMMU-006",
        Stage.IOMMU,
        _reserved,
        needs=(*_DEVICE, "QP-IOMMU-002", "QP-IOMMU-004"),
        about=lambda ctx: [vf.bdf for vf in ctx.vfs],
        absent=lambda ctx: "no VFs yet",
    ),
)
