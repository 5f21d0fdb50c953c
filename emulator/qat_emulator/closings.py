"""Know when the last reference to a file is gone, be it a descriptor or memory mapped from it (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import struct

IN_CLOSE, IN_OPEN = 0x08 | 0x10, 0x20
EVENT = struct.Struct("<iIII")


class Closings:
    """Counts opens and closings of watched files. `fd` is readable when there is something to `drain`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._inodes: dict[int, int] = {}
        self._open: dict[int, int] = {}

    def _check(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "inotify")
        return result

    def watch(self, path: str) -> None:
        """Count from now on who opens and closes this file."""
        watch = self._check(self._libc.inotify_add_watch(self.fd, os.fsencode(path), IN_CLOSE | IN_OPEN))
        self._inodes[watch] = os.stat(path).st_ino

    def drain(self) -> list[int]:
        """Inodes whose last reference went since the last call."""
        gone: list[int] = []
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return gone
            while data:
                watch, mask, _, length = EVENT.unpack_from(data)
                data = data[EVENT.size + length :]
                inode = self._inodes.get(watch, 0)
                self._open[inode] = self._open.get(inode, 0) + (1 if mask & IN_OPEN else -1 if mask & IN_CLOSE else 0)
                if mask & IN_CLOSE and self._open[inode] <= 0:
                    gone.append(inode)
