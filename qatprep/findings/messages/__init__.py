"""Sentences of logs that are known: who writes them, which finding they are about, their cause and what to do.

The one table for everybody who reads logs: the kernel log of a host (facts/log, checks/log) and what is given to
`qatprep inspect log`. A line that no row matches is not recognised, which says nothing about whether it is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from qatprep.findings.messages import containers, envoy, kernel, qatlib, setup, vfio
from qatprep.findings.messages.literals import literals
from qatprep.findings.messages.row import Message as Message
from qatprep.findings.messages.row import Source as Source
from qatprep.hardware import BDF, DRIVERS

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
    """The rows (of these writers) that a line matches, and where; in the order of the table."""
    lowered = line.lower()
    index = _index(*sources)
    near = [number for number, text in index.always if text in lowered]
    for word in index.by_word.keys() & set(_WORD.findall(lowered)):
        near += [number for number, text in index.by_word[word] if text in lowered]
    for number in sorted(set(near)):
        row = index.rows[number]
        match = re.search(row.pattern, line, re.IGNORECASE)
        if match is not None and (not row.device or _DEVICE.search(line)):
            yield row, match


_DEVICE = re.compile(rf"\b(?:{'|'.join(DRIVERS)}) {BDF.pattern}")
_WORD = re.compile(r"\w{4,}")
_INNER = re.compile(r"(?<=\W)\w{4,}(?=\W)")


class _Index(NamedTuple):
    """What spares nearly every line of a log the expressions: texts in lower case that lines of a kind have, with the
    number of the row. A text that has a whole word within is looked for only in lines that have the word."""

    rows: tuple[Message, ...]
    by_word: dict[str, list[tuple[int, str]]]
    always: list[tuple[int, str]]


@cache
def _index(*sources: Source) -> _Index:
    index = _Index(of(*sources), {}, [])
    for number, row in enumerate(index.rows):
        for text in literals(row.pattern):
            word = max(_INNER.findall(text), key=len, default="")
            (index.by_word.setdefault(word, []) if word else index.always).append((number, text))
    return index
