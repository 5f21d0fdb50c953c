"""A recorded tree under another kernel than the one it was recorded under."""

from __future__ import annotations

import re
from collections.abc import Callable

from qatprep.errors import InputError
from qatprep.hardware import FAMILIES, PCI_DRIVERS
from qatprep.host import kmsg
from qatprep.host.tree import Node, Tree
from qatprep.host.values import META
from qatprep.simulator.device import PciDevice
from qatprep.simulator.kernel import Kernel
from qatprep.simulator.machine import Machine
from qatprep.simulator.modprobe_conf import normal
from qatprep.simulator.modules import ADF_CTL, ADF_CTL_RDEV
from qatprep.simulator.qat import PfDriver
from qatprep.simulator.vfio import VfioDriver

OSRELEASE = "/proc/sys/kernel/osrelease"
_OPTIONS_SINCE = {
    "CONFIG_FW_LOADER_COMPRESS_ZSTD": (5, 19),
    "CONFIG_VFIO_CONTAINER": (6, 2),
    "CONFIG_VFIO_GROUP": (6, 6),
    "CONFIG_VFIO_DEVICE_CDEV": (6, 6),
    "CONFIG_IOMMUFD": (6, 2),
    **{family.option: family.since for family in reversed(FAMILIES)},
    "CONFIG_QAT_VFIO_PCI": (6, 10),
}
"""Build options that older kernels do not have at all (the thing itself may be there without an option)."""
_ON_SINCE = ("CONFIG_FW_LOADER_COMPRESS_ZSTD", "CONFIG_VFIO_CONTAINER", "CONFIG_VFIO_GROUP")
"""Those of them that a kernel of the right age has switched on unless its configuration says otherwise."""
_MODULES_SINCE = {
    **{family.module: family.since for family in reversed(FAMILIES)},
    "qat_vfio_pci": (6, 10),
    "iommufd": (6, 2),
}
"""Of modules that drive several families the oldest counts: it is the first in the table."""
_PROBE_NEW = re.compile(r"^(\S+) (\S+): probe with driver \1 failed with error -(\d+)$")
_PROBE_OLD = re.compile(r"^(\S+): probe of (\S+) failed with error -(\d+)$")


def choose(tree: Tree, text: str) -> Kernel:
    """The kernel to model: the tree's own release when `text` names no more than its series."""
    kernel = Kernel(text)
    node = tree.find(OSRELEASE)
    recorded = node.content().decode("utf-8", "replace").strip() if node else ""
    own = _parsed(recorded)
    return own if own is not None and not kernel.exact and own.series == kernel.series else kernel


def _parsed(release: str) -> Kernel | None:
    try:
        return Kernel(release)
    except InputError:
        return None


def rename_kernel(tree: Tree, kernel: Kernel) -> Kernel | None:
    """Give the tree's files that carry a release, or depend on one, the form they have under `kernel`.

    The kernel it ran before; None when it runs this release already (or none at all). The drivers' own files follow in
    `recast`, once the model is up.
    """
    node = tree.find(OSRELEASE)
    old = node.content().decode("utf-8", "replace").strip() if node else ""
    if old == kernel.release:
        return None
    before = _parsed(old)
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
    _add_options(tree, (before or kernel).series, kernel)
    for name in ("modules.dep", "modules.builtin"):
        path = f"/lib/modules/{kernel.release}/{name}"
        _change_lines(tree, path, lambda line: _module_known(kernel, line))
    log = tree.find(f"{META}/dmesg")
    if log is not None:
        log.data = "".join(f"{_reword(kernel, line)}\n" for line in log.data.decode().splitlines()).encode()
    return before


def recast(machine: Machine, before: Kernel) -> None:
    """After a change of kernel: drivers that it does not have let go, and files are those of its version."""
    tree, kernel = machine.tree, machine.kernel
    for name, driver in list(machine.bus.drivers.items()):
        gone = name == "qat_vfio_pci" and not kernel.has_vfio_variant
        if isinstance(driver, VfioDriver) and gone:
            machine.bus.unregister(driver)
    for module, since in _MODULES_SINCE.items():
        if kernel.series < since and module in machine.modules.loaded:
            for driver in machine.modules.registered.pop(module, []):
                _let_go(machine, driver.name)
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
            foreign = before.has_state and "qat" not in device.node.children  # not driven by the kernel's own driver
            if device.ids[1] not in device.driver.families:
                forget(machine, device)
            elif not foreign:
                _renew_files(machine, device)


def _let_go(machine: Machine, name: str) -> None:
    """Take a driver away that this kernel does not have, with all that it made."""
    for device in list(machine.bus.devices.values()):
        link = device.node.children.get("driver")
        if link is not None and link.target.endswith(f"/{name}"):
            forget(machine, device)
    machine.bus.drivers.pop(name, None)
    machine.tree.remove(f"{PCI_DRIVERS}/{name}")


def forget(machine: Machine, device: PciDevice) -> None:
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
    level, text, _ = kmsg.parse(line)
    match = _PROBE_NEW.match(text) or _PROBE_OLD.match(text)
    return kmsg.spell(level, kernel.probe_failed(match[1], match[2], int(match[3]))) if match else line
