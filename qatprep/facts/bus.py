"""Every PCI function of the host, whatever it is: what binding one asks for."""

from __future__ import annotations

from typing import NamedTuple

from qatprep.facts.base import Unknown, link_name, names, read_int
from qatprep.facts.pci import grouped, plain
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import Host


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


def everything(host: Host) -> tuple[Function, ...]:
    """Every PCI function of the host."""
    listed = names(host, PCI_DEVICES)
    found = []
    for bdf in () if isinstance(listed, Unknown) else listed:
        base = f"{PCI_DEVICES}/{bdf}"
        vendor, device = read_int(host, f"{base}/vendor"), read_int(host, f"{base}/device")
        found.append(
            Function(
                bdf=bdf,
                vendor_id=plain(vendor, 0),
                device_id=plain(device, 0),
                name=host.hardware_name(base),
                driver=link_name(host, f"{base}/driver"),
                numa_node=plain(read_int(host, f"{base}/numa_node"), -1),
                grouped=grouped(host, base),
                sriov=bool(plain(read_int(host, f"{base}/sriov_totalvfs"), 0)),
            )
        )
    return tuple(found)
