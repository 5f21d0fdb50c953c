"""Sentences of logs that are known: who writes them, which finding they are about, their cause and what to do.

The one table for everybody who reads logs: the kernel log of a host (facts/log, checks/log) and what is given to
`qatprep inspect log`. A line that no row matches is not recognised, which says nothing about whether it is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from qatprep.findings.messages import containers, envoy, kernel, qatlib, setup, vfio
from qatprep.findings.messages.literals import literals
from qatprep.findings.messages.row import Message as Message
from qatprep.findings.messages.row import Source as Source

MESSAGES: tuple[Message, ...] = (
    *kernel.ROWS,
    *vfio.ROWS,
    *qatlib.ROWS,
    *setup.ROWS,
    *envoy.ROWS,
    *containers.ROWS,
    *vfio.HARMLESS,
)
"""What is harmless comes last: a line is first of all what another row says of it."""
HARMLESS = frozenset(row.key for row in vfio.HARMLESS)
"""Keys of the rows for lines that every kernel log has: known, and not worth a word."""
BY_KEY = {message.key: message for message in MESSAGES}


@cache
def of(*sources: Source) -> tuple[Message, ...]:
    """The rows of these writers, of all when none is given."""
    return tuple(message for message in MESSAGES if not sources or message.source in sources)


def matching(line: str, *sources: Source) -> Iterator[tuple[Message, re.Match[str]]]:
    """The rows (of these writers) that a line matches, and where."""
    lowered = line.lower()
    for row in dict.fromkeys([row for text, row in _texts(*sources) if text in lowered]):
        match = re.search(row.pattern, line, re.IGNORECASE)
        if match is not None:
            yield row, match


@cache
def _texts(*sources: Source) -> tuple[tuple[str, Message], ...]:
    """What spares nearly every line of a log the expressions: texts that lines of a kind have, in lower case."""
    return tuple((text, row) for row in of(*sources) for text in literals(row.pattern))
