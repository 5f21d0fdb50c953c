"""Which faults there are: each distinct one of a journey once, every index of one, or any by a seed."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import qatprep.steps.base as steps_base
from qatprep.errors import WRITE_HINTS
from qatprep.simulator.faults import Fault, Kind, When
from qatprep.steps import driver, pf, services
from qatprep.steps.base import Reasons
from tests.faults.journeys import Journey, clean


class Case(NamedTuple):
    journey: Journey
    kernel: str
    faults: tuple[tuple[Kind, int, int, When, int], ...]
    """Of each: kind, the number of the operation, errno, when, how many in a row (0: all from there on)."""

    def made(self) -> list[Fault]:
        return [Fault(kind, at, number, when=when, times=times) for kind, at, number, when, times in self.faults]

    def __str__(self) -> str:
        told = []
        for kind, at, number, when, times in self.faults:
            name = errno.errorcode.get(number, "") if kind == "errno" else kind
            told.append(f"{name} {when} operation {at}" + (" and all that follow" if times == 0 else ""))
        return f"{self.journey.name}, {self.kernel}: " + "; then ".join(told)


_JOURNAL = (errno.EIO, *WRITE_HINTS)
_FILES = (errno.EIO, errno.ENOSPC, errno.EROFS)
"""For other files: nothing tells these apart, but a full disk and a read-only one are what happens."""
ANY = (errno.EIO, errno.EBUSY, errno.ENODEV, errno.ENOENT, errno.EINVAL, errno.ENOMEM, errno.EFAULT, errno.EACCES)


_TABLES: dict[str, tuple[Reasons, ...]] = {
    "state": (driver.STATE_REASONS,),
    "bind": (driver.BIND_REASONS,),
    "unbind": (driver.UNBIND_REASONS,),
    "driver_override": (driver.OVERRIDE_REASONS,),
    "sriov_numvfs": (driver._MAKE_REASONS, driver._REMOVE_REASONS),
    "cfg_services": (services._REASONS,),
    "auto_reset": (pf._REASONS,),
}
"""What the steps tell apart at each attribute, by the tables they explain errors with."""
_TEARS = ("append", "replace")
_HANGS = ("write", "run")
"""What may wait in the kernel; a disk that never answers holds every program up, also this one."""


def _errnos(op: str, path: str) -> tuple[int, ...]:
    if op == "run":
        return (errno.EIO,)
    if path.startswith("/var/lib/qatprep"):
        return _JOURNAL
    if op != "write":
        return _FILES
    tables = _TABLES.get(path.rsplit("/", 1)[-1], ())
    return tuple(dict.fromkeys([errno.EIO, *steps_base._ANYWHERE, *(number for table in tables for number in table)]))


def _faults(op: str, path: str, at: int) -> Iterator[tuple[Kind, int, int, When, int]]:
    """Every fault of one operation."""
    for number in _errnos(op, path):
        yield "errno", at, number, "before", 1
        yield "errno", at, number, "after", 1
    if op == "append":
        yield "errno", at, errno.ENOSPC, "half", 1
        yield "errno", at, errno.ENOSPC, "half", 0
    if op in _HANGS:
        yield "hang", at, 0, "before", 1
        yield "hang", at, 0, "after", 1
    for kind in ("kill", "power"):
        for when in ("before", "half", "after") if op in _TEARS else ("before", "after"):
            yield kind, at, 0, when, 1


def key(op: str, path: str, data: bytes) -> tuple[str, str, str]:
    """What makes an operation distinct: its kind, the pattern of its path, and what it says, less all numbers."""
    words = " ".join(_events(data)) if op == "append" else _pattern(data.decode("latin-1")) if op == "write" else ""
    return op, _pattern(path), words


def _pattern(text: str) -> str:
    text = re.sub(r"[0-9a-f]{4}:[0-9a-f]{2}:00\.0", "PF", text)
    text = re.sub(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", "VF", text)
    return re.sub(r"(?<=vfio/)(noiommu-)?\d+|\d{8}T\d{6}Z-\d+", "N", text)


def _events(data: bytes) -> list[str]:
    """Of lines of a journal, each kind once: what happened, to which kind of change."""
    found = []
    for line in data.decode().splitlines():
        event = json.loads(line) if line else {}
        found.append(f"{event.get('event')} {event.get('change', {}).get('kind', '')}")
    return list(dict.fromkeys(found))


def distinct(journey: Journey, kernel: str) -> Iterator[Case]:
    """Each distinct fault of the journey, once."""
    seen = set()
    for at, (op, path, data) in enumerate(clean(journey, kernel).operations, 1):
        for fault in _faults(op, path, at):
            mark = (key(op, path, data), fault[0], fault[2:])
            if mark not in seen:
                seen.add(mark)
                yield Case(journey, kernel, (fault,))


def undoing_fails(journey: Journey, kernel: str) -> Iterator[Case]:
    """A failure, and then a second one on the way back, once or from there on: each distinct pair once."""
    seen = set()
    for at, (op, path, data) in enumerate(clean(journey, kernel).operations, 1):
        host = journey.host(kernel, Fault("errno", at, errno.EIO))
        journey.call(host)
        for second in range(at + 1, len(host.operations) + 1):
            other = host.operations[second - 1]
            mark = (key(op, path, data), key(*other))
            if mark not in seen:
                seen.add(mark)
                for times in (1, 0):
                    first: tuple[Kind, int, int, When, int] = ("errno", at, errno.EIO, "before", 1)
                    yield Case(journey, kernel, (first, ("errno", second, errno.EBUSY, "before", times)))


def every_index(journey: Journey, kernel: str) -> Iterator[Case]:
    """An error and a kill at each operation there is."""
    for at in range(1, len(clean(journey, kernel).operations) + 1):
        yield Case(journey, kernel, (("errno", at, errno.EIO, "before", 1),))
        yield Case(journey, kernel, (("kill", at, 0, "after", 1),))


def any_of(journey: Journey, kernel: str, dice: object) -> Case:
    """One of all that there are, with a second one behind it in one of three."""
    import random

    assert isinstance(dice, random.Random)
    operations = clean(journey, kernel).operations
    at = dice.randrange(len(operations)) + 1
    op, path, _ = operations[at - 1]
    first = dice.choice(list(_faults(op, path, at)))
    if first[0] == "errno" and dice.random() < 1 / 3:
        number = dice.choice(ANY)
        second = at + 1 + dice.randrange(len(operations))
        return Case(journey, kernel, (first, ("errno", second, number, "before", dice.choice((0, 1)))))
    return Case(journey, kernel, (first,))
