"""A boot: what lives in memory goes, and what a boot loads comes."""

from __future__ import annotations

import hashlib
import re

from qatprep.hardware import BY_PF_ID, BY_VF_ID, DRIVERS, INTEL, PCI_DRIVERS, VFIO_DEV
from qatprep.host.values import META
from qatprep.simulator import programs
from qatprep.simulator.device import PciDevice
from qatprep.simulator.machine import Machine
from qatprep.simulator.modprobe_conf import normal, read_config
from qatprep.simulator.modules import ADF_CTL, QAT_MODULES
from qatprep.simulator.other_kernel import forget
from qatprep.simulator.qat import PfDriver
from qatprep.simulator.vfio import VfioDriver

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_VFIO = ("vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio", "qat_vfio_pci")
_IDS = "|".join(f"{number:04x}" for number in BY_VF_ID)
_NOT_FROM_BOOT = re.compile(
    rf"^(?:<\d+>)?(?:(?:{'|'.join(DRIVERS)}|vfio-pci|vfio_pci|qat_vfio_pci|QAT:)\b"
    rf"|pci \S+: (?:\[8086:(?:{_IDS})\]|Adding to iommu group))"
)


def power_off(machine: Machine) -> None:
    """Everything that lives in memory goes: VFs, bindings, nodes, modules that a boot need not load, processes."""
    tree = machine.tree
    proc = tree.find("/proc")
    for name in [name for name in (proc.children if proc else ()) if name.isdigit() and name != "1"]:
        tree.remove(f"/proc/{name}")
    machine.stuck.clear()
    for device in list(machine.bus.devices.values()):
        if isinstance(device.driver, PfDriver | VfioDriver) or _is_qat(device):
            forget(machine, device)
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
            # The directories themselves are made again by tmpfiles.d; /run/systemd/system says that systemd runs.
            stays = child.children.get("system") if name == "systemd" else None
            child.children.clear()
            if stays is not None:
                child.children["system"] = stays
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


def _is_qat(device: PciDevice) -> bool:
    return device.ids[0] == INTEL and (device.ids[1] in BY_PF_ID or device.ids[1] in BY_VF_ID)


def pf_modules(machine: Machine) -> list[str]:
    """The modules udev would load for the QAT PFs of the machine, by their PCI aliases, in order of address."""
    wanted = []
    for device in sorted(machine.bus.devices.values(), key=lambda device: device.bdf):
        family = BY_PF_ID.get(device.ids[1]) if device.ids[0] == 0x8086 else None
        if family is not None and family.module not in wanted and machine.kernel.knows(family):
            wanted.append(family.module)
    return wanted
