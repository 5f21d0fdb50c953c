"""The PCI bus and the driver core: who is bound to what, and the attributes by which that is changed.

Rules: drivers/base/bus.c (bind, unbind, drivers_probe), drivers/base/dd.c, drivers/pci/pci-driver.c (ids, matching).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from qatprep.hardware import PCI_DEVICES, PCI_DRIVERS
from qatprep.host.kmsg import ERR, WARNING
from qatprep.simulator import clock
from qatprep.simulator.core import Core
from qatprep.simulator.device import Driver, PciDevice, text_of
from qatprep.simulator.sysfs import attribute, line, link, oops, relative, word
from qatprep.simulator.waiting import Held

PAGE = 4096
NO_LOG = (errno.ENODEV, errno.ENXIO)
"""Probe errors that the driver core logs at debug level only: drivers/base/dd.c call_driver_probe."""


class PciBus:
    """All functions and drivers of the core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.devices: dict[str, PciDevice] = {}
        self.drivers: dict[str, Driver] = {}
        self.extensions: list[Callable[[PciDevice], None]] = []
        """What other parts do to a function that appears."""

    # -- what is there already ----------------------------------------------------------------------------

    def load(self) -> None:
        """Take over the functions in the tree; drivers are registered by their modules afterwards."""
        tree = self.core.tree
        listing = tree.find(PCI_DEVICES)
        for bdf in sorted(listing.children) if listing else ():
            try:
                path = tree.realpath(f"{PCI_DEVICES}/{bdf}")
            except OSError:
                continue
            self.devices[bdf] = PciDevice(bdf, path, tree.get(path))
        for device in self.devices.values():
            group = device.node.children.get("iommu_group")
            device.group = group.target.rsplit("/", 1)[-1] if group else None
            override = text_of(device.node, "driver_override")
            device.override = "" if override == "(null)" else override
            parent = device.node.children.get("physfn")
            if parent is not None:
                device.physfn = self.devices.get(parent.target.rsplit("/", 1)[-1])
            if "sriov_totalvfs" in device.node.children:
                device.total_vfs = int(text_of(device.node, "sriov_totalvfs") or 0)
                device.autoprobe = text_of(device.node, "sriov_drivers_autoprobe") != "0"
        for device in self.devices.values():
            names = [name for name in device.node.children if name.startswith("virtfn")]
            for name in sorted(names, key=lambda name: int(name[6:])):
                vf = self.devices.get(device.node.children[name].target.rsplit("/", 1)[-1])
                if vf is not None:
                    device.vfs.append(vf)
            device.cycles = 1 if device.vfs else 0
            told = text_of(device.node, "sriov_numvfs") if "sriov_numvfs" in device.node.children else ""
            device.num_vfs = int(told) if device.vfs and told.isdigit() else len(device.vfs)
            self.attach_attributes(device)
        root = tree.find("/sys/bus/pci")
        if root is not None:
            attribute(root, "drivers_probe", None, self._drivers_probe, 0o200)

    def attach_attributes(self, device: PciDevice) -> None:
        """The device's own attributes that react."""
        attribute(
            device.node,
            "driver_override",
            lambda: self._show_override(device),
            lambda data: self._set_override(device, data),
        )
        for attach in self.extensions:
            attach(device)

    # -- drivers ------------------------------------------------------------------------------------------

    def register(self, driver: Driver, *, quiet: bool = False) -> None:
        """pci_register_driver: make its directory and, unless `quiet`, let it probe what has no driver.

        Devices that the tree shows as bound to it already are taken over as they are.
        """
        core = self.core
        path = f"{PCI_DRIVERS}/{driver.name}"
        directory = core.tree.make_dirs(path)
        self.drivers[driver.name] = driver
        attribute(directory, "bind", None, lambda data: self._bind(driver, data), 0o200)
        attribute(directory, "unbind", None, lambda data: self._unbind(driver, data), 0o200)
        attribute(directory, "new_id", None, lambda data: self._new_id(driver, data), 0o200)
        attribute(directory, "uevent", None, None, 0o200)
        attribute(directory, "remove_id", None, lambda data: self._remove_id(driver, data), 0o200)
        if driver.module and "module" not in directory.children:
            link(directory, "module", relative(path, f"/sys/module/{driver.module}"))
        for device in self.devices.values():
            bound = device.node.children.get("driver")
            if bound is not None and bound.target.rsplit("/", 1)[-1] == driver.name:
                device.driver = driver
        if not quiet:
            self.probe_all(driver)

    def unregister(self, driver: Driver) -> None:
        """pci_unregister_driver."""
        for device in list(self.devices.values()):
            if device.driver is driver:
                self.detach(device)
        self.drivers.pop(driver.name, None)
        self.core.tree.remove(f"{PCI_DRIVERS}/{driver.name}")

    def probe_all(self, driver: Driver) -> None:
        """driver_attach: offer the driver everything that has none. What a probe answers is only logged."""
        for device in sorted(self.devices.values(), key=lambda device: device.bdf):
            if device.driver is None and driver.matches(device):
                self._try(device, driver)

    def probe_device(self, device: PciDevice) -> None:
        """device_attach: offer a device to every driver until one takes it."""
        for driver in list(self.drivers.values()):
            if device.driver is not None:
                return
            if driver.matches(device):
                self._try(device, driver)

    def _try(self, device: PciDevice, driver: Driver) -> None:
        try:
            self.attach(device, driver)
        except OSError:
            return  # drivers/base/dd.c really_probe: the next driver may try its luck

    def attach(self, device: PciDevice, driver: Driver) -> None:
        """Bind. EBUSY when bound already, ENODEV when VFs may not be probed, else what the probe says."""
        if device.driver is not None:
            raise oops(errno.EBUSY)
        if device.physfn is not None and not device.physfn.autoprobe and not device.override:
            raise oops(errno.ENODEV)  # drivers/pci/pci-driver.c pci_device_can_probe
        device.driver = driver
        try:
            driver.probe(device)
        except OSError as e:
            device.driver = None
            if e.errno not in NO_LOG:
                kernel = self.core.kernel
                line = kernel.probe_failed(driver.name, device.bdf, e.errno or errno.EIO)
                self.core.log(line, ERR if kernel.since(6, 10) else WARNING)
            raise
        path = f"{PCI_DRIVERS}/{driver.name}"
        link(device.node, "driver", relative(device.path, path))
        link(self.core.tree.make_dirs(path), device.bdf, relative(path, device.path))

    def detach(self, device: PciDevice) -> None:
        """Unbind. Raises Held while somebody keeps the device."""
        driver = device.driver
        if driver is None:
            return
        driver.remove(device)
        device.driver = None
        device.node.children.pop("driver", None)
        directory = self.core.tree.find(f"{PCI_DRIVERS}/{driver.name}")
        if directory is not None:
            directory.children.pop(device.bdf, None)

    # -- attributes of drivers ----------------------------------------------------------------------------

    def _bind(self, driver: Driver, data: bytes) -> None:
        device = self.devices.get(word(data))
        if device is None or not driver.matches(device):
            raise oops(errno.ENODEV)
        self.core.must_not_be_stuck(device)
        self.core.clock.spend(clock.VF_BIND)
        self.attach(device, driver)

    def _unbind(self, driver: Driver, data: bytes) -> None:
        device = self.devices.get(word(data))
        if device is None or device.driver is not driver:
            raise oops(errno.ENODEV)
        self.core.must_not_be_stuck(device)
        self.core.clock.spend(clock.VF_BIND)
        try:
            self.detach(device)
        except Held as held:
            held.locked = device
            raise

    def _new_id(self, driver: Driver, data: bytes) -> None:
        """drivers/pci/pci-driver.c new_id_store: EEXIST for what is known, then everything unbound is probed."""
        pair = _id_pair(data)
        if pair in driver.dynamic or pair in driver.ids:
            raise oops(errno.EEXIST)
        driver.dynamic.append(pair)
        self.probe_all(driver)

    def _remove_id(self, driver: Driver, data: bytes) -> None:
        pair = _id_pair(data)
        if pair not in driver.dynamic:
            raise oops(errno.ENODEV)
        driver.dynamic.remove(pair)

    def _drivers_probe(self, data: bytes) -> None:
        """ENODEV for an unknown address; success whether or not a driver took the device: read the link."""
        device = self.devices.get(word(data))
        if device is None:
            raise oops(errno.ENODEV)
        self.core.must_not_be_stuck(device)
        self.core.clock.spend(clock.VF_BIND)
        self.probe_device(device)

    def _show_override(self, device: PciDevice) -> bytes:
        """drivers/pci/pci-sysfs.c of 6.1: under the device lock; later kernels have one of its own for it (bus.c)."""
        if not self.core.kernel.since(6, 12):
            self.core.must_not_be_stuck(device)
        return line(device.override or "(null)")

    def _set_override(self, device: PciDevice, data: bytes) -> None:
        """drivers/base/driver.c driver_set_override: any text is taken; an empty line takes it back."""
        if not self.core.kernel.since(6, 12):
            self.core.must_not_be_stuck(device)
        if len(data) >= PAGE - 1:
            raise oops(errno.EINVAL)
        text = data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        device.override = text.split("\n", 1)[0]


def _id_pair(data: bytes) -> tuple[int, int]:
    """Vendor and device in hexadecimal; EINVAL when there are not two numbers."""
    fields = word(data).split()
    try:
        return int(fields[0], 16), int(fields[1], 16)
    except (IndexError, ValueError):
        raise oops(errno.EINVAL) from None
