"""Where a VF is in sysfs at this moment, and which device nodes lead to it."""

from __future__ import annotations

import os
from typing import NamedTuple

from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Stop

PCI_DEVICES = "/sys/bus/pci/devices"
DRIVER = "vfio-pci"


class Target(NamedTuple):
    bdf: str
    group: str
    """IOMMU group number, as text. Valid until the next boot or hotplug: never stored."""
    group_node: str
    cdev_node: str
    """"" where the kernel makes no such nodes (before 6.6, or without VFIO_DEVICE_CDEV)."""
    neighbours: tuple[str, ...]
    """Other functions in the group, each with its driver: "0000:00:1f.0 (snd_hda_intel)"."""


def look(kernel: Kernel, bdf: str) -> Target:
    """Stop(NO_DEVICE, NOT_BOUND, NO_IOMMU) where the chain ends already."""
    device = f"{PCI_DEVICES}/{bdf}"
    if not kernel.exists(device):
        raise Stop(Cause.NO_DEVICE, path=device)
    driver = _driver(kernel, device)
    if driver != DRIVER:
        raise Stop(Cause.NOT_BOUND, driver=driver or "no driver")
    try:
        path = kernel.readlink(f"{device}/iommu_group")
    except FileNotFoundError as e:
        raise Stop(Cause.NO_IOMMU, path=e.filename) from None
    group = os.path.basename(path)
    groups = f"/sys/kernel/iommu_groups/{group}"
    # VFIO's stand-in for a device without an IOMMU: /dev/vfio/noiommu-N (drivers/vfio/group.c). Never used: DMA would
    # reach all memory.
    if kernel.exists(f"/dev/vfio/noiommu-{group}"):
        raise Stop(Cause.NO_IOMMU, path=f"/dev/vfio/noiommu-{group}")
    others = [name for name in kernel.listdir(f"{groups}/devices") if name != bdf]
    neighbours = tuple(f"{name} ({_driver(kernel, f'{PCI_DEVICES}/{name}') or 'no driver'})" for name in others)
    try:
        cdevs = kernel.listdir(f"{device}/vfio-dev")
    except OSError:
        cdevs = []
    cdev = f"/dev/vfio/devices/{cdevs[0]}" if cdevs else ""
    return Target(bdf, group, f"/dev/vfio/{group}", cdev, neighbours)


def _driver(kernel: Kernel, device: str) -> str:
    try:
        return os.path.basename(kernel.readlink(f"{device}/driver"))
    except OSError:
        return ""
