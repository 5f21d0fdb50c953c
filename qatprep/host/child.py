"""Reading and writing of files, here or in a child that may be left behind stuck in the kernel."""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator

from qatprep.host.base import fail

POLL = 0.002  # seconds between two looks at something that tells nobody when it ends
_FRAME = struct.Struct("=iI")  # errno or 0, length of what follows


def read(real: str, limit: int) -> bytes:
    fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        chunks = []
        left = limit
        while left > 0:
            chunk = os.read(fd, min(left, 1 << 16))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _keep_only(fd: int) -> None:
    """Close every other descriptor. A child that is left behind, stuck in the kernel, must not keep our lock (flock
    belongs to the open file, which it shares) nor the pipe that somebody reads our output from until its end.
    """
    os.closerange(0, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))


def _fork() -> int:
    """As os.fork, with the signals that end us blocked in the child: Ctrl-C in a terminal goes to it as well.

    A write that waits in the kernel would be woken by one, and what it left half done could not be told from success.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    pid = 0
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def read_in_child(real: list[str], deadline: float) -> Iterator[bytes | int]:
    """Content or errno of each file, by one forked child; ends early when one read takes longer than `deadline`."""
    reader, writer = os.pipe()
    pid = _fork()
    if pid == 0:
        try:
            _keep_only(writer)
            for path in real:
                number, data = 0, b""
                try:
                    data = read(path, 1 << 16)
                except OSError as e:
                    number = e.errno or errno.EIO
                write_all(writer, _FRAME.pack(number, len(data)) + data)
        finally:
            os._exit(0)
    os.close(writer)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    buffer = b""
    stuck = False
    try:
        for _ in real:
            while len(buffer) < _FRAME.size or len(buffer) < _FRAME.size + _FRAME.unpack_from(buffer)[1]:
                if not poll.poll(deadline * 1000):
                    stuck = True
                    return
                chunk = os.read(reader, 1 << 16)
                if not chunk:
                    return
                buffer += chunk
            number, length = _FRAME.unpack_from(buffer)
            data, buffer = buffer[_FRAME.size : _FRAME.size + length], buffer[_FRAME.size + length :]
            yield number or data
    finally:
        os.close(reader)
        if not stuck:
            os.waitpid(pid, 0)


def in_child(work: Callable[[], bytes], deadline: float, limit: int) -> bytes:
    """Do `work` in a forked child, so that a system call stuck in the kernel cannot take qatprep with it.

    A thread would not do: a process does not end while one of its threads sits in an uninterruptible wait. The child
    does nothing but open, read or write, and _exit, which is safe in the child of a process with threads.
    """
    reader, writer = os.pipe()
    pid = _fork()
    if pid == 0:
        status = 0
        try:
            _keep_only(writer)
            os.write(writer, work()[: max(limit, 1)])
        except OSError as e:
            status = (e.errno or errno.EIO) & 0xFF
        finally:
            os._exit(status)
    os.close(writer)
    end = time.monotonic() + deadline
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    chunks = []
    try:
        while True:
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                # Not killed: a signal would leave the kernel's work half done and, once it is consumed, the waiting
                # cannot be interrupted any more (drivers/vfio/vfio_main.c, vfio_unregister_group_dev).
                fail(errno.ETIMEDOUT, "")
            chunk = os.read(reader, 1 << 16)
            if not chunk:
                break  # the child has ended, and its end of the pipe with it
            chunks.append(chunk)
    finally:
        os.close(reader)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        fail(errno.EINTR, signal.strsignal(os.WTERMSIG(status)) or "")
    if code := os.waitstatus_to_exitcode(status):
        fail(code, "")
    return b"".join(chunks)
