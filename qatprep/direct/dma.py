"""Three pages that the device may read and write, at an address chosen for it."""

from __future__ import annotations

import ctypes
import errno
import mmap

from qatprep.direct.access import Access
from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Stop
from qatprep.direct.trace import Trace

PAGES = 3
NEEDED = PAGES * mmap.PAGESIZE
"""Bytes: request ring, answer ring with the address lists, operands. libqat maps 2 MiB at a time."""
LOWEST, HIGHEST = 1 << 21, (1 << 32) - 1
"""libqat begins at 2 MiB too. Address 0 would be accepted, and hide mistakes."""
ALIGNMENT = 1 << 16


class Memory:
    """A buffer with one address for us and one for the device."""

    def __init__(self, kernel: Kernel, access: Access, trace: Trace) -> None:
        self._access, self._trace = access, trace
        space = access.space()
        self.size = PAGES * max(space.page, mmap.PAGESIZE)
        self.iova = _free_address(space.ranges, self.size)
        # The mapping lives on its own pages; ctypes is for their address alone.
        self._memory = mmap.mmap(-1, self.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._anchor = ctypes.c_char.from_buffer(self._memory)
        try:
            access.map(ctypes.addressof(self._anchor), self.iova, self.size)
        except OSError as e:
            self.wipe()
            limit = kernel.memlock()
            if e.errno == errno.ENOMEM and limit is not None:
                raise Stop(Cause.MEMLOCK, needs=self.size, limit=limit) from None
            raise Stop(Cause.MAP_REFUSED, iova=hex(self.iova), errno=e.errno, error=e.strerror) from None
        trace.note("mapped", iova=hex(self.iova), size=self.size, ranges=[list(map(hex, r)) for r in space.ranges])

    def put(self, at: int, data: bytes) -> int:
        """Store it at offset `at`; the device's address of it."""
        self._memory[at : at + len(data)] = data
        return self.iova + at

    def get(self, at: int, size: int) -> bytes:
        return self._memory[at : at + size]

    def word(self, at: int) -> int:
        """32 bits that the device may be writing: one load, as x86 does for four aligned bytes."""
        return int.from_bytes(self._memory[at : at + 4], "little")

    def unmap(self) -> None:
        self._access.unmap(self.iova, self.size)

    def wipe(self) -> None:
        self._memory[:] = bytes(self.size)
        del self._anchor  # mmap does not close while a view of it lives
        self._memory.close()


def _free_address(ranges: tuple[tuple[int, int], ...], size: int) -> int:
    for first, last in sorted(ranges):
        address = max(first, LOWEST) + ALIGNMENT - 1 & -ALIGNMENT
        if address + size - 1 <= min(last, HIGHEST):
            return address
    raise Stop(Cause.MAP_REFUSED, why="the IOMMU leaves no address between 2 MiB and 4 GiB", ranges=list(ranges))
