"""The IOMMU, layer by layer: what the BIOS offers, what the kernel made of it, and which devices are behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qatprep.checks.base import Check, Context, Evidence, Finding, Stage, Status
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
    rewrite_grub,
    share,
    unseen,
    warned,
)
from qatprep.facts.base import Unknown
from qatprep.facts.iommu import ACPI_TABLES
from qatprep.facts.kernel import BOOT_ENTRIES, GRUB_CFGS
from qatprep.facts.pci import Pf, Vf

_KEYS = ("intel_iommu", "amd_iommu", "iommu", "iommu.passthrough", "iommu.strict")
_OFF = (("intel_iommu", "off"), ("amd_iommu", "off"), ("iommu", "off"), ("iommu", "soft"))
"""Documentation/admin-guide/kernel-parameters.txt."""
_DEFAULT_ON = ("CONFIG_INTEL_IOMMU_DEFAULT_ON", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF")
_UNITS = "/sys/class/iommu"


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


Argument = tuple[str, str]


def _arguments(tokens: Sequence[str]) -> list[Argument]:
    """IOMMU arguments as (name, value), comma lists taken apart: intel_iommu=on,sm_on is on and sm_on."""
    found: list[Argument] = []
    for token in tokens:
        key, equals, value = token.partition("=")
        if equals and key.replace("-", "_") in _KEYS:
            found += [(key.replace("-", "_"), part) for part in value.split(",")]
    return found


def _token(argument: Argument) -> str:
    return "=".join(argument)


def _staged(ctx: Context) -> list[tuple[str, Argument]]:
    """IOMMU arguments that a boot loader's file has and the running kernel has not, with the file."""
    kernel = ctx.facts.kernel
    if isinstance(kernel.cmdline, Unknown):
        return []
    running = set(_arguments(kernel.cmdline))
    return [
        (staged.path, argument)
        for staged in kernel.staged
        for argument in _arguments(staged.tokens)
        if argument not in running
    ]


def _dropped(ctx: Context) -> list[Argument]:
    """IOMMU arguments the running kernel has and no complete command line of the boot loader has any more."""
    kernel = ctx.facts.kernel
    whole = [s for s in kernel.staged if not s.path.startswith("/etc/default/grub")]
    if isinstance(kernel.cmdline, Unknown) or not whole or _hidden(ctx, whole=True):
        return []
    kept = {argument for staged in whole for argument in _arguments(staged.tokens)}
    return [argument for argument in _arguments(kernel.cmdline) if argument not in kept]


def _hidden(ctx: Context, *, whole: bool = False) -> tuple[Evidence, ...]:
    """The boot loader's files that cannot be read. `whole`: only those that hold what the next kernel will be given."""
    return tuple(
        Evidence(path, why.reason.removeprefix(f"{path}: "))
        for path, why in ctx.facts.kernel.hidden.items()
        if not (whole and path.startswith("/etc/default/grub"))
    )


def _unreadable(hidden: Sequence[Evidence]) -> str:
    return f"{listed(e.path for e in hidden)} cannot be read"


def _runs(ctx: Context) -> Iterable[Finding]:
    iommu, kernel = ctx.facts.iommu, ctx.facts.kernel
    if isinstance(iommu.units, Unknown):
        yield unseen("QP-IOMMU-002", "cannot tell whether the kernel runs an IOMMU", iommu.units)
        return
    if iommu.units:
        return
    if isinstance(iommu.table, Unknown):
        yield failed(
            "QP-IOMMU-002",
            "the kernel does not run an IOMMU",
            evidence=(Evidence(_UNITS, "empty: the kernel runs none"), Evidence(ACPI_TABLES, iommu.table.reason)),
            cause="It is off in the BIOS setup, or in the kernel; which of the two cannot be seen here.",
            fix=(
                "Look at the host itself as root, or at the start of its log: dmesg | grep -i -e DMAR -e AMD-Vi",
                "In the BIOS setup, switch on Intel VT for Directed I/O (VT-d), on AMD the IOMMU.",
            ),
        )
        return
    evidence = [
        Evidence(f"{ACPI_TABLES}/{iommu.table}", "there: the firmware offers an IOMMU"),
        Evidence(_UNITS, "empty: the kernel runs none"),
    ]
    running = [] if isinstance(kernel.cmdline, Unknown) else _arguments(kernel.cmdline)
    if not isinstance(kernel.cmdline, Unknown):
        evidence.append(Evidence("/proc/cmdline", " ".join(map(_token, running)) or "no IOMMU argument"))
    log = log_lines(ctx, "iommu-off", "vfio-probe")
    guilty = [argument for argument in running if argument in _OFF]
    on = ("intel_iommu", "on")
    hidden = _hidden(ctx, whole=True)
    staged = [(path, argument) for path, argument in _staged(ctx) if argument not in _OFF]
    add = ["intel_iommu=on"] if iommu.table == "DMAR" and on not in running else []
    option = "CONFIG_INTEL_IOMMU" if iommu.table == "DMAR" else "CONFIG_AMD_IOMMU"
    config = kernel.config
    fix: tuple[str, ...]
    if any(argument == on or argument[0] == "amd_iommu" for _, argument in staged):
        evidence += [Evidence(path, _token(argument)) for path, argument in staged]
        words = listed(dict.fromkeys(_token(a) for _, a in staged))
        cause = f"Staged in the boot loader, reboot pending: {words}."
        only_grub = all(path.startswith("/etc/default/grub") for path, _ in staged)
        built = any(s.path in GRUB_CFGS for s in kernel.staged)
        if only_grub and hidden:
            evidence += hidden
            cause = (
                f"Staged in {staged[0][0]}: {words}. Whether the boot loader has it yet cannot be seen: "
                f"{_unreadable(hidden)}."
            )
            fix = (AS_ROOT,) if BOOT_ENTRIES in kernel.hidden else (rewrite_grub(ctx.facts), "Reboot.")
        elif only_grub and built:
            cause = (
                f"{_token(on)} stands in {staged[0][0]}, but the boot loader's grub.cfg was not written again since."
            )
            fix = (rewrite_grub(ctx.facts), "Reboot.")
        else:
            fix = ("Reboot.",)
    elif guilty:
        words = listed(map(_token, guilty))
        cause = f"{words} on the kernel command line switches it off."
        if guilty[0][0] == "iommu" or iommu.table == "DMAR":
            cause += " Guides for the out-of-tree QAT stack of old ask for that."
        fix = change_arguments(ctx.facts, add=add, remove=[_token(argument) for argument in guilty])
    elif not isinstance(config, Unknown) and config.get(option) != "y":
        evidence.append(Evidence(f"/boot/config-{kernel.release}", f"{option} is not set"))
        cause = f"This kernel was built without {option}."
        fix = ("Install the distribution's general kernel, and reboot.",)
    elif iommu.table == "DMAR" and on not in running:
        default = "" if isinstance(config, Unknown) else next((o for o in _DEFAULT_ON if config.get(o) == "y"), "")
        cause = (
            f"The kernel has {default}, and yet it is off: the start of the kernel log tells why."
            if default
            else "This kernel leaves the IOMMU off unless it is told to use it by intel_iommu=on."
        )
        fix = change_arguments(ctx.facts, add=add)
    else:
        cause = "The table is there and nothing switches the IOMMU off, but its driver did not start."
        fix = ("dmesg | grep -i -e DMAR -e AMD-Vi", "A BIOS update is what mends broken tables.")
    if hidden and not staged and (guilty or add):
        evidence += hidden
        cause += f" Whether the next boot will differ already cannot be seen: {_unreadable(hidden)}."
    yield failed(
        "QP-IOMMU-002",
        "the kernel does not run the IOMMU",
        evidence=tuple(evidence) + log,
        cause=cause,
        fix=fix,
    )


def _waiting(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    if isinstance(kernel.cmdline, Unknown):
        yield unseen("QP-IOMMU-003", "cannot see the running kernel's arguments", kernel.cmdline)
        return
    staged = _staged(ctx)
    dropped = _dropped(ctx)
    hidden = _hidden(ctx)
    if not staged and not dropped:
        if hidden:
            yield _half_seen(ctx, hidden)
        return
    coming = list(dict.fromkeys(_token(argument) for _, argument in staged))
    going = [_token(argument) for argument in dropped]
    off = any(argument in _OFF for _, argument in staged)
    words = [f"{listed(coming)} will come" if coming else "", f"{listed(going)} will go" if going else ""]
    certain = not hidden or going or not all(path.startswith("/etc/default/grub") for path, _ in staged)
    yield warned(
        "QP-IOMMU-003",
        f"with {'the next' if certain else 'a later'} boot {' and '.join(word for word in words if word)}",
        evidence=tuple(Evidence(path, _token(argument)) for path, argument in staged)
        + tuple(Evidence("/proc/cmdline", f"{token}, in no boot entry any more") for token in going)
        + hidden,
        cause="The boot loader's files differ from what this kernel was started with."
        + (" That will switch the IOMMU off, and with it QAT." if off else "")
        + ("" if certain else f" Whether it is the next boot already cannot be seen: {_unreadable(hidden)}."),
        fix=change_arguments(ctx.facts, remove=[_token(a) for _, a in staged if a in _OFF])[:-1]
        if off
        else ("Reboot when it suits, or take the change back.",),
    )


def _half_seen(ctx: Context, hidden: tuple[Evidence, ...]) -> Finding:
    """What the boot loader's readable files say is what runs, and others cannot be read."""
    kernel = ctx.facts.kernel
    same = [staged.path for staged in kernel.staged if _arguments(staged.tokens)]
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
