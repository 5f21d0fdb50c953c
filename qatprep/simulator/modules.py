"""Loaded modules and what loading one does."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from qatprep.hardware import FAMILIES, PCI_DRIVERS
from qatprep.host.kmsg import WARNING
from qatprep.host.tree import Node
from qatprep.simulator import clock
from qatprep.simulator.core import Core
from qatprep.simulator.device import Driver
from qatprep.simulator.modprobe_conf import normal, read_builtin, read_config, read_dependencies
from qatprep.simulator.pci import PciBus
from qatprep.simulator.qat import Qat
from qatprep.simulator.sysfs import attribute, boolean, oops, plain
from qatprep.simulator.vfio import Vfio

PARAMETERS = {
    "vfio": ("enable_unsafe_noiommu_mode",),
    "vfio_pci": ("disable_denylist", "disable_idle_d3", "disable_vga", "enable_sriov", "nointxmask"),
    "vfio_iommu_type1": ("allow_unsafe_interrupts", "disable_hugepages"),
}
"""Boolean parameters, N unless told otherwise."""
WRITABLE = ("enable_unsafe_noiommu_mode", "allow_unsafe_interrupts", "disable_hugepages")
ADF_CTL = "/dev/qat_adf_ctl"
ADF_CTL_RDEV = "242:0"
SOFT_POST = {"vfio": ("vfio_iommu_type1",)}
"""drivers/vfio/vfio_main.c MODULE_SOFTDEP: modprobe tries these afterwards and does not mind when it fails."""


@dataclass
class Loaded:
    size: str
    needs: list[str]


class Modules:
    """The module list, and the drivers that came with each."""

    def __init__(self, core: Core, bus: PciBus, qat: Qat, vfio: Vfio) -> None:
        self.core = core
        self.bus = bus
        self.qat = qat
        self.vfio = vfio
        self.loaded: dict[str, Loaded] = {}
        """Newest last; /proc/modules shows them the other way round."""
        self.builtin: set[str] = set()
        self.dependencies: dict[str, list[str]] = {}
        self.registered: dict[str, list[Driver]] = {}

    def load(self) -> None:
        """Take over what the tree shows as loaded, registering drivers without probing anything."""
        core = self.core
        self.load_tables()
        node = core.tree.find("/proc/modules")
        lines = node.content().decode("utf-8", "replace").splitlines() if node else []
        for line in reversed(lines):
            fields = line.split()
            if len(fields) >= 4:
                self.loaded[fields[0]] = Loaded(fields[1], [])
        for name in self.loaded:
            self.loaded[name].needs = [need for need in self.dependencies.get(name, []) if need in self.loaded]
        self._users_from(lines)
        if node is not None:
            node.show = self._show
        for name in [*sorted(self.builtin), *self.loaded]:
            self._parameters(name)
            self._register(name, quiet=True)
        self._register_others()

    def load_tables(self) -> None:
        """Read modules.dep and modules.builtin (again)."""
        release = self.core.kernel.release
        self.dependencies = read_dependencies(self.core.tree, release)
        self.builtin = read_builtin(self.core.tree, release)

    def present(self, name: str) -> bool:
        return name in self.loaded or name in self.builtin

    def insert(self, name: str, options: list[str]) -> None:
        """init_module: its parameters, its drivers, and the devices they take."""
        core = self.core
        core.clock.spend(clock.MODULE)
        self.loaded[name] = Loaded("16384", [need for need in self.dependencies.get(name, []) if need in self.loaded])
        if core.tree.find("/proc/modules") is None:
            core.tree.file("/proc/modules", mode=0o444).show = self._show
        plain(core.tree.make_dirs(f"/sys/module/{name}"), "initstate", "live\n", 0o444)
        self._parameters(name, options, create=True)
        self._nodes(name, True)
        self._register(name, quiet=False, options=options)

    def remove(self, name: str) -> None:
        """delete_module. EBUSY while something needs it or a device of it is open; Held where its unbinding waits."""
        core = self.core
        if self.users(name) or self._in_use(name):
            raise oops(errno.EBUSY)
        core.clock.spend(clock.MODULE)
        for driver in self.registered.pop(name, []):
            self.bus.unregister(driver)
        self._nodes(name, False)
        del self.loaded[name]
        core.tree.remove(f"/sys/module/{name}")

    def start_builtin(self) -> None:
        """What a kernel with modules built in does at its start."""
        for name in sorted(self.builtin):
            self._nodes(name, True)
            self._parameters(name, self._options(name), create=True)
            for driver in self.registered.get(name, []):
                self.bus.probe_all(driver)

    def _nodes(self, name: str, present: bool) -> None:
        """Device nodes that come and go with a module."""
        core = self.core
        if name == "vfio" and core.option("CONFIG_VFIO_CONTAINER") is not False:
            self.vfio.container(present)
        elif name == "vfio" and not core.kernel.since(6, 2):
            self.vfio.container(present)  # the option did not exist, the thing did
        elif name == "intel_qat" and core.kernel.has_adf_ctl:
            if present:
                core.tree.char(ADF_CTL, ADF_CTL_RDEV, 0o600)
            else:
                core.tree.remove(ADF_CTL)

    def users(self, name: str) -> list[str]:
        """Loaded modules that need this one."""
        return [other for other, entry in self.loaded.items() if name in entry.needs]

    def _in_use(self, name: str) -> bool:
        core = self.core
        drivers = self.registered.get(name, [])
        for device in self.bus.devices.values():
            if device.driver in drivers and device.driver is not None:
                if core.marked("busy", device.bdf):
                    return True
                vfio = name in ("vfio_pci", "qat_vfio_pci") and device.group is not None
                if vfio and core.holders(core.group_node(device)):
                    return True
        return False

    def _options(self, module: str) -> list[str]:
        """Options for a module from modprobe.d and the kernel command line."""
        return read_config(self.core.tree, self.core.text("/proc/cmdline")).options.get(normal(module), [])

    # -- helpers ------------------------------------------------------------------------------------------

    def _register(self, name: str, *, quiet: bool, options: list[str] | None = None) -> None:
        core = self.core
        drivers = self.qat.drivers(name)
        if name != "qat_vfio_pci" or core.kernel.has_vfio_variant:
            drivers += self.vfio.drivers(name)
        self.registered[name] = drivers
        for driver in drivers:
            self.bus.register(driver, quiet=quiet)
            if name == "vfio_pci":
                self._add_ids(driver, self._ids(options), quiet)

    def _ids(self, options: list[str] | None) -> list[tuple[int, int]]:
        """The ids= of vfio-pci (drivers/vfio/pci/vfio_pci.c vfio_pci_fill_ids); bad ones are logged and left out."""
        if options is None:
            options = self._options("vfio_pci")
        pairs = []
        for option in options:
            key, _, value = option.partition("=")
            for text in value.split(",") if key == "ids" else ():
                try:
                    vendor, device = (int(part, 16) for part in text.split(":")[:2])
                except ValueError:
                    self.core.log(f'vfio_pci: invalid id string "{text}"', WARNING)
                    continue
                pairs.append((vendor, device))
        return pairs

    def _add_ids(self, driver: Driver, pairs: list[tuple[int, int]], quiet: bool) -> None:
        for pair in pairs:
            driver.dynamic.append(pair)
            if not quiet:
                vendor, device = pair
                self.core.log(f"vfio_pci: add [{vendor:04x}:{device:04x}[ffffffff:ffffffff]] class 0x000000/00000000")
                self.bus.probe_all(driver)

    def _register_others(self) -> None:
        """Drivers this model knows nothing of: they keep, lose and take back the kinds of devices they had."""
        core = self.core
        listing = core.tree.find(PCI_DRIVERS)
        for name in sorted(listing.children) if listing else ():
            if name in self.bus.drivers:
                continue
            ids = {
                device.ids
                for device in self.bus.devices.values()
                if "driver" in device.node.children and device.node.children["driver"].target.endswith(f"/{name}")
            }
            driver = Driver(name, ids)
            module = core.tree.find(f"{PCI_DRIVERS}/{name}/module", follow=False)
            driver.module = normal(module.target.rsplit("/", 1)[-1]) if module is not None else ""
            self.bus.register(driver, quiet=True)
            if driver.module:
                self.registered.setdefault(driver.module, []).append(driver)

    def _parameters(self, name: str, options: list[str] | None = None, *, create: bool = False) -> None:
        tree = self.core.tree
        path = f"/sys/module/{name}/parameters"
        directory = tree.find(path)
        for parameter in PARAMETERS.get(name, ()):
            if create:
                if parameter == "enable_unsafe_noiommu_mode" and not self.core.option("CONFIG_VFIO_NOIOMMU"):
                    continue
                directory = tree.make_dirs(path)
                given = [option for option in options or [] if option.partition("=")[0] == parameter]
                value = b"Y\n" if given and boolean(given[-1].partition("=")[2].encode() or b"1") else b"N\n"
                directory.children[parameter] = Node("file", 0o644 if parameter in WRITABLE else 0o444, value)
            if directory is not None and parameter in directory.children and parameter in WRITABLE:
                _flag(directory, parameter)

    def _users_from(self, lines: list[str]) -> None:
        """Where modules.dep does not tell, /proc/modules itself says who needs whom (fourth field)."""
        for line in lines:
            fields = line.split()
            for user in fields[3].split(",") if len(fields) >= 4 else ():
                if user in self.loaded and fields[0] not in self.loaded[user].needs:
                    self.loaded[user].needs.append(fields[0])

    def _show(self) -> bytes:
        """kernel/module/procfs.c m_show."""
        lines = []
        for name, entry in reversed(self.loaded.items()):
            users = self.users(name)[::-1]
            listed = "".join(f"{user}," for user in users) or "-"
            lines.append(f"{name} {entry.size} {len(users)} {listed} Live 0x0000000000000000\n")
        return "".join(lines).encode()


def _flag(directory: Node, name: str) -> None:
    """A bool parameter: kernel/params.c param_set_bool, shown as Y or N."""
    node = directory.children[name]

    def store(data: bytes) -> None:
        node.data = b"Y\n" if boolean(data) else b"N\n"

    attribute(directory, name, lambda: node.data, store)


QAT_MODULES = frozenset(family.module for family in FAMILIES) | {"intel_qat"}
