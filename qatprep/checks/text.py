"""Phrases the checks share: which of how many, commands for several devices, kernel arguments, lines of the log."""

from __future__ import annotations

from collections.abc import Sequence

from qatprep.checks.base import Context
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf
from qatprep.findings import Evidence, Finding, Status
from qatprep.findings.messages import BY_KEY
from qatprep.hardware import PCI_DEVICES
from qatprep.persist import arguments
from qatprep.text import plural

BOOTSTRAP = "bootstrap"
"""Finding.step: the verb that fixes what qatprep can fix."""
FIND_HOLDERS = "ls -l /proc/*/fd 2>/dev/null | grep /dev/vfio/"
AS_ROOT = "Run qatprep as root to see it."
_LOOP_LIMIT = 8
"""Devices that one pasted command names one by one; more of them make a line nobody can read."""
_LOG_LIMIT = 4
"""Lines of the log that one finding quotes."""


def unseen(id: str, title: str, fact: Unknown, subjects: tuple[str, ...] = ()) -> Finding:
    """The result for a fact that could not be had: why, and whether root would have helped."""
    return Finding(
        id, Status.UNKNOWN, title, subjects=subjects, cause=fact.reason, fix=(AS_ROOT,) if fact.denied else ()
    )


def share(some: Sequence[str], total: int, noun: str) -> str:
    """ "PF 0000:6b:00.0", "all 8 PFs" or "3 of 8 PFs"."""
    if len(some) == 1:
        return f"{noun} {some[0]}"
    if len(some) == total:
        return f"both {noun}s" if total == 2 else f"all {total} {noun}s"
    return f"{len(some)} of {plural(total, noun)}"


def supported(ctx: Context) -> list[Pf]:
    """All PFs of the host that qatlib can drive, whatever is broken among them: the whole that counts are against."""
    return [pf for pf in ctx.facts.pci.pfs if pf.family.supported]


def some_pfs(ctx: Context, bdfs: Sequence[str]) -> str:
    """These PFs, against all of the host, whatever is broken among them."""
    return share(bdfs, len(supported(ctx)), "PF")


def some_vfs(ctx: Context, bdfs: Sequence[str]) -> str:
    """These VFs, against all of their PF when they are of one, else against all of the host."""
    every = [vf for vf in ctx.facts.pci.all_vfs if vf.family.supported]
    mine = set(bdfs)
    owners = {vf.pf for vf in every if vf.bdf in mine}
    if len(bdfs) > 1 and len(owners) == 1 and (owner := owners.pop()):
        return f"{share(bdfs, len([vf for vf in every if vf.pf == owner]), 'VF')} of {owner}"
    return share(bdfs, len(every), "VF")


def have(some: Sequence[str]) -> str:
    return "has" if len(some) == 1 else "have"


def attribute(bdf: str, name: str, value: object) -> Evidence:
    """What one sysfs attribute of a device said."""
    return Evidence(f"{PCI_DEVICES}/{bdf}/{name}", "not there" if value is None else str(value))


def for_each(bdfs: Sequence[str], body: str, name: str = "pf") -> tuple[str, ...]:
    """Commands for one device or several; `body` uses $pf. Many are named by bus: PFs as a rule have the same VFs."""
    if len(bdfs) == 1:
        return (body.replace(f"${name}", bdfs[0]),)
    if len(bdfs) <= _LOOP_LIMIT:
        return (f"for {name} in {' '.join(bdfs)}; do {body}; done",)
    buses: dict[tuple[str, str], list[str]] = {}
    for bdf in bdfs:
        bus, _, rest = bdf.rpartition(":")
        domain, _, number = bus.rpartition(":")
        buses.setdefault((domain, number), []).append(rest)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (domain, number), functions in buses.items():
        alike.setdefault((domain, tuple(functions)), []).append(number)
    return tuple(_loop(domain, numbers, functions, body, name) for (domain, functions), numbers in alike.items())


def _loop(domain: str, buses: Sequence[str], functions: Sequence[str], body: str, name: str) -> str:
    """One loop for buses of a domain that have the same functions, and within it one for these unless it is one."""
    if len(functions) == 1:
        return f"for b in {' '.join(buses)}; do {name}={domain}:$b:{functions[0]}; {body}; done"
    inner = f"for f in {' '.join(functions)}; do {name}={domain}:$b:$f; {body}; done"
    return f"for b in {' '.join(buses)}; do {inner}; done"


def log_lines(ctx: Context, *keys: str, bdf: str = "") -> tuple[Evidence, ...]:
    """The newest lines of the kernel log of these kinds that name this device, or none; before a line that says only
    that something failed, the lines that may say why."""
    log = ctx.facts.log
    lines = [line for line in log.of(*keys) if not bdf or line.bdf in ("", bdf)][-_LOG_LIMIT:]
    told = [other for line in lines for other in (*(log.before(line) if BY_KEY[line.key].leading else ()), line)]
    return tuple(dict.fromkeys(Evidence("kernel log", line.text) for line in told))


def in_vm(facts: Facts) -> bool:
    """Whether cpuid says that a hypervisor stands between; False where cpuid cannot be asked."""
    return facts.cpu.hypervisor is True


def functions(ctx: Context) -> list[str]:
    """What qatlib may drive: the PFs, in a VM the VFs."""
    return [pf.bdf for pf in ctx.pfs] + [vf.bdf for vf in ctx.vfs if vf.pf is None]


def pfs(ctx: Context) -> list[str]:
    return [pf.bdf for pf in ctx.pfs]


def vfs(ctx: Context) -> list[str]:
    """VFs that are to be used through VFIO."""
    drivers = {pf.bdf: ctx.config.of(pf).driver for pf in ctx.pfs}
    return [vf.bdf for vf in ctx.vfs if drivers.get(vf.pf or "", ctx.config.devices.driver) != "none"]


def no_vfio(ctx: Context) -> str:
    """Why nothing about VFIO matters: for Check.absent."""
    return "no VFs for VFIO in the configuration"


def change_arguments(facts: Facts, add: Sequence[str] = (), remove: Sequence[str] = ()) -> tuple[str, ...]:
    """How kernel arguments are changed with the boot loader that booted this host, and the reboot that follows."""
    return (*arguments.change(facts.kernel.loader, add, remove), "Reboot.")
