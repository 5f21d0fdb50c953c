"""The files of a machine with QAT VFs on vfio-pci, as libqat looks for them, and nothing of the machine's own PCI.

Sources: QL quickassist/lookaside/access_layer/src/qat_direct/adf_io/vfio/{vfio_lib,vfio_mgr_lib}.c (what is read),
Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

import os

from qat_emulator.namespace import cover
from qat_emulator.vf import Vf

BUS, GROUPS, VFIO, NUMA = "/sys/bus/pci", "/sys/kernel/iommu_groups", "/dev/vfio", "/sys/devices/system/node"
NUMA_FILES = ("cpumap", "cpulist", "distance", "meminfo")


def names(vfs: int) -> list[str]:
    """Addresses of VFs as a guest has them: each on a bus of its own."""
    return [f"0000:{number + 1:02x}:00.0" for number in range(vfs)]


def build(vfs: list[Vf]) -> None:
    """Cover what a program that looks for QAT reads. The device nodes are made by shared_memory.Vfio. OSError."""
    numa = _numa()
    for path in (BUS, GROUPS, VFIO):
        cover(path)
    for folder in ("devices", "drivers/vfio-pci", "slots"):
        os.makedirs(f"{BUS}/{folder}")
    for number, vf in enumerate(vfs):
        _device(number, vf)
    if numa:
        cover(NUMA)
        for name, text in numa.items():
            _write(f"{NUMA}/{name}", text)


def _device(number: int, vf: Vf) -> None:
    bdf, device, group = vf.name, f"{BUS}/devices/{vf.name}", f"{GROUPS}/{number}"
    for name, text in {
        "vendor": "0x8086",
        "device": f"{vf.device_id:#06x}",
        "subsystem_vendor": "0x8086",
        "subsystem_device": "0x0000",
        "class": "0x0b4000",
        "revision": "0x40",
        "numa_node": "-1",
        "enable": "1",
        "driver_override": "vfio-pci",
        "modalias": f"pci:v00008086d{vf.device_id:08X}sv00008086sd00000000bc0Bsc40i00",
        "uevent": f"DRIVER=vfio-pci\nPCI_CLASS=B4000\nPCI_ID=8086:{vf.device_id:04X}\nPCI_SLOT_NAME={bdf}",
    }.items():
        _write(f"{device}/{name}", text + "\n")
    with open(f"{device}/config", "wb") as f:
        f.write(vf.config)
    os.makedirs(f"{group}/devices")
    _write(f"{group}/type", "DMA\n")
    for link, target in (
        (f"{device}/driver", f"{BUS}/drivers/vfio-pci"),
        (f"{device}/iommu_group", group),
        (f"{device}/subsystem", BUS),
        (f"{BUS}/drivers/vfio-pci/{bdf}", device),
        (f"{group}/devices/{bdf}", device),
    ):
        os.symlink(target, link)


def _numa() -> dict[str, str]:
    """One NUMA node with every CPU, or nothing where the machine shows none.

    libqat 26.08 does not survive a folder of NUMA nodes without any node in it, as in a container with a masked /sys.
    """
    found = {}
    for name in ("online", "possible", "has_cpu", *(f"node0/{file}" for file in NUMA_FILES)):
        try:
            with open(f"{NUMA}/{name}", encoding="ascii") as f:
                found[name] = f.read()
        except OSError:
            continue
    if not os.path.isdir(NUMA):
        return {}
    cpus = _read("/sys/devices/system/cpu/online", "0")
    return {"online": "0\n", "possible": "0\n", "has_cpu": "0\n", "node0/cpulist": cpus, **found}


def _read(path: str, otherwise: str) -> str:
    try:
        with open(path, encoding="ascii") as f:
            return f.read()
    except OSError:
        return otherwise


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
