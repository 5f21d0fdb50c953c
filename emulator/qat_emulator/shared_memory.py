"""The transport without a VM: VFIO as the preloaded library asks for it (preload.c), registers in shared files.

What is answered is what Linux's VFIO with the type 1 IOMMU answers. Sources: linux/vfio.h; Linux 6.12
drivers/vfio/{group,container,vfio_iommu_type1}.c and drivers/vfio/pci/vfio_pci_core.c.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import selectors
import socket
import struct
import threading
from dataclasses import dataclass, field

from qat_emulator.closings import Closings
from qat_emulator.function import MSI
from qat_emulator.memory import AddressSpace
from qat_emulator.process import describe
from qat_emulator.vf import Vf

OPEN, IOCTL, WRITE, MMAP = range(4)
MESSAGE = struct.Struct("<IIQQQ")
"""Operation, number, target, argument, value: struct message of preload.c."""
MOST = MESSAGE.size + 4096

_BASE = 0x3B64
(
    API_VERSION,
    CHECK_EXTENSION,
    SET_IOMMU,
    GROUP_STATUS,
    SET_CONTAINER,
    UNSET_CONTAINER,
    DEVICE_FD,
    DEVICE_INFO,
    REGION_INFO,
    IRQ_INFO,
    SET_IRQS,
    DEVICE_RESET,
    IOMMU_INFO,
    MAP_DMA,
    UNMAP_DMA,
) = range(_BASE, _BASE + 15)
TYPE1, TYPE1_V2 = 1, 3
VIABLE, HAS_CONTAINER = 1, 2
IS_PCI, CAN_RESET = 2, 1
REGIONS, IRQS, CONFIG_REGION = 9, 5, 7
READ, WRITABLE, MAPPABLE = 1, 2, 4
EVENTFD_IRQ, SET_EVENTFD = 1, 4
PAGE_SIZES = 1
UNMAP_ALL = 2
SHIFT = 40
"""Region R of a device is at R << SHIFT in its file."""


def refuse(number: int) -> OSError:
    """What is raised for an ioctl that ends with this errno."""
    return OSError(number, os.strerror(number))


@dataclass
class Container:
    """What one open of /dev/vfio/vfio is."""

    memory: AddressSpace = field(default_factory=AddressSpace)
    has_iommu: bool = False


@dataclass(eq=False)
class Group:
    """An IOMMU group of one VF. It is one process's from its open to the last close."""

    vf: Vf
    opened: bool = False
    container: Container | None = None
    file: int = -1
    """The device's file while the device is open."""
    eventfd: int = -1
    """Who is notified of interrupts."""


@dataclass(frozen=True)
class Given:
    """What goes back: a result, bytes in place of the argument, a file."""

    result: int = 0
    data: bytes = b""
    file: int = -1


class Vfio:
    """/dev/vfio for a set of VFs: folder/vfio, and folder/N for the VF of group N."""

    def __init__(self, folder: str, vfs: list[Vf]) -> None:
        self.folder = folder
        self._closings = Closings()
        self._groups: dict[int, Group] = {}
        self._devices: dict[int, Group] = {}
        self._containers: dict[int, tuple[Container, int]] = {}
        self._entry = self._node("vfio")
        for number, vf in enumerate(vfs):
            self._groups[self._node(str(number))] = Group(vf)

    def _node(self, name: str) -> int:
        path = f"{self.folder}/{name}"
        with open(path, "x", encoding="utf-8"):
            pass
        self._closings.watch(path)
        return os.stat(path).st_ino

    @property
    def device(self) -> int:
        """The number of the file system that all files of this VFIO are on."""
        return os.stat(self.folder).st_dev

    def serve(self, listener: socket.socket) -> None:
        """Answer processes for as long as the program runs, in a thread."""
        threading.Thread(target=self._loop, args=(listener,), daemon=True, name="vfio").start()

    def _loop(self, listener: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        selector.register(self._closings.fd, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                self._release()
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket) and not self._serve_one(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()

    def _serve_one(self, client: socket.socket) -> bool:
        """One message; False when the client has gone."""
        fds: list[int] = []
        given = Given()
        try:
            data, fds, _, _ = socket.recv_fds(client, MOST, 1)
            if len(data) < MESSAGE.size:
                return False
            given = self._answer(client, data, fds)
            socket.send_fds(
                client, [struct.pack("<i", given.result) + given.data], [given.file] if given.file >= 0 else []
            )
        except ConnectionError:
            return False
        finally:
            for fd in (*fds, given.file):
                if fd >= 0:
                    os.close(fd)
        return True

    def _answer(self, client: socket.socket, data: bytes, fds: list[int]) -> Given:
        operation, number, target, argument, value = MESSAGE.unpack_from(data)
        try:
            if operation == OPEN:
                return self._open(target)
            if operation == MMAP:
                return self._mmap(target, argument, value)
            if operation == WRITE:
                return self._write(target, argument, number, value)
            given = self._ioctl(target, number, argument, data[MESSAGE.size :], fds)
            if number == DEVICE_FD:
                self._groups[target].vf.counts.opened.append(describe(client))
            return given
        except OSError as problem:
            return Given(-(problem.errno or errno.EIO))
        except (struct.error, KeyError):
            return Given(-errno.EINVAL)

    # -- files -----------------------------------------------------------------------------------------------------

    def _fresh(self, size: int) -> tuple[int, int]:
        """A file without a name: our own descriptor, and one to give away whose last closing is noticed."""
        ours = os.open(self.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.ftruncate(ours, size)
        self._closings.watch(f"/proc/self/fd/{ours}")
        return ours, os.open(f"/proc/self/fd/{ours}", os.O_RDWR | os.O_CLOEXEC)

    def _open(self, target: int) -> Given:
        if target == self._entry:
            ours, theirs = self._fresh(0)
            self._containers[os.fstat(ours).st_ino] = (Container(), ours)
            return Given(file=theirs)
        group = self._groups.get(target)
        if group is not None:
            if group.opened:
                raise refuse(errno.EBUSY)
            group.opened = True
        return Given()

    def _release(self) -> None:
        """What was closed for the last time is given back, as the kernel does."""
        for inode in self._closings.drain():
            if inode in self._devices:
                group = self._devices.pop(inode)
                os.close(group.file)
                group.file = -1
                self._interrupt(group, -1)
                group.vf.memory = AddressSpace()
                group.vf.reset()
                group.vf.attach({bar: memoryview(bytearray(view)) for bar, view in group.vf.registers.items()})
            elif inode in self._containers:
                os.close(self._containers.pop(inode)[1])
            elif inode in self._groups:
                self._groups[inode].opened = False
                self._groups[inode].container = None

    def _write(self, target: int, offset: int, size: int, value: int) -> Given:
        vf = self._devices[target].vf
        region, offset = offset >> SHIFT, offset & (1 << SHIFT) - 1
        if region == CONFIG_REGION:
            vf.config_write(offset, value.to_bytes(size, "little"))
            os.pwrite(self._devices[target].file, bytes(vf.config), CONFIG_REGION << SHIFT)
        elif offset + size > vf.bars[region]:
            raise refuse(errno.EINVAL)
        else:
            vf.write(region, offset, size, value)
        return Given()

    def _mmap(self, target: int, offset: int, size: int) -> Given:
        region, offset = offset >> SHIFT, offset & (1 << SHIFT) - 1
        length = self._devices[target].vf.bars.get(region, 0)
        if offset + size > -(-length // mmap.PAGESIZE) * mmap.PAGESIZE:
            raise refuse(errno.EINVAL)
        return Given()

    # -- ioctls ----------------------------------------------------------------------------------------------------

    def _ioctl(self, target: int, number: int, argument: int, data: bytes, fds: list[int]) -> Given:
        if target in self._containers:
            return self._of_container(self._containers[target][0], number, argument, data, fds)
        if target in self._groups:
            return self._of_group(self._groups[target], number, argument, data)
        return self._of_device(self._devices[target], number, data, fds)

    def _of_container(self, container: Container, number: int, argument: int, data: bytes, fds: list[int]) -> Given:
        if number == API_VERSION:
            return Given(0)
        if number == CHECK_EXTENSION:
            return Given(int(argument in (TYPE1, TYPE1_V2)))
        groups = [group for group in self._groups.values() if group.container is container]
        if number == SET_IOMMU:
            if not groups or container.has_iommu or argument not in (TYPE1, TYPE1_V2):
                raise refuse(errno.EINVAL)
            container.has_iommu = True
            return Given()
        if not container.has_iommu:
            raise refuse(errno.EINVAL)
        if number == IOMMU_INFO:
            size, _ = struct.unpack_from("<II", data)
            return Given(0, struct.pack("<IIQ", size, PAGE_SIZES, 4096)[:size].ljust(len(data), b"\0"))
        if number == MAP_DMA:
            return self._map(groups, container, data, fds)
        if number == UNMAP_DMA:
            size, flags, start, length = struct.unpack_from("<IIQQ", data)
            gone = container.memory.unmap(*((0, 1 << 64) if flags & UNMAP_ALL else (start, length)))
            return Given(0, struct.pack("<IIQQ", size, flags, start, gone) + data[24:])
        raise refuse(errno.ENOTTY)

    def _map(self, groups: list[Group], container: Container, data: bytes, fds: list[int]) -> Given:
        _, _, _, start, length = struct.unpack_from("<IIQQQ", data)
        if not length or (start | length) & 4095 or not fds:
            raise refuse(errno.EINVAL)
        if container.memory.overlaps(start, length):
            raise refuse(errno.EEXIST)
        faults = groups[0].vf.faults
        if "memlock" in faults and container.memory.mapped + length > faults.value("memlock") << 10:
            raise refuse(errno.ENOMEM)
        container.memory.map(start, length, fds[0])
        return Given(0, data)

    def _of_group(self, group: Group, number: int, argument: int, data: bytes) -> Given:
        viable = "unviable" not in group.vf.faults
        if number == GROUP_STATUS:
            size, _ = struct.unpack_from("<II", data)
            flags = (VIABLE if viable else 0) | (HAS_CONTAINER if group.container else 0)
            return Given(0, struct.pack("<II", size, flags))
        if number == SET_CONTAINER:
            if group.container is not None:
                raise refuse(errno.EINVAL)
            if not viable:
                raise refuse(errno.EPERM)
            group.container = self._containers[argument][0]
            return Given()
        if number == UNSET_CONTAINER:
            if group.container is None:
                raise refuse(errno.EINVAL)
            if group.file >= 0:
                raise refuse(errno.EBUSY)
            group.container = None
            return Given()
        if number == DEVICE_FD:
            return self._open_device(group, data.rstrip(b"\0").decode("ascii", "replace"))
        raise refuse(errno.ENOTTY)

    def _open_device(self, group: Group, name: str) -> Given:
        if group.container is None or not group.container.has_iommu:
            raise refuse(errno.EINVAL)
        if name != group.vf.name:
            raise refuse(errno.ENODEV)
        if group.file >= 0:
            return Given(file=os.open(f"/proc/self/fd/{group.file}", os.O_RDWR | os.O_CLOEXEC))
        vf = group.vf
        vf.reset()  # the kernel resets a function before it gives it away
        ours, theirs = self._fresh((CONFIG_REGION + 1) << SHIFT)
        vf.attach(
            {bar: memoryview(mmap.mmap(ours, len(view), offset=bar << SHIFT)) for bar, view in vf.registers.items()}
        )
        os.pwrite(ours, bytes(vf.config), CONFIG_REGION << SHIFT)
        vf.memory = group.container.memory
        group.file = ours
        self._devices[os.fstat(ours).st_ino] = group
        vf.record(vf.name, "open")
        return Given(file=theirs)

    def _of_device(self, group: Group, number: int, data: bytes, fds: list[int]) -> Given:
        vf = group.vf
        if number == DEVICE_INFO:
            (size,) = struct.unpack_from("<I", data)
            return Given(0, struct.pack("<IIII", size, IS_PCI | CAN_RESET, REGIONS, IRQS) + data[16:])
        if number == REGION_INFO:
            size, _, index = struct.unpack_from("<III", data)
            length = len(vf.config) if index == CONFIG_REGION else vf.bars.get(index, 0)
            if index >= REGIONS:
                raise refuse(errno.EINVAL)
            flags = (READ | WRITABLE | (MAPPABLE if index < CONFIG_REGION else 0)) if length else 0
            return Given(0, struct.pack("<IIIIQQ", size, flags, index, 0, length, index << SHIFT) + data[32:])
        if number == IRQ_INFO:
            size, _, index = struct.unpack_from("<III", data)
            count = 0 if "nointerrupt" in vf.faults else vf.irqs.get(index, 0)
            return Given(0, struct.pack("<IIII", size, EVENTFD_IRQ if count else 0, index, count))
        if number == SET_IRQS:
            _, flags, index, _, count = struct.unpack_from("<IIIII", data)
            if index == MSI and "nointerrupt" in vf.faults:
                raise refuse(errno.EINVAL)
            self._interrupt(group, fds[0] if flags & SET_EVENTFD and count and fds else -1)
            return Given(0, data)
        if number == DEVICE_RESET:
            vf.reset()
            return Given()
        raise refuse(errno.ENOTTY)

    @staticmethod
    def _interrupt(group: Group, fd: int) -> None:
        """Tell this eventfd about interrupts; -1: nobody."""
        group.vf.interrupt = lambda vector: None
        if group.eventfd >= 0:
            os.close(group.eventfd)
        group.eventfd = mine = os.dup(fd) if fd >= 0 else -1

        def interrupt(vector: int) -> None:
            with contextlib.suppress(OSError):
                os.eventfd_write(mine, 1)

        if mine >= 0:
            group.vf.interrupt = interrupt
