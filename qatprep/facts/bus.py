"""Every PCI function of the host, whatever it is: what binding one asks for."""

from __future__ import annotations

import fnmatch
from typing import NamedTuple

from qatprep.facts.base import DeviceFiles, Unknown, link_name, names, read_line
from qatprep.facts.pci import grouped, plain
from qatprep.hardware import BDF, PCI_DEVICES
from qatprep.host.base import Host

_ATTRIBUTES = ("vendor", "device", "numa_node", "sriov_totalvfs", "class", "driver_override")
NET, BLOCK = "/sys/class/net", "/sys/class/block"


class Function(NamedTuple):
    """Any PCI function, as far as binding it is concerned."""

    bdf: str
    vendor_id: int
    device_id: int
    name: str
    driver: str | Unknown | None
    numa_node: int
    grouped: bool | Unknown
    sriov: bool
    """Whether it can have VFs."""
    kind: int = 0
    """The upper byte of its class code: 2 is a network controller (include/linux/pci_ids.h)."""
    override: str | Unknown | None = None
    """driver_override."""
    used_as: tuple[str, ...] = ()
    """The network interfaces and disks that its driver makes of it."""
    drivers: tuple[str, ...] = ()
    """Modules of the running kernel that say they drive it (modules.alias, written by depmod); () where that file is
    not there."""


def everything(host: Host, *, drivers: bool = False) -> tuple[Function, ...]:
    """Every PCI function of the host. `drivers`: with the modules that may drive each, which means reading a long
    file."""
    listed = names(host, PCI_DEVICES)
    found = []
    files = DeviceFiles(host)
    known = () if isinstance(listed, Unknown) else listed
    files.fetch(f"{PCI_DEVICES}/{bdf}/{name}" for bdf in known for name in _ATTRIBUTES)
    aliases = _aliases(host) if drivers else ()
    used = {**behind(host, NET), **behind(host, BLOCK)}
    for bdf in known:
        base = f"{PCI_DEVICES}/{bdf}"
        vendor, device = files.number(f"{base}/vendor"), files.number(f"{base}/device")
        override = files.line(f"{base}/driver_override")
        found.append(
            Function(
                bdf=bdf,
                vendor_id=plain(vendor, 0),
                device_id=plain(device, 0),
                name=str(host.hardware_name(base)),
                driver=link_name(host, f"{base}/driver"),
                numa_node=plain(files.number(f"{base}/numa_node"), -1),
                grouped=grouped(host, base),
                sriov=bool(plain(files.number(f"{base}/sriov_totalvfs"), 0)),
                kind=plain(files.number(f"{base}/class"), 0) >> 16,
                override=None if override in ("(null)", "") else override,
                used_as=tuple(name for name, owners in used.items() if owners[-1] == bdf),
                drivers=_matching(host, base, aliases),
            )
        )
    return tuple(found)


def behind(host: Host, directory: str) -> dict[str, tuple[str, ...]]:
    """Network interface or disk (NET, BLOCK) -> the PCI functions above it, the one it is attached to last: whatever
    bus lies between (virtio, SCSI, NVMe)."""
    found = {}
    listed = names(host, directory)
    for name in () if isinstance(listed, Unknown) else listed:
        try:
            target = host.readlink(f"{directory}/{name}")
        except OSError:
            continue
        if owners := tuple(part for part in target.split("/") if BDF.fullmatch(part)):
            found[name] = owners
    return found


def _aliases(host: Host) -> tuple[tuple[str, str], ...]:
    """Pattern and module of each PCI alias of the running kernel."""
    release = read_line(host, "/proc/sys/kernel/osrelease")
    try:
        text = host.read_text(f"/lib/modules/{release}/modules.alias", limit=1 << 24).text
    except OSError:
        return ()
    lines = (line.split() for line in text.splitlines() if line.startswith("alias pci:"))
    return tuple((words[1], words[2]) for words in lines if len(words) == 3)


def _matching(host: Host, base: str, aliases: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    modalias = read_line(host, f"{base}/modalias") if aliases else None
    if not isinstance(modalias, str):
        return ()
    return tuple(dict.fromkeys(name for pattern, name in aliases if fnmatch.fnmatchcase(modalias, pattern)))
