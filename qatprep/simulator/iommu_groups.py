"""IOMMU groups. Their numbers are nobody's to rely on: they follow no order and change whenever VFs are made again.

drivers/iommu/iommu.c iommu_group_alloc takes the lowest free number, but who comes first is a matter of chance; the
model picks an order of its own so that nothing written against it can depend on one.
"""

from __future__ import annotations

from qatprep.hardware import IOMMU_GROUPS
from qatprep.simulator.core import Core
from qatprep.simulator.device import PciDevice
from qatprep.simulator.pci import PciBus
from qatprep.simulator.sysfs import link, plain, relative

_STRIDES = (7, 5, 3, 1)


class Groups:
    def __init__(self, core: Core, bus: PciBus) -> None:
        self.core = core
        self.bus = bus

    def take(self, pf: PciDevice) -> list[str]:
        """Groups for the VFs of a PF: free numbers, the PF's own without ACS, [] when it is behind no IOMMU itself."""
        if pf.group is None:
            return []
        if self.core.marked("no_acs", pf.bdf):
            return [pf.group] * pf.total_vfs
        listing = self.core.tree.find(IOMMU_GROUPS)
        used = {int(name) for name in listing.children if name.isdigit()} if listing else set()
        number = 53 * pf.cycles
        free: list[int] = []
        while len(free) < pf.total_vfs:
            if number not in used:
                free.append(number)
            number += 1
        count = len(free)
        stride = next(stride for stride in _STRIDES if stride == 1 or count % stride)
        return [str(free[(index * stride + 3 + pf.cycles) % count]) for index in range(count)]

    def join(self, device: PciDevice, number: str) -> None:
        core = self.core
        path = f"{IOMMU_GROUPS}/{number}"
        group = core.tree.make_dirs(path)
        if "type" not in group.children:
            plain(group, "type", f"{self._domain_type()}\n", 0o644)
        members = core.tree.make_dirs(f"{path}/devices")
        link(members, device.bdf, relative(f"{path}/devices", device.path))
        link(device.node, "iommu_group", relative(device.path, path))
        device.group = number
        core.log(f"pci {device.bdf}: Adding to iommu group {number}")

    def leave(self, device: PciDevice) -> None:
        if device.group is None:
            return
        tree = self.core.tree
        path = f"{IOMMU_GROUPS}/{device.group}"
        tree.remove(f"{path}/devices/{device.bdf}")
        members = tree.find(f"{path}/devices")
        if members is None or not members.children:
            tree.remove(path)
        device.node.children.pop("iommu_group", None)
        device.group = None

    def members(self, number: str) -> list[PciDevice]:
        node = self.core.tree.find(f"{IOMMU_GROUPS}/{number}/devices")
        devices = self.bus.devices
        return [devices[bdf] for bdf in (node.children if node else ()) if bdf in devices]

    def _domain_type(self) -> str:
        """As the other groups have it (iommu=pt gives identity); DMA-FQ when this is the first."""
        listing = self.core.tree.find(IOMMU_GROUPS)
        for name in sorted(listing.children) if listing else ():
            node = listing.children[name].children.get("type") if listing else None
            if node is not None:
                return node.content().decode().strip()
        return "DMA-FQ"
