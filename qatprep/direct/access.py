"""What both ways to a VF have in common: vfio.py (group and container) and iommufd.py (a device node of its own)."""

from __future__ import annotations

import errno
from typing import NamedTuple, Protocol

from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Evidence, Stop
from qatprep.direct.target import Target

VFIO = 0x3B64
"""_IO(';', 100), the first of linux/vfio.h: the others count from it."""


class Space(NamedTuple):
    """Where DMA addresses may lie."""

    ranges: tuple[tuple[int, int], ...]
    """First and last address of each range the IOMMU allows."""
    page: int
    """Smallest page in bytes."""


class Access(Protocol):
    """A VF that nobody else holds, and the IOMMU in front of it."""

    way: str
    node: str

    def space(self) -> Space: ...

    def map(self, address: int, iova: int, size: int) -> None:
        """Let the device read and write `size` bytes of our memory at `iova`. OSError as the kernel gave it."""

    def unmap(self, iova: int, size: int) -> None: ...

    def open_device(self) -> int:
        """The device's descriptor. The kernel resets the function (vfio_pci_core_enable)."""

    def close_device(self) -> None:
        """The kernel resets the function again. Memory stays mapped until then."""


def open_node(kernel: Kernel, path: str, target: Target, missing: Cause = Cause.NODE_MISSING) -> int:
    """Stop with what is in the way. EBUSY: another process has the group open, or the device through its other node."""
    try:
        return kernel.open(path)
    except OSError as e:
        causes = {
            errno.ENOENT: missing,
            errno.ENODEV: missing,
            errno.ENXIO: missing,
            errno.EACCES: Cause.NOT_PERMITTED,
            errno.EPERM: Cause.DEVICE_POLICY,
            errno.EBUSY: Cause.HELD,
        }
        evidence: Evidence = {"node": path, "error": e.strerror}
        cause = causes.get(e.errno or 0, Cause.SYSTEM_ERROR)
        if cause is Cause.HELD:
            evidence["nodes"] = nodes(target)
        raise Stop(cause, **evidence) from None


def nodes(target: Target) -> list[str]:
    """Every node a holder may have open."""
    return [node for node in (target.group_node, target.cdev_node) if node]
