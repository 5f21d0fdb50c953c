"""One PCI function, and what a driver of it is: what the parts of the model hand to one another."""

from __future__ import annotations

import errno

from qatprep.host.tree import Node
from qatprep.simulator.sysfs import oops


class PciDevice:
    """One PCI function."""

    def __init__(self, bdf: str, path: str, node: Node) -> None:
        self.bdf = bdf
        self.path = path
        self.node = node
        self.ids = (_hex(node, "vendor"), _hex(node, "device"))
        self.driver: Driver | None = None
        self.override = ""
        self.group: str | None = None
        """The name of its IOMMU group; None without an IOMMU."""
        self.physfn: PciDevice | None = None
        self.vfs: list[PciDevice] = []
        self.total_vfs = 0
        self.num_vfs = 0
        """As sriov_numvfs counts them, whatever became of each (struct pci_sriov.num_VFs)."""
        self.autoprobe = True
        self.cycles = 0
        """How many times VFs were made here, this boot."""
        self.busy_until = 0.0
        """Simulated time until which somebody holds the device lock."""

    @property
    def slot(self) -> str:
        """For the kernel log: driver and address (dev_printk)."""
        return f"{self.driver.name if self.driver else 'pci'} {self.bdf}"


class Driver:
    """A PCI driver. Subclasses say what probing and removing do."""

    module = ""
    can_sriov = False

    def __init__(self, name: str, ids: set[tuple[int, int]], override_only: set[tuple[int, int]] | None = None) -> None:
        self.name = name
        self.ids = ids
        self.override_only = override_only or set()
        self.dynamic: list[tuple[int, int]] = []

    def probe(self, device: PciDevice) -> None:
        """Take a device. Raises OSError."""

    def remove(self, device: PciDevice) -> None:
        """Let go of a device. Raises Held while somebody keeps it."""

    def configure_vfs(self, device: PciDevice, count: int) -> int:
        """sriov_configure: make `count` VFs, 0 for none; how many there are then. Raises OSError."""
        raise oops(errno.ENOENT)

    def matches(self, device: PciDevice) -> bool:
        """pci_match_device: an override decides alone; else dynamic ids, then the table."""
        if device.override:
            return device.override == self.name
        return device.ids in self.dynamic or device.ids in self.ids


def text_of(node: Node, name: str) -> str:
    """What an attribute of a function says, without white space around it; "" when there is none."""
    child = node.children.get(name)
    return child.content().decode("utf-8", "backslashreplace").strip() if child else ""


def _hex(node: Node, name: str) -> int:
    try:
        return int(text_of(node, name), 16)
    except ValueError:
        return 0
