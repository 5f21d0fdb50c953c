"""The lines of the kernel log about QAT, VFIO and the IOMMU: those that findings/messages knows, and all others.

Nothing is left out because no row knows it. A line is kept when a row matches it, or when it names a PCI function, a
QAT driver or VFIO; whether that function is one of this node's is for the check to say.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep.facts.base import Unknown, unknown
from qatprep.findings.messages import Source, matching
from qatprep.hardware import BDF, DRIVERS
from qatprep.host import kmsg
from qatprep.host.base import Host

_DRIVER = re.compile(rf"\b(?:qat|usdm|adf)_\w|\b(?:intel_)?qat\b|^(?:{'|'.join(DRIVERS)})\b", re.IGNORECASE)
"""A line of or about a QAT driver, whatever device it is about."""
_ABOUT = re.compile(rf"{_DRIVER.pattern}|\bvfio|{BDF.pattern}", re.IGNORECASE)
_LEADING = 5
"""Lines before a failure that may tell its cause. The longest known row of them is four: firmware not found, both
messages of the driver about it, and what the driver gives up with."""


class LogLine(NamedTuple):
    key: str
    """Names the row of findings/messages that it matches, "" when none does."""
    text: str
    """Without its priority."""
    bdf: str = ""
    """The device it names, "" when none."""
    level: int | None = None
    """0 (worst) to 7; None where it is not known."""

    @property
    def driver(self) -> bool:
        """Whether it is of, or about, a QAT driver."""
        return _DRIVER.search(self.text) is not None


class LogFacts(NamedTuple):
    lines: tuple[LogLine, ...] | Unknown
    """In the order they were written."""

    def of(self, *keys: str, bdf: str = "") -> tuple[LogLine, ...]:
        """Lines of these kinds, for one device when `bdf` is given; () when the log could not be read."""
        if isinstance(self.lines, Unknown):
            return ()
        return tuple(line for line in self.lines if line.key in keys and (not bdf or line.bdf == bdf))

    def before(self, last: LogLine, most: int = _LEADING) -> tuple[LogLine, ...]:
        """What was said of the same device before a line, and of drivers without naming a device; oldest first."""
        if isinstance(self.lines, Unknown) or last not in self.lines:
            return ()
        # The newest of several equal lines: a driver that is loaded again fails with the same words.
        end = len(self.lines) - 1 - self.lines[::-1].index(last)
        found: list[LogLine] = []
        for line in reversed(self.lines[:end]):
            if len(found) == most or (line.bdf == last.bdf and line.key == last.key):
                break
            if line.bdf == last.bdf or (not line.bdf and line.driver):
                found.append(line)
        return tuple(reversed(found))


def gather(host: Host) -> LogFacts:
    try:
        text = host.kernel_log().text
    except OSError as e:
        return LogFacts(unknown(e))
    return LogFacts(tuple(_parse(text)))


def _parse(text: str) -> list[LogLine]:
    found = []
    for line in text.splitlines():
        level, message, _ = kmsg.parse(line)
        known = next(matching(message, Source.KERNEL), None)
        if known is not None or _ABOUT.search(message):
            found.append(LogLine(known[0].key if known else "", message, kmsg.device(message), level))
    return found
