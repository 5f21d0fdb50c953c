"""The changes of one PF, or of one VF in a VM, in the order the kernel forces: services, VFs, binding, device nodes."""

from __future__ import annotations

from dataclasses import replace

from qatprep import hardware
from qatprep.assess import Assessment, Skipped
from qatprep.config import PfConfig
from qatprep.facts.pci import Pf, Services, Vf
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.owners import SetOwnership
from qatprep.steps.pf import SetAutoReset, StartPf
from qatprep.steps.services import SetServices
from qatprep.steps.sriov import CreateVfs, RemoveVfs

UNKNOWN_YET = "not known before its driver runs"


def of_pf(judged: Assessment, pf: Pf) -> tuple[list[Change], list[Skipped]]:
    """The lane of a PF that is not skipped, and those of its VFs that are."""
    want = judged.config.of(pf)
    switch = None if want.auto_reset is None else SetAutoReset.of(pf, want.auto_reset)
    lane, skipped = _offer(judged, pf, want)
    return ([switch] if switch else []) + lane, skipped


def _offer(judged: Assessment, pf: Pf, want: PfConfig) -> tuple[list[Change], list[Skipped]]:
    """Services and VFs."""
    change = _services(pf, want)
    # A VF that is gone comes back only with all the others.
    if pf.vfs and not pf.lost and pf.driver == pf.family.driver and want.vfs and change is None:
        skipped = [found for vf in pf.vfs if (found := judged.why(vf.bdf))]
        without = {item.subject for item in skipped}
        return [step for vf in pf.vfs if vf.bdf not in without for step in of_vf(judged, vf, want)], skipped
    lane: list[Change] = []
    if pf.vfs and pf.driver == pf.family.driver:
        lane.append(RemoveVfs.of(pf, "down" if change else "up"))
        if change:
            change = replace(change, old_state="down")  # undone before the VFs come back, which starts the PF
    if change:
        lane.append(change)
    if want.vfs:
        lane += _new_vfs(judged, pf, want, "down" if change else pf.state if isinstance(pf.state, str) else "")
    elif change or pf.state == "down":
        lane.append(StartPf(pf.bdf))
    return lane, []


def of_vf(judged: Assessment, vf: Vf, want: PfConfig) -> list[Change]:
    """What an existing VF still lacks: hosts are fixed VF by VF, not all or nothing."""
    if want.driver == "none":
        return []
    group, mode = judged.config.group, judged.config.mode
    lacks_migration = vf.driver == hardware.VFIO_PCI and want.driver == hardware.VFIO_VARIANT
    if vf.driver not in hardware.VFIO_DRIVERS or lacks_migration:
        return [BindVf.of(vf, want.driver), SetOwnership.fresh(vf.bdf, group, mode)]
    change = SetOwnership.of(vf, group, mode, judged.facts.nodes.groups)
    return [change] if change else []


def _services(pf: Pf, want: PfConfig) -> SetServices | None:
    """The change of a PF's services, None where they are as configured, or where this kernel cannot set them."""
    if want.services is None:
        return None
    new = hardware.spell_services(want.services)
    if pf.driver != pf.family.driver:
        return SetServices(pf.bdf, UNKNOWN_YET, new, "up")
    now = pf.services
    if not isinstance(now, Services) or now.tokens == want.services or pf.configurable is not True:
        return None
    return SetServices(pf.bdf, now.text, new, pf.state if isinstance(pf.state, str) else "up")


def _new_vfs(judged: Assessment, pf: Pf, want: PfConfig, state: str) -> list[Change]:
    """All VFs of a PF that has none by then, bound and given to the group. `state`: the PF's before they are made."""
    total = pf.total_vfs if isinstance(pf.total_vfs, int) and pf.total_vfs else pf.family.total_vfs
    lane: list[Change] = [CreateVfs(pf.bdf, total, state)]
    if want.driver != "none":
        bdfs = [pf.vf_bdf(index) for index in range(total)]
        lane += [BindVf(bdf, "", "", want.driver) for bdf in bdfs]
        lane += [SetOwnership.fresh(bdf, judged.config.group, judged.config.mode) for bdf in bdfs]
    return lane
