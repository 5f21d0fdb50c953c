"""Loading kernel modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from qatprep.facts.base import exists
from qatprep.facts.modules import Module, normal
from qatprep.hardware import VFIO_VARIANT
from qatprep.host.base import Host
from qatprep.steps.base import BLOCKING, Change, ChangeFailed

if TYPE_CHECKING:
    from qatprep.config import NodeConfig
    from qatprep.facts import Facts

_MODPROBE_DEADLINE = 60.0
"""Seconds: loading a QAT module starts every PF, about 0.2 s each."""


@dataclass(frozen=True)
class LoadModule(Change):
    kind: ClassVar[str] = "load-module"
    what: ClassVar[str] = "module"

    name: str
    missing: tuple[str, ...]
    """Itself and what it needs, as far as it was not loaded before."""

    @property
    def subject(self) -> str:
        return self.name

    @property
    def before(self) -> str:
        return "not loaded"

    @property
    def after(self) -> str:
        return "loaded"

    def do(self, host: Host) -> Mapping[str, Any]:
        old = set(host.listdir("/sys/module"))
        result = host.run(["modprobe", self.name], deadline=_MODPROBE_DEADLINE)
        host.settle()
        outcome = {"loaded": sorted(name for name in set(host.listdir("/sys/module")) - old if self._came(host, name))}
        if result.rc != 0:
            raise ChangeFailed(
                f"modprobe {self.name} ended with status {result.rc}: {result.stderr.strip() or 'no message'}",
                "see the end of `dmesg`; `qatprep doctor` tells more",
                outcome,
            )
        if not _loaded(host, self.name):
            raise ChangeFailed(
                f"modprobe {self.name} reports success, but /sys/module/{normal(self.name)} is not there", "", outcome
            )
        return outcome

    def _came(self, host: Host, module: str) -> bool:
        """Whether a new module came with ours rather than by chance at the same time.

        That is what modules.dep names, and what is no driver: algorithms that the kernel's crypto asks for by itself. A
        driver that udev loaded meanwhile has devices, which must not lose it when we go back.
        """
        return module in self.missing or exists(host, f"/sys/module/{module}/drivers") is False

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        # Exactly what came with it goes, in whatever order their use of one another allows: modprobe -r would take
        # idle modules that were there before as well.
        came: list[str] | None = (outcome or {}).get("loaded")
        left = [name for name in (self.missing if came is None else came) if _loaded(host, name)]
        while left:
            tried = [(name, host.run(["rmmod", name], deadline=BLOCKING)) for name in left]
            kept = [(name, result.stderr.strip()) for name, result in tried if _loaded(host, name)]
            if len(kept) == len(left):
                if came is None and not _loaded(host, self.name):
                    return  # it was cut off: what others need by now may have come with them
                raise ChangeFailed(f"rmmod {kept[0][0]} failed: {kept[0][1]}", "it stays loaded, which harms nothing")
            left = [name for name, _ in kept]


def _loaded(host: Host, name: str) -> bool:
    return exists(host, f"/sys/module/{normal(name)}") is True


def plan(facts: Facts, config: NodeConfig) -> tuple[list[LoadModule], dict[str, str]]:
    """The modules to load, and why those that cannot be loaded cannot: module -> words."""
    wanted: list[str] = []
    for pf in facts.pci.pfs:
        if pf.family.supported and pf.driver is None and pf.family.module not in wanted:
            wanted.append(pf.family.module)
    if any(vf.family.supported for vf in facts.pci.vfs) or any(pf.family.supported for pf in facts.pci.pfs):
        drivers = {config.of(pf).driver for pf in facts.pci.pfs} or {config.devices.driver}
        if drivers != {"none"}:
            wanted += ["vfio_iommu_type1", "vfio_pci"]
        if VFIO_VARIANT in drivers:
            wanted.append(VFIO_VARIANT)
    changes, hopeless = [], {}
    for name in wanted:
        module = facts.modules.get(name)
        if module.present is True:
            continue
        why = _obstacle(module)
        if why:
            hopeless[name] = why
        else:
            changes.append(LoadModule(name, facts.modules.missing(name)))
    return changes, hopeless


def _obstacle(module: Module) -> str:
    """Why a module is not loaded by us, "" when it can be."""
    if module.bans:
        ban = module.bans[0]
        return f"{ban.path} forbids loading {module.name}: {ban.line}"
    if module.file is None:
        return f"this kernel does not ship {module.name}"
    return ""
