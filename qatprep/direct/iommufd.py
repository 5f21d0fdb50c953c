"""A VF by its own device node and iommufd, for kernels without VFIO's groups (linux/vfio.h, linux/iommufd.h; 6.6)."""

from __future__ import annotations

import ctypes
import errno
import struct

from qatprep.direct.access import VFIO, Space, nodes, open_node
from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Stop
from qatprep.direct.target import Target
from qatprep.direct.trace import Undo

BIND_IOMMUFD, ATTACH = VFIO + 18, VFIO + 19
IOAS_ALLOC, IOAS_RANGES, IOAS_MAP, IOAS_UNMAP = 0x3B81, 0x3B84, 0x3B85, 0x3B86
FIXED_READ_WRITE = 7
"""IOMMU_IOAS_MAP_FIXED_IOVA | _WRITEABLE | _READABLE."""
MOST_RANGES = 64
IOMMUFD = "/dev/iommu"


class CdevAccess:
    way = "cdev"

    def __init__(self, kernel: Kernel, target: Target, undo: Undo) -> None:
        self._kernel, self.node = kernel, target.cdev_node
        self._iommu = iommu = open_node(kernel, IOMMUFD, target)
        undo.add("iommufd", lambda: kernel.close(iommu))
        self._device = open_node(kernel, target.cdev_node, target)
        undo.add("device node", self._close_device_once)
        try:
            kernel.ioctl(self._device, BIND_IOMMUFD, bytearray(struct.pack("<IIiI", 16, 0, iommu, 0)))
        except OSError as e:
            # EINVAL: open twice by the node; EBUSY: open by the group (drivers/vfio/device_cdev.c); EPERM: the group
            # has a driver that does its own DMA (iommu_device_claim_dma_owner).
            if e.errno in (errno.EBUSY, errno.EINVAL):
                raise Stop(Cause.HELD, node=self.node, error=e.strerror, nodes=nodes(target)) from None
            if e.errno == errno.EPERM:
                raise Stop(Cause.NOT_VIABLE, group=target.group, others=list(target.neighbours)) from None
            raise
        space = bytearray(struct.pack("<III", 12, 0, 0))
        kernel.ioctl(iommu, IOAS_ALLOC, space)
        self._space = struct.unpack("<III", space)[2]
        try:
            kernel.ioctl(self._device, ATTACH, bytearray(struct.pack("<III", 12, 0, self._space)))
        except OSError as e:
            raise Stop(Cause.IOMMU_REFUSED, group=target.group, errno=e.errno, error=e.strerror) from None

    def space(self) -> Space:
        table = (ctypes.c_uint64 * (2 * MOST_RANGES))()
        ask = bytearray(struct.pack("<IIIIQQ", 32, self._space, MOST_RANGES, 0, ctypes.addressof(table), 0))
        self._kernel.ioctl(self._iommu, IOAS_RANGES, ask)
        count, page = struct.unpack_from("<8xI12xQ", ask)
        return Space(tuple((table[2 * n], table[2 * n + 1]) for n in range(min(count, MOST_RANGES))), page)

    def map(self, address: int, iova: int, size: int) -> None:
        request = struct.pack("<IIIIQQQ", 40, FIXED_READ_WRITE, self._space, 0, address, size, iova)
        self._kernel.ioctl(self._iommu, IOAS_MAP, bytearray(request))

    def unmap(self, iova: int, size: int) -> None:
        self._kernel.ioctl(self._iommu, IOAS_UNMAP, bytearray(struct.pack("<IIQQ", 24, self._space, iova, size)))

    def open_device(self) -> int:
        return self._device  # bound: the kernel has reset it

    def close_device(self) -> None:
        self._close_device_once()

    def _close_device_once(self) -> None:
        if self._device >= 0:
            device, self._device = self._device, -1
            self._kernel.close(device)
