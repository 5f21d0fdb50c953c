"""The vfio-user transport: the device's end of the socket that QEMU's vfio-user-pci connects to.

Source: QEMU 11.1, hw/vfio-user/{protocol.h,proxy.c,device.c,container.c,pci.c} and docs/interop/vfio-user.rst;
linux/vfio.h for what the messages carry.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
from collections.abc import Callable

from qat_emulator import sockets
from qat_emulator.function import Function

HEADER = struct.Struct("<HHIII")
"""Number, command, size with this header, flags, error."""
REPLY, NO_REPLY, ERROR = 0x1, 0x10, 0x20
CONFIG_REGION, REGIONS, IRQS = 7, 9, 5
READ_WRITE = 3
UNMAP_ALL = 2
IS_PCI, CAN_RESET = 2, 1
SET_NONE, SET_EVENTFD, TRIGGER = 1, 4, 32
MOST_FDS = 8
LIMITS = {"max_msg_fds": MOST_FDS, "max_data_xfer_size": 1 << 20, "pgsizes": 4096, "max_dma_maps": 65535}
"""QEMU refuses a larger max_dma_maps."""

Handler = Callable[["Connection", bytes, list[int]], bytes]


class Connection:
    """One client of one function."""

    def __init__(self, function: Function, client: socket.socket) -> None:
        self.function, self.client = function, client
        self._eventfds: dict[tuple[int, int], int] = {}

    def serve(self) -> None:
        """Answer messages until the client goes."""
        self.function.interrupt = self._interrupt
        try:
            while True:
                head, fds = self._receive(HEADER.size)
                if not head:
                    return
                number, command, size, flags, _ = HEADER.unpack(head)
                body, more = self._receive(size - HEADER.size) if size > HEADER.size else (b"", [])
                reply, error = self._answer(command, body, fds + more)
                if not flags & NO_REPLY:
                    kind = REPLY | (ERROR if error else 0)
                    self.client.sendall(HEADER.pack(number, command, HEADER.size + len(reply), kind, error) + reply)
        except (ConnectionError, struct.error):
            return  # the client broke off, or does not speak vfio-user
        finally:
            self._forget()

    def _answer(self, command: int, body: bytes, fds: list[int]) -> tuple[bytes, int]:
        try:
            handler = HANDLERS.get(command)
            return (handler(self, body, fds), 0) if handler else (b"", errno.EOPNOTSUPP)
        except OSError as problem:
            return b"", problem.errno or errno.EINVAL
        except (ValueError, LookupError):  # outside of a region, or of one that is not there
            return b"", errno.EINVAL
        finally:
            for fd in fds:
                os.close(fd)

    def _receive(self, length: int) -> tuple[bytes, list[int]]:
        data, fds = b"", list[int]()
        while len(data) < length:
            chunk, more, _, _ = socket.recv_fds(self.client, length - len(data), MOST_FDS)
            fds += more
            if not chunk:
                return b"", fds
            data += chunk
        return data, fds

    def _interrupt(self, vector: int) -> None:
        for (_, number), fd in list(self._eventfds.items()):
            if number == vector:
                with contextlib.suppress(OSError):  # the client went away
                    os.eventfd_write(fd, 1)

    def _forget(self) -> None:
        self.function.interrupt = lambda vector: None
        self.function.reset()  # who comes next finds it as after a power cut
        self.function.memory.unmap(0, 1 << 64)
        for fd in self._eventfds.values():
            os.close(fd)

    # -- commands: body and files of a message -> body of its reply ----------------------------------------------

    def version(self, body: bytes, fds: list[int]) -> bytes:
        return struct.pack("<HH", 0, 0) + json.dumps({"capabilities": LIMITS}).encode() + b"\0"

    def map(self, body: bytes, fds: list[int]) -> bytes:
        _, _, offset, address, size = struct.unpack_from("<IIQQQ", body)
        if fds:  # without a file (a ROM, another device's memory) it could only be asked for by message
            self.function.memory.map(address, size, fds[0], offset)
        return b""

    def unmap(self, body: bytes, fds: list[int]) -> bytes:
        _, flags, address, size = struct.unpack_from("<IIQQ", body)
        self.function.memory.unmap(*((0, 1 << 64) if flags & UNMAP_ALL else (address, size)))
        return body[:24]

    def info(self, body: bytes, fds: list[int]) -> bytes:
        return struct.pack("<IIII", 16, IS_PCI | CAN_RESET, REGIONS, IRQS)

    def region(self, body: bytes, fds: list[int]) -> bytes:
        index = struct.unpack_from("<III", body)[2]
        size = len(self.function.config) if index == CONFIG_REGION else self.function.bars.get(index, 0)
        return struct.pack("<IIIIQQ", 32, READ_WRITE if size else 0, index, 0, size, index << 40)

    def irq_info(self, body: bytes, fds: list[int]) -> bytes:
        index = struct.unpack_from("<III", body)[2]
        count = self.function.irqs.get(index, 0)
        return struct.pack("<IIII", 16, 1 if count else 0, index, count)

    def set_irqs(self, body: bytes, fds: list[int]) -> bytes:
        _, flags, index, start, count = struct.unpack_from("<IIIII", body)
        if flags & SET_EVENTFD and flags & TRIGGER:
            for n in range(count):
                old = self._eventfds.pop((index, start + n), None)
                if old is not None:
                    os.close(old)
                if n < len(fds):
                    self._eventfds[index, start + n] = os.dup(fds[n])
        elif flags & SET_NONE and not count:
            for key in [key for key in self._eventfds if key[0] == index]:
                os.close(self._eventfds.pop(key))
        return b""

    def read(self, body: bytes, fds: list[int]) -> bytes:
        offset, region, size = struct.unpack_from("<QII", body)
        if region == CONFIG_REGION:
            return body[:16] + self.function.config_read(offset, size)
        return body[:16] + self.function.read(region, offset, size).to_bytes(size, "little")

    def write(self, body: bytes, fds: list[int]) -> bytes:
        offset, region, size = struct.unpack_from("<QII", body)
        data = body[16 : 16 + size]
        if region == CONFIG_REGION:
            self.function.config_write(offset, data)
        else:
            self.function.write(region, offset, size, int.from_bytes(data, "little"))
        return body[:16]

    def reset(self, body: bytes, fds: list[int]) -> bytes:
        self.function.reset()
        return b""


HANDLERS: dict[int, Handler] = {
    1: Connection.version,
    2: Connection.map,
    3: Connection.unmap,
    4: Connection.info,
    5: Connection.region,
    7: Connection.irq_info,
    8: Connection.set_irqs,
    9: Connection.read,
    10: Connection.write,
    13: Connection.reset,
}


def listen(function: Function, path: str) -> socket.socket:
    """Serve a function on a socket at `path`. OSError."""
    return sockets.listen(path, lambda client: Connection(function, client).serve())
