"""A program on a terminal of its own, as a person has it: a window that can be resized, keys, Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence

DEADLINE = 120.0
"""Seconds without output after which a program counts as stuck; none of them is silent for a tenth of that."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")
QATPREP = ("-m", "qatprep")


class Terminal:
    """What runs on a terminal of `columns` and 40 rows. `text` is what it has written so far, without control codes."""

    def __init__(self, arguments: Sequence[str], columns: int, env: Mapping[str, str] | None = None) -> None:
        size = struct.pack("HHHH", 40, columns, 0, 0)
        clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
        program = [sys.executable, *arguments]
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, size)
                os.execve(program[0], program, {**clean, "TERM": "xterm-256color", **(env or {})})
            finally:
                os._exit(127)
        self._raw = b""
        self._reaped = False

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self._raw.decode(errors="replace"))

    def resize(self, columns: int) -> None:
        """Like a person who pulls at the window: the program gets SIGWINCH."""
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def more(self) -> bool:
        """Wait for output; False at its end."""
        assert select.select([self._fd], [], [], DEADLINE)[0], f"no output for {DEADLINE:g} s after: {self.text[-500:]}"
        try:
            got = os.read(self._fd, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self._raw += got
        return bool(got)

    def until(self, words: str) -> None:
        while words not in self.text:
            assert self.more(), f"{words!r} was not written, but: {self.text}"

    def end(self) -> int:
        """Wait for it to end; its exit status, negative for a signal."""
        while self.more():
            pass
        _, status = os.waitpid(self._pid, 0)
        self._reaped = True
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if not self._reaped:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._fd)


def forked(call: Sequence[str], columns: int, *, data: bool = True) -> tuple[int, str]:
    """The exit status of `qatprep CALL` and what it writes on a terminal of so many columns, without control codes. In
    a fork of this process, which has loaded everything: a tenth of what starting Python takes. Without `data` only
    what goes to stderr is on the terminal."""
    from qatprep.__main__ import main
    from qatprep.cli.session import Session

    pid, fd = pty.fork()
    if pid == 0:
        code = 127
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.environ.pop("COLUMNS", None)  # xdist sets it, and rich asks for it
            sys.stdin = os.fdopen(0, closefd=False)
            sys.stdout = os.fdopen(1 if data else os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            session = Session(sys.stdout, sys.stderr, {"TERM": "xterm-256color", "NO_COLOR": "1"})
            code = main(list(call), session)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(int(code))
    raw = b""
    try:
        while select.select([fd], [], [], DEADLINE)[0] and (got := os.read(fd, 65536)):
            raw += got
    except OSError:  # EIO: the other side is closed
        pass
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), _CONTROL.sub("", raw.decode(errors="replace"))


@contextlib.contextmanager
def on_terminal(
    *arguments: str, columns: int = 80, env: Mapping[str, str] | None = None, program: Sequence[str] = QATPREP
) -> Iterator[Terminal]:
    """`qatprep ARGUMENTS` (or another Python program) on a terminal; killed where it has not ended by itself."""
    terminal = Terminal([*program, *arguments], columns, env)
    try:
        yield terminal
    finally:
        terminal.close()
