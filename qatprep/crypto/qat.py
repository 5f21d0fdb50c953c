"""QAT from outside: a process for libqat, bounded in time, and what its failures mean.

Nothing here ever falls back to software: without QAT there is a verdict and no signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from qatprep.crypto import native
from qatprep.crypto.child import Child, Trouble
from qatprep.crypto.load import Measured
from qatprep.errors import QatprepError

__all__ = ["Libraries", "QatRun", "QatSession", "Trouble"]

LIBQAT = "libqat.so.4"
LIBUSDM = "libusdm.so.0"
SECTION = "SSL"
"""The section name Envoy starts libqat with (contrib/qat, QatManager)."""

LOAD_TIME = 15.0
START_TIME = 30.0
"""Seconds. A start takes milliseconds a VF; a PF that does not answer costs its VFs' time-outs."""
STOP_TIME = 10.0


@dataclass(frozen=True)
class Libraries:
    libqat: str = LIBQAT
    libusdm: str = LIBUSDM


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

    @property
    def trouble(self) -> str:
        """What is wrong with it, in words; "" when every operation came back with the right result."""
        done = self.measured.completed
        if self.lost and not done:
            return f"everything was lost: none of {self.lost} operations came back"
        said = []
        if self.lost:
            said.append(f"{self.lost} of {self.lost + done} operations never came back")
        if wrong := max(self.wrong, self.measured.failed):
            said.append(f"{wrong} of {done} operations failed or gave WRONG results")
        return ", ".join(said)


class QatSession:
    """libqat in a process of its own, started, its instances known. A context manager; entering raises Trouble."""

    def __init__(self, libraries: Libraries | None = None, command: Sequence[str] = ()) -> None:
        self.libraries = libraries or Libraries()
        self.command = command
        self.instances: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._child = Child("qatprep.crypto.qat_child", self.command)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        try:
            for library in self.libraries.libqat, self.libraries.libusdm:
                native.require_trusted(library)
        except QatprepError as e:
            raise Trouble("load", "error", f"{e.message}; {e.hint}") from e
        answer = self._child.ask("load", LOAD_TIME, libqat=self.libraries.libqat, libusdm=self.libraries.libusdm)
        if "error" in answer:
            kind = "absent" if "_native" in answer["error"] else "error"
            raise Trouble("load", kind, answer["error"], output=self.output())
        answer = self._child.ask("start", START_TIME, section=SECTION)
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
        answer = self._child.ask("run", limit, kind=kind, **load)
        if "error" in answer:
            raise Trouble("run", "error", answer["error"], output=self.output())
        return QatRun(Measured.of(answer.pop("measured")), **answer)

    def output(self) -> tuple[str, ...]:
        """What the library has written so far."""
        return self._child.output()

    def close(self) -> None:
        """Stop libqat and the process. Bounded: what does not stop is killed, and what cannot be killed is left."""
        if self._child.running and self.instances and not self._child.hung:
            with contextlib.suppress(Trouble):
                self._child.ask("stop", STOP_TIME)
        self._child.close()
