"""What is broken above the steps, for one device: BIOS, kernel, firmware, driver. It is reported, never touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from qatprep.config import NodeConfig, PfConfig, problem
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.health import signs_of_death
from qatprep.facts.modules import normal
from qatprep.facts.pci import Pf, Vf
from qatprep.hardware import spell_services
from qatprep.plan.model import Skipped
from qatprep.plan.modules import Modules


class Inputs(NamedTuple):
    """What the devices of a host are planned from."""

    facts: Facts
    config: NodeConfig
    modules: Modules
    tried: frozenset[str]
    """PFs whose driver was just tried in vain."""


Rule = Callable[[Inputs, Pf], Skipped | None]


def of_pf(inputs: Inputs, pf: Pf) -> Skipped | None:
    """Why a PF is skipped, None when nothing stands in the way."""
    return next((found for rule in _RULES if (found := rule(inputs, pf))), None)


def of_vf(inputs: Inputs, vf: Vf) -> Skipped | None:
    """The same for a VF without a PF, as a VM sees it."""
    want = inputs.config.devices
    if want.driver == "none":
        return None
    if vf.grouped is not True:
        return Skipped(vf.bdf, "not behind an IOMMU: the VM needs a virtual one", "QP-IOMMU-004")
    return _vfio(inputs, vf.bdf, want)


def _other_stack(inputs: Inputs, pf: Pf) -> Skipped | None:
    if not inputs.facts.stack.active:
        return None
    return Skipped(pf.bdf, "the out-of-tree QAT stack is installed beside the kernel's driver", "QP-STACK-001")


def _foreign_driver(inputs: Inputs, pf: Pf) -> Skipped | None:
    if isinstance(pf.driver, Unknown):
        return Skipped(pf.bdf, pf.driver.reason, "QP-PF-001")
    if pf.driver not in (None, pf.family.driver):
        return Skipped(pf.bdf, f"bound to {pf.driver} instead of {pf.family.driver}", "QP-PF-001")
    return None


def _no_module(inputs: Inputs, pf: Pf) -> Skipped | None:
    hopeless = inputs.modules.hopeless.get(pf.family.module) if pf.driver is None else None
    return hopeless and Skipped(pf.bdf, hopeless.reason, "QP-MOD-002" if hopeless.banned else "QP-MOD-001")


def _no_firmware(inputs: Inputs, pf: Pf) -> Skipped | None:
    if pf.driver is None:
        for name in pf.family.firmware:
            if not inputs.facts.firmware.images[name].found:
                return Skipped(pf.bdf, f"firmware {name} is not where this kernel looks", "QP-FW-001")
    return None


def _does_not_start(inputs: Inputs, pf: Pf) -> Skipped | None:
    if pf.driver is not None:
        return None
    log = inputs.facts.log.of("firmware-rejected", "firmware-svn", "power", "numa", "fused", "engines", bdf=pf.bdf)
    if pf.bdf in inputs.tried or (log and pf.family.module not in inputs.modules.loading):
        return Skipped(pf.bdf, log[-1].text if log else _in_vain(inputs.facts, pf), "QP-PF-001")
    return None


def _in_vain(facts: Facts, pf: Pf) -> str:
    """Why a driver that was tried did not take its PF, where the kernel log does not say."""
    version = facts.kernel.version
    if isinstance(version, Unknown) or version[:2] >= pf.family.since:
        return "its driver could not start it"
    since = ".".join(map(str, pf.family.since))
    return f"its driver does not take it: {pf.name} came with Linux {since}, this is {facts.kernel.release}"


def _dead(inputs: Inputs, pf: Pf) -> Skipped | None:
    facts = inputs.facts
    signs = signs_of_death(pf, facts.health.of(pf.bdf), facts.log)
    return Skipped(pf.bdf, f"does not answer ({signs[0].path}: {signs[0].value})", "QP-PF-003") if signs else None


def _no_iommu(inputs: Inputs, pf: Pf) -> Skipped | None:
    want = inputs.config.of(pf)
    if not want.vfs or want.driver == "none":
        return None
    if pf.grouped is not True:
        reason = pf.grouped.reason if isinstance(pf.grouped, Unknown) else "not behind an IOMMU"
        return Skipped(pf.bdf, reason, "QP-IOMMU-002" if inputs.facts.iommu.on is False else "QP-IOMMU-004")
    return _vfio(inputs, pf.bdf, want)


def _vfio(inputs: Inputs, bdf: str, want: PfConfig) -> Skipped | None:
    """A module of VFIO's that this kernel lacks, or must not load."""
    for name in ("vfio_pci", "vfio_iommu_type1", normal(want.driver)):
        if hopeless := inputs.modules.hopeless.get(name):
            return Skipped(bdf, hopeless.reason, "QP-MOD-005" if hopeless.banned else "QP-MOD-004")
    return None


def _no_sriov(inputs: Inputs, pf: Pf) -> Skipped | None:
    if not inputs.config.of(pf).vfs:
        return None
    if isinstance(pf.total_vfs, Unknown):
        return Skipped(pf.bdf, pf.total_vfs.reason, "QP-SRIOV-002")
    if pf.driver is not None and not pf.total_vfs:
        return Skipped(pf.bdf, "it cannot have VFs: sriov_totalvfs is absent or 0", "QP-SRIOV-002")
    return None


def _impossible(inputs: Inputs, pf: Pf) -> Skipped | None:
    """At boot: elsewhere such a configuration is refused before there is a plan."""
    if not (rule := problem(inputs.config, pf)):
        return None
    wanted = spell_services(inputs.config.of(pf).services or frozenset())
    return Skipped(pf.bdf, f"{wanted} is configured, but a {pf.family.name} device {rule}", "QP-SVC-003")


def _unseen(inputs: Inputs, pf: Pf) -> Skipped | None:
    if pf.driver is not None:
        for value in (pf.num_vfs, pf.state):
            if isinstance(value, Unknown):
                return Skipped(pf.bdf, value.reason, "QP-SRIOV-001")
    for vf in pf.vfs:
        if isinstance(vf.driver, Unknown):
            return Skipped(vf.bdf, vf.driver.reason, "QP-VFIO-001")
    return None


_RULES: tuple[Rule, ...] = (
    _other_stack, _foreign_driver, _no_module, _no_firmware, _does_not_start, _dead, _no_iommu, _no_sriov, _impossible,
    _unseen,
)  # fmt: skip
"""The first that holds is reported: it outranks those below it."""
