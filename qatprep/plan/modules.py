"""Kernel modules: which are wanted and can be loaded."""

from __future__ import annotations

from collections.abc import Sequence

from qatprep import hardware
from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.modules import LoadModule


def plan(facts: Facts, config: NodeConfig) -> tuple[LoadModule, ...]:
    """The modules that the devices of this host lack and that can be loaded, as far as any of them is prepared
    (`serving`). Why another cannot be loaded is for the checks to say. Without modules.dep modprobe loads none.
    """
    modules = [facts.modules.get(name) for name in _wanted(facts, config)]
    loadable = [m for m in modules if m.present is not True and not m.bans and isinstance(m.file, str)]
    return tuple(LoadModule(module.name, facts.modules.missing(module.name)) for module in loadable)


def serving(
    modules: Sequence[LoadModule], facts: Facts, lanes: Sequence[Change], waited_for: set[str]
) -> list[LoadModule]:
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

    return [change for change in modules if serves(change.name)]


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
