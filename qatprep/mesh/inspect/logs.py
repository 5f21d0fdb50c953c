"""Reads a log: which lines are known (findings/messages), where, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from qatprep.findings.messages import Message, matching
from qatprep.hardware import BDF
from qatprep.mesh.inspect.source import shown

_MOST_DEVICES = 1000


@dataclass
class Hit:
    """One kind of line."""

    message: Message
    line: int
    """The first line, 1-based."""
    text: str
    """What matched on it, and nothing around."""
    count: int = 1
    devices: dict[str, None] = field(default_factory=dict)
    """BDFs that such lines name, in order."""


@dataclass
class Log:
    name: str
    hits: list[Hit] = field(default_factory=list)
    lines: int = 0


def read(name: str, lines: Iterable[tuple[int, str]]) -> Log:
    """Go through numbered lines. Memory does not grow with the log."""
    log = Log(name)
    hits: dict[str, Hit] = {}
    for number, line in lines:
        log.lines = number
        for message, match in matching(line):
            hit = hits.setdefault(message.key, Hit(message, number, shown(match[0][:200]), 0))
            hit.count += 1
            device = BDF.search(line)
            if device is not None and len(hit.devices) < _MOST_DEVICES:
                hit.devices[device[0]] = None
    log.hits = list(hits.values())
    return log
