"""Making a simulated host fail at a chosen operation: an errno, a hang, the end of the process or of the power, or
somebody else who does something at that moment."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["errno", "hang", "power", "kill", "act"]
When = Literal["before", "after", "half"]


class Ended(BaseException):
    """The process that works on a simulated host has ended. Not an Exception: nothing may catch it and carry on."""


class PowerLoss(Ended):
    """The simulated host lost its power."""


class Killed(Ended):
    """The process was killed (SIGKILL); the simulated host runs on."""


@dataclass
class Fault:
    """Something that goes wrong at an operation.

    Operations that change the host are counted from 1; with `op` or `path` (a glob) only those that match are. Reads
    are met only by a fault whose `op` is "read".
    """

    kind: Kind
    at: int = 1
    """Which matching operation, counted from 1."""
    errno: int = 0
    op: str = "*"
    """write, replace, append, mkdir, unlink, rmdir, chmod, chown, run or read."""
    path: str = "*"
    """Glob over the path as the caller gave it; for run, over the program and its arguments."""
    when: When = "before"
    """Before or after the operation took effect; "half" tears the data of an append, and stops a replace when its
    temporary file is half written (for the others: before)."""
    times: int = 1
    """How many matching operations in a row fail; 0 for all from there on."""
    act: Callable[[Any], object] | None = None
    """For "act": what somebody else does with the host (a SimulatedHost) before or after the operation, which then
    goes on."""
    seen: int = field(default=0, init=False)

    def due(self, op: str, path: str) -> bool:
        """Count an operation; whether it is the one."""
        if op == "read" != self.op:
            return False
        if not (fnmatch.fnmatchcase(op, self.op) and fnmatch.fnmatchcase(path, self.path)):
            return False
        self.seen += 1
        return self.seen >= self.at and (self.times == 0 or self.seen < self.at + self.times)


class Faults:
    """A set of faults; may be changed while the host is in use."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)
        self._guard = threading.Lock()

    @classmethod
    def error(
        cls, at: int, errno: int, *, path: str = "*", op: str = "*", when: When = "before", times: int = 1
    ) -> Faults:
        """The `at`-th matching operation fails with `errno`."""
        return cls(Fault("errno", at, errno, op, path, when, times))

    @classmethod
    def hang(cls, at: int, *, path: str = "*", op: str = "*", when: When = "before") -> Faults:
        """The `at`-th matching operation blocks until its deadline: ETIMEDOUT."""
        return cls(Fault("hang", at, 0, op, path, when))

    @classmethod
    def power(cls, at: int, *, path: str = "*", op: str = "*", when: When = "before") -> Faults:
        """The power goes at the `at`-th matching operation: PowerLoss there and at everything after."""
        return cls(Fault("power", at, 0, op, path, when))

    def pick(self, op: str, path: str) -> Fault | None:
        """Count an operation in every fault; the first one that is due."""
        with self._guard:
            due = [fault for fault in self.faults if fault.due(op, path)]
        return due[0] if due else None
