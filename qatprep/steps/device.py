"""What the low-level verbs ask for, as lanes of the same changes that bootstrap makes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qatprep import devices
from qatprep.errors import InputError, QatprepError
from qatprep.facts import nodes, pci
from qatprep.facts.base import Unknown, exists, link_name, names, read_int, read_line
from qatprep.facts.modules import missing, shipped
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import DeviceNode, Pf, Services, Vf
from qatprep.host.base import Host
from qatprep.steps import sriov
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf
from qatprep.steps.driver import StartPf
from qatprep.steps.lanes import Plan, Refusal
from qatprep.steps.modules import LoadModule
from qatprep.steps.nodes import AS_MADE, CreateGroup, SetOwnership
from qatprep.steps.services import ReleasePf, SetServices

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_MODULES = {family.driver: family.module for family in devices.FAMILIES}
"""QAT's drivers are not called as their modules are."""
FORCE_HINT = "say --force if this is what you want"


def bind(
    host: Host, bdfs: Sequence[str], driver: str, *, group: str = "", mode: int = 0o660, force: bool = False
) -> Plan:
    """Bind functions to a driver ("" for none), and give their nodes to a group when one is named.

    InputError for a function that does not exist, or that only --force may take: a PF, a function in use by a network
    interface or a block device.
    """
    if driver and not _NAME.fullmatch(driver):
        raise InputError(f"{driver!r} is not the name of a driver", "for example vfio-pci")
    if group and not _NAME.fullmatch(group):
        raise InputError(f"{group!r} is not the name of a group", "for example --group qat")
    if driver == "vfio_pci":
        driver = devices.VFIO_PCI  # the module's name; the driver's has a dash
    functions = [_function(host, bdf) for bdf in bdfs]
    for function in functions:
        if not force:
            _guard(host, function, driver)
    first: list[Change] = []
    if driver and exists(host, f"{devices.PCI_DRIVERS}/{driver}") is not True:
        module = _MODULES.get(driver, driver)
        if shipped(host, module) is False:
            raise QatprepError(f"there is no driver {driver!r}, and this kernel has no module {module}")
        first.append(LoadModule(module, missing(host, module)))
        if driver in devices.VFIO_DRIVERS and exists(host, "/sys/module/vfio_iommu_type1") is not True:
            first.append(LoadModule("vfio_iommu_type1", missing(host, "vfio_iommu_type1")))
    if driver in devices.VFIO_DRIVERS:
        for function in functions:
            if function.grouped is False:
                raise QatprepError(
                    f"{function.bdf} is not behind an IOMMU: {driver} cannot take it",
                    "qatprep doctor --only 'QP-IOMMU-*' tells which layer is off",
                )
    known = nodes.groups(host)
    if group and driver in devices.VFIO_DRIVERS and not isinstance(known, Unknown) and group not in known:
        first.append(CreateGroup(group))
    gid = known.get(group, -1) if not isinstance(known, Unknown) else -1
    lanes: dict[str, list[Change]] = {}
    moved: list[Vf] = []
    for function in functions:
        lane = lanes.setdefault(function.pf or function.bdf, [])
        if function.driver != (driver or None):
            old = function.driver if isinstance(function.driver, str) else ""
            override = function.override if isinstance(function.override, str) else ""
            if (
                old
                and function.pf is None
                and (pf := pci.physical(host, function.bdf))
                and pf.driver == pf.family.driver
            ):
                lane += _release(pf)
                moved += pf.vfs
                old = ""
            lane.append(BindVf(function.bdf, old, override, driver, _owner(function.node)))
            moved.append(function)
    if group and driver in devices.VFIO_DRIVERS:
        for function in functions:
            node = function.node
            lane = lanes[function.pf or function.bdf]
            if function in moved or not isinstance(node, DeviceNode):
                lane.append(SetOwnership(function.bdf, group, mode, None, AS_MADE))
            elif (node.gid, node.mode) != (gid, mode):
                words = f"{node.uid}:{node.gid} {node.mode:04o}"
                lane.append(SetOwnership(function.bdf, group, mode, (node.uid, node.gid, node.mode), words))
    refused = _held(host, moved)
    return Plan(tuple(first), {name: tuple(lane) for name, lane in lanes.items() if lane}, refused=refused)


def _release(pf: Pf) -> list[Change]:
    """A PF leaves its QAT driver: its VFs first, and all that would be lost with it is written down."""
    text = pf.services.text if isinstance(pf.services, Services) and pf.configurable is True else ""
    state = pf.state if isinstance(pf.state, str) else "up"
    lane: list[Change] = [sriov.removal(pf, "up")] if pf.vfs else []
    return [*lane, ReleasePf(pf.bdf, pf.family.driver, text, state)]


def _owner(node: DeviceNode | Unknown | None) -> tuple[int, int, int] | None:
    return (node.uid, node.gid, node.mode) if isinstance(node, DeviceNode) else None


def services(host: Host, bdfs: Sequence[str], wanted: frozenset[str]) -> Plan:
    """Set the services of PFs. VFs that are there are destroyed, made again, and bound as they were."""
    text = devices.spell_services(wanted)
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
    return Plan(lanes=lanes, refused=_held(host, doomed))


def _again(pf: Pf, groups: dict[str, int] | Unknown) -> list[Change]:
    """VFs as they were: made, bound, and their nodes given to whom they belonged."""
    lane: list[Change] = [sriov.CreateVfs(pf.bdf, len(pf.vfs), "down")]
    lane += [BindVf(vf.bdf, "", "", vf.driver) for vf in pf.vfs if isinstance(vf.driver, str)]
    for vf in pf.vfs:
        node = vf.node
        if isinstance(node, DeviceNode) and (node.uid, node.gid, node.mode) != (0, 0, 0o600):
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
        if wanted not in (0, pf.total_vfs) and pf.family is not devices.OTHER:
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
    return Plan(lanes=lanes, refused=_held(host, doomed))


def _function(host: Host, bdf: str) -> Vf:
    found = pci.function(host, bdf)
    if found is None:
        raise InputError(f"there is no PCI device {bdf!r} on {host.label}", "qatprep device list --all shows them")
    return found


def _pfs(host: Host, bdfs: Sequence[str]) -> list[Pf]:
    out = []
    for bdf in bdfs:
        pf = pci.physical(host, bdf)
        if pf is None:
            raise InputError(f"there is no PCI device {bdf!r} on {host.label}", "qatprep device list shows them")
        if link_name(host, f"{devices.PCI_DEVICES}/{bdf}/physfn"):
            raise InputError(f"{bdf} is a VF, not a PF", "qatprep device list shows which is which")
        out.append(pf)
    return out


def _guard(host: Host, function: Vf, driver: str) -> None:
    """Refuse what is most likely a slip: a PF, a network interface that is up, a disk."""
    base = f"{devices.PCI_DEVICES}/{function.bdf}"
    if read_int(host, f"{base}/device") in devices.BY_PF_ID and function.family is not devices.OTHER:
        raise InputError(f"{function.bdf} is a PF: without its QAT driver it and its VFs are of no use", FORCE_HINT)
    if function.driver in devices.VFIO_DRIVERS or function.driver is None or function.driver == driver:
        return
    for name in _below(host, "/sys/class/net", function.bdf):
        if read_line(host, f"/sys/class/net/{name}/operstate") != "down":
            raise InputError(f"{function.bdf} is the network interface {name}, which is up", FORCE_HINT)
    disks = _below(host, "/sys/class/block", function.bdf)
    if disks or exists(host, f"{base}/nvme") is True:
        what = f" of the disk {disks[0]}" if disks else ""
        raise InputError(f"{function.bdf} is the storage controller{what}, in use by {function.driver}", FORCE_HINT)


def _below(host: Host, directory: str, bdf: str) -> list[str]:
    """The devices of a class that hang on a PCI function, behind whatever bus lies between (virtio, SCSI, NVMe)."""
    found = names(host, directory)
    below = []
    for name in () if isinstance(found, Unknown) else found:
        try:
            target = host.readlink(f"{directory}/{name}")
        except OSError:
            continue
        if f"/{bdf}/" in target:
            below.append(name)
    return below


def _held(host: Host, functions: Sequence[Vf]) -> tuple[Refusal, ...]:
    """Refusals for functions somebody has open: taking them away would wait in the kernel until he lets go."""
    if not functions:
        return ()
    holders, _ = nodes.holders(host, tuple(functions))
    by_lane: dict[str, list[Holder]] = {}
    owner = {function.bdf: function.pf or function.bdf for function in functions}
    for holder in holders:
        by_lane.setdefault(owner[holder.vf], []).append(holder)
    return tuple(
        Refusal(lane, f"{', '.join(sorted({h.vf for h in mine}))} would be taken away while in use", tuple(mine))
        for lane, mine in by_lane.items()
    )
