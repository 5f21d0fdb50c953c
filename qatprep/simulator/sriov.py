"""SR-IOV: making and removing VFs with everything that comes with them. Rules: drivers/pci/iov.c."""

from __future__ import annotations

import errno

from qatprep.hardware import PCI_DEVICES
from qatprep.host.kmsg import ERR, WARNING
from qatprep.host.tree import Node
from qatprep.simulator import clock
from qatprep.simulator.core import Core
from qatprep.simulator.device import PciDevice
from qatprep.simulator.iommu_groups import Groups
from qatprep.simulator.pci import PciBus
from qatprep.simulator.sysfs import attribute, boolean, line, link, oops, plain, relative, unsigned


class Iov:
    """sriov_numvfs and sriov_drivers_autoprobe of every PF."""

    def __init__(self, core: Core, bus: PciBus, groups: Groups) -> None:
        self.core = core
        self.bus = bus
        self.groups = groups
        bus.extensions.append(self.attach_attributes)

    def attach_attributes(self, pf: PciDevice) -> None:
        if "sriov_numvfs" not in pf.node.children:
            return
        attribute(pf.node, "sriov_numvfs", lambda: self._show(pf), lambda data: self._store(pf, data))
        attribute(
            pf.node,
            "sriov_drivers_autoprobe",
            lambda: line(int(pf.autoprobe)),
            lambda data: setattr(pf, "autoprobe", boolean(data)),
        )

    def _show(self, pf: PciDevice) -> bytes:
        """sriov_numvfs_show takes the device lock: it waits while VFs are made or removed."""
        self.core.must_not_be_stuck(pf)
        self.core.clock.wait_until(pf.busy_until)
        return line(pf.num_vfs)

    def _store(self, pf: PciDevice, data: bytes) -> None:
        """sriov_numvfs_store, in its order of checks."""
        core = self.core
        count = unsigned(data, 16)
        if count > pf.total_vfs:
            raise oops(errno.ERANGE)
        core.must_not_be_stuck(pf)
        core.clock.wait_until(pf.busy_until)
        if count == pf.num_vfs:
            return
        if pf.driver is None:
            core.log(f"{pf.slot}: no driver bound to device; cannot configure SR-IOV")
            raise oops(errno.ENOENT)
        if not pf.driver.can_sriov:
            core.log(f"{pf.slot}: driver does not support SR-IOV configuration via sysfs")
            raise oops(errno.ENOENT)
        if count and pf.num_vfs:
            core.log(f"{pf.slot}: {pf.num_vfs} VFs already enabled. Disable before enabling {count} VFs", WARNING)
            raise oops(errno.EBUSY)
        try:
            made = pf.driver.configure_vfs(pf, count)
        finally:
            pf.busy_until = core.clock.mine()
        if made != count:
            core.log(f"{pf.slot}: {count} VFs requested; only {made} enabled", WARNING)

    # -- for the PF drivers -------------------------------------------------------------------------------

    def enable(self, pf: PciDevice, vf_device_id: int) -> None:
        """pci_enable_sriov: all VFs of the PF, each with its group, then each offered to the drivers."""
        core = self.core
        if core.marked("no_vf_memory", pf.bdf):
            core.log(f"{pf.slot}: not enough MMIO resources for SR-IOV", ERR)
            raise oops(errno.ENOMEM)
        core.clock.spend(clock.VFS_ON * pf.total_vfs / 16)
        stale = next((name for name in pf.node.children if name.startswith("virtfn")), None)
        if stale is not None:  # pci_iov_sysfs_link: a VF that hot-plug took away has left its link
            core.log(f"sysfs: cannot create duplicate filename '{pf.path.removeprefix('/sys')}/{stale}'")
            raise oops(errno.EEXIST)
        groups = self.groups.take(pf)
        pf.cycles += 1
        pf.num_vfs = pf.total_vfs
        for index in range(pf.total_vfs):
            vf = self._add_vf(pf, index, vf_device_id)
            if groups:
                self.groups.join(vf, groups[index])
            self.bus.probe_device(vf)

    def disable(self, pf: PciDevice) -> None:
        """pci_disable_sriov. VFs go one by one; Held is raised at the first that somebody keeps."""
        if not pf.vfs:
            return
        core = self.core
        for vf in list(pf.vfs):
            self.bus.detach(vf)
            self.groups.leave(vf)
            for name, node in list(pf.node.children.items()):
                if name.startswith("virtfn") and node.target.endswith(vf.bdf):
                    del pf.node.children[name]
            pf.vfs.remove(vf)
            del self.bus.devices[vf.bdf]
            core.tree.remove(f"{PCI_DEVICES}/{vf.bdf}")
            core.tree.remove(vf.path)
        pf.num_vfs = 0
        core.clock.spend(clock.VFS_OFF)

    def _add_vf(self, pf: PciDevice, index: int, device_id: int) -> PciDevice:
        core = self.core
        bdf = vf_address(pf, index)
        path = f"{pf.path.rsplit('/', 1)[0]}/{bdf}"
        node = Node("dir", 0o755)
        plain(node, "vendor", f"0x{pf.ids[0]:04x}\n")
        plain(node, "device", f"0x{device_id:04x}\n")
        for name in ("class", "revision", "numa_node"):
            if name in pf.node.children:
                plain(node, name, pf.node.children[name].content().decode(), pf.node.children[name].mode)
        link(node, "physfn", f"../{pf.bdf}")
        plain(node, "sriov_vf_msix_count", "", 0o200).error = errno.EACCES
        core.tree.add(path, node)
        core.tree.link(f"{PCI_DEVICES}/{bdf}", relative(PCI_DEVICES, path))
        link(pf.node, f"virtfn{index}", f"../{bdf}")
        vf = PciDevice(bdf, path, node)
        vf.physfn = pf
        self.bus.devices[bdf] = vf
        pf.vfs.append(vf)
        self.bus.attach_attributes(vf)
        core.log(f"pci {bdf}: [{pf.ids[0]:04x}:{device_id:04x}] type 00 class 0x0b4000")
        return vf


def vf_address(pf: PciDevice, index: int) -> str:
    """pci_iov_virtfn_bus and pci_iov_virtfn_devfn: PF's devfn + offset + stride * index, with carry into the bus."""
    domain, bus, rest = pf.bdf.split(":")
    device, function = rest.split(".")
    offset = _number(pf, "sriov_offset", 1)
    stride = _number(pf, "sriov_stride", 1)
    routing = (int(bus, 16) << 8 | int(device, 16) << 3 | int(function)) + offset + stride * index
    return f"{domain}:{routing >> 8:02x}:{routing >> 3 & 31:02x}.{routing & 7}"


def _number(pf: PciDevice, name: str, default: int) -> int:
    node = pf.node.children.get(name)
    text = node.content().decode(errors="replace").strip() if node else ""
    return int(text) if text.isdigit() else default
