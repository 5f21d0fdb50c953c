"""Kernel modules: which are wanted, and why those that cannot be loaded cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qatprep import hardware
from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.facts.modules import Module
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.modules import LoadModule


class Hopeless(NamedTuple):
    """Why a module cannot be loaded."""

    reason: str
    banned: bool
    """Forbidden by the host's own configuration, rather than not shipped with the kernel."""


class Modules(NamedTuple):
    load: tuple[LoadModule, ...]
    hopeless: Mapping[str, Hopeless]
    """Module -> why it is not loaded."""

    @property
    def loading(self) -> frozenset[str]:
        return frozenset(change.name for change in self.load)


def plan(facts: Facts, config: NodeConfig) -> Modules:
    """The modules that the devices of this host lack, as far as any of them is prepared (`serving`)."""
    load, hopeless = [], {}
    for name in _wanted(facts, config):
        module = facts.modules.get(name)
        if module.present is True:
            continue
        if why := _hopeless(module):
            hopeless[name] = why
        else:
            load.append(LoadModule(name, facts.modules.missing(name)))
    return Modules(tuple(load), hopeless)


def serving(modules: Modules, facts: Facts, lanes: Sequence[Change], waited_for: set[str]) -> list[LoadModule]:
    """The modules that serve something in the lanes: nothing is loaded for devices that are skipped.

    `waited_for`: QAT modules of PFs whose driver does not run yet.
    """
    binds = any(isinstance(change, BindVf) for change in lanes)
    bound = any(vf.bound is True for vf in facts.pci.all_vfs)
    qat = {family.module for family in hardware.FAMILIES}

    def serves(name: str) -> bool:
        if name in qat:
            return name in waited_for
        return binds or (name == "vfio_iommu_type1" and bound)  # a bound VF is of no use without its container

    return [change for change in modules.load if serves(change.name)]


def _wanted(facts: Facts, config: NodeConfig) -> list[str]:
    pfs = [pf for pf in facts.pci.pfs if pf.family.supported]
    wanted = list(dict.fromkeys(pf.family.module for pf in pfs if pf.driver is None))
    if pfs or any(vf.family.supported for vf in facts.pci.vfs):
        drivers = {config.of(pf).driver for pf in facts.pci.pfs} or {config.devices.driver}
        if drivers != {"none"}:
            wanted += reversed(facts.vfio_modules)  # type1 first: a VF is of no use without its container
        if hardware.VFIO_VARIANT in drivers:
            wanted.append(hardware.VFIO_VARIANT)
    return wanted


def _hopeless(module: Module) -> Hopeless | None:
    if module.bans:
        ban = module.bans[0]
        return Hopeless(f"{ban.path} forbids loading {module.name}: {ban.line}", banned=True)
    if module.file is None:
        return Hopeless(f"this kernel does not ship {module.name}", banned=False)
    return None
