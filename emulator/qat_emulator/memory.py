"""What a device reaches by DMA: ranges of I/O virtual addresses, each a part of a shared file."""

from __future__ import annotations

import bisect
import mmap
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple


class DmaFault(LookupError):
    """An address that nothing is mapped at. A real device would be stopped by the IOMMU."""


class Range(NamedTuple):
    """`size` bytes at the I/O virtual address `start` are those of `file` from `offset` on."""

    start: int
    size: int
    file: mmap.mmap
    offset: int


class AddressSpace:
    """I/O virtual addresses of one container or guest. Safe to use from several threads."""

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._files: dict[tuple[int, int], mmap.mmap] = {}
        self._lock = threading.Lock()

    def map(self, start: int, size: int, fd: int, offset: int = 0) -> None:
        """Map `size` bytes of a file at `start`. The descriptor stays the caller's."""
        about = os.fstat(fd)
        with self._lock:
            # A guest's memory is one file that is mapped in many pieces.
            key = (about.st_dev, about.st_ino)
            file = self._files.get(key) or mmap.mmap(fd, about.st_size)
            self._files[key] = file
            bisect.insort(self._ranges, Range(start, size, file, offset), key=lambda r: r.start)

    def unmap(self, start: int, size: int) -> int:
        """Forget what begins in this range; the bytes that were mapped."""
        with self._lock:
            gone = [r for r in self._ranges if start <= r.start < start + size]
            self._ranges = [r for r in self._ranges if not start <= r.start < start + size]
            used = {id(r.file) for r in self._ranges}
            self._files = {key: file for key, file in self._files.items() if id(file) in used}
        return sum(r.size for r in gone)

    def overlaps(self, start: int, size: int) -> bool:
        """Whether any of these addresses is mapped."""
        with self._lock:
            return any(r.start < start + size and start < r.start + r.size for r in self._ranges)

    @property
    def mapped(self) -> int:
        """Bytes that are mapped."""
        with self._lock:
            return sum(r.size for r in self._ranges)

    def _parts(self, address: int, length: int) -> Iterator[tuple[mmap.mmap, int, int]]:
        while length:
            with self._lock:
                place = bisect.bisect(self._ranges, address, key=lambda r: r.start) - 1
                found = self._ranges[place] if place >= 0 else None
            inside = address - found.start if found else 0
            if found is None or inside >= found.size:
                raise DmaFault(f"DMA to {address:#x}, which is not mapped")
            part = min(length, found.size - inside)
            yield found.file, found.offset + inside, part
            address += part
            length -= part

    def read(self, address: int, length: int) -> bytes:
        """DmaFault where any part is not mapped."""
        return b"".join(file[at : at + part] for file, at, part in self._parts(address, length))

    def write(self, address: int, data: bytes) -> None:
        """DmaFault where any part is not mapped; what comes before it is written."""
        done = 0
        for file, at, part in self._parts(address, len(data)):
            file[at : at + part] = data[done : done + part]
            done += part

    def store_word(self, address: int, value: int) -> None:
        """One 32-bit store, which whoever looks at the memory sees whole."""
        ((file, at, _),) = self._parts(address, 4)
        with memoryview(file) as view, view.cast("I") as words:
            words[at // 4] = value
