"""Making a simulated host fail: an errno, a hang, or the power going, at a chosen operation."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["errno", "hang", "power"]
When = Literal["before", "after", "half"]


class PowerLoss(BaseException):
    """The simulated host lost its power. Not an Exception: nothing may catch it and carry on."""


@dataclass
class Fault:
    """Something that goes wrong at an operation.

    Operations that change the host are counted from 1; with `op` or `path` (a glob) only those that match are.
    """

    kind: Kind
    at: int = 1
    """Which matching operation, counted from 1."""
    errno: int = 0
    op: str = "*"
    """write, replace, append, mkdir, unlink, chmod, chown or run."""
    path: str = "*"
    """Glob over the path as the caller gave it; for run, over the program and its arguments."""
    when: When = "before"
    """Before or after the operation took effect; "half" tears the data of an append (for the others: before)."""
    times: int = 1
    """How many matching operations in a row fail; 0 for all from there on."""
    seen: int = field(default=0, init=False)

    def due(self, op: str, path: str) -> bool:
        """Count an operation; whether it is the one."""
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
