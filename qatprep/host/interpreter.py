"""A module of qatprep in an interpreter of its own, asked and answering by lines of JSON.

For what may block in the kernel, crash, or write to the standard streams: it then does so somewhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

Line = dict[str, Any]


class Ended(Exception):
    """The child has closed its answers: "ended by SIGSEGV", "ended with exit status 1"."""


class Interpreter:
    """The child's module is given the number of the descriptor for its answers as its one argument.

    It has a session of its own, so that Ctrl-C in a terminal is for us alone, and sees the end of its standard input
    when we end.
    """

    def __init__(
        self,
        module: str,
        *,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
    ) -> None:
        """`output` takes what the child writes to its standard streams; by default nothing does."""
        reader, writer = os.pipe()
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(p for p in (home, os.environ.get("PYTHONPATH", "")) if p)
        streams = subprocess.DEVNULL if output is None else output
        try:
            self._process = subprocess.Popen(
                [*(command or (sys.executable, "-P")), "-m", module, str(writer)],
                stdin=subprocess.PIPE,
                stdout=streams,
                stderr=streams,
                pass_fds=[writer],
                env={**(environment or {}), **os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._reader = reader
        self._rest = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, request: Line) -> None:
        """Ask. That nobody listens any more is found by `receive`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, limit: float) -> Line:
        """The next line. TimeoutError when none comes within `limit` seconds, Ended when none will."""
        end = time.monotonic() + limit
        while b"\n" not in self._rest:
            remaining = end - time.monotonic()
            if remaining <= 0 or not select.select([self._reader], [], [], remaining)[0]:
                raise TimeoutError
            data = os.read(self._reader, 1 << 16)
            if not data:
                raise Ended(self._death())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: Line = json.loads(line)
        return answer

    def _death(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "it closed its answers"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"

    def hang_up(self, wait: float, *, kill: bool) -> None:
        """No more questions. Wait so many seconds for its end; then kill it, or leave it behind."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(wait)
        except subprocess.TimeoutExpired:
            if kill:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
        with contextlib.suppress(OSError):
            os.close(self._reader)
