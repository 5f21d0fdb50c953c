"""SR-IOV: making and removing VFs with everything that comes with them. Rules: drivers/pci/iov.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qatprep.hardware import PCI_DEVICES
from qatprep.host.tree import Node
from qatprep.simulator import clock
from qatprep.simulator.pci import PciDevice
from qatprep.simulator.sysfs import attribute, boolean, line, link, oops, plain, relative, unsigned

if TYPE_CHECKING:
    from qatprep.simulator.machine import Machine


class Iov:
    """sriov_numvfs and sriov_drivers_autoprobe of every PF."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def attach_attributes(self, pf: PciDevice) -> None:
        attribute(pf.node, "sriov_numvfs", lambda: self._show(pf), lambda data: self._store(pf, data))
        attribute(
            pf.node,
            "sriov_drivers_autoprobe",
            lambda: line(int(pf.autoprobe)),
            lambda data: setattr(pf, "autoprobe", boolean(data)),
        )

    def _show(self, pf: PciDevice) -> bytes:
        """sriov_numvfs_show takes the device lock: it waits while VFs are made or removed."""
        self.machine.must_not_be_stuck(pf)
        self.machine.clock.wait_until(pf.busy_until)
        return line(len(pf.vfs))

    def _store(self, pf: PciDevice, data: bytes) -> None:
        """sriov_numvfs_store, in its order of checks."""
        machine = self.machine
        count = unsigned(data, 16)
        if count > pf.total_vfs:
            raise oops(errno.ERANGE)
        machine.must_not_be_stuck(pf)
        machine.clock.wait_until(pf.busy_until)
        if count == len(pf.vfs):
            return
        if pf.driver is None:
            machine.log(f"{pf.slot}: no driver bound to device; cannot configure SR-IOV")
            raise oops(errno.ENOENT)
        if not pf.driver.can_sriov:
            machine.log(f"{pf.slot}: driver does not support SR-IOV configuration via sysfs")
            raise oops(errno.ENOENT)
        if count and pf.vfs:
            machine.log(f"{pf.slot}: {len(pf.vfs)} VFs already enabled. Disable before enabling {count} VFs")
            raise oops(errno.EBUSY)
        try:
            made = pf.driver.configure_vfs(pf, count)
        finally:
            pf.busy_until = machine.clock.mine()
        if made != count:
            machine.log(f"{pf.slot}: {count} VFs requested; only {made} enabled")

    # -- for the PF drivers -------------------------------------------------------------------------------

    def enable(self, pf: PciDevice, vf_device_id: int) -> None:
        """pci_enable_sriov: all VFs of the PF, each with its group, then each offered to the drivers."""
        machine = self.machine
        if machine.marked("no_vf_memory", pf.bdf):
            machine.log(f"{pf.slot}: not enough MMIO resources for SR-IOV")
            raise oops(errno.ENOMEM)
        machine.clock.spend(clock.VFS_ON * pf.total_vfs / 16)
        groups = machine.groups.take(pf)
        pf.cycles += 1
        for index in range(pf.total_vfs):
            vf = self._add_vf(pf, index, vf_device_id)
            if groups:
                machine.groups.join(vf, groups[index])
            machine.bus.probe_device(vf)

    def disable(self, pf: PciDevice) -> None:
        """pci_disable_sriov. VFs go one by one; Held is raised at the first that somebody keeps."""
        if not pf.vfs:
            return
        machine = self.machine
        for vf in list(pf.vfs):
            machine.bus.detach(vf)
            machine.groups.leave(vf)
            index = next(
                name
                for name, node in pf.node.children.items()
                if name.startswith("virtfn") and node.target.endswith(vf.bdf)
            )
            del pf.node.children[index]
            pf.vfs.remove(vf)
            del machine.bus.devices[vf.bdf]
            machine.tree.remove(f"{PCI_DEVICES}/{vf.bdf}")
            machine.tree.remove(vf.path)
        machine.clock.spend(clock.VFS_OFF)

    def _add_vf(self, pf: PciDevice, index: int, device_id: int) -> PciDevice:
        machine = self.machine
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
        machine.tree.add(path, node)
        machine.tree.link(f"{PCI_DEVICES}/{bdf}", relative(PCI_DEVICES, path))
        link(pf.node, f"virtfn{index}", f"../{bdf}")
        vf = PciDevice(bdf, path, node)
        vf.physfn = pf
        machine.bus.devices[bdf] = vf
        pf.vfs.append(vf)
        machine.bus.attach_attributes(vf)
        machine.log(f"pci {bdf}: [{pf.ids[0]:04x}:{device_id:04x}] type 00 class 0x0b4000")
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
