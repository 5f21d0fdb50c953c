"""What every host can do. All paths are absolute and as seen on that host; every failure is an OSError with errno.

A host is the only thing in qatprep that opens files or starts programs on the machine being looked at.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, NoReturn

from qatprep.text import Foreign

FileKind = Literal["file", "dir", "link", "char", "other"]


class FileStat(NamedTuple):
    kind: FileKind
    mode: int
    """Permission bits only (0o7777)."""
    uid: int
    gid: int
    size: int = 0
    """Bytes; 0 for what has no size."""


class TooLarge(OSError):
    """A file has more bytes than are read of it (EFBIG)."""

    def __init__(self, path: str, limit: int, size: int = 0) -> None:
        has = f"has {size} bytes" if size > limit else "is larger"
        super().__init__(errno.EFBIG, f"the file {has}, at most {limit} are read", path)


class RunResult(NamedTuple):
    """How a program ended. `rc` is its exit status, 127 when it is not installed, 124 when its time ran out."""

    argv: tuple[str, ...]
    rc: int
    stdout: Foreign
    stderr: Foreign


class CpuidResult(NamedTuple):
    """The four registers of one CPUID leaf (Intel SDM vol. 2A, CPUID)."""

    eax: int
    ebx: int
    ecx: int
    edx: int


def fail(number: int, path: str) -> NoReturn:
    """Raise what the kernel would raise: an OSError of the right subclass, naming the path on the host."""
    raise OSError(number, os.strerror(number), path)


class Host(ABC):
    """A machine. Subclasses: LinuxHost, Capture, SimulatedHost."""

    label: str
    """For people: "this machine", "/mnt/host", "capture node7.txt", "simulated spr-2s, kernel 6.12"."""

    writable: bool = False
    """False for pictures of a machine: nothing may be applied there."""

    simulated: bool = False
    """True where no real hardware can answer: engines (smoke) are not started for such a host."""

    # -- reading ------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> bytes:
        """The whole content. TooLarge when that is more than `limit` bytes: half a file is never taken for a whole one.

        `deadline` (seconds) is for attributes whose read can block in the kernel (sriov_numvfs takes the device
        lock: drivers/pci/iov.c); past it OSError(ETIMEDOUT) is raised and the reader is left behind.
        """

    def read_all(self, paths: list[str], *, deadline: float) -> dict[str, bytes | OSError]:
        """Several files of devices, whose read may block, each with its own outcome.

        No more than `deadline` seconds are waited for all that do not answer together: OSError(ETIMEDOUT) for these.
        """
        found: dict[str, bytes | OSError] = {}
        for path in paths:
            begin = self.now()
            try:
                found[path] = self.read(path, deadline=deadline)
            except OSError as e:
                found[path] = e
                if e.errno == errno.ETIMEDOUT:
                    deadline = max(0.0, deadline - (self.now() - begin))
        return found

    @abstractmethod
    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    @abstractmethod
    def readlink(self, path: str) -> str:
        """The target of a symbolic link, as stored."""

    @abstractmethod
    def realpath(self, path: str) -> str:
        """The path with every symbolic link followed, as seen on the host. ENOENT when it does not exist."""

    @abstractmethod
    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        """Kind, mode, owner and size."""

    @abstractmethod
    def kernel_log(self) -> Foreign:
        """The kernel's ring buffer, one message a line, oldest first: `<priority>text` (host/kmsg.py reads it), or the
        text alone where the priority is not known. EPERM where it may not be read."""

    @abstractmethod
    def machine(self) -> str:
        """The architecture as uname -m says it."""

    @abstractmethod
    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        """One CPUID leaf of the CPU this host runs on. OSError(ENOTSUP) where it cannot be had."""

    @abstractmethod
    def xcr0(self) -> int:
        """XCR0, the register states the OS has switched on. OSError(ENOTSUP) without OSXSAVE."""

    @property
    @abstractmethod
    def euid(self) -> int:
        """Whom the host takes us for."""

    @abstractmethod
    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    @abstractmethod
    def wallclock(self) -> str:
        """The time of day in UTC, ISO 8601 with seconds."""

    @abstractmethod
    def boot_id(self) -> str:
        """/proc/sys/kernel/random/boot_id, or "" where there is none. Sysfs changes last as long as it."""

    # -- changing -----------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, path: str, data: bytes, *, deadline: float | None = None) -> None:
        """Hand the whole value to an existing file in one os.write, so that an attribute's errno is ours.

        `deadline` (seconds) is for writes that can block in the kernel (disabling VFs that somebody holds); past
        it OSError(ETIMEDOUT) is raised while the write itself may still be waiting in the kernel.
        """

    def write_in_turn(
        self, writes: Sequence[tuple[str, bytes]], *, deadline: float
    ) -> tuple[int, OSError] | tuple[int, None]:
        """Several writes in order, each with its own `deadline` (seconds).

        How many went well, and the error of the one after them, if any: those after that are not begun.
        """
        for number, (path, data) in enumerate(writes):
            try:
                self.write(path, data, deadline=deadline)
            except OSError as e:
                return number, e
        return len(writes), None

    @abstractmethod
    def replace(self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Create or replace a file atomically: temporary file next to it, fsync, rename, fsync of the directory."""

    @abstractmethod
    def append(self, path: str, data: bytes) -> None:
        """Append and fsync; the file is created 0600 when absent."""

    @abstractmethod
    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        """Create a directory with its parents; fine when it is there."""

    @abstractmethod
    def unlink(self, path: str) -> None:
        """Remove a file."""

    @abstractmethod
    def rmdir(self, path: str) -> None:
        """Remove an empty directory. ENOTEMPTY when there is something in it."""

    @abstractmethod
    def chmod(self, path: str, mode: int) -> None: ...

    @abstractmethod
    def chown(self, path: str, uid: int, gid: int) -> None:
        """Change owner and group; -1 leaves one as it is."""

    @abstractmethod
    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        """Run a program of the host with LC_ALL=C and no standard input. Never raises for a bad exit status."""

    @abstractmethod
    def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    def settle(self, deadline: float = 10.0) -> bool:
        """Wait until udev has worked off its queue. False when it had not by then."""

    @abstractmethod
    def lock(self, path: str) -> AbstractContextManager[None]:
        """Hold the host's writer lock. errors.Locked, naming the holder, when somebody else has it."""

    def held(self, path: str) -> bool:
        """Whether somebody holds that lock at this moment; False where it is unknown."""
        return False

    def modified(self, path: str) -> float | None:
        """When a file was written last, in seconds since 1970; None where that is not known."""
        return None

    def hardware_name(self, path: str) -> Foreign:
        """Vendor and model of the device at a sysfs path, for people; "" where no database tells."""
        return Foreign("")

    # -- in terms of the above ----------------------------------------------------------------------------

    def read_text(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> Foreign:
        """The content as text, undecodable bytes escaped: what a weird file holds must be quotable in a message."""
        return Foreign(self.read(path, limit=limit, deadline=deadline))

    def exists(self, path: str) -> bool:
        """True when something is there that we may know of. Raises for anything but plain absence."""
        try:
            self.stat(path)
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        return True
