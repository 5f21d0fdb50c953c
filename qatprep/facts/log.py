"""The lines of the kernel log that are known: about QAT, the IOMMU or VFIO. What they mean is in findings/messages."""

from __future__ import annotations

from dataclasses import dataclass

from qatprep.facts.base import Unknown, unknown
from qatprep.findings.messages import Source, matching
from qatprep.hardware import BDF
from qatprep.host.base import Host


@dataclass(frozen=True)
class LogLine:
    key: str
    """Names the row of findings/messages that it matches."""
    text: str
    bdf: str
    """The device it names, "" when none."""


@dataclass(frozen=True)
class LogFacts:
    lines: tuple[LogLine, ...] | Unknown

    def of(self, *keys: str, bdf: str = "") -> tuple[LogLine, ...]:
        """Lines of these kinds, for one device when `bdf` is given; () when the log could not be read."""
        if isinstance(self.lines, Unknown):
            return ()
        return tuple(line for line in self.lines if line.key in keys and (not bdf or line.bdf == bdf))


def gather(host: Host) -> LogFacts:
    try:
        text = host.kernel_log()
    except OSError as e:
        return LogFacts(unknown(e))
    return LogFacts(tuple(_parse(text)))


def _parse(text: str) -> list[LogLine]:
    found = []
    for line in text.splitlines():
        known = next(matching(line, Source.KERNEL), None)
        if known is not None:
            bdf = BDF.search(line)
            found.append(LogLine(known[0].key, line, bdf[0] if bdf else ""))
    return found
