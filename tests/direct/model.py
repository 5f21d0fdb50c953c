"""VFIO as plain Python: the system calls of qatprep.direct on a device of our own (device.py), with a clock of its own.

What must not happen is counted in `offences`: memory reached that is not mapped, memory taken away while the device may
still write to it, registers used before the device is opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable

from qatprep.direct.kernel import Kernel
from tests.direct.device import Device

BDF, GROUP, CDEV = "0000:6b:00.1", "42", "vfio7"
DEVICE = f"/sys/bus/pci/devices/{BDF}"
SIZES = {0: 0x8000, 2: 0x2000, 7: 0x1000}
VFIO = 0x3B64
BUS_MASTER = 4


class Killed(BaseException):
    """The process is dead: nothing more is done, not even undone."""


def error(number: int, path: str = "") -> OSError:
    return OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))


class Model(Kernel):
    """`kind` is "group", "cdev" or "both": the device nodes this kernel makes."""

    def __init__(self, device: Callable[[Model], Device] = Device, kind: str = "group") -> None:
        self.device = device(self)
        self.clock = 0.0
        self.calls = 0
        self.changes = 0
        """Calls that change something, of which the `kill_at`th kills us."""
        self.kill_at = -1
        self.dead = False
        self.open_errors: dict[str, int] = {}
        self.ioctl_errors: dict[int, int] = {}
        self.viable = True
        self.limit: int | None = None
        self.ranges: tuple[tuple[int, int], ...] = ((0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1))
        self.sizes = dict(SIZES)
        self.msi = 1
        self.offences: list[str] = []
        self.fds: dict[int, str] = {}
        self.maps: dict[int, tuple[int, int]] = {}
        self.bus_master = False
        self.gone = False
        self.links = {
            f"{DEVICE}/driver": "../../../bus/pci/drivers/vfio-pci",
            f"{DEVICE}/iommu_group": f"../../../kernel/iommu_groups/{GROUP}",
        }
        self.folders = {f"/sys/kernel/iommu_groups/{GROUP}/devices": [BDF], DEVICE: []}
        self.nodes = {"/dev/vfio/vfio", "/dev/iommu"}
        if kind in ("group", "both"):
            self.nodes.add(f"/dev/vfio/{GROUP}")
        if kind in ("cdev", "both"):
            self.nodes.add(f"/dev/vfio/devices/{CDEV}")
            self.folders[f"{DEVICE}/vfio-dev"] = [CDEV]
        self._next = 100

    # -- life ---------------------------------------------------------------------------------------------

    def process_ended(self) -> None:
        """What the kernel does with what a dead process had."""
        self.fds.clear()
        self.maps.clear()
        self.device.reset()
        self.bus_master = False
        self.dead, self.kill_at, self.changes = False, -1, 0

    def leaks(self) -> list[str]:
        found = [*self.fds.values(), *(f"mapping {hex(iova)}" for iova in self.maps)]
        return found + (["bus master"] if self.bus_master else [])

    @property
    def is_open(self) -> bool:
        return "device" in self.fds.values()

    def _call(self, *, change: bool = False) -> None:
        self.calls += 1
        self.clock += 1e-6
        if self.dead:
            raise Killed
        if change:
            self.changes += 1
            if self.changes == self.kill_at:
                self.dead = True
                raise Killed

    # -- system calls -------------------------------------------------------------------------------------

    def open(self, path: str) -> int:
        self._call(change=True)
        if path in self.open_errors:
            raise error(self.open_errors[path], path)
        if path not in self.nodes:
            raise error(errno.ENOENT, path)
        kinds = {"/dev/vfio/vfio": "container", "/dev/iommu": "iommufd", f"/dev/vfio/{GROUP}": "group"}
        return self._descriptor(kinds.get(path, "cdev"))

    def _descriptor(self, what: str) -> int:
        self._next += 1
        self.fds[self._next] = what
        return self._next

    def close(self, fd: int) -> None:
        self._call(change=True)
        what = self.fds.pop(fd)
        if what == "device":
            self.device.reset()
            self.bus_master = False
        elif what in ("container", "iommufd"):
            self.maps.clear()

    def ioctl(self, fd: int, request: int, argument: bytearray | int = 0) -> int:
        self._call(change=True)
        what = self.fds[fd]
        if request in self.ioctl_errors:
            raise error(self.ioctl_errors[request])
        data = argument if isinstance(argument, bytearray) else bytearray()
        match what, request - VFIO:
            case "container", 0:
                return 0
            case "container", 1:
                return 1
            case "group", 3:
                struct.pack_into("<I", data, 4, int(self.viable))
            case "group", 6:
                assert data == BDF.encode() + b"\0"
                return self._open_device()
            case "device", 8:
                index = struct.unpack_from("<I", data, 8)[0]
                struct.pack_into("<I", data, 4, 3)
                struct.pack_into("<QQ", data, 16, self.sizes[index], index << 40)
            case "device", 9:
                struct.pack_into("<I", data, 12, self.msi)
            case "container", 12:
                struct.pack_into("<IQI", data, 4, 3, 0xFFFFF000, 64)
                struct.pack_into("<HHIII", data, 64, 1, 1, 0, len(self.ranges), 0)
                for n, (first, last) in enumerate(self.ranges):
                    struct.pack_into("<QQ", data, 80 + 16 * n, first, last)
            case "container", 13:
                self._map(*struct.unpack_from("<QQQ", data, 8))
            case "container", 14:
                self._unmap(*struct.unpack_from("<QQ", data, 8))
            case "cdev", 18:
                self.fds[fd] = "device"
                self._open_device(opened=True)
            case "iommufd", 0x1D:  # IOMMU_IOAS_ALLOC
                struct.pack_into("<I", data, 8, 3)
            case "iommufd", 0x20:
                count, at = len(self.ranges), struct.unpack_from("<Q", data, 16)[0]
                struct.pack_into("<I", data, 8, count)
                struct.pack_into("<Q", data, 24, 4096)
                for n, (first, last) in enumerate(self.ranges):
                    ctypes.memmove(at + 16 * n, struct.pack("<QQ", first, last), 16)
            case "iommufd", 0x21:
                address, size, iova = struct.unpack_from("<QQQ", data, 16)
                self._map(address, iova, size)
            case "iommufd", 0x22:
                self._unmap(*struct.unpack_from("<QQ", data, 8))
            case ("group", 4 | 5) | ("container", 2) | ("device", 19):
                pass
            case _:
                raise error(errno.ENOTTY)
        return 0

    def _open_device(self, opened: bool = False) -> int:
        self.device.reset()
        return 0 if opened else self._descriptor("device")

    def _map(self, address: int, iova: int, size: int) -> None:
        if self.limit is not None and size > self.limit:
            raise error(errno.ENOMEM)
        self.maps[iova] = (address, size)

    def _unmap(self, iova: int, size: int) -> None:
        if self.is_open:
            self.offences.append("memory unmapped while the device is open")
        assert self.maps.pop(iova)[1] == size

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._call()
        return self._register(fd, offset, size, None).to_bytes(size, "little")

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._call(change=True)
        self._register(fd, offset, len(data), int.from_bytes(data, "little"))
        return len(data)

    def _register(self, fd: int, offset: int, size: int, value: int | None) -> int:
        assert self.fds[fd] == "device"
        region, at = offset >> 40, offset & (1 << 40) - 1
        if self.gone:
            return (1 << 8 * size) - 1
        if region == 7:
            assert (at, size) == (4, 2)
            if value is not None:
                self.bus_master = bool(value & BUS_MASTER)
            return 6 if self.bus_master else 0
        assert size == 4
        if value is None:
            return self.device.read(region, at)
        self.device.write(region, at, value)
        return 0

    def readlink(self, path: str) -> str:
        self._call()
        if path not in self.links:
            raise error(errno.ENOENT, path)
        return self.links[path]

    def listdir(self, path: str) -> list[str]:
        self._call()
        if path not in self.folders:
            raise error(errno.ENOENT, path)
        return sorted(self.folders[path])

    def exists(self, path: str) -> bool:
        self._call()
        return path in self.nodes or path in self.folders or path in self.links

    def now(self) -> float:
        self._call()
        return self.clock

    def sleep(self, seconds: float) -> None:
        self._call()
        self.clock += seconds

    def memlock(self) -> int | None:
        return self.limit

    # -- DMA ----------------------------------------------------------------------------------------------

    def read(self, iova: int, size: int) -> bytes:
        at = self._reach(iova, size)
        return ctypes.string_at(at, size) if at else bytes(size)

    def write(self, iova: int, data: bytes) -> None:
        if at := self._reach(iova, len(data)):
            ctypes.memmove(at, data, len(data))

    def _reach(self, iova: int, size: int) -> int:
        if not self.bus_master:
            self.offences.append(f"DMA at {iova:#x} without bus master")
            return 0
        for first, (address, length) in self.maps.items():
            if first <= iova and iova + size <= first + length:
                return address + iova - first
        self.offences.append(f"DMA at {iova:#x}, {size} bytes: not mapped")
        return 0
