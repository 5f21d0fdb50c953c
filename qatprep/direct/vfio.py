"""A VF by its IOMMU group and a container: what libqat uses (linux/vfio.h, VFIO_GROUP_*, type 1)."""

from __future__ import annotations

import struct

from qatprep.direct.access import VFIO, Space, open_node
from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Stop
from qatprep.direct.target import Target
from qatprep.direct.trace import Undo

GET_API_VERSION, CHECK_EXTENSION, SET_IOMMU = VFIO, VFIO + 1, VFIO + 2
GROUP_STATUS, SET_CONTAINER, UNSET_CONTAINER, GET_DEVICE = VFIO + 3, VFIO + 4, VFIO + 5, VFIO + 6
IOMMU_INFO, MAP_DMA, UNMAP_DMA = VFIO + 12, VFIO + 13, VFIO + 14
API_VERSION, TYPE1, VIABLE = 0, 1, 1
READ_WRITE = 3
"""VFIO_DMA_MAP_FLAG_READ | _WRITE."""
HAS_CAPABILITIES, IOVA_RANGE = 2, 1
"""VFIO_IOMMU_INFO_CAPS, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE."""
CONTAINER = "/dev/vfio/vfio"


class GroupAccess:
    way = "group"

    def __init__(self, kernel: Kernel, target: Target, undo: Undo) -> None:
        self._kernel, self._target, self.node = kernel, target, target.group_node
        self._device = -1
        self._group = group = open_node(kernel, target.group_node, target)
        undo.add("group", lambda: kernel.close(group))
        status = bytearray(struct.pack("<II", 8, 0))
        kernel.ioctl(group, GROUP_STATUS, status)
        if not struct.unpack("<II", status)[1] & VIABLE:
            raise Stop(Cause.NOT_VIABLE, group=target.group, others=list(target.neighbours))
        self._container = container = open_node(kernel, CONTAINER, target)
        undo.add("container", lambda: kernel.close(container))
        if kernel.ioctl(container, GET_API_VERSION) != API_VERSION or not kernel.ioctl(
            container, CHECK_EXTENSION, TYPE1
        ):
            raise Stop(Cause.NO_IOMMU, node=CONTAINER, why="no type 1 IOMMU: vfio_iommu_type1 is not loaded")
        try:
            kernel.ioctl(group, SET_CONTAINER, bytearray(struct.pack("<i", container)))
            undo.add("group out of its container", lambda: kernel.ioctl(group, UNSET_CONTAINER))
            kernel.ioctl(container, SET_IOMMU, TYPE1)
        except OSError as e:
            raise Stop(Cause.IOMMU_REFUSED, group=target.group, errno=e.errno, error=e.strerror) from None

    def space(self) -> Space:
        info = bytearray(struct.pack("<IIQII", 4096, 0, 0, 0, 0).ljust(4096, b"\0"))
        self._kernel.ioctl(self._container, IOMMU_INFO, info)
        flags, pages, at = struct.unpack_from("<4xIQI", info)
        ranges: list[tuple[int, int]] = []
        seen: set[int] = set()
        while flags & HAS_CAPABILITIES and 0 < at <= len(info) - 16 and at not in seen:
            seen.add(at)
            kind, _, following = struct.unpack_from("<HHI", info, at)
            if kind == IOVA_RANGE:
                count = min(struct.unpack_from("<I", info, at + 8)[0], (len(info) - at - 16) // 16)
                ranges = [struct.unpack_from("<QQ", info, at + 16 + 16 * n) for n in range(count)]
            at = following
        # Before 5.4 there is no such capability; all addresses of 32 bits could be used.
        return Space(tuple(ranges) or ((0, (1 << 32) - 1),), pages & -pages or 4096)

    def map(self, address: int, iova: int, size: int) -> None:
        request = struct.pack("<IIQQQ", 32, READ_WRITE, address, iova, size)
        self._kernel.ioctl(self._container, MAP_DMA, bytearray(request))

    def unmap(self, iova: int, size: int) -> None:
        self._kernel.ioctl(self._container, UNMAP_DMA, bytearray(struct.pack("<IIQQ", 24, 0, iova, size)))

    def open_device(self) -> int:
        self._device = self._kernel.ioctl(self._group, GET_DEVICE, bytearray(self._target.bdf.encode() + b"\0"))
        return self._device

    def close_device(self) -> None:
        self._kernel.close(self._device)
