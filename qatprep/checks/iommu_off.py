"""Why a kernel does not run the IOMMU that the firmware offers: a table of reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from qatprep.checks.base import Context
from qatprep.checks.iommu_arguments import (
    OFF,
    ON,
    VALUES,
    Argument,
    arguments,
    hidden_files,
    staged_arguments,
    token,
    unreadable,
)
from qatprep.checks.text import AS_ROOT, change_arguments, log_lines
from qatprep.facts.base import Unknown
from qatprep.facts.boot_loader import BOOT_ENTRIES
from qatprep.facts.iommu import ACPI_TABLES
from qatprep.findings import Evidence, Finding, failed
from qatprep.persist.arguments import NEEDED, rewrite_grub, stageable
from qatprep.text import listed

_DEFAULT_ON = ("CONFIG_INTEL_IOMMU_DEFAULT_ON", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF")
UNITS = "/sys/class/iommu"


class _Off(NamedTuple):
    """An IOMMU that the firmware offers and the kernel does not run."""

    ctx: Context
    table: str
    """DMAR or IVRS."""
    running: tuple[Argument, ...]
    """IOMMU arguments of the running kernel ..."""
    staged: tuple[tuple[str, Argument], ...]
    """... and those that a file of the boot loader adds to them and that do not switch it off, with the file."""
    hidden: tuple[Evidence, ...]
    """Files with the next kernel's command line that cannot be read."""

    @property
    def guilty(self) -> list[str]:
        return [token(argument) for argument in self.running if argument in OFF]

    @property
    def mistaken(self) -> list[str]:
        """Arguments with a value that the kernel does not know."""
        return [token((name, value)) for name, value in self.running if value not in VALUES.get(name, (value,))]

    @property
    def add(self) -> list[str]:
        return [token(ON)] if self.table == "DMAR" and ON not in self.running else []

    @property
    def coming(self) -> str:
        """What is staged, where it switches the IOMMU on; "" where it does not."""
        on = any(argument == ON or argument[0] == "amd_iommu" for _, argument in self.staged)
        return listed(dict.fromkeys(token(argument) for _, argument in self.staged)) if on else ""

    @property
    def files(self) -> list[str]:
        """Those that have it."""
        return list(dict.fromkeys(path for path, _ in self.staged))

    @property
    def old(self) -> bool:
        """Whether all files that have it were written before the last boot: no boot waits for it."""
        return all(entry.old for entry in self.ctx.facts.kernel.staged if entry.path in self.files)

    @property
    def only_in_grub(self) -> bool:
        """Staged where update-grub reads it, and not yet in what the boot loader reads."""
        return bool(self.coming) and all(path.startswith("/etc/default/grub") for path, _ in self.staged)

    @property
    def built(self) -> bool:
        """Whether the file that GRUB reads could be read."""
        loader = self.ctx.facts.kernel.loader
        return any(entry.path == loader.grub_cfg for entry in loader.staged)

    @property
    def option(self) -> str:
        return "CONFIG_INTEL_IOMMU" if self.table == "DMAR" else "CONFIG_AMD_IOMMU"

    @property
    def compiled(self) -> bool:
        """Whether the kernel has the driver, as far as is known."""
        config = self.ctx.facts.kernel.config
        return isinstance(config, Unknown) or config.get(self.option) == "y"

    @property
    def default_on(self) -> str:
        """The option by which this kernel runs the IOMMU without an argument, "" for none."""
        config = self.ctx.facts.kernel.config
        return "" if isinstance(config, Unknown) else next((o for o in _DEFAULT_ON if config.get(o) == "y"), "")


class _Reason(NamedTuple):
    """Why the kernel does not run the IOMMU; `cause` and `fix` are made from what is seen."""

    holds: Callable[[_Off], bool]
    cause: Callable[[_Off], str]
    fix: Callable[[_Off], tuple[str, ...]]
    evidence: Callable[[_Off], tuple[Evidence, ...]] = lambda off: ()
    reboot: bool = False
    """Whether a reboot alone clears it."""


def _staged_evidence(off: _Off) -> tuple[Evidence, ...]:
    return tuple(Evidence(path, token(argument)) for path, argument in off.staged)


def _staging(off: _Off) -> tuple[str, ...]:
    """By qatprep itself, where it has a file for this boot loader."""
    way = stageable(off.ctx.facts.kernel.loader)
    if way is None or off.add != list(NEEDED):
        return ()
    return ("qatprep gen-conf --stage-kernel-arguments", *way.commands, "Reboot.")


_REASONS = (
    _Reason(
        lambda off: off.only_in_grub and bool(off.hidden),
        lambda off: (
            f"Staged in {off.staged[0][0]}: {off.coming}. Whether the boot loader has it yet cannot be seen: "
            f"{unreadable(off.hidden)}."
        ),
        lambda off: (
            (AS_ROOT,)
            if BOOT_ENTRIES in off.ctx.facts.kernel.hidden
            else (rewrite_grub(off.ctx.facts.kernel.loader), "Reboot.")
        ),
        lambda off: _staged_evidence(off) + off.hidden,
    ),
    _Reason(
        lambda off: off.only_in_grub and off.built,
        lambda off: (
            f"{token(ON)} is set in {off.staged[0][0]}, but {off.ctx.facts.kernel.loader.grub_cfg}, which GRUB reads, "
            "was not written again since."
        ),
        lambda off: (rewrite_grub(off.ctx.facts.kernel.loader), "Reboot."),
        _staged_evidence,
    ),
    _Reason(
        lambda off: bool(off.coming) and off.old,
        lambda off: (
            f"{off.coming} was in {listed(off.files)} already when this host was booted, but the kernel does not "
            "have it: it was booted from another entry, or the boot loader reads another file."
        ),
        lambda off: (
            "Check the boot menu and its default entry.",
            *change_arguments(off.ctx.facts, add=off.add),
        ),
        _staged_evidence,
    ),
    _Reason(
        lambda off: bool(off.coming),
        lambda off: f"Staged in the boot loader, reboot pending: {off.coming}.",
        lambda off: ("Reboot.",),
        _staged_evidence,
        reboot=True,
    ),
    _Reason(
        lambda off: bool(off.add and off.mistaken),
        lambda off: (
            f"{listed(off.mistaken)}: the kernel ignores such a value. intel_iommu= takes on; pt belongs to iommu=."
        ),
        lambda off: change_arguments(off.ctx.facts, add=off.add, remove=off.mistaken),
    ),
    _Reason(
        lambda off: bool(off.guilty),
        lambda off: (
            f"{listed(off.guilty)} on the kernel command line switches it off."
            + (
                " Old guides for the out-of-tree QAT stack ask for that."
                if off.table == "DMAR" or off.guilty[0].startswith("iommu=")
                else ""
            )
        ),
        lambda off: change_arguments(off.ctx.facts, add=off.add, remove=off.guilty),
    ),
    _Reason(
        lambda off: not off.compiled,
        lambda off: f"This kernel was built without {off.option}.",
        lambda off: ("Install the distribution's general kernel, and reboot.",),
        lambda off: (Evidence(off.ctx.facts.kernel.config_path, f"{off.option} is not set"),),
    ),
    _Reason(
        lambda off: bool(off.add and off.default_on),
        lambda off: f"The kernel has {off.default_on}, and yet it is off: the start of the kernel log says why.",
        lambda off: change_arguments(off.ctx.facts, add=off.add),
    ),
    _Reason(
        lambda off: bool(off.add),
        lambda off: "This kernel leaves the IOMMU off unless intel_iommu=on is on its command line.",
        lambda off: _staging(off) or change_arguments(off.ctx.facts, add=off.add),
    ),
    _Reason(
        lambda off: True,
        lambda off: "The table is there and nothing switches the IOMMU off, but its driver did not start.",
        lambda off: ("dmesg | grep -i -e DMAR -e AMD-Vi", "Update the BIOS: its table is broken."),
    ),
)
"""The first that holds is it."""


def finding_of(ctx: Context, table: str) -> Finding:
    """QP-IOMMU-002 for a kernel that runs no IOMMU, although the firmware offers one by `table`."""
    cmdline = ctx.facts.kernel.cmdline
    running = () if isinstance(cmdline, Unknown) else tuple(arguments(cmdline))
    coming = tuple((path, argument) for path, argument in staged_arguments(ctx) if argument not in OFF)
    off = _Off(ctx, table, running, coming, hidden_files(ctx, whole=True))
    reason = next(reason for reason in _REASONS if reason.holds(off))
    evidence = [
        Evidence(f"{ACPI_TABLES}/{table}", "there: the firmware offers an IOMMU"),
        Evidence(UNITS, "empty: the kernel runs none"),
    ]
    if not isinstance(cmdline, Unknown):
        evidence.append(Evidence("/proc/cmdline", " ".join(map(token, running)) or "no IOMMU argument"))
    evidence += reason.evidence(off)
    cause = reason.cause(off)
    if off.hidden and not off.staged and (off.guilty or off.add):
        evidence += off.hidden
        cause += f" Whether the next boot will differ already cannot be seen: {unreadable(off.hidden)}."
    return failed(
        "QP-IOMMU-002",
        "the kernel does not run the IOMMU",
        evidence=(*evidence, *log_lines(ctx, "iommu-off", "vfio-probe")),
        cause=cause,
        fix=reason.fix(off),
        cleared_by=("reboot",) if reason.reboot else (),
    )
