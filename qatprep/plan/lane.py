"""The changes of one PF, or of one VF in a VM, in the order the kernel forces: services, VFs, binding, device nodes."""

from __future__ import annotations

from dataclasses import replace

from qatprep import hardware
from qatprep.config import PfConfig
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf, Services, Vf
from qatprep.plan.model import Skipped
from qatprep.plan.obstacles import Inputs
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.owners import SetOwnership
from qatprep.steps.pf import SetAutoReset, StartPf
from qatprep.steps.services import SetServices
from qatprep.steps.sriov import CreateVfs, RemoveVfs

UNKNOWN_YET = "not known before its driver runs"


def of_pf(inputs: Inputs, pf: Pf) -> tuple[list[Change], Skipped | None]:
    """The lane of a PF that nothing stands in the way of; what of its services cannot be set."""
    want = inputs.config.of(pf)
    switch = None if want.auto_reset is None else SetAutoReset.of(pf, want.auto_reset)
    lane, skipped = _offer(inputs, pf, want)
    return ([switch] if switch else []) + lane, skipped


def _offer(inputs: Inputs, pf: Pf, want: PfConfig) -> tuple[list[Change], Skipped | None]:
    """Services and VFs."""
    services = _services(inputs, pf, want)
    skipped = services if isinstance(services, Skipped) else None
    change = services if isinstance(services, SetServices) else None
    if pf.dangling and want.vfs:
        why = f"{pf.dangling[0]} leads nowhere: no VFs can be made before the PF itself was taken off the bus"
        rest = [change for vf in pf.vfs for change in of_vf(inputs, vf, want)]
        return rest, skipped or Skipped(pf.bdf, why, "QP-SRIOV-001")
    whole = pf.vfs and not pf.lost  # a VF that is gone comes back only with all the others
    if whole and pf.driver == pf.family.driver and want.vfs and change is None:
        return [change for vf in pf.vfs for change in of_vf(inputs, vf, want)], skipped
    lane: list[Change] = []
    if pf.vfs and pf.driver == pf.family.driver:
        lane.append(RemoveVfs.of(pf, "down" if change else "up"))
        if change:
            change = replace(change, old_state="down")  # undone before the VFs come back, which starts the PF
    if change:
        lane.append(change)
    if want.vfs:
        lane += _new_vfs(inputs, pf, want, "down" if change else pf.state if isinstance(pf.state, str) else "")
    elif change or pf.state == "down":
        lane.append(StartPf(pf.bdf))
    return lane, skipped


def of_vf(inputs: Inputs, vf: Vf, want: PfConfig) -> list[Change]:
    """What an existing VF still lacks: hosts are fixed VF by VF, not all or nothing."""
    if want.driver == "none":
        return []
    group, mode = inputs.config.group, inputs.config.mode
    lacks_migration = vf.driver == hardware.VFIO_PCI and want.driver == hardware.VFIO_VARIANT
    if vf.driver not in hardware.VFIO_DRIVERS or lacks_migration:
        return [BindVf.of(vf, want.driver), SetOwnership.fresh(vf.bdf, group, mode)]
    change = SetOwnership.of(vf, group, mode, inputs.facts.nodes.groups)
    return [change] if change else []


def _services(inputs: Inputs, pf: Pf, want: PfConfig) -> SetServices | Skipped | None:
    """The change of a PF's services, None where they are as configured, or why they cannot be set."""
    if want.services is None:
        return None
    new = hardware.spell_services(want.services)
    if pf.driver != pf.family.driver:
        return SetServices(pf.bdf, UNKNOWN_YET, new, "up")
    now = pf.services
    if isinstance(now, Services) and now.tokens == want.services:
        return None
    if isinstance(pf.configurable, Unknown):
        return Skipped(pf.bdf, f"its services cannot be seen: {pf.configurable.reason}", "QP-SVC-002")
    text = now.reason if isinstance(now, Unknown) else now.text if now else "unknown"
    if not pf.configurable:
        release = inputs.facts.kernel.release
        return Skipped(pf.bdf, f"this kernel ({release}) cannot set services; they stay {text}", "QP-KRN-001")
    if not isinstance(now, Services):
        return Skipped(pf.bdf, f"its services cannot be read: {text}", "QP-SVC-002")
    return SetServices(pf.bdf, now.text, new, pf.state if isinstance(pf.state, str) else "up")


def _new_vfs(inputs: Inputs, pf: Pf, want: PfConfig, state: str) -> list[Change]:
    """All VFs of a PF that has none by then, bound and given to the group. `state`: the PF's before they are made."""
    total = pf.total_vfs if isinstance(pf.total_vfs, int) and pf.total_vfs else pf.family.total_vfs
    lane: list[Change] = [CreateVfs(pf.bdf, total, state)]
    if want.driver != "none":
        bdfs = [pf.vf_bdf(index) for index in range(total)]
        lane += [BindVf(bdf, "", "", want.driver) for bdf in bdfs]
        lane += [SetOwnership.fresh(bdf, inputs.config.group, inputs.config.mode) for bdf in bdfs]
    return lane
