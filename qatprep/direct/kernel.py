"""The system calls of this room, in one place, so that a model can take the kernel's."""

from __future__ import annotations

import fcntl
import os
import resource
import time

CAP_IPC_LOCK = 14
"""linux/capability.h: its holder is not held to RLIMIT_MEMLOCK (vfio_iommu_type1.c, vfio_lock_acct)."""


class Kernel:
    """The running kernel. Everything raises OSError as the kernel gave it."""

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def close(self, fd: int) -> None:
        os.close(fd)

    def ioctl(self, fd: int, request: int, argument: bytearray | int = 0) -> int:
        """`argument` is a bytearray, never bytes: with bytes, ioctl() returns those and loses the kernel's result."""
        return fcntl.ioctl(fd, request, argument)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def memlock(self) -> int | None:
        """RLIMIT_MEMLOCK in bytes; None when it is unlimited or does not apply."""
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        with open("/proc/self/status") as status:
            effective = next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)
        return None if limit == resource.RLIM_INFINITY or effective >> CAP_IPC_LOCK & 1 else limit
