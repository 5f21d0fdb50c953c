"""Reading and writing of files, here or in a child that may be left behind stuck in the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import struct
import time
from collections.abc import Iterator, Sequence

from qatprep.host.base import fail

PATIENCE = 0.25
"""Seconds to wait for one of many reads before somebody else goes on behind it."""
POLL = 0.002  # seconds between two looks at something that tells nobody when it ends
_FRAME = struct.Struct("=iI")  # errno or 0, length of what follows


def read(real: str, limit: int) -> bytes:
    """The whole content; OSError(EFBIG) when it has more than `limit` bytes."""
    fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        chunks = []
        left = limit + 1
        while left > 0:
            chunk = os.read(fd, min(left, 1 << 16))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
        if not left:
            fail(errno.EFBIG, real)
        return b"".join(chunks)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _fork() -> int:
    """As os.fork, with the signals that end us blocked in the child: Ctrl-C in a terminal goes to it as well.

    A write that waits in the kernel would be woken by one, and what it left half done could not be distinguished from
    success.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    pid = 0
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


_AT_ONCE = 64
"""Calls under way at a time: questions and answers both have to fit a pipe, or each side waits for the other."""
_REQUEST = struct.Struct("=cIII")
"""b"r" to read, b"w" to write, b"+" to write if what was asked before went well; limit; length of path and of data."""


class Helper:
    """A forked child that reads and writes files for us, one after the other, until we hang up.

    A system call stuck in the kernel cannot take qatprep with it then: the child is left behind. A thread would not do:
    a process does not end while one of its threads sits in an uninterruptible wait. The child does nothing but open,
    read, write and _exit, which is safe in the child of a process with threads. It serves many calls because a fork for
    each costs ten times as much as binding a VF.
    """

    def __init__(self) -> None:
        theirs, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        self.pid = _fork()
        if self.pid == 0:
            try:
                _serve(theirs, replies)
            finally:
                os._exit(0)
        os.close(theirs)
        os.close(replies)
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)
        self._buffer = b""

    def send(self, operation: bytes, real: str, data: bytes, limit: int) -> None:
        """Ask, without waiting for the answer. No more than fits a pipe may be under way."""
        path = os.fsencode(real)
        write_all(self._requests, _REQUEST.pack(operation, limit, len(path), len(data)) + path + data)

    def receive(self, deadline: float) -> tuple[int, bytes]:
        """The answer to the oldest question: errno or 0, content. OSError(ETIMEDOUT) after `deadline` seconds."""
        end = time.monotonic() + deadline
        while (whole := self._whole()) is None:
            if not self._poll.poll(max(0.0, end - time.monotonic()) * 1000):
                # Not killed: a signal would leave the kernel's work half done and, once it is consumed, the waiting
                # cannot be interrupted any more (drivers/vfio/vfio_main.c, vfio_unregister_group_dev).
                fail(errno.ETIMEDOUT, "")
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                fail(errno.EINTR, "")  # somebody has killed it
            self._buffer += chunk
        return whole

    def answers(self, calls: Sequence[tuple[bytes, str, bytes, int]], deadline: float) -> Iterator[tuple[int, bytes]]:
        """The answers to many questions (as for `send`), in order, each within `deadline` seconds.

        To be taken to the last: whoever asks next must not get what is left over.
        """
        for start in range(0, len(calls), _AT_ONCE):
            batch = calls[start : start + _AT_ONCE]
            for call in batch:
                self.send(*call)
            for _ in batch:
                yield self.receive(deadline)

    def _whole(self) -> tuple[int, bytes] | None:
        """The next reply, once all of it is here."""
        if len(self._buffer) < _FRAME.size:
            return None
        number, length = _FRAME.unpack_from(self._buffer)
        if len(self._buffer) < _FRAME.size + length:
            return None
        answer, self._buffer = self._buffer[_FRAME.size : _FRAME.size + length], self._buffer[_FRAME.size + length :]
        return number, answer

    def hang_up(self, *, wait: bool) -> None:
        """No more calls. `wait` until it has ended, which one that is stuck will not."""
        os.close(self._requests)
        os.close(self._replies)
        if wait:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def _serve(requests: int, replies: int) -> None:
    """The life of a helper."""
    # Nothing else stays open: a child that is left behind, stuck in the kernel, must not keep our lock (flock belongs
    # to the open file, which it shares) nor the pipe that somebody reads our output from until its end.
    low, high = sorted((requests, replies))
    os.closerange(0, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
    number = 0
    while header := _exactly(requests, _REQUEST.size):
        operation, limit, path_length, data_length = _REQUEST.unpack(header)
        path = os.fsdecode(_exactly(requests, path_length))
        data = _exactly(requests, data_length)
        before, number, answer = number, 0, b""
        try:
            if operation == b"r":
                answer = read(path, limit)
            elif operation == b"+" and before:
                number = errno.ECANCELED
            else:
                fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, data)
                finally:
                    os.close(fd)
        except OSError as e:
            number = e.errno or errno.EIO
        write_all(replies, _FRAME.pack(number, len(answer)) + answer)


def _exactly(fd: int, length: int) -> bytes:
    """That many bytes; b"" when the other side has hung up."""
    data = b""
    while len(data) < length:
        chunk = os.read(fd, length - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


class Helpers:
    """As many helpers as there are threads that need one at the same time."""

    def __init__(self) -> None:
        self._idle: list[Helper] = []
        self._pid = os.getpid()

    def ask(self, operation: bytes, real: str, data: bytes = b"", *, limit: int = 0, deadline: float) -> bytes:
        """The content of a file (b"r", at most `limit` bytes), or b"" once `data` is written (b"w").

        OSError as the kernel gave it; ETIMEDOUT after `deadline` seconds, and then that helper is of no more use.
        """
        with self._borrowed() as helper:
            helper.send(operation, real, data, limit)
            number, answer = helper.receive(deadline)
        if number:
            fail(number, "")
        return answer

    def read_all(self, real: Sequence[str], deadline: float) -> list[bytes | int]:
        """Content or errno of each file: ETIMEDOUT for those that do not answer, for which no more than `deadline`
        seconds are waited together.

        One helper reads them, one after the other. Where it waits for one longer than PATIENCE another goes on behind
        that one, and the first is looked at again at the end: it may just have waited for somebody who was quick.
        """
        outcomes: list[bytes | int] = []
        waiting: dict[int, Helper] = {}
        remaining = deadline
        while len(outcomes) < len(real):
            patience = min(PATIENCE, remaining)
            helper = self._take()
            try:
                calls = [(b"r", path, b"", 1 << 20) for path in real[len(outcomes) :]]
                for number, data in helper.answers(calls, patience):
                    outcomes.append(number or data)
                self._idle.append(helper)
            except TimeoutError:
                waiting[len(outcomes)] = helper
                outcomes.append(errno.ETIMEDOUT)
                remaining -= patience
                if remaining <= 0:
                    outcomes += [errno.ETIMEDOUT] * (len(real) - len(outcomes))
            except OSError as e:  # somebody has killed it
                helper.hang_up(wait=False)
                outcomes.append(e.errno or errno.EIO)
        end = time.monotonic() + remaining
        for place, helper in waiting.items():
            with contextlib.suppress(OSError):
                number, data = helper.receive(max(0.0, end - time.monotonic()))
                outcomes[place] = number or data
            helper.hang_up(wait=False)
        return outcomes

    def write_in_turn(self, writes: Sequence[tuple[str, bytes]], deadline: float) -> tuple[int, int]:
        """How many of the writes went well, and the errno of the one after them, 0 when there is none."""
        calls = [(b"+" if n else b"w", path, data, 0) for n, (path, data) in enumerate(writes)]
        numbers: list[int] = []
        try:
            with self._borrowed() as helper:
                numbers.extend(number for number, _ in helper.answers(calls, deadline))
        except OSError as e:
            numbers.append(e.errno or errno.EIO)
        done = next((n for n, number in enumerate(numbers) if number), len(numbers))
        return done, numbers[done] if done < len(numbers) else 0

    def _take(self) -> Helper:
        """One that is idle, or a new one."""
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()  # we are a fork of whom they serve
        try:
            return self._idle.pop()
        except IndexError:
            return Helper()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Helper]:
        """A helper for one thread. One that did not answer, or answers what nobody waits for any more, is given up."""
        helper = self._take()
        try:
            yield helper
        except BaseException:
            helper.hang_up(wait=False)
            raise
        self._idle.append(helper)

    def __del__(self) -> None:
        if self._pid == os.getpid():
            for helper in self._idle:
                helper.hang_up(wait=True)
