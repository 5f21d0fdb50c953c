"""Foreign libraries from outside: a process of its own for each, bounded in time.

libqat may block, write to the standard streams or end the process; crypto_mb may meet an instruction the CPU does not
have (SIGILL); a libcrypto of another version may clash with the one that this Python has loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

OUTPUT_LIMIT = 1 << 16


@dataclass(eq=False)
class Trouble(Exception):
    """Where a library failed, in its own terms. For libqat qat_verdict.py says what that means on this node."""

    stage: str
    """load, start, run or stop."""
    kind: str
    """error (the library says so), hung (no answer in time), died (by a signal or exit), absent (no native module)."""
    detail: str
    status: int = 0
    """A CpaStatus where there is one."""
    output: tuple[str, ...] = ()
    """What the library wrote, line by line."""

    def __str__(self) -> str:
        return f"{self.stage}: {self.detail}"


class Child:
    """A process that runs `module` of this package and answers requests; serve.py is its side."""

    def __init__(self, module: str, command: Sequence[str] = ()) -> None:
        """Starts it. OSError when that is not possible."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        reader, writer = os.pipe()
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(p for p in (home, os.environ.get("PYTHONPATH", "")) if p)
        try:
            self._process = subprocess.Popen(
                [*(command or (sys.executable, "-P")), "-m", module, str(writer)],
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[writer],
                bufsize=0,
                # One VF is enough for whoever has not said otherwise: qatlib, QAT_POLICY (vfio_mgr_lib.c).
                env={"QAT_POLICY": "1", **os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except BaseException:
            os.close(reader)
            self._output.close()
            raise
        finally:
            os.close(writer)
        self._reader = reader
        self._rest = b""
        self._asked = 0
        self.hung = False

    def output(self) -> tuple[str, ...]:
        """What the library has written so far."""
        size = os.fstat(self._output.fileno()).st_size
        data = os.pread(self._output.fileno(), OUTPUT_LIMIT, max(0, size - OUTPUT_LIMIT))
        lines = data.decode("utf-8", "backslashreplace").splitlines()
        return tuple(line.strip() for line in lines if line.strip())

    def ask(
        self,
        do: str,
        limit: float,
        secret: bytes | bytearray = b"",
        each: Callable[[dict[str, Any]], None] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Its answer within `limit` seconds. `secret` follows the request as it is. Trouble when it hangs or dies.

        `each` takes what the child says before its answer (serve.part); the limit then begins again.
        """
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._asked += 1
            request = json.dumps({"id": self._asked, "do": do, **arguments})
            for part in (request.encode() + b"\n", secret):
                rest = memoryview(part)
                while rest:
                    rest = rest[stdin.write(rest) :]
        end = time.monotonic() + limit
        while True:
            line = self._line(do, end, limit)
            answer: dict[str, Any] = json.loads(line)
            if answer.pop("id") != self._asked:
                continue  # to a request that Ctrl-C took us away from
            if "part" not in answer:
                return answer
            if each:
                each(answer["part"])
            end = time.monotonic() + limit

    def _line(self, do: str, end: float, limit: float) -> bytes:
        while b"\n" not in self._rest:
            remaining = end - time.monotonic()
            if remaining <= 0 or not select.select([self._reader], [], [], remaining)[0]:
                self.hung = True
                raise Trouble(do, "hung", f"no answer in {limit:.0f} seconds", output=self.output())
            data = os.read(self._reader, 1 << 16)
            if not data:
                raise Trouble(do, "died", self._death(), output=self.output())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _death(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "it closed its answers"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def close(self, patience: float = 0.5, *, kill: bool = True) -> None:
        """End it. Bounded: what does not end in `patience` seconds is killed, and what cannot be killed is left.

        Without `kill` it is left at once.
        """
        if self._reader < 0:
            return
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(0 if self.hung else patience)
        except subprocess.TimeoutExpired:
            if kill:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
        os.close(self._reader)
        self._reader = -1
        self._output.close()
