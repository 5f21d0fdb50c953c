"""A line of the kernel log: its priority and its text, in every form that people and programs keep logs in.

`Host.kernel_log` gives one message a line, `<priority>text`, as `dmesg --raw` prints it: the priority is that of
syslog(3), facility * 8 + level. A line without `<priority>` has none that is known: hosts recorded before qatprep 0.2,
and what a person typed into a host file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep.hardware import BDF

ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6
"""Levels (linux/kern_levels.h): 0 is the worst, 7 is debug."""

_LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
_HEAD = re.compile(
    r"(?:<(?P<priority>\d{1,3})>)?"
    # dmesg --decode
    r"(?:(?:kern|user|daemon|syslog) *:(?P<level>emerg|alert|crit|err|warn|notice|info|debug) *: ?)?"
    # the journal and syslog: date, host, who
    r"(?:(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}(?:\.\d+)?|\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)) "
    r"(?:\S{1,255} )?kernel: ?)?"
    # dmesg --time-format iso: the comma is its own
    r"(?:\d{4}-\d\d-\d\dT[\d:]{8},\d+(?:Z|[+-]\d\d:?\d\d) )?"
    # the kernel's clock, or dmesg --ctime
    r"(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}\] ?)?"
)
_FAULT = re.compile(r"\bdevice \[(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\]")
"""DMA faults (drivers/iommu/intel/dmar.c) name the function without its domain, except on newer kernels."""


class Record(NamedTuple):
    level: int | None
    """0 (worst) to 7; None where the line does not tell it."""
    text: str
    """The message without priority, time and host."""
    kernel: bool = False
    """Whether something before the text says that the kernel wrote it."""

    @property
    def bad(self) -> bool:
        """Whether it is at warning or worse."""
        return self.level is not None and self.level <= WARNING


def parse(line: str) -> Record:
    """One line of a log in whatever form."""
    head = _HEAD.match(line)
    assert head is not None  # every part of it is optional
    level = None
    if head["priority"] is not None:
        level = int(head["priority"]) & 7
    elif head["level"] is not None:
        level = _LEVELS.index(head["level"])
    return Record(level, line[head.end() :], head.end() > 0)


def spell(level: int | None, text: str) -> str:
    """The line as `Host.kernel_log` gives it."""
    return text if level is None else f"<{level}>{text}"


def device(text: str) -> str:
    """The BDF of the PCI function that a message names, "" when it names none."""
    if bdf := BDF.search(text):
        return bdf[0]
    fault = _FAULT.search(text)
    return f"{fault[1] or '0000'}:{fault[2]}" if fault else ""
