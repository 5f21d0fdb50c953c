"""What device services and vfs ask for, as lanes of the same changes that bootstrap makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from qatprep import hardware
from qatprep.errors import InputError, QatprepError
from qatprep.facts import kernel, nodes, pci
from qatprep.facts.base import Unknown, link_name
from qatprep.facts.pci import DeviceNode, Pf, Services, Vf
from qatprep.host.base import Host
from qatprep.plan import doubts
from qatprep.plan.holders import held
from qatprep.plan.model import Plan
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.owners import SetOwnership
from qatprep.steps.pf import SetAutoReset, StartPf, StopPf
from qatprep.steps.services import ReleasePf, SetServices
from qatprep.steps.sriov import CreateVfs, RemoveVfs


def services(host: Host, bdfs: Sequence[str], wanted: frozenset[str]) -> Plan:
    """Set the services of PFs. VFs that are there are destroyed, made again, and bound as they were."""
    text = hardware.spell_services(wanted)
    known = nodes.groups(host)
    pfs = _pfs(host, bdfs)
    for pf in pfs:
        if pf.family is not hardware.OTHER and (rule := pf.family.services.problem(wanted)):
            examples = " or ".join(pf.family.services.nearest(wanted))
            raise InputError(
                f"{pf.bdf} cannot be set to {text!r}: a {pf.family.name} device {rule}", f"for example {examples}"
            )
    lanes = {pf.bdf: tuple(_set_services(host, pf, wanted, text, known)) for pf in pfs}
    doubtful = doubts.of([(pf, wanted) for pf in pfs if lanes[pf.bdf]], kernel.version(host))
    return _plan(host, pfs, lanes)._replace(doubts=doubtful)


def _set_services(
    host: Host, pf: Pf, wanted: frozenset[str], text: str, groups: dict[str, int] | Unknown
) -> list[Change]:
    if not isinstance(pf.services, Services) or pf.configurable is not True:
        why = pf.services.reason if isinstance(pf.services, Unknown) else "its kernel driver has no cfg_services"
        raise QatprepError(f"the services of {pf.bdf} cannot be set: {why}", _advice(host, pf, "services"))
    if pf.services.tokens == wanted:
        return []
    if pf.vfs:
        return [RemoveVfs.of(pf, "down"), SetServices(pf.bdf, pf.services.text, text, "down"), *_again(pf, groups)]
    state = pf.state if isinstance(pf.state, str) else "up"
    change = SetServices(pf.bdf, pf.services.text, text, state)
    return [change, StartPf(pf.bdf)] if state == "up" else [change]


def _again(pf: Pf, groups: dict[str, int] | Unknown) -> list[Change]:
    """VFs as they were: made, bound, and their nodes given to whom they belonged."""
    lane: list[Change] = [CreateVfs(pf.bdf, len(pf.vfs), "down")]
    lane += [BindVf(vf.bdf, "", "", vf.driver) for vf in pf.vfs if isinstance(vf.driver, str)]
    for vf in pf.vfs:
        node = vf.node
        if isinstance(node, DeviceNode) and node.owner != (0, 0, 0o600):
            lane.append(SetOwnership.fresh(vf.bdf, nodes.group_name(groups, node.gid), node.mode, node.uid))
    return lane


def vfs(host: Host, bdfs: Sequence[str], count: int | None) -> Plan:
    """Create (None: all) or remove (0) the VFs of PFs. InputError for a number the driver would not make."""
    pfs = _pfs(host, bdfs)
    return _plan(host, pfs, {pf.bdf: tuple(_set_vfs(host, pf, count)) for pf in pfs})


def _set_vfs(host: Host, pf: Pf, count: int | None) -> list[Change]:
    if not isinstance(pf.total_vfs, int) or not pf.total_vfs:
        raise QatprepError(f"{pf.bdf} cannot have VFs: sriov_totalvfs is absent or 0", _advice(host, pf, "sr-iov"))
    if pf.driver is None:
        raise QatprepError(f"{pf.bdf} has no driver, so it cannot make VFs", _advice(host, pf, "driver"))
    wanted = pf.total_vfs if count is None else count
    if wanted > pf.total_vfs:
        raise InputError(f"{pf.bdf} can have at most {pf.total_vfs} VFs, not {wanted}")
    if wanted not in (0, pf.total_vfs) and pf.family is not hardware.OTHER:
        raise InputError(
            f"the QAT driver makes all {pf.total_vfs} VFs of {pf.bdf} or none, never {wanted}",
            "leave --count out, and hand out as many VFs as you want",
        )
    if wanted == len(pf.vfs):
        return []
    lane: list[Change] = [RemoveVfs.of(pf, "up")] if pf.vfs else []
    if wanted:
        lane.append(CreateVfs(pf.bdf, wanted, pf.state if isinstance(pf.state, str) else ""))
    return lane


def power(host: Host, bdfs: Sequence[str], action: Literal["up", "down", "reset"]) -> Plan:
    """Bring PFs up or down, or reset them: down and up again, which resets a device on every kernel
    (qat_common/adf_init.c adf_dev_shutdown, adf_dev_restore); VFs that go by it are made again, and bound as they were.

    Not by the PCI attribute `reset`: before Linux 7.2 the driver is not notified, and the device loses its firmware
    (qat_common/adf_aer.c, reset_prepare). InputError for what is no QAT PF, QatprepError for one that has no such
    switch.
    """
    groups = nodes.groups(host)
    pfs = _pfs(host, bdfs)
    plan = _plan(host, pfs, {pf.bdf: tuple(_power(host, pf, action, groups)) for pf in pfs})
    return plan._replace(restores=action == "reset" and all(pf.state == "up" for pf in pfs))


def _power(host: Host, pf: Pf, action: str, groups: dict[str, int] | Unknown) -> list[Change]:
    if not pf.family.supported:
        raise InputError(f"{pf.bdf} is no QAT PF that can be brought up or down", "qatprep device list shows them")
    if pf.driver != pf.family.driver:
        raise QatprepError(f"{pf.bdf} is not bound to {pf.family.driver}", _advice(host, pf, "driver"))
    for fact in (pf.state, pf.num_vfs):
        if isinstance(fact, Unknown):
            raise QatprepError(f"the state of {pf.bdf} is unknown: {fact.reason}")
    if pf.state is None:
        raise QatprepError(
            f"{pf.bdf} cannot be brought up or down: it has no qat/state, which came with Linux 6.0",
            f"load its driver again: modprobe -r {pf.family.module}; modprobe {pf.family.module}",
        )
    if pf.state == "down":
        return [] if action == "down" else [StartPf(pf.bdf)]
    if action == "up":
        return []
    down: list[Change] = [RemoveVfs.of(pf, "down") if pf.vfs else StopPf(pf.bdf)]
    if action == "down":
        return down
    return [*down, *(_again(pf, groups) if pf.vfs else [StartPf(pf.bdf)])]


def _advice(host: Host, pf: Pf, stage: str) -> str:
    from qatprep.assess import advice  # all checks: only where something is refused

    return advice(host, pf.bdf, f"qatprep doctor --only {stage}")


def _plan(host: Host, pfs: Sequence[Pf], lanes: dict[str, tuple[Change, ...]]) -> Plan:
    functions: list[Vf] = [vf for pf in pfs for vf in pf.vfs]
    return Plan(lanes={pf: lane for pf, lane in lanes.items() if lane}, refused=held(host, lanes, functions))


def release(pf: Pf) -> list[Change]:
    """A PF leaves its QAT driver: its VFs first, and all that would be lost with it is written down."""
    lane: list[Change] = [RemoveVfs.of(pf, "up")] if pf.vfs else []
    if switch := SetAutoReset.of(pf, False):
        lane.append(switch)  # the driver forgets it: switched off first, undoing switches it on again
    return [*lane, ReleasePf.of(pf)]


def _pfs(host: Host, bdfs: Sequence[str]) -> list[Pf]:
    out = []
    for bdf in bdfs:
        pf = pci.physical(host, bdf)
        if pf is None:
            raise InputError(f"there is no PCI device {bdf!r} on {host.label}", "qatprep device list shows them")
        parent = link_name(host, f"{hardware.PCI_DEVICES}/{bdf}/physfn")
        if isinstance(parent, Unknown):
            raise QatprepError(f"cannot see whether {bdf} is a PF or a VF: {parent.reason}")
        if parent is not None:
            raise InputError(f"{bdf} is a VF, not a PF", "qatprep device list shows which is which")
        out.append(pf)
    return out
