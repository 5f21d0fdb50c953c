"""A program that uses VFIO directly, run inside `qat-emulator run`: what it sees goes to stdout as JSON."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import select
import struct
import sys
from collections.abc import Callable

BASE = 0x3B64
SET_IOMMU, GROUP_STATUS, SET_CONTAINER, UNSET_CONTAINER, DEVICE_FD, DEVICE_INFO, REGION_INFO = (
    BASE + n for n in range(2, 9)
)
IRQ_INFO, SET_IRQS, RESET, MAP_DMA, UNMAP_DMA = BASE + 9, BASE + 10, BASE + 11, BASE + 13, BASE + 14


def number_of(call: Callable[[], object]) -> str:
    """The name of the error that a call ends with."""
    try:
        call()
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return "none"


def open_group(number: int = 0) -> tuple[int, int]:
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    group = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    fcntl.ioctl(group, SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, SET_IOMMU, 1)
    return container, group


def open_device(group: int, number: int = 0) -> int:
    device: int = fcntl.ioctl(group, DEVICE_FD, bytearray(f"0000:{number + 1:02x}:00.0\0".encode()))
    return device


def main() -> dict[str, object]:
    seen: dict[str, object] = {}
    container, group = open_group()
    seen["second open"] = number_of(lambda: os.open("/dev/vfio/0", os.O_RDWR))
    seen["other group"] = number_of(lambda: os.close(os.open("/dev/vfio/1", os.O_RDWR)))
    status = bytearray(struct.pack("<II", 8, 0))
    fcntl.ioctl(group, GROUP_STATUS, status)
    seen["status"] = struct.unpack("<II", status)[1]
    seen["other device"] = number_of(lambda: fcntl.ioctl(group, DEVICE_FD, bytearray(b"0000:09:00.0\0")))
    device = open_device(group)
    regions = []
    for index in range(9):
        info = bytearray(struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        fcntl.ioctl(device, REGION_INFO, info)
        regions.append(struct.unpack("<IIIIQQ", info)[1:5:3])
    seen["regions"] = regions

    # Registers, by stores of every size, and by pwrite.
    size = regions[2][1]
    seen["beyond"] = number_of(lambda: mmap.mmap(device, size + 4096, mmap.MAP_SHARED, offset=2 << 40))
    if size < 0x2000:
        return seen
    bar = mmap.mmap(device, size, mmap.MAP_SHARED, offset=2 << 40)
    for size, kind in ((1, ctypes.c_uint8), (2, ctypes.c_uint16), (4, ctypes.c_uint32), (8, ctypes.c_uint64)):
        kind.from_buffer(bar, 0x100 + 8 * size).value = 0x1122334455667788 & (1 << 8 * size) - 1
    with memoryview(bar) as view, view.cast("I") as words:
        words[0x1004 // 4] = 0xABCD
        seen["read back"] = words[0x1004 // 4]
    os.pwrite(device, b"\x01\x02\x03\x04", (2 << 40) + 0x200)
    seen["pread"] = os.pread(device, 4, (2 << 40) + 0x200).hex()
    seen["config"] = os.pread(device, 4, 7 << 40).hex()
    seen["odd write"] = number_of(lambda: os.pwrite(device, b"123", 2 << 40))
    seen["outside"] = number_of(lambda: os.pwrite(device, b"1234", (2 << 40) + 0x2000))

    memory = mmap.mmap(-1, 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:5] = b"hello"
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def dma(iova: int, size: int) -> Callable[[], object]:
        return lambda: fcntl.ioctl(container, MAP_DMA, struct.pack("<IIQQQ", 32, 3, address, iova, size))

    seen["map"] = [number_of(dma(0x200000, 8192)), number_of(dma(0x200000, 8192)), number_of(dma(0x300000, 100))]
    seen["memory kept"] = bytes(memory[:5]).decode()
    unmap = bytearray(struct.pack("<IIQQ", 24, 0, 0x200000, 8192))
    fcntl.ioctl(container, UNMAP_DMA, unmap)
    seen["unmapped"] = struct.unpack("<IIQQ", unmap)[3]

    seen["busy"] = number_of(lambda: fcntl.ioctl(group, UNSET_CONTAINER, 0))
    os.close(device)
    seen["mapped still"] = number_of(lambda: fcntl.ioctl(group, UNSET_CONTAINER, 0))
    del words, view
    ctypes.pythonapi.PyGC_Collect()
    bar.close()
    seen["closed"] = number_of(lambda: fcntl.ioctl(group, UNSET_CONTAINER, 0))
    os.close(group)
    seen["free again"] = number_of(lambda: os.close(os.open("/dev/vfio/0", os.O_RDWR)))

    seen["who"] = [os.getuid(), os.getgid()]
    seen["core limit"] = resource.getrlimit(resource.RLIMIT_CORE)[0] >= 0
    seen["devices"] = sorted(os.listdir("/sys/bus/pci/devices"))
    seen["machine"] = os.path.exists("/etc/passwd") and os.path.exists("/dev/null")
    return seen


def calculate() -> dict[str, object]:
    """2 ** 5 mod 2 ** 767 on a VF, and the interrupt that its answer makes."""
    container, group = open_group()
    device = open_device(group)
    memory = mmap.mmap(-1, 16384, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(container, MAP_DMA, struct.pack("<IIQQQ", 32, 3, address, 0x200000, 16384))
    requests, answers, lists, operands = range(0x200000, 0x204000, 0x1000)
    eventfd = os.eventfd(0)
    fcntl.ioctl(device, SET_IRQS, struct.pack("<IIIIIi", 24, 4 | 32, 1, 0, 1, eventfd))
    memory[0x0000:0x0040] = struct.pack("<2xBB16xIQQQBB6xQ", 3, 0x80, 0x1C0B1A10, 7, lists, lists + 16, 1, 2, 0)
    memory[0x1000:0x1020] = b"\x7f" * 32
    memory[0x2000:0x2018] = struct.pack("<3Q", operands, operands + 96, operands + 192)
    memory[0x3000:0x30C0] = (5).to_bytes(96, "big") + (1 << 767).to_bytes(96, "big")
    for register, value in ((0x1040, requests), (0x1000, 6), (0x1044, answers), (0x1004, 5)):
        os.pwrite(device, struct.pack("<I", value), register)
    os.closerange(3, min(container, group, device, eventfd))  # as a daemon does, which knows nothing of the emulator
    os.closerange(max(container, group, device, eventfd) + 1, 1024)
    os.pwrite(device, struct.pack("<I", 64), 0x100)
    interrupted = bool(select.select([eventfd], [], [], 20)[0])
    opaque, flags = struct.unpack_from("<Q", memory, 0x1008)[0], memory[0x1005]
    return {"interrupt": interrupted, "opaque": opaque, "flags": flags, "result": memory[0x311F]}


if __name__ == "__main__":
    if sys.argv[1:] == ["segv"]:
        open_device(open_group()[1])
        ctypes.string_at(0)
    json.dump(calculate() if sys.argv[1:] == ["calculate"] else main(), sys.stdout)
