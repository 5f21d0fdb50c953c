"""What device services and vfs ask for, as lanes of the same changes that bootstrap makes."""

from __future__ import annotations

from collections.abc import Sequence

from qatprep import hardware
from qatprep.errors import InputError, QatprepError
from qatprep.facts import nodes, pci
from qatprep.facts.base import Unknown, link_name
from qatprep.facts.pci import DeviceNode, Pf, Services, Vf
from qatprep.host.base import Host
from qatprep.plan.bind import held
from qatprep.plan.model import Plan
from qatprep.steps import sriov
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.nodes import AS_MADE
from qatprep.steps.owners import SetOwnership
from qatprep.steps.pf import StartPf
from qatprep.steps.services import ReleasePf, SetServices


def services(host: Host, bdfs: Sequence[str], wanted: frozenset[str]) -> Plan:
    """Set the services of PFs. VFs that are there are destroyed, made again, and bound as they were."""
    text = hardware.spell_services(wanted)
    lanes: dict[str, tuple[Change, ...]] = {}
    doomed: list[Vf] = []
    known = nodes.groups(host)
    for pf in _pfs(host, bdfs):
        if not isinstance(pf.services, Services) or pf.configurable is not True:
            why = pf.services.reason if isinstance(pf.services, Unknown) else "its kernel driver has no cfg_services"
            raise QatprepError(
                f"the services of {pf.bdf} cannot be set: {why}", "qatprep doctor --only 'QP-PF-*,QP-SVC-*,QP-KRN-001'"
            )
        if pf.services.tokens == wanted:
            continue
        state = pf.state if isinstance(pf.state, str) else "up"
        lane: list[Change] = []
        if pf.vfs:
            lane += [sriov.removal(pf, "down"), SetServices(pf.bdf, pf.services.text, text, "down")]
            lane += _again(pf, known)
            doomed += pf.vfs
        else:
            lane.append(SetServices(pf.bdf, pf.services.text, text, state))
            if state == "up":
                lane.append(StartPf(pf.bdf))
        lanes[pf.bdf] = tuple(lane)
    return Plan(lanes=lanes, refused=held(host, doomed))


def _again(pf: Pf, groups: dict[str, int] | Unknown) -> list[Change]:
    """VFs as they were: made, bound, and their nodes given to whom they belonged."""
    lane: list[Change] = [sriov.CreateVfs(pf.bdf, len(pf.vfs), "down")]
    lane += [BindVf(vf.bdf, "", "", vf.driver) for vf in pf.vfs if isinstance(vf.driver, str)]
    for vf in pf.vfs:
        node = vf.node
        if isinstance(node, DeviceNode) and node.owner != (0, 0, 0o600):
            named = nodes.group_name(groups, node.gid)
            lane.append(SetOwnership(vf.bdf, named, node.mode, None, AS_MADE, node.uid))
    return lane


def vfs(host: Host, bdfs: Sequence[str], count: int | None) -> Plan:
    """Create (None: all) or remove (0) the VFs of PFs. InputError for a number the driver would not make."""
    lanes: dict[str, tuple[Change, ...]] = {}
    doomed: list[Vf] = []
    for pf in _pfs(host, bdfs):
        if not isinstance(pf.total_vfs, int) or not pf.total_vfs:
            raise QatprepError(f"{pf.bdf} cannot have VFs: sriov_totalvfs is absent or 0", "is SR-IOV on in the BIOS?")
        if pf.driver is None:
            raise QatprepError(f"{pf.bdf} has no driver, so it cannot make VFs", "qatprep doctor --only QP-PF-001")
        wanted = pf.total_vfs if count is None else count
        if wanted > pf.total_vfs:
            raise InputError(f"{pf.bdf} can have at most {pf.total_vfs} VFs, not {wanted}")
        if wanted not in (0, pf.total_vfs) and pf.family is not hardware.OTHER:
            raise InputError(
                f"the QAT driver makes all {pf.total_vfs} VFs of {pf.bdf} or none, never {wanted}",
                "leave --count out, and hand out as many VFs as you want",
            )
        if wanted == len(pf.vfs):
            continue
        state = pf.state if isinstance(pf.state, str) else ""
        lane: list[Change] = []
        if pf.vfs:
            lane.append(sriov.removal(pf, "up"))
            doomed += pf.vfs
        if wanted:
            lane.append(sriov.CreateVfs(pf.bdf, wanted, state))
        lanes[pf.bdf] = tuple(lane)
    return Plan(lanes=lanes, refused=held(host, doomed))


def release(pf: Pf) -> list[Change]:
    """A PF leaves its QAT driver: its VFs first, and all that would be lost with it is written down."""
    text = pf.services.text if isinstance(pf.services, Services) and pf.configurable is True else ""
    state = pf.state if isinstance(pf.state, str) else "up"
    lane: list[Change] = [sriov.removal(pf, "up")] if pf.vfs else []
    return [*lane, ReleasePf(pf.bdf, pf.family.driver, text, state)]


def _pfs(host: Host, bdfs: Sequence[str]) -> list[Pf]:
    out = []
    for bdf in bdfs:
        pf = pci.physical(host, bdf)
        if pf is None:
            raise InputError(f"there is no PCI device {bdf!r} on {host.label}", "qatprep device list shows them")
        if link_name(host, f"{hardware.PCI_DEVICES}/{bdf}/physfn"):
            raise InputError(f"{bdf} is a VF, not a PF", "qatprep device list shows which is which")
        out.append(pf)
    return out
