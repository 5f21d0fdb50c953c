"""The kernel's IOMMU arguments: those it runs with, and those the boot loader's files have for the next one."""

from __future__ import annotations

from collections.abc import Sequence

from qatprep.checks.base import Context
from qatprep.facts.base import Unknown
from qatprep.findings import Evidence
from qatprep.text import listed

_KEYS = ("intel_iommu", "amd_iommu", "iommu", "iommu.passthrough", "iommu.strict")
OFF = (("intel_iommu", "off"), ("amd_iommu", "off"), ("iommu", "off"), ("iommu", "soft"))
"""Documentation/admin-guide/kernel-parameters.txt."""
VALUES = {
    "intel_iommu": ("on", "off", "igfx_off", "forcedac", "strict", "sp_off", "sm_on", "sm_off", "tboot_noforce"),
    "iommu": (
        *("off", "force", "noforce", "biomerge", "merge", "nomerge", "panic", "nopanic", "soft", "pt", "nopt"),
        *("forcesac", "allowdac", "nodac", "usedac", "memaper", "leak", "group_mf"),
    ),
}
"""What the kernel takes: drivers/iommu/intel/iommu.c, arch/x86/kernel/pci-dma.c. It passes over other values."""
Argument = tuple[str, str]
ON: Argument = ("intel_iommu", "on")


def arguments(tokens: Sequence[str]) -> list[Argument]:
    """IOMMU arguments as (name, value), comma lists taken apart: intel_iommu=on,sm_on is on and sm_on."""
    found: list[Argument] = []
    for word in tokens:
        key, equals, value = word.partition("=")
        if equals and key.replace("-", "_") in _KEYS:
            found += [(key.replace("-", "_"), part) for part in value.split(",")]
    return found


def token(argument: Argument) -> str:
    return "=".join(argument)


def staged_arguments(ctx: Context) -> list[tuple[str, Argument]]:
    """IOMMU arguments that a boot loader's file has and the running kernel has not, with the file."""
    kernel = ctx.facts.kernel
    if isinstance(kernel.cmdline, Unknown):
        return []
    running = set(arguments(kernel.cmdline))
    return [
        (entry.path, argument)
        for entry in kernel.staged
        for argument in arguments(entry.tokens)
        if argument not in running
    ]


def dropped_arguments(ctx: Context) -> list[Argument]:
    """IOMMU arguments the running kernel has and no complete command line of the boot loader has any more."""
    kernel = ctx.facts.kernel
    whole = [s for s in kernel.staged if not s.path.startswith("/etc/default/grub")]
    if isinstance(kernel.cmdline, Unknown) or not whole or hidden_files(ctx, whole=True):
        return []
    kept = {argument for entry in whole for argument in arguments(entry.tokens)}
    return [argument for argument in arguments(kernel.cmdline) if argument not in kept]


def hidden_files(ctx: Context, *, whole: bool = False) -> tuple[Evidence, ...]:
    """The boot loader's files that cannot be read. `whole`: only those that hold what the next kernel will be given."""
    return tuple(
        Evidence(path, why.reason.removeprefix(f"{path}: "))
        for path, why in ctx.facts.kernel.hidden.items()
        if not (whole and path.startswith("/etc/default/grub"))
    )


def unreadable(files: Sequence[Evidence]) -> str:
    return f"{listed(evidence.path for evidence in files)} cannot be read"
