"""The IOMMU, layer by layer: what the BIOS offers, what the kernel made of it, and which devices are behind it."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks import iommu_off
from qatprep.checks.base import Check, Context, Evidence, Finding, Stage, Status
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
    failed,
    finding,
    functions,
    in_vm,
    listed,
    log_lines,
    share,
    unseen,
    warned,
)
from qatprep.facts.base import Unknown
from qatprep.facts.iommu import ACPI_TABLES
from qatprep.facts.pci import Pf, Vf


def _offered(ctx: Context) -> Iterable[Finding]:
    iommu = ctx.facts.iommu
    if not isinstance(iommu.units, Unknown) and iommu.units:
        return  # it runs: however the firmware told the kernel, it did
    if isinstance(iommu.table, Unknown):
        yield unseen("QP-IOMMU-001", "cannot tell whether the firmware offers an IOMMU", iommu.table)
    elif iommu.table is None:
        log = log_lines(ctx, "iommu-off", "vfio-probe")
        if in_vm(ctx.facts):
            cause = "This is a VM, and its hypervisor offers no virtual IOMMU."
            fix: tuple[str, ...] = (
                "On the VM's host, give the VM a virtual IOMMU (QEMU: -device "
                "intel-iommu,intremap=on,caching-mode=on and kernel-irqchip=split; libvirt: <iommu "
                "model='intel'>), and start the VM anew.",
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
                "Look at the host itself as root, or at the start of its log: dmesg | grep -i -e DMAR -e AMD-Vi",
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
    yield warned(
        "QP-IOMMU-003",
        f"{'the next' if certain else 'a later'} boot will {' and '.join(part for part in news if part)}",
        evidence=tuple(Evidence(path, token(argument)) for path, argument in staged)
        + tuple(Evidence("/proc/cmdline", f"{token}, in no boot entry any more") for token in going)
        + hidden,
        cause="The boot loader's files differ from what this kernel was started with."
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
    return finding(
        "QP-IOMMU-003",
        Status.UNKNOWN,
        "cannot see whether an IOMMU argument waits for a reboot",
        evidence=hidden,
        cause=f"Not to be read: {listed(f'{e.path} ({e.value})' for e in hidden)}.{told}",
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
            yield finding(
                "QP-IOMMU-005",
                Status.WARN,
                title,
                evidence=(Evidence(path, "Y"), *log_lines(ctx, "no-remapping")),
                cause=f"Somebody switched it on, by hand, in modprobe.d or on the command line. {cause}",
                fix=(
                    f"echo N > {path}",
                    "Take the option out of /etc/modprobe.d or the kernel command line, and switch on VT-d with "
                    "interrupt remapping in the BIOS. qatprep never uses unsafe modes.",
                ),
            )


_DEVICE = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003")

CHECKS = (
    Check(
        "QP-IOMMU-001",
        Stage.IOMMU,
        "the firmware offers an IOMMU",
        _offered,
        needs=_DEVICE,
        about=functions,
        explain="""\
An IOMMU keeps a device inside the memory of the program that uses it. The BIOS offers it to the kernel by an ACPI
table: DMAR for Intel's VT-d, IVRS for AMD-Vi.

Why it matters: VFIO does not hand out devices without it. The errors people then meet look like something else: "No
such device" and "Invalid argument" when a VF is bound, when sriov_numvfs is written (kernels 6.12 to 6.16), in
dpdk-devbind.

How it is found out: /sys/firmware/acpi/tables/DMAR or IVRS. Where the kernel runs an IOMMU it was offered one,
whatever the tables say.

How to mend it: in the BIOS setup (Intel VT for Directed I/O). A kernel argument cannot replace it. In a VM, give it
a virtual IOMMU.""",
    ),
    Check(
        "QP-IOMMU-002",
        Stage.IOMMU,
        "the kernel runs the IOMMU",
        _runs,
        needs=(*_DEVICE, "QP-IOMMU-001"),
        about=functions,
        explain="""\
The firmware offers an IOMMU; the kernel may leave it off: because it was told to, because it was built to wait for
intel_iommu=on, or because that argument was added and the host not booted since.

Why it matters: see QP-IOMMU-001. It is the most frequent trouble of all.

How it is found out: /sys/class/iommu has dmar0 ... or ivhd0 ... once the driver runs. The log line "IOMMU enabled"
is no test, it only repeats the argument. Arguments are taken apart at commas: intel_iommu=on,sm_on is on. What the
running kernel was given (/proc/cmdline) is compared with what the boot loader will give to the next one.

How to mend it: as the finding says for this host's boot loader, then reboot. qatprep changes no kernel arguments.""",
    ),
    Check(
        "QP-IOMMU-003",
        Stage.IOMMU,
        "no IOMMU argument waits for a reboot",
        _waiting,
        needs=(*_DEVICE, "QP-IOMMU-002"),
        about=functions,
        explain="""\
The boot loader's files hold other IOMMU arguments than the running kernel was started with.

Why it matters: the host will behave differently after the next boot, perhaps months from now and for reasons nobody
remembers. When the waiting argument is the very one that is missing, QP-IOMMU-002 says so and this check is silent.

How it is found out: grub.cfg (readable for root), the entries below /boot/loader, /etc/kernel/cmdline,
/etc/default/grub and its grub.d against /proc/cmdline, argument by argument. Where one of them cannot be read and
the others say nothing of it, the result is "unknown", not "ok".

How to mend it: reboot when it suits, or take the change back.""",
    ),
    Check(
        "QP-IOMMU-004",
        Stage.IOMMU,
        "every QAT device is behind the IOMMU",
        _behind,
        needs=(*_DEVICE, "QP-IOMMU-002"),
        about=functions,
        explain="""\
The IOMMU runs, but it need not cover every device: each device that is behind it has a link iommu_group.

Why it matters: VFIO refuses a function without a group (EINVAL), or gives it a noiommu stand-in, which only root
can open.

How it is found out: the link iommu_group of each PF and VF, which is what the QAT driver itself asks for. Group
numbers mean nothing beyond one boot and are not kept.

How to mend it: the BIOS's table leaves the device out: update the BIOS. In a VM, put the device behind the virtual
IOMMU.""",
    ),
    Check(
        "QP-IOMMU-005",
        Stage.IOMMU,
        "no unsafe mode of VFIO is on",
        _unsafe,
        needs=_DEVICE,
        about=functions,
        explain="""\
VFIO has two switches that give up what it is for: enable_unsafe_noiommu_mode (no IOMMU at all) and
allow_unsafe_interrupts (an IOMMU without interrupt remapping).

Why it matters: a pod with a VF is then as good as root on the host. noiommu nodes can be opened by root only, so
that it does not even help Envoy.

How it is found out: the parameters below /sys/module/vfio and /sys/module/vfio_iommu_type1.

How to mend it: switch them off, and switch on VT-d with interrupt remapping in the BIOS. qatprep reports them and
never uses them.""",
    ),
)
