"""QAT functions on the PCI bus: PFs with their services and SR-IOV, VFs with driver, IOMMU group and device node."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from qatprep import hardware
from qatprep.facts.base import (
    ABSENT,
    READ_DEADLINE,
    DeviceFiles,
    Unknown,
    exists,
    link_name,
    names,
    read_line,
    unknown,
)
from qatprep.hardware import PCI_DEVICES, Family
from qatprep.host.base import Host

_GENERAL = r"(?ms)^\[GENERAL\]\s*$(.*?)(?=^\[|\Z)"
_SERVICES_ENABLED = r"(?m)^\s*ServicesEnabled\s*=\s*([^#\n]*)"
_VIRTFN = r"virtfn(\d+)"

_OF_ANY = ("numa_node", "driver_override", "power_state")
_OF_PF = (
    "sriov_numvfs", "sriov_totalvfs", "sriov_offset", "sriov_stride", "sriov_drivers_autoprobe",
    "qat/state", "qat/cfg_services", "qat/auto_reset",
)  # fmt: skip
"""Attributes of QAT functions. Some take the device lock, and wait while somebody holds a VF that is to go:
sriov_numvfs on every kernel (drivers/pci/iov.c), driver_override before it got a lock of its own
(drivers/pci/pci-sysfs.c of 6.1)."""


class DeviceNode(NamedTuple):
    """A character device of VFIO, as it is now. Its path holds the group number, which no boot shares with the next."""

    path: str
    uid: int
    gid: int
    mode: int

    @property
    def owner(self) -> tuple[int, int, int]:
        """uid, gid and mode, as changes record them."""
        return self.uid, self.gid, self.mode


class Vf(NamedTuple):
    bdf: str
    family: Family
    pf: str | None
    """The PF's BDF; None in a VM, which sees no PF."""
    number: int
    """N of the PF's virtfnN; -1 in a VM."""
    numa_node: int
    """-1 where the kernel does not know."""
    driver: str | Unknown | None
    override: str | Unknown | None
    """driver_override, None when unset."""
    grouped: bool | Unknown
    """Whether it is behind an IOMMU: it has an iommu_group (drivers/iommu/iommu.c)."""
    noiommu: bool
    """Whether its group is VFIO's unsafe stand-in (drivers/vfio/group.c)."""
    neighbours: tuple[str, ...]
    """Other functions in the same group that a driver other than VFIO's holds: the group is not viable."""
    node: DeviceNode | Unknown | None
    """/dev/vfio/<group>, there while the VF is bound to a VFIO driver."""
    reserved: bool = False
    """Whether the firmware demands a fixed mapping of memory for its group (RMRR, IVMD unity map): VFIO refuses it."""
    power: str | None = None
    """As of a PF."""
    cdev: str | None = None
    """/dev/vfio/devices/vfioN where the kernel makes such nodes (6.6 with VFIO_DEVICE_CDEV)."""

    @property
    def bound(self) -> bool | Unknown:
        """Whether a VFIO driver has it."""
        return self.driver if isinstance(self.driver, Unknown) else self.driver in hardware.VFIO_DRIVERS


class Services(NamedTuple):
    """What a PF offers: the tokens, the text they came from, and where that stands."""

    tokens: frozenset[str]
    text: str
    path: str


class Pf(NamedTuple):
    bdf: str
    family: Family
    numa_node: int
    driver: str | Unknown | None
    override: str | Unknown | None
    grouped: bool | Unknown
    state: str | Unknown | None
    """"up" or "down"; None where the driver has no such attribute (before 6.0, gen2, unbound)."""
    services: Services | Unknown | None
    """None while no driver holds the PF."""
    configurable: bool | Unknown
    """Whether cfg_services is there: services can be set (6.0, gen4 and later)."""
    total_vfs: int | Unknown | None
    num_vfs: int | Unknown | None
    autoprobe: bool | Unknown | None
    auto_reset: bool | Unknown | None
    """Whether the driver restarts it by itself after a fatal error; None before 6.9 (adf_sysfs.c auto_reset_show)."""
    vf_offset: int
    vf_stride: int
    vfs: tuple[Vf, ...]
    lost: tuple[str, ...] = ()
    """The names virtfnN, for N below num_vfs, that have no VF: there is no link, or it leads nowhere."""
    dangling: tuple[str, ...] = ()
    """Those of `lost` whose link is there: hot-plug is taking the PF out of its slot, and has taken these VFs first
    (drivers/pci/hotplug/pciehp_pci.c, pciehp_unconfigure_device)."""
    power: str | None = None
    """power_state where it is D3cold: the device does not answer (drivers/pci/pci-sysfs.c)."""

    @property
    def name(self) -> str:
        return self.family.name

    def attribute(self, name: str) -> str:
        """Path of one of its sysfs attributes."""
        return f"{PCI_DEVICES}/{self.bdf}/{name}"

    def vf_bdf(self, index: int) -> str:
        """Where VF `index` (0-based) will be: drivers/pci/iov.c, pci_iov_virtfn_devfn."""
        domain, bus, rest = self.bdf.split(":")
        slot, function = rest.split(".")
        routing = (int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)) + self.vf_offset + self.vf_stride * index
        return f"{domain}:{routing >> 8:02x}:{routing >> 3 & 31:02x}.{routing & 7}"


class Stranger(NamedTuple):
    """A QAT function that qatprep does not set up."""

    bdf: str
    device_id: int
    name: str
    """The family, or "" for an id newer than this version."""


class PciFacts(NamedTuple):
    pfs: tuple[Pf, ...]
    vfs: tuple[Vf, ...]
    """VFs without a PF, as a VM sees them. Those that a PF here is making or losing right now are left out."""
    strangers: tuple[Stranger, ...]
    visible: bool | Unknown
    """Whether /sys/bus/pci/devices could be read at all."""

    @property
    def all_vfs(self) -> tuple[Vf, ...]:
        return tuple(vf for pf in self.pfs for vf in pf.vfs) + self.vfs

    def pf(self, bdf: str) -> Pf | None:
        return next((pf for pf in self.pfs if pf.bdf == bdf), None)


def gather(host: Host, files: DeviceFiles | None = None) -> PciFacts:
    """Every Intel QAT function this host shows. `files`: of a look that reads more of the devices."""
    listed = names(host, PCI_DEVICES)
    if isinstance(listed, Unknown):
        return PciFacts((), (), (), listed)
    files = files or DeviceFiles(host)
    files.fetch(f"{PCI_DEVICES}/{bdf}/{name}" for bdf in listed for name in ("vendor", "device"))
    pf_list: list[tuple[str, Family]] = []
    vf_list: dict[str, Family] = {}
    strangers: list[Stranger] = []
    for bdf in listed:
        if files.number(f"{PCI_DEVICES}/{bdf}/vendor") != hardware.INTEL:
            continue
        device_id = files.number(f"{PCI_DEVICES}/{bdf}/device")
        if not isinstance(device_id, int):
            continue
        if device_id in hardware.BY_PF_ID:
            pf_list.append((bdf, hardware.BY_PF_ID[device_id]))
        elif device_id in hardware.BY_VF_ID:
            vf_list[bdf] = hardware.BY_VF_ID[device_id]
        elif device_id in hardware.OOT_IDS:
            strangers.append(Stranger(bdf, device_id, hardware.OOT_IDS[device_id]))
        elif device_id in hardware.NEWER_QAT_IDS:
            strangers.append(Stranger(bdf, device_id, ""))
    _fetch(host, files, [bdf for bdf, _ in pf_list], list(vf_list))
    pfs = []
    owned: set[str] = set()
    for bdf, family in pf_list:
        pf = _pf(host, bdf, family, files)
        # A VF that is being removed has lost its links to the PF before it goes, and goes when whoever has it open lets
        # go; one that is being made has none yet (drivers/pci/iov.c, pci_iov_remove_virtfn, pci_iov_add_virtfn).
        total = plain(pf.total_vfs, 0)
        owned.update(vf.bdf for vf in pf.vfs)
        owned.update(pf.vf_bdf(number) for number in range(total))
        pfs.append(pf)
    loose = tuple(_vf(host, bdf, family, None, -1, files) for bdf, family in vf_list.items() if bdf not in owned)
    return PciFacts(tuple(pfs), loose, tuple(strangers), bool(listed))


def _fetch(host: Host, files: DeviceFiles, pfs: Sequence[str], vfs: Sequence[str]) -> None:
    """Read what `_pf` and `_vf` ask of these functions, in one go."""
    paths = [f"{PCI_DEVICES}/{bdf}/{name}" for bdf in pfs for name in (*_OF_PF, *_OF_ANY)]
    for bdf in vfs:
        paths += [f"{PCI_DEVICES}/{bdf}/{name}" for name in _OF_ANY]
        group = link_name(host, f"{PCI_DEVICES}/{bdf}/iommu_group")
        if isinstance(group, str):
            paths += [f"{hardware.IOMMU_GROUPS}/{group}/{name}" for name in ("reserved_regions", "name")]
    files.fetch(paths)


def _pf(host: Host, bdf: str, family: Family, files: DeviceFiles) -> Pf:
    base = f"{PCI_DEVICES}/{bdf}"
    driver = link_name(host, f"{base}/driver")
    vfs = [_vf(host, vf_bdf, family, bdf, index, files) for index, vf_bdf in _virtfns(host, base)]
    state = files.line(f"{base}/qat/state")
    text = files.line(f"{base}/qat/cfg_services")
    autoprobe = files.number(f"{base}/sriov_drivers_autoprobe")
    num_vfs = _numvfs(files.line(f"{base}/sriov_numvfs"))
    return Pf(
        bdf=bdf,
        family=family,
        numa_node=plain(files.number(f"{base}/numa_node"), -1),
        driver=driver,
        override=_override(files, base),
        grouped=grouped(host, base),
        state=state,
        services=_services(files, base, bdf, family, driver, text),
        configurable=text if isinstance(text, Unknown) else text is not None,
        total_vfs=_count(files, f"{base}/sriov_totalvfs"),
        num_vfs=num_vfs,
        autoprobe=bool(autoprobe) if isinstance(autoprobe, int) else autoprobe,
        auto_reset=_switch(files.line(f"{base}/qat/auto_reset")),
        vf_offset=plain(files.number(f"{base}/sriov_offset"), 1),
        vf_stride=plain(files.number(f"{base}/sriov_stride"), 1),
        vfs=tuple(vfs),
        lost=(lost := _lost(host, base, num_vfs)),
        dangling=tuple(name for name in lost if isinstance(link_name(host, f"{base}/{name}"), str)),
        power=_power(files, base),
    )


def _power(files: DeviceFiles, base: str) -> str | None:
    state = files.line(f"{base}/power_state")
    return state if state == "D3cold" else None


def _lost(host: Host, base: str, num_vfs: int | Unknown | None) -> tuple[str, ...]:
    """The names virtfnN without a VF, for N below sriov_numvfs."""
    if not isinstance(num_vfs, int):
        return ()
    there = {number for number, _ in _virtfns(host, base)}
    return tuple(f"virtfn{number}" for number in range(num_vfs) if number not in there)


def _virtfns(host: Host, base: str) -> list[tuple[int, str]]:
    """Number and BDF of each VF of a PF, in their order."""
    listed = names(host, base)
    entries = () if isinstance(listed, Unknown) else listed
    numbers = sorted(int(match[1]) for name in entries if (match := re.fullmatch(_VIRTFN, name)))
    links = ((number, link_name(host, f"{base}/virtfn{number}")) for number in numbers)
    return [
        (number, bdf)
        for number, bdf in links
        if isinstance(bdf, str) and exists(host, f"{PCI_DEVICES}/{bdf}") is not False
    ]


def _numvfs(text: str | Unknown | None) -> int | Unknown | None:
    if text is None or isinstance(text, Unknown):
        return text
    text = text.strip()
    return int(text) if text.isdigit() else Unknown(f"sriov_numvfs: {text[:60]!r} is not a number")


def _count(files: DeviceFiles, path: str) -> int | Unknown | None:
    """A number of VFs: 16 bits wide (drivers/pci/pci.h, struct pci_sriov), so that no plan grows beyond all bounds."""
    value = files.number(path)
    return value if not isinstance(value, int) or 0 <= value <= 0xFFFF else Unknown(f"{path}: {value} VFs cannot be")


def _switch(text: str | Unknown | None) -> bool | Unknown | None:
    if text is None or isinstance(text, Unknown):
        return text
    return {"on": True, "off": False}.get(text, Unknown(f"auto_reset: {text[:60]!r} is neither on nor off"))


def plain(value: int | Unknown | None, default: int) -> int:
    """A number, or the default where there is none."""
    return value if isinstance(value, int) else default


def _override(files: DeviceFiles, base: str) -> str | Unknown | None:
    """driver_override; the kernel shows an unset one as "(null)" (drivers/pci/pci-sysfs.c)."""
    text = files.line(f"{base}/driver_override")
    return None if text in ("(null)", "") else text


def grouped(host: Host, base: str) -> bool | Unknown:
    """Whether a function is behind an IOMMU."""
    group = link_name(host, f"{base}/iommu_group")
    return group if isinstance(group, Unknown) else group is not None


def _services(
    files: DeviceFiles, base: str, bdf: str, family: Family, driver: str | Unknown | None, text: str | Unknown | None
) -> Services | Unknown | None:
    """From sysfs (no root needed, lockdown does not matter, any state), else from the debugfs configuration."""
    if driver is None:
        return None
    path = f"{base}/qat/cfg_services"
    if text is None:
        path = f"{hardware.DEBUGFS}/qat_{family.driver}_{bdf}/dev_cfg"
        text = _dev_cfg_services(files, path)
    if text is None:
        return Unknown(f"neither {base}/qat/cfg_services nor {path} is there")
    if isinstance(text, Unknown):
        return text
    try:
        return Services(hardware.parse_services(text), text, path)
    except ValueError as e:
        return Unknown(f"{path}: {text[:60]!r}: {e}")


def _dev_cfg_services(files: DeviceFiles, path: str) -> str | Unknown | None:
    """ServicesEnabled of [GENERAL] in dev_cfg (qat_common/adf_cfg.c): sections, `Key = value`, in any order."""
    text = files.text(path)
    if text is None or isinstance(text, Unknown):
        return text
    general = re.search(_GENERAL, text)
    found = re.search(_SERVICES_ENABLED, general[1]) if general else None
    if found is None:
        return Unknown(f"{path}: no ServicesEnabled in [GENERAL]")
    return found[1].strip()


def _vf(host: Host, bdf: str, family: Family, pf: str | None, index: int, files: DeviceFiles) -> Vf:
    base = f"{PCI_DEVICES}/{bdf}"
    driver = link_name(host, f"{base}/driver")
    group = link_name(host, f"{base}/iommu_group")
    noiommu = False
    neighbours: tuple[str, ...] = ()
    node: DeviceNode | Unknown | None = None
    reserved = False
    if isinstance(group, str):
        directory = f"{hardware.IOMMU_GROUPS}/{group}"
        reserved = _reserved(files, directory)
        others = names(host, f"{directory}/devices")
        if not isinstance(others, Unknown) and len(others) > 1:
            neighbours = tuple(other for other in others if other != bdf and _holds_group(host, other))
        if driver in hardware.VFIO_DRIVERS:
            noiommu = files.line(f"{directory}/name") == "vfio-noiommu"
            node = device_node(host, f"{hardware.VFIO_DEV}/{'noiommu-' if noiommu else ''}{group}")
    cdev = None
    if driver in hardware.VFIO_DRIVERS:
        found = names(host, f"{base}/vfio-dev")
        if not isinstance(found, Unknown) and found:
            cdev = f"{hardware.VFIO_DEV}/devices/{found[0]}"
    return Vf(
        bdf=bdf,
        family=family,
        pf=pf,
        number=index,
        numa_node=plain(files.number(f"{base}/numa_node"), -1),
        driver=driver,
        override=_override(files, base),
        grouped=group if isinstance(group, Unknown) else group is not None,
        noiommu=noiommu,
        neighbours=neighbours,
        node=node,
        reserved=reserved,
        power=_power(files, base),
        cdev=cdev,
    )


def _reserved(files: DeviceFiles, group: str) -> bool:
    """drivers/iommu/iommu.c, iommu_group_show_resv_regions: `start end type`. VFIO refuses "direct"; it takes
    "direct-relaxable" (graphics, USB), "reserved" and "msi".
    """
    text = files.text(f"{group}/reserved_regions")
    return isinstance(text, str) and any(line.split()[2:3] == ["direct"] for line in text.splitlines())


def functions(host: Host, bdfs: Sequence[str]) -> tuple[Vf, ...]:
    """Any PCI functions, seen as VFs are; their PF is None when they are none. Those that do not exist are left out."""
    files = DeviceFiles(host)
    files.fetch(f"{PCI_DEVICES}/{bdf}/{name}" for bdf in bdfs for name in ("vendor", "device"))
    _fetch(host, files, (), bdfs)
    found = []
    for bdf in bdfs:
        base = f"{PCI_DEVICES}/{bdf}"
        device_id = files.number(f"{base}/device")
        if device_id is None:
            continue
        family = hardware.OTHER
        if files.number(f"{base}/vendor") == hardware.INTEL and isinstance(device_id, int):
            family = hardware.BY_VF_ID.get(device_id) or hardware.BY_PF_ID.get(device_id) or hardware.OTHER
        pf = link_name(host, f"{base}/physfn")
        found.append(_vf(host, bdf, family, pf if isinstance(pf, str) else None, -1, files))
    return tuple(found)


def physical(host: Host, bdf: str) -> Pf | None:
    """Any PCI function, seen as a PF is. None when there is no such function."""
    base = f"{PCI_DEVICES}/{bdf}"
    files = DeviceFiles(host)
    files.fetch((f"{base}/vendor", f"{base}/device"))
    device_id = files.number(f"{base}/device")
    if device_id is None:
        return None
    family = hardware.OTHER
    if files.number(f"{base}/vendor") == hardware.INTEL and isinstance(device_id, int):
        family = hardware.BY_PF_ID.get(device_id, hardware.OTHER)
    _fetch(host, files, (bdf,), [vf for _, vf in _virtfns(host, base)])
    return _pf(host, bdf, family, files)


def _holds_group(host: Host, bdf: str) -> bool:
    """Whether a function keeps its group from being viable: a driver other than VFIO's or a bridge's has it."""
    driver = link_name(host, f"{PCI_DEVICES}/{bdf}/driver")
    return isinstance(driver, str) and driver not in (*hardware.VFIO_DRIVERS, "pci-stub", "pcieport")


def device_node(host: Host, path: str) -> DeviceNode | Unknown | None:
    try:
        s = host.stat(path)
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    return DeviceNode(path, s.uid, s.gid, s.mode)


def node_of(host: Host, bdf: str) -> DeviceNode | Unknown | None:
    """The group node of a VF as it is now; None when there is none."""
    group = link_name(host, f"{PCI_DEVICES}/{bdf}/iommu_group")
    if not isinstance(group, str):
        return group
    path = f"{hardware.IOMMU_GROUPS}/{group}/name"
    prefix = "noiommu-" if read_line(host, path, deadline=READ_DEADLINE) == "vfio-noiommu" else ""
    return device_node(host, f"{hardware.VFIO_DEV}/{prefix}{group}")
