"""Staging kernel arguments for the next boot, where somebody asked for it, and not without end.

What is staged may never arrive: the file may be one that the boot loader does not read, or nobody runs update-grub.
Automation that stages and reboots until the IOMMU is on would then do so for ever. So the boots at which arguments were
staged are counted in a file, and after two that changed nothing it is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from qatprep import json_input
from qatprep.errors import QatprepError
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.boot_loader import Kind
from qatprep.facts.persist import is_ours
from qatprep.host.base import Host
from qatprep.host.trust import require
from qatprep.persist.arguments import COUNT, GRUB_SNIPPET, NEEDED, Way, change, stageable
from qatprep.plan.model import Plan
from qatprep.steps.base import Change
from qatprep.steps.files import content, install

TRIES = 2
"""Boots after which staged arguments must have arrived."""


@dataclass(frozen=True)
class Staging:
    """What there is to do."""

    plan: Plan
    way: Way
    waiting: bool
    """Staged already at this boot: only the reboot is missing."""


def stage(host: Host, facts: Facts) -> Staging | None:
    """The changes that stage what this host needs; None when it needs nothing.

    QatprepError where arguments would not help, where this boot loader has no file for them, or after TRIES without
    success.
    """
    iommu = facts.iommu
    if isinstance(iommu.units, Unknown):
        raise QatprepError(f"cannot tell whether the IOMMU is on: {iommu.units.reason}", "run this as root")
    if iommu.units:
        return None
    if iommu.table is None:
        raise QatprepError(
            "kernel arguments would not help: the firmware offers no IOMMU", "qatprep doctor --only iommu"
        )
    running = () if isinstance(facts.kernel.cmdline, Unknown) else facts.kernel.cmdline
    if all(argument in running for argument in NEEDED):
        raise QatprepError(
            f"{' '.join(NEEDED)} is on the command line already, and yet the IOMMU is off",
            "qatprep doctor --only iommu says why",
        )
    off = [token for token in running if token in ("intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu=soft")]
    if off or iommu.table == "IVRS":
        raise QatprepError(
            f"{' '.join(off) or 'something else'} keeps the IOMMU off: you have to remove it",
            "qatprep doctor --only iommu says how",
        )
    loader = facts.kernel.loader
    way = stageable(loader)
    if way is None:
        raise QatprepError(
            f"this host was booted by {loader.kind}: qatprep has no file to stage arguments in there"
            if loader.kind is not Kind.UNKNOWN
            else "what booted this host is not recognised: there is no file to stage arguments in",
            f"{'; '.join(change(loader, NEEDED))} (gen-conf --format kernel-arguments has every boot loader)",
        )
    boots = _boots(host)
    if host.boot_id() not in boots and len(boots) >= TRIES:
        raise QatprepError(
            f"staged at {len(boots)} boots, and the kernel still runs without {' '.join(NEEDED)}: not again",
            f"was {way.commands[0]} run? Does this host boot by GRUB at all? Remove {COUNT} to try again",
        )
    there = content(host, GRUB_SNIPPET)
    if there is not None and not is_ours(there.decode("utf-8", "replace")):
        raise QatprepError(f"{GRUB_SNIPPET} belongs to another user", "move it away, or put the arguments in there")
    count = json.dumps({"arguments": list(NEEDED), "boots": [*boots, host.boot_id()][-TRIES - 1 :]}) + "\n"
    changes: list[Change | None] = [install(host, GRUB_SNIPPET, way.text.encode(), note=f"adds {' '.join(NEEDED)}")]
    if host.boot_id() not in boots:
        changes.append(install(host, COUNT, count.encode(), mode=0o600, note=f"staged {len(boots) + 1} of {TRIES}"))
    made = tuple(change for change in changes if change is not None)
    return Staging(Plan(host=made), way, not made)


def _boots(host: Host) -> list[str]:
    """The boots at which something was staged, by id; what cannot be read counts as none."""
    require(host, COUNT, "the count of staged arguments")
    try:
        found = json_input.loads(content(host, COUNT) or b"{}")["boots"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(boot) for boot in found] if isinstance(found, list) else []
