"""What device bind and unbind ask for, as lanes of the same changes that bootstrap makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from qatprep import hardware
from qatprep.errors import InputError, QatprepError
from qatprep.facts import bus, nodes, pci
from qatprep.facts.base import READ_DEADLINE, Unknown, exists, read_int, read_line
from qatprep.facts.pci import DeviceNode, Vf
from qatprep.host.base import Host
from qatprep.plan.holders import held
from qatprep.plan.model import Plan
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}"
_MODULES = {family.driver: family.module for family in hardware.FAMILIES}
"""QAT's drivers are not called as their modules are."""
FORCE_HINT = "say --force if this is what you want"


def bind(
    host: Host,
    bdfs: Sequence[str],
    driver: str,
    *,
    group: str = "",
    user: str = "",
    mode: int = 0o660,
    force: bool = False,
) -> Plan:
    """Bind functions to a driver ("" for none), and give their nodes to a group, a user, or both when they are named.

    InputError for a function that does not exist, or that only --force may take: a PF, a function in use by a network
    interface or a block device.
    """
    if driver and not re.fullmatch(_NAME, driver):
        raise InputError(f"{driver!r} is not the name of a driver", "for example vfio-pci")
    if group and not re.fullmatch(_NAME, group):
        raise InputError(f"{group!r} is not the name of a group", "for example --group qat")
    if user and not re.fullmatch(_NAME, user):
        raise InputError(f"{user!r} is not the name of a user", "for example --user envoy, or a number: --user 101")
    uid = nodes.user_id(host, user) if user else None
    if user and uid is None:
        raise InputError(f"there is no user {user!r} on {host.label}", "give the number: --user 101")
    if driver == "vfio_pci":
        driver = hardware.VFIO_PCI  # the module's name; the driver's has a dash
    functions = _functions(host, bdfs)
    for function in functions:
        if not force:
            _guard(host, function, driver)
    first = _modules(host, driver)
    vfio = driver in hardware.VFIO_DRIVERS
    if vfio:
        _behind_iommu(host, functions, driver)
    lanes: dict[str, list[Change]] = {function.pf or function.bdf: [] for function in functions}
    taken = list(functions)
    for function in functions:
        override = function.override if isinstance(function.override, str) else ""
        if function.driver != (driver or None) or override not in ("", driver):
            changes, vfs = _handover(host, function, driver)
            lanes[function.pf or function.bdf] += changes
            taken += vfs
    if (group or user) and vfio:
        first += _owners(host, functions, lanes, group, uid, mode)
    done = {name: tuple(lane) for name, lane in lanes.items() if lane}
    return Plan(tuple(first), done, refused=held(host, done, taken))


def _functions(host: Host, bdfs: Sequence[str]) -> tuple[Vf, ...]:
    functions = pci.functions(host, bdfs)
    there = {function.bdf for function in functions}
    if missing := [bdf for bdf in bdfs if bdf not in there]:
        raise InputError(
            f"there is no PCI device {missing[0]!r} on {host.label}", "qatprep device list --all shows them"
        )
    return functions


def _modules(host: Host, driver: str) -> list[Change]:
    """The modules of a driver that is not there yet."""
    if not driver or exists(host, f"{hardware.PCI_DRIVERS}/{driver}") is True:
        return []
    from qatprep.facts import modules
    from qatprep.steps.modules import LoadModule

    module = _MODULES.get(driver, driver)
    if modules.shipped(host, module) is False:
        raise QatprepError(f"there is no driver {driver!r}, and this kernel has no module {module}")
    wanted = [module]
    if driver in hardware.VFIO_DRIVERS and exists(host, "/sys/module/vfio_iommu_type1") is not True:
        wanted.append("vfio_iommu_type1")
    return [LoadModule(name, modules.missing(host, name)) for name in wanted]


def _behind_iommu(host: Host, functions: Sequence[Vf], driver: str) -> None:
    for function in functions:
        if function.grouped is False:
            from qatprep.assess import advice

            raise QatprepError(
                f"{function.bdf} is not behind an IOMMU: {driver} cannot take it",
                advice(host, function.bdf, "qatprep doctor --only iommu"),
            )


def _handover(host: Host, function: Vf, driver: str) -> tuple[list[Change], tuple[Vf, ...]]:
    """The changes that give a function to a driver, and the VFs that go with it when it is a PF."""
    change = BindVf.of(function, driver)
    if change.old and function.pf is None:
        pf = pci.physical(host, function.bdf)
        if pf and pf.driver == pf.family.driver:
            from qatprep.plan.pfs import release

            return [*release(pf), replace(change, old="")], pf.vfs
    return [change], ()


def _owners(
    host: Host, functions: Sequence[Vf], lanes: dict[str, list[Change]], group: str, uid: int | None, mode: int
) -> list[Change]:
    """Add the owners of the nodes to the lanes; the change that makes the group, where there is none. Without a group,
    that of the node stays."""
    from qatprep.steps.owners import CreateGroup, SetOwnership

    known = nodes.groups(host)
    moved = {bdf for lane in lanes.values() for change in lane for bdf in change.takes}
    for function in functions:
        lane = lanes[function.pf or function.bdf]
        if function.bdf in moved or not isinstance(function.node, DeviceNode):
            lane.append(SetOwnership.fresh(function.bdf, group or nodes.group_name(known, 0), mode, uid or 0))
        else:
            name = group or nodes.group_name(known, function.node.gid)
            if change := SetOwnership.of(function, name, mode, known, uid):
                lane.append(change)
    return [CreateGroup(group)] if group and not isinstance(known, Unknown) and group not in known else []


def _guard(host: Host, function: Vf, driver: str) -> None:
    """Refuse what is most likely a slip: a PF, a network interface that is up, a disk."""
    base = f"{hardware.PCI_DEVICES}/{function.bdf}"
    if (
        read_int(host, f"{base}/device", deadline=READ_DEADLINE) in hardware.BY_PF_ID
        and function.family is not hardware.OTHER
    ):
        raise InputError(f"{function.bdf} is a PF: without its QAT driver it and its VFs are of no use", FORCE_HINT)
    if function.driver in hardware.VFIO_DRIVERS or function.driver is None or function.driver == driver:
        return
    for name in _below(host, bus.NET, function.bdf):
        if read_line(host, f"{bus.NET}/{name}/operstate") != "down":
            raise InputError(f"{function.bdf} is the network interface {name}, which is up", FORCE_HINT)
    disks = _below(host, bus.BLOCK, function.bdf)
    if disks or exists(host, f"{base}/nvme") is True:
        what = f" of the disk {disks[0]}" if disks else ""
        raise InputError(f"{function.bdf} is the storage controller{what}, in use by {function.driver}", FORCE_HINT)


def _below(host: Host, directory: str, bdf: str) -> list[str]:
    """The devices of a class that are attached to a PCI function, or on one below it."""
    return [name for name, owners in bus.behind(host, directory).items() if bdf in owners]
