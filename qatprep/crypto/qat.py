"""QAT from outside: a process for libqat, bounded in time, and what its failures mean.

Nothing here ever falls back to software: without QAT there is a verdict and no signature.
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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from qatprep.measure.load import Latency, Measured

LIBQAT = "libqat.so.4"
LIBUSDM = "libusdm.so.0"
SECTION = "SSL"
"""The section name Envoy starts libqat with (contrib/qat, QatManager)."""

LOAD_TIME = 15.0
START_TIME = 30.0
"""Seconds. A start takes milliseconds a VF; a PF that does not answer costs its VFs' time-outs."""
STOP_TIME = 10.0
OUTPUT_LIMIT = 1 << 16


@dataclass(frozen=True)
class Libraries:
    libqat: str = LIBQAT
    libusdm: str = LIBUSDM


@dataclass(eq=False)
class Trouble(Exception):
    """Where libqat failed, in its own terms. qat_verdict.py says what that means on this node."""

    stage: str
    """load, start, run or stop."""
    kind: str
    """error (libqat says so), hung (no answer in time), died (by a signal or exit), absent (no native module)."""
    detail: str
    status: int = 0
    """A CpaStatus where there is one."""
    output: tuple[str, ...] = ()
    """What the library wrote, line by line."""

    def __str__(self) -> str:
        return f"{self.stage}: {self.detail}"


@dataclass(frozen=True)
class QatRun:
    measured: Measured
    checked: int
    """Signatures that `cryptography` verified in the process that made them."""
    wrong: int
    retries: int
    spurious: int
    lost: int
    last_status: int
    polls: int


class QatSession:
    """libqat in a process of its own, started, its instances known. A context manager; entering raises Trouble."""

    def __init__(self, libraries: Libraries | None = None, command: Sequence[str] = ()) -> None:
        self.libraries = libraries or Libraries()
        self.command = list(command) or [sys.executable, "-P"]
        self.instances: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()  # closed with the session
        reader, writer = os.pipe()
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(p for p in (home, os.environ.get("PYTHONPATH", "")) if p)
        try:
            self._process = subprocess.Popen(
                [*self.command, "-m", "qatprep.crypto.qat_child", str(writer)],
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[writer],
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
        self._hung = False
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        answer = self._ask("load", LOAD_TIME, libqat=self.libraries.libqat, libusdm=self.libraries.libusdm)
        if "error" in answer:
            kind = "absent" if "_native" in answer["error"] else "error"
            raise Trouble("load", kind, answer["error"], output=self.output())
        answer = self._ask("start", START_TIME, section=SECTION)
        self.instances = answer.get("instances", [])
        if "error" in answer:
            raise Trouble("start", "error", answer["error"], output=self.output())
        if answer["status"]:
            raise Trouble("start", "error", answer["call"], answer["status"], self.output())

    @property
    def rsa_instances(self) -> int:
        return sum(bool(instance["rsa"]) for instance in self.instances)

    def run(self, kind: str, **load: Any) -> QatRun:
        """Put load on QAT; see Child.do_run. Trouble when it hangs, dies or refuses."""
        limit = 15.0 + load.get("seconds", 1.0) + load.get("patience", 2.0)
        answer = self._ask("run", limit, kind=kind, **load)
        if "error" in answer:
            raise Trouble("run", "error", answer["error"], output=self.output())
        fields = answer.pop("measured")
        latency = fields.pop("latency")
        measured = Measured(
            **{**fields, "sizes": tuple(fields["sizes"])}, latency=Latency(**latency) if latency else None
        )
        return QatRun(measured, **answer)

    def output(self) -> tuple[str, ...]:
        """What the library has written so far."""
        size = os.fstat(self._output.fileno()).st_size
        data = os.pread(self._output.fileno(), OUTPUT_LIMIT, max(0, size - OUTPUT_LIMIT))
        lines = data.decode("utf-8", "backslashreplace").splitlines()
        return tuple(line.strip() for line in lines if line.strip())

    def _ask(self, do: str, limit: float, **arguments: Any) -> dict[str, Any]:
        request = json.dumps({"do": do, **arguments}).encode() + b"\n"
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request)
            self._process.stdin.flush()
        end = time.monotonic() + limit
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._reader], [], [], left)[0]:
                self._hung = True
                raise Trouble(do, "hung", f"no answer in {limit:.0f} seconds", output=self.output())
            data = os.read(self._reader, 1 << 16)
            if not data:
                raise Trouble(do, "died", self._death(), output=self.output())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _death(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "it closed its answers"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"

    def close(self) -> None:
        """Stop libqat and the process. Bounded: what does not stop is killed, and what cannot be killed is left."""
        if self._process.poll() is None:
            with contextlib.suppress(Trouble):
                if self.instances and not self._hung:
                    self._ask("stop", STOP_TIME)
            with contextlib.suppress(OSError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            try:
                self._process.wait(0 if self._hung else 0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
        with contextlib.suppress(OSError):
            os.close(self._reader)
        self._output.close()
