"""VFIO: which devices it takes, and the nodes it makes.

Rules: drivers/vfio/pci/vfio_pci.c, drivers/vfio/pci/vfio_pci_core.c, drivers/vfio/group.c.
"""

from __future__ import annotations

import errno

from qatprep.hardware import FAMILIES, INTEL, IOMMU_GROUPS, VFIO_DEV, VFIO_PCI, VFIO_VARIANT
from qatprep.host.kmsg import WARNING
from qatprep.simulator.core import Core
from qatprep.simulator.device import Driver, PciDevice
from qatprep.simulator.iommu_groups import Groups
from qatprep.simulator.sysfs import link, plain, relative
from qatprep.simulator.sysfs import oops as refuse
from qatprep.simulator.udev import Udev

DENYLIST = {
    (INTEL, number) for family in FAMILIES if family.generation < 4 for number in (family.pf_id, family.vf_id)
} | {(INTEL, 0x0B25), (INTEL, 0x0CFE)}
"""drivers/vfio/pci/vfio_pci.c vfio_pci_dev_in_denylist; the last two are DSA and IAX of Sapphire Rapids."""

CONTAINER_RDEV = "10:196"
GROUP_MAJOR = 239
DEVICE_MAJOR = 510
DEVICES = f"{VFIO_DEV}/devices"


class VfioDriver(Driver):
    """vfio-pci, or a variant driver that makes the same nodes."""

    def __init__(self, vfio: Vfio, name: str, override_only: set[tuple[int, int]] | None = None) -> None:
        super().__init__(name, set(), override_only)
        self.vfio = vfio
        self.module = name.replace("-", "_")
        self.can_sriov = name == VFIO_PCI

    def matches(self, device: PciDevice) -> bool:
        if self.override_only and device.ids not in self.override_only:
            return False
        return super().matches(device)

    def probe(self, device: PciDevice) -> None:
        core = self.vfio.core
        denied = self.name == VFIO_PCI and device.ids in DENYLIST
        if denied and core.parameter("vfio_pci", "disable_denylist") not in ("Y", "1"):
            vendor, number = device.ids
            core.log(
                f"{self.name} {device.bdf}: {vendor:04x}:{number:04x} exists in vfio-pci device denylist, "
                "driver probing disallowed.",
                WARNING,
            )
            raise refuse(errno.EINVAL)
        if device.vfs:
            core.log(f"{self.name} {device.bdf}: Cannot bind to PF with SR-IOV enabled", WARNING)
            raise refuse(errno.EBUSY)
        self.vfio.add(device)

    def remove(self, device: PciDevice) -> None:
        self.vfio.drop(device)


class Vfio:
    """The group nodes below /dev/vfio."""

    def __init__(self, core: Core, groups: Groups, udev: Udev) -> None:
        self.core = core
        self.groups = groups
        self.udev = udev

    def drivers(self, module: str) -> list[Driver]:
        """What loading one of the VFIO modules registers."""
        if module == "vfio_pci":
            return [VfioDriver(self, VFIO_PCI)]
        if module == VFIO_VARIANT:
            ids = {(INTEL, family.vf_id) for family in FAMILIES if family.generation >= 4}
            return [VfioDriver(self, VFIO_VARIANT, ids)]
        return []

    def container(self, present: bool) -> None:
        """/dev/vfio/vfio comes and goes with vfio.ko; the kernel sets 0666 (drivers/vfio/container.c)."""
        tree = self.core.tree
        path = f"{VFIO_DEV}/vfio"
        if not present:
            tree.remove(path)
            directory = tree.find(VFIO_DEV)
            if directory is not None and not directory.children:
                tree.remove(VFIO_DEV)  # drivers/base/devtmpfs.c delete_path
        elif tree.find(path) is None:
            tree.char(path, CONTAINER_RDEV, 0o666)

    def add(self, device: PciDevice) -> None:
        """vfio_device_set_group: EINVAL without an IOMMU group, unless the unsafe mode is on."""
        core = self.core
        if device.group is None:
            if core.parameter("vfio", "enable_unsafe_noiommu_mode") not in ("Y", "1"):
                raise refuse(errno.EINVAL)
            self._fake_group(device)
        path = self.core.group_node(device)
        grouped = core.option("CONFIG_VFIO_GROUP") is not False or not core.kernel.since(6, 6)
        if grouped and core.tree.find(path) is None:
            core.tree.char(path, f"{GROUP_MAJOR}:{self._free_minor(VFIO_DEV)}", 0o600)
            self.udev.added(path)
        if core.kernel.has_vfio_cdev and core.option("CONFIG_VFIO_DEVICE_CDEV"):
            minor = self._free_minor(DEVICES)
            core.tree.char(f"{DEVICES}/vfio{minor}", f"{DEVICE_MAJOR}:{minor}", 0o600)
            core.tree.make_dirs(f"{device.path}/vfio-dev/vfio{minor}")

    def drop(self, device: PciDevice) -> None:
        """vfio_unregister_group_dev waits for the last user of the device: Held while there is one."""
        core = self.core
        path = self.core.group_node(device)
        core.must_not_be_held(device, path)
        self._drop_cdev(device)
        group = device.group
        assert group is not None
        if core.unsafe_group(group):
            core.tree.remove(path)
            self.groups.leave(device)
            return
        others = [other for other in self.groups.members(group) if other is not device and _on_vfio(other)]
        if not others:
            core.tree.remove(path)

    def _fake_group(self, device: PciDevice) -> None:
        """drivers/vfio/group.c vfio_noiommu_group_alloc."""
        core = self.core
        listing = core.tree.make_dirs(IOMMU_GROUPS)
        number = 0
        while str(number) in listing.children:
            number += 1
        path = f"{IOMMU_GROUPS}/{number}"
        plain(core.tree.make_dirs(path), "name", "vfio-noiommu\n")
        link(core.tree.make_dirs(f"{path}/devices"), device.bdf, relative(f"{path}/devices", device.path))
        link(device.node, "iommu_group", relative(device.path, path))
        device.group = str(number)
        core.log(f"{device.slot}: Adding kernel taint for vfio-noiommu group on device", WARNING)

    def _drop_cdev(self, device: PciDevice) -> None:
        listing = device.node.children.pop("vfio-dev", None)
        for name in listing.children if listing else ():
            self.core.tree.remove(f"{DEVICES}/{name}")
        directory = self.core.tree.find(DEVICES)
        if directory is not None and not directory.children:
            self.core.tree.remove(DEVICES)

    def _free_minor(self, directory: str) -> int:
        listing = self.core.tree.find(directory)
        used = {
            int(node.rdev.split(":")[1])
            for name, node in (listing.children if listing else {}).items()
            if node.kind == "char" and name != "vfio"
        }
        return next(number for number in range(1 << 20) if number not in used)


def _on_vfio(device: PciDevice) -> bool:
    return isinstance(device.driver, VfioDriver)
