"""Reads a log: which lines are known (findings/messages), where and how often, and which are not recognised."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from qatprep.findings.messages import HARMLESS, Message, matching
from qatprep.hardware import DRIVERS
from qatprep.host import kmsg
from qatprep.host.redact import without_secrets
from qatprep.text import printable

_MOST_DEVICES = 1000
_MOST_QUOTED = 10
_LEADING = 5
"""Lines quoted before one that only says that something failed."""
_LAST = 3
"""Lines quoted of a log in which nothing is known, and nothing looks like trouble."""
_WIDTH = 200
_ABOUT = re.compile(
    rf"\bqat|_qat|vfio|\b(?:{'|'.join(DRIVERS)})\b|cryptomb|crypto_mb|private_key_provider|\busdm|\biommu|DMAR", re.I
)
_HINTS = ("qat", "vfio", "cryptomb", "crypto_mb", "private_key_provider", "usdm", "iommu", "dmar", *DRIVERS)
"""One of these is in every line about it: cheaper to look for than the expression."""
TROUBLE = re.compile(
    r"\b(?:error|fail(?:ed|ure|s)?|fatal|critical|panic|cannot|can't|could not|unable|denied|refused|forbidden"
    r"|not (?:found|permitted|supported|available|allowed)|no such|invalid|illegal|rejected)\b"
)
"""Of a line in lower case."""
_MAY_BE_SECRET = re.compile(r"\{|-----BEGIN")
"""Where a quotation ends: programs write their configuration behind a message, inline keys included."""
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+", re.I)


class Quote(NamedTuple):
    line: int
    """1-based."""
    text: str


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
    before: tuple[Quote, ...] = ()
    """What led to the first line, for a kind that only says that something failed."""


@dataclass
class Log:
    name: str
    hits: list[Hit] = field(default_factory=list)
    lines: int = 0
    unknown: int = 0
    """Lines about QAT, VFIO or the IOMMU, or that tell of a failure, which no row knows."""
    quoted: list[Quote] = field(default_factory=list)
    """The first of each kind of them; where there are none and nothing is known, the last lines."""


def quote(line: str) -> str:
    """A line as it may be shown: short, printable, without what may be secret."""
    end = _MAY_BE_SECRET.search(line)
    text = line[: end.start()] if end else line
    return printable(without_secrets(text[:_WIDTH]).strip())


def read(name: str, lines: Iterable[tuple[int, str]]) -> Log:
    """Go through numbered lines. Memory does not grow with the log."""
    log = Log(name)
    hits: dict[str, Hit] = {}
    kinds: set[str] = set()
    # The newest lines, and those of the device that failed last: a probe of one PF is not explained by those of
    # another.
    recent: deque[Quote] = deque(maxlen=4 * _LEADING)
    for number, line in lines:
        log.lines = number
        record = kmsg.parse(line)
        bdf = ""
        known = False
        for message, match in matching(record.text):
            known = True
            if message.key in HARMLESS:
                continue
            bdf = kmsg.device(record.text)
            hit = hits.get(message.key)
            if hit is None:
                hit = hits[message.key] = Hit(message, number, printable(match[0][:_WIDTH]), 0)
                hit.before = _before(recent, bdf) if message.leading else ()
            hit.count += 1
            if bdf and len(hit.devices) < _MOST_DEVICES:
                hit.devices[bdf] = None
        if not known and _matters(record):
            log.unknown += 1
            kind = _NUMBERS.sub("#", record.text[:_WIDTH])
            if len(log.quoted) < _MOST_QUOTED and kind not in kinds:
                kinds.add(kind)
                log.quoted.append(Quote(number, quote(record.text)))
        if record.text.strip():
            recent.append(Quote(number, record.text[: 2 * _WIDTH]))
    log.hits = list(hits.values())
    if not log.hits and not log.quoted:
        log.quoted = [Quote(number, quote(text)) for number, text in list(recent)[-_LAST:]]
    return log


def _matters(record: kmsg.Record) -> bool:
    """Whether a line that no row knows is about QAT, or tells of a failure of a program that may use it."""
    if record.level is not None and not record.bad:
        return False
    lowered = record.text.lower()
    if any(hint in lowered for hint in _HINTS) and _ABOUT.search(lowered):
        return True
    return not record.kernel and TROUBLE.search(lowered) is not None


def _before(recent: Iterable[Quote], bdf: str) -> tuple[Quote, ...]:
    """What was written before, of the same device when the line names one."""
    mine = [line for line in recent if not bdf or kmsg.device(line.text) == bdf]
    return tuple(Quote(number, quote(text)) for number, text in mine[-_LEADING:])
