"""The simulated kernel assembled: each part is given what it depends on, and none looks upward."""

from __future__ import annotations

from qatprep.hardware import PCI_DEVICES
from qatprep.host.tree import Tree
from qatprep.simulator.clock import Clock
from qatprep.simulator.core import Core
from qatprep.simulator.iommu_groups import Groups
from qatprep.simulator.kernel import Kernel
from qatprep.simulator.load_qat import adopt
from qatprep.simulator.modules import Modules
from qatprep.simulator.pci import PciBus
from qatprep.simulator.qat import Qat
from qatprep.simulator.qat_files import QatFiles
from qatprep.simulator.sriov import Iov
from qatprep.simulator.udev import Udev
from qatprep.simulator.vfio import Vfio


class Machine(Core):
    """The model behind a tree. Building it changes nothing in the tree but the functions behind attributes."""

    def __init__(self, tree: Tree, kernel: Kernel, clock: Clock) -> None:
        super().__init__(tree, kernel, clock)
        self.udev = Udev(self)
        self.bus = PciBus(self)
        self.groups = Groups(self, self.bus)
        self.iov = Iov(self, self.bus, self.groups)
        self.vfio = Vfio(self, self.groups, self.udev)
        self.qatfs = QatFiles(self)
        self.qat = Qat(self, self.iov, self.qatfs)
        self.modules = Modules(self, self.bus, self.qat, self.vfio)
        self.bus.load()
        self.modules.load()
        adopt(self, self.bus, self.qat)

    def unplug(self, bdf: str) -> None:
        """A function is pulled out: drivers/pci/remove.c pci_stop_and_remove_bus_device, its VFs with it.

        Held while somebody has one of these open.
        """
        device = self.bus.devices[bdf]
        self.bus.detach(device)
        self.iov.disable(device)
        self.groups.leave(device)
        self.qat.forget(device)
        del self.bus.devices[bdf]
        self.tree.remove(f"{PCI_DEVICES}/{bdf}")
        self.tree.remove(device.path)
        self.log("pcieport 0000:6a:01.0: pciehp: Slot(1): Card not present")
