"""The one shape of a judgement, and the pages that explain each. Ids are API: never reused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CRASH = "QP-CRASH"
"""The id of what is found when a check itself fails. It is nobody's check, but has a page like one."""
QUOTES = "QP-LOG-001"
"""The id whose evidence, lines of the kernel log, is shown whatever its status and however little else is."""


SEEN = "seen"
"""The path of the evidence by which a check that passed says what it saw."""
LOOKED = "checked"
"""The same for what is not news: which devices, which file."""


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    """It could not be seen: no permission, lockdown, an attribute that blocks."""
    SKIPPED = "skipped"
    """Left out by --skip, or it has no meaning on this host."""
    BLOCKED = "blocked"
    """Something it depends on is broken: nothing can be said before that is fixed."""


@dataclass(frozen=True)
class Evidence:
    """What was read, and where."""

    path: str
    value: str


@dataclass(frozen=True)
class Location:
    """Where in a file that was given a finding is."""

    source: str
    line: int
    document: int
    """Of the file, from 1."""
    item: int | None
    """Of a List, from 0; None where the document is the object itself."""
    template: str
    """The file of a chart that Helm rendered it from, "" where it does not say so."""
    object: str
    """Kind namespace/name, "" for what has none."""
    path: str
    """In the object, "" for the whole of it."""


@dataclass(frozen=True)
class Finding:
    id: str
    status: Status
    title: str
    """One line: what is so. For a failure, what is wrong, not what should be."""
    subjects: tuple[str, ...] = ()
    """BDFs it is about; () for the whole host."""
    evidence: tuple[Evidence, ...] = ()
    cause: str = ""
    fix: tuple[str, ...] = ()
    """Steps in order: a command to paste (it begins with a small letter or a slash), or text (a capital letter)."""
    step: str = ""
    """The verb that fixes it ("bootstrap"), "" when qatprep does not."""
    instead: str = ""
    """In place of `step`, where the verb would not fix it as the host is now: what to do first (Outcome.advise)."""
    blocked_by: tuple[str, ...] = ()
    cleared_by: tuple[str, ...] = ()
    """Restarts, pods to be created again or a reboot that clear it, and nothing else is needed; () for all others."""
    location: Location | None = None
    """In a file that was given to inspect."""
    weighed: bool = False
    """A failure that is reported as a warning, because it rules out only one of two ways and the node has the other."""


def failed(id: str, title: str, **more: Any) -> Finding:
    return Finding(id, Status.FAIL, title, **more)


def warned(id: str, title: str, **more: Any) -> Finding:
    return Finding(id, Status.WARN, title, **more)


def worst(findings: Iterable[Finding]) -> Status:
    """fail, unknown, warn or ok: the worst of them."""
    found = {f.status for f in findings}
    return next((status for status in (Status.FAIL, Status.UNKNOWN, Status.WARN) if status in found), Status.OK)
