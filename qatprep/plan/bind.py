"""What device bind and unbind ask for, as lanes of the same changes that bootstrap makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from qatprep import hardware
from qatprep.errors import InputError, QatprepError
from qatprep.facts import nodes, pci
from qatprep.facts.base import Unknown, exists, names, read_int, read_line
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import DeviceNode, Vf
from qatprep.host.base import Host
from qatprep.plan.model import Plan, Refusal
from qatprep.steps.base import Change
from qatprep.steps.binding import handover
from qatprep.steps.nodes import AS_MADE

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}"
_MODULES = {family.driver: family.module for family in hardware.FAMILIES}
"""QAT's drivers are not called as their modules are."""
FORCE_HINT = "say --force if this is what you want"


def bind(
    host: Host, bdfs: Sequence[str], driver: str, *, group: str = "", mode: int = 0o660, force: bool = False
) -> Plan:
    """Bind functions to a driver ("" for none), and give their nodes to a group when one is named.

    InputError for a function that does not exist, or that only --force may take: a PF, a function in use by a network
    interface or a block device.
    """
    if driver and not re.fullmatch(_NAME, driver):
        raise InputError(f"{driver!r} is not the name of a driver", "for example vfio-pci")
    if group and not re.fullmatch(_NAME, group):
        raise InputError(f"{group!r} is not the name of a group", "for example --group qat")
    if driver == "vfio_pci":
        driver = hardware.VFIO_PCI  # the module's name; the driver's has a dash
    functions = pci.functions(host, bdfs)
    there = {function.bdf for function in functions}
    if missing := [bdf for bdf in bdfs if bdf not in there]:
        raise InputError(
            f"there is no PCI device {missing[0]!r} on {host.label}", "qatprep device list --all shows them"
        )
    for function in functions:
        if not force:
            _guard(host, function, driver)
    first: list[Change] = []
    if driver and exists(host, f"{hardware.PCI_DRIVERS}/{driver}") is not True:
        from qatprep.facts import modules
        from qatprep.steps.modules import LoadModule

        module = _MODULES.get(driver, driver)
        if modules.shipped(host, module) is False:
            raise QatprepError(f"there is no driver {driver!r}, and this kernel has no module {module}")
        first.append(LoadModule(module, modules.missing(host, module)))
        if driver in hardware.VFIO_DRIVERS and exists(host, "/sys/module/vfio_iommu_type1") is not True:
            first.append(LoadModule("vfio_iommu_type1", modules.missing(host, "vfio_iommu_type1")))
    if driver in hardware.VFIO_DRIVERS:
        for function in functions:
            if function.grouped is False:
                raise QatprepError(
                    f"{function.bdf} is not behind an IOMMU: {driver} cannot take it",
                    "qatprep doctor --only 'QP-IOMMU-*' tells which layer is off",
                )
    known = nodes.groups(host)
    if group and driver in hardware.VFIO_DRIVERS and not isinstance(known, Unknown) and group not in known:
        from qatprep.steps.owners import CreateGroup

        first.append(CreateGroup(group))
    gid = known.get(group, -1) if not isinstance(known, Unknown) else -1
    lanes: dict[str, list[Change]] = {}
    moved: list[Vf] = []
    for function in functions:
        lane = lanes.setdefault(function.pf or function.bdf, [])
        if function.driver != (driver or None):
            change = handover(function, driver)
            if (
                change.old
                and function.pf is None
                and (pf := pci.physical(host, function.bdf))
                and pf.driver == pf.family.driver
            ):
                from qatprep.plan.pfs import release

                lane += release(pf)
                moved += pf.vfs
                change = replace(change, old="")
            lane.append(change)
            moved.append(function)
    if group and driver in hardware.VFIO_DRIVERS:
        from qatprep.steps.owners import SetOwnership

        new = {function.bdf for function in moved}
        for function in functions:
            node = function.node
            lane = lanes[function.pf or function.bdf]
            if function.bdf in new or not isinstance(node, DeviceNode):
                lane.append(SetOwnership(function.bdf, group, mode, None, AS_MADE))
            elif (node.gid, node.mode) != (gid, mode):
                words = f"{node.uid}:{node.gid} {node.mode:04o}"
                lane.append(SetOwnership(function.bdf, group, mode, node.owner, words))
    refused = held(host, moved)
    return Plan(tuple(first), {name: tuple(lane) for name, lane in lanes.items() if lane}, refused=refused)


def _guard(host: Host, function: Vf, driver: str) -> None:
    """Refuse what is most likely a slip: a PF, a network interface that is up, a disk."""
    base = f"{hardware.PCI_DEVICES}/{function.bdf}"
    if read_int(host, f"{base}/device") in hardware.BY_PF_ID and function.family is not hardware.OTHER:
        raise InputError(f"{function.bdf} is a PF: without its QAT driver it and its VFs are of no use", FORCE_HINT)
    if function.driver in hardware.VFIO_DRIVERS or function.driver is None or function.driver == driver:
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


def held(host: Host, functions: Sequence[Vf]) -> tuple[Refusal, ...]:
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
