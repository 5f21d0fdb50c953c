"""QAT from outside: a process for libqat, bounded in time, and what its failures mean.

Nothing here ever falls back to software: without QAT there is a verdict and no signature.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from qatprep.crypto.measure import Latency, Measured
from qatprep.host.interpreter import Ended, Interpreter

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
        self.command = command
        self.instances: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()  # closed with the session
        try:
            self._child = Interpreter(
                "qatprep.crypto.qat_child",
                command=self.command,
                # One VF is enough for whoever has not said otherwise: qatlib, QAT_POLICY (vfio_mgr_lib.c).
                environment={"QAT_POLICY": "1"},
                output=self._output,
            )
        except BaseException:
            self._output.close()
            raise
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
        self._child.send({"do": do, **arguments})
        try:
            return self._child.receive(limit)
        except TimeoutError:
            self._hung = True
            raise Trouble(do, "hung", f"no answer in {limit:.0f} seconds", output=self.output()) from None
        except Ended as end:
            raise Trouble(do, "died", str(end), output=self.output()) from None

    def close(self) -> None:
        """Stop libqat and the process. Bounded: what does not stop is killed, and what cannot be killed is left."""
        if not self._child.ended and self.instances and not self._hung:
            with contextlib.suppress(Trouble):
                self._ask("stop", STOP_TIME)
        self._child.hang_up(0 if self._hung else 0.5, kill=True)
        self._output.close()
