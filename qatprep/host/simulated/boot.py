"""A tree under another kernel, and a tree after a boot."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from qatprep.devices import BY_PF_ID, BY_VF_ID, INTEL, PCI_DRIVERS, VFIO_DEV
from qatprep.host.capture import META
from qatprep.host.simulated import programs
from qatprep.host.simulated.kernel import Kernel
from qatprep.host.simulated.modconf import normal, read_config
from qatprep.host.simulated.modules import ADF_CTL, ADF_CTL_RDEV, QAT_MODULES, pf_modules
from qatprep.host.simulated.pci import PciDevice
from qatprep.host.simulated.qat import PfDriver
from qatprep.host.simulated.vfio import VfioDriver
from qatprep.host.tree import Node, Tree

if TYPE_CHECKING:
    from qatprep.host.simulated.machine import Machine

OSRELEASE = "/proc/sys/kernel/osrelease"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
_OPTIONS_SINCE = {
    "CONFIG_FW_LOADER_COMPRESS_ZSTD": (5, 19),
    "CONFIG_VFIO_CONTAINER": (6, 2),
    "CONFIG_VFIO_GROUP": (6, 6),
    "CONFIG_VFIO_DEVICE_CDEV": (6, 6),
    "CONFIG_IOMMUFD": (6, 2),
    "CONFIG_CRYPTO_DEV_QAT_420XX": (6, 8),
    "CONFIG_CRYPTO_DEV_QAT_6XXX": (6, 16),
    "CONFIG_QAT_VFIO_PCI": (6, 10),
}
"""Build options that older kernels do not have at all (the thing itself may be there without an option)."""
_ON_SINCE = ("CONFIG_FW_LOADER_COMPRESS_ZSTD", "CONFIG_VFIO_CONTAINER", "CONFIG_VFIO_GROUP")
"""Those of them that a kernel of the right age has switched on unless its configuration says otherwise."""
_MODULES_SINCE = {"qat_420xx": (6, 8), "qat_6xxx": (6, 16), "qat_vfio_pci": (6, 10), "iommufd": (6, 2)}
_PROBE_NEW = re.compile(r"^(\S+) (\S+): probe with driver \1 failed with error -(\d+)$")
_PROBE_OLD = re.compile(r"^(\S+): probe of (\S+) failed with error -(\d+)$")
_NOT_FROM_BOOT = re.compile(
    r"^(4xxx|420xx|6xxx|c6xx|c3xxx|dh895xcc|vfio-pci|vfio_pci|qat_vfio_pci|QAT:)\b"
    r"|^pci \S+: (\[8086:(494\d|37c9|19e3|0443)\]|Adding to iommu group)"
)


def choose(tree: Tree, text: str) -> Kernel:
    """The kernel to model: the tree's own release when `text` names no more than its series."""
    kernel = Kernel(text)
    node = tree.find(OSRELEASE)
    recorded = node.content().decode("utf-8", "replace").strip() if node else ""
    if recorded and not kernel.exact and re.match(rf"{kernel.series[0]}\.{kernel.series[1]}(?!\d)", recorded):
        return Kernel(recorded)
    return kernel


def rename_kernel(tree: Tree, kernel: Kernel) -> bool:
    """Give the tree's files that carry a release, or depend on one, the form they have under `kernel`.

    False when the tree runs this release already. The drivers' own files follow in `refresh`, once the model is up.
    """
    node = tree.find(OSRELEASE)
    old = node.content().decode("utf-8", "replace").strip() if node else ""
    if old == kernel.release:
        return False
    node = node or tree.file(OSRELEASE, mode=0o444)
    node.data = kernel.release.encode() + b"\n"
    for parent in ("/lib/modules", "/lib/firmware", "/lib/firmware/updates"):
        listing = tree.find(parent)
        if listing is not None and old in listing.children:
            listing.children[kernel.release] = listing.children.pop(old)
    boot = tree.find("/boot")
    for name in list(boot.children) if boot else ():
        if boot is not None and old and name.endswith(f"-{old}"):
            boot.children[name[: -len(old)] + kernel.release] = boot.children.pop(name)
    for path in ("/proc/version", "/boot/grub/grub.cfg", "/proc/cmdline", f"{META}/dmesg"):
        text = tree.find(path)
        if text is not None and text.kind == "file" and old:
            text.data = text.data.replace(old.encode(), kernel.release.encode())
    _change_lines(tree, f"/boot/config-{kernel.release}", lambda line: _option_known(kernel, line))
    _add_options(tree, Kernel(old).series if old else kernel.series, kernel)
    for name in ("modules.dep", "modules.builtin"):
        path = f"/lib/modules/{kernel.release}/{name}"
        _change_lines(tree, path, lambda line: _module_known(kernel, line))
    log = tree.find(f"{META}/dmesg")
    if log is not None:
        log.data = "".join(f"{_reword(kernel, line)}\n" for line in log.data.decode().splitlines()).encode()
    return True


def refresh(machine: Machine) -> None:
    """After a change of kernel: drivers that it does not have let go, and files are those of its version."""
    tree, kernel = machine.tree, machine.kernel
    for name, driver in list(machine.bus.drivers.items()):
        gone = name == "qat_vfio_pci" and not kernel.has_vfio_variant
        if isinstance(driver, VfioDriver) and gone:
            machine.bus.unregister(driver)
    for module, since in _MODULES_SINCE.items():
        if kernel.series < since and module in machine.modules.loaded:
            for driver in machine.modules.registered.pop(module, []):
                machine.bus.unregister(driver)
            del machine.modules.loaded[module]
            tree.remove(f"/sys/module/{module}")
            listing = tree.find(PCI_DRIVERS)
            for name in list(listing.children) if listing else ():
                link = listing.children[name].children.get("module") if listing else None
                if link is not None and link.target.endswith(f"/{module}"):
                    _let_go(machine, name)
    machine.tree.remove(ADF_CTL)
    if kernel.has_adf_ctl and "intel_qat" in machine.modules.loaded:
        machine.tree.char(ADF_CTL, ADF_CTL_RDEV, 0o600)
    for device in list(machine.bus.devices.values()):
        if isinstance(device.driver, PfDriver):
            if device.ids[1] in device.driver.families:
                _renew_files(machine, device)
            else:
                _forget(machine, device)


def _let_go(machine: Machine, name: str) -> None:
    """Take a driver away that this kernel does not have, with all that it made."""
    for device in list(machine.bus.devices.values()):
        link = device.node.children.get("driver")
        if link is not None and link.target.endswith(f"/{name}"):
            _forget(machine, device)
    machine.bus.drivers.pop(name, None)
    machine.tree.remove(f"{PCI_DRIVERS}/{name}")


def _forget(machine: Machine, device: PciDevice) -> None:
    """A device whose driver is not there in this kernel."""
    machine.iov.disable(device)
    link = device.node.children.pop("driver", None)
    if link is not None:
        directory = machine.tree.find(f"{PCI_DRIVERS}/{link.target.rsplit('/', 1)[-1]}")
        if directory is not None:
            directory.children.pop(device.bdf, None)
    device.driver = None
    for name in ("qat", "qat_ras"):
        device.node.children.pop(name, None)
    machine.qatfs.remove_debug(device)
    machine.qat.forget(device)


def _renew_files(machine: Machine, device: PciDevice) -> None:
    """The files of a PF as this version makes them; files that could not be read stay so."""
    accel = machine.qat.table[device.bdf]
    kernel = machine.kernel
    errors = _errors(device.node) | _errors(machine.tree.find(machine.qatfs.debug_path(accel)))
    if not kernel.has_heartbeat:
        accel.general = [pair for pair in accel.general if pair[0] != "HeartbeatTimer"]
    if not kernel.has_sriov_key:
        accel.general = [pair for pair in accel.general if pair[0] != "SriovEnabled"]
    if not kernel.has_state and not accel.up:
        accel.up = True
    was_up, accel.up = accel.up, False
    if was_up:
        machine.qat.configure(accel, for_vfs=bool(device.vfs))
    machine.qatfs.removed(accel)
    machine.qatfs.probed(accel)
    if was_up:
        machine.qatfs.started(accel)
    machine.qatfs.ready(accel)
    accel.up = was_up
    for node in (device.node, machine.tree.find(machine.qatfs.debug_path(accel))):
        for name, number in errors.items():
            if node is not None and name in node.children:
                node.children[name].error = number


def _errors(node: Node | None) -> dict[str, int]:
    return {name: child.error for name, child in (node.children if node else {}).items() if child.error}


# -- a boot -------------------------------------------------------------------------------------------------


def power_off(machine: Machine) -> None:
    """Everything that lives in memory goes: VFs, bindings, nodes, modules that a boot need not load, processes."""
    tree = machine.tree
    proc = tree.find("/proc")
    for name in [name for name in (proc.children if proc else ()) if name.isdigit() and name != "1"]:
        tree.remove(f"/proc/{name}")
    machine.stuck.clear()
    for device in list(machine.bus.devices.values()):
        if isinstance(device.driver, PfDriver | VfioDriver) or _is_qat(device):
            _forget(machine, device)
    for device in machine.bus.devices.values():
        device.override = ""
        device.autoprobe = True
        device.cycles = 0
    machine.qat.table.clear()
    for name in list(machine.modules.loaded):
        if name in QAT_MODULES or name.startswith("qat_") or name in _VFIO:
            for driver in machine.modules.registered.pop(name, []):
                machine.bus.drivers.pop(driver.name, None)
                tree.remove(f"{PCI_DRIVERS}/{driver.name}")
            del machine.modules.loaded[name]
            tree.remove(f"/sys/module/{name}")
    listing = tree.find(VFIO_DEV)
    if listing is not None:
        listing.children.clear()
    tree.remove(VFIO_DEV)
    tree.remove(ADF_CTL)
    for top in ("/run", "/tmp"):
        directory = tree.find(top)
        for name, child in list(directory.children.items()) if directory else ():
            child.children.clear()  # the directories themselves are made anew by tmpfiles.d
            if directory is not None and child.kind != "dir":
                del directory.children[name]
    log = tree.find(f"{META}/dmesg")
    if log is not None:
        kept = [line for line in log.data.decode().splitlines() if not _NOT_FROM_BOOT.match(line)]
        log.data = "".join(f"{line}\n" for line in kept).encode()
        machine.log_lines()[:] = kept
    boot_id = tree.find(BOOT_ID)
    if boot_id is not None:
        digest = hashlib.sha256(boot_id.content()).hexdigest()
        text = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}\n"
        boot_id.data = text.encode()


def power_on(machine: Machine) -> None:
    """Drivers built in, then modules-load.d(5), then what udev finds by PCI alias; a blacklist holds for both."""
    config = read_config(machine.tree, machine.text("/proc/cmdline"))
    machine.modules.start_builtin()
    for name in [*_modules_load(machine), *pf_modules(machine)]:
        if normal(name) not in config.blacklist:
            programs.try_load(machine, config, name)
    machine.udev.settle()


def _modules_load(machine: Machine) -> list[str]:
    names: list[str] = []
    for directory in ("/etc/modules-load.d", "/usr/lib/modules-load.d"):
        listing = machine.tree.find(directory)
        for file in sorted(listing.children) if listing else ():
            for line in machine.text(f"{directory}/{file}").splitlines():
                if line.strip() and line.strip()[0] not in "#;":
                    names.append(line.strip())
    return names


_VFIO = ("vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio", "qat_vfio_pci")


def _is_qat(device: PciDevice) -> bool:
    return device.ids[0] == INTEL and (device.ids[1] in BY_PF_ID or device.ids[1] in BY_VF_ID)


# -- lines --------------------------------------------------------------------------------------------------


def _option_known(kernel: Kernel, line: str) -> str | None:
    name = line.removeprefix("# ").split("=")[0].split(" ")[0]
    return line if kernel.series >= _OPTIONS_SINCE.get(name, (0, 0)) else None


def _add_options(tree: Tree, old: tuple[int, int], kernel: Kernel) -> None:
    """Options that came between the recorded kernel and this one."""
    node = tree.find(f"/boot/config-{kernel.release}")
    if node is None or node.kind != "file":
        return
    for name in _ON_SINCE:
        if old < _OPTIONS_SINCE[name] <= kernel.series and name.encode() not in node.data:
            node.data += f"{name}=y\n".encode()


def _module_known(kernel: Kernel, line: str) -> str | None:
    words: list[str] = []
    for word in line.split():
        name = normal(word.rstrip(":").rsplit("/", 1)[-1].split(".")[0])
        if kernel.series < _MODULES_SINCE.get(name, (0, 0)):
            if not words:
                return None
            continue
        words.append(re.sub(r"drivers/crypto/(intel/)?qat", kernel.qat_directory, word))
    return " ".join(words)


def _change_lines(tree: Tree, path: str, change: Callable[[str], str | None]) -> None:
    node = tree.find(path)
    if node is None or node.kind != "file" or node.size is not None:
        return
    lines = [changed for line in node.data.decode().splitlines() if (changed := change(line)) is not None]
    node.data = "".join(f"{line}\n" for line in lines).encode()


def _reword(kernel: Kernel, line: str) -> str:
    match = _PROBE_NEW.match(line) or _PROBE_OLD.match(line)
    return kernel.probe_failed(match[1], match[2], int(match[3])) if match else line
