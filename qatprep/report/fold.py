"""Where a line for people is broken: at blanks, never within a word. The one rule for all that is printed on a
terminal; documents (YAML, JSON, metrics) and what goes to a pipe or file are never broken.

No rich here: the low-level verbs print with it too, and must not wait for a library to load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from qatprep.facts.base import whole

MOST_WIDTH = 10_000
"""More COLUMNS than any terminal has are a mistake, and rich would fill them with blanks. What is not a terminal has as
many: nothing is wrapped there."""
PROSE = 120
"""Columns of a terminal that prose uses: longer lines are hard to read. Tables and commands may use all."""
_LEAST = 20
"""Columns for a text, however narrow the terminal and wide the label next to it."""
_OUT = 2
"""The indent of a word that is too long for its place."""
_WORD = re.compile(r"(?:`[^`]+`|\S)+")
"""What is in backquotes is a command, and stays whole."""
_END = re.compile(r"(;|&&|\|)$|^(do|then)$")
"""The word that ends a part of a command: the best place for a break."""
_SHELL_WORD = re.compile(r"(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s'\"\\])+")
"""As a shell reads it: blanks between quotes do not end it."""


def given_columns(env: Mapping[str, str]) -> int | None:
    """COLUMNS, None where it says nothing that a terminal can have."""
    columns = whole(env.get("COLUMNS", "")) or 0
    return columns if 40 <= columns <= MOST_WIDTH else None


def columns_of(stream: TextIO, env: Mapping[str, str]) -> int:
    """Columns for what is printed on the stream: those of a terminal, MOST_WIDTH elsewhere."""
    if not stream.isatty():
        return MOST_WIDTH
    if given := given_columns(env):
        return given
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def prose_columns(columns: int) -> int:
    """Of so many columns those that prose uses."""
    return columns if columns >= MOST_WIDTH else min(columns, PROSE)


def broken(
    text: str,
    columns: int,
    first: int = 0,
    hang: int = 0,
    *,
    shell: bool = False,
    measure: Callable[[str], int] = len,
) -> Iterator[tuple[int, int, int]]:
    """The lines of a text without line feeds, as (indent, start, end).

    `first` columns of the first line are taken; further lines are indented by `hang`. A word that does not fit there
    is given a line that is indented less. `shell`: room is kept for the backslash that ends all lines but the last.
    """
    hang = max(0, min(hang, columns - _LEAST))
    words = list((_SHELL_WORD if shell else _WORD).finditer(text))
    indent, start, n = first, 0, 0
    while n < len(words):
        end = n
        while end < len(words):
            room = columns - (2 if shell and end < len(words) - 1 else 0)
            if indent + measure(text[start : words[end].end()]) > room:
                break
            end += 1
        if end == n:  # not even one word: it is wider than the terminal, or than what `first` leaves of it
            end = n if first and indent == first and not n else n + 1
        elif shell and end < len(words):
            ends = (k for k in range(end, n, -1) if _END.search(words[k - 1][0]))
            end = next((k for k in ends if 3 * (words[k - 1].end() - start) > columns - indent), end)
        yield indent, start, words[end - 1].end() if end > n else start
        first = 0
        if end < len(words):
            start = words[end].start()
            room = columns - 2 * shell - measure(words[end][0])
            indent = next((at for at in (hang, min(hang, _OUT)) if at <= room), 0)
        n = end
    if not words:
        yield first, 0, 0


def folded(text: str, columns: int, hang: int = 0) -> str:
    """A text with its lines broken for so many columns; further lines of each are indented by `hang`, or as the line
    itself."""
    lines = []
    for line in text.split("\n"):
        under = max(hang, len(line) - len(line.lstrip()))
        lines += [" " * indent + line[start:end] for indent, start, end in broken(line, columns, 0, under)]
    return "\n".join(lines)


def fitted(text: str, stream: TextIO, env: Mapping[str, str], hang: int = 0) -> str:
    """A text as the stream shows it to people: folded on a terminal, as it is elsewhere."""
    return folded(text, prose_columns(columns_of(stream, env)), hang) if stream.isatty() else text
