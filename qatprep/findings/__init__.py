"""The one shape of a judgement, and the pages that explain each. Ids are API: never reused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    """It could not be seen: no permission, lockdown, an attribute that blocks."""
    SKIPPED = "skipped"
    """Left out by --skip, or it has no meaning on this host."""
    BLOCKED = "blocked"
    """Something it depends on is broken: nothing can be said before that is mended."""


@dataclass(frozen=True)
class Evidence:
    """What was read, and where."""

    path: str
    value: str


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
    """Steps in order: a command to paste (it begins with a small letter or a slash), or words (a capital letter)."""
    step: str = ""
    """The verb that mends it ("bootstrap"), "" when qatprep does not."""
    blocked_by: tuple[str, ...] = ()
