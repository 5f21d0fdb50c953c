"""Consoles: the same text on a terminal, in a pipe and in a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TextIO

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.theme import Theme

from qatprep.facts.base import whole
from qatprep.text import printable

THEME = Theme(
    {
        "ok": "green",
        "warn": "yellow",
        "fail": "bold red",
        "unknown": "magenta",
        "blocked": "dim",
        "skipped": "dim",
        "id": "bold",
        "hint": "cyan",
        "old": "red",
        "new": "green",
        "dim": "dim",
    },
)
Color = Literal["auto", "always", "never"]
MOST_WIDTH = 10_000
"""More COLUMNS than any terminal has are a mistake, and rich would fill them with blanks. What is not a terminal has as
many: nothing is wrapped there."""
PROSE = 120
"""Columns of a terminal: longer lines of prose are hard to read, however wide it is."""


class Console(RichConsole):
    """rich's, but what does not print in a text is shown as an escape: only rich itself moves the cursor."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            plain = control is not None or text.isprintable()
            yield segment if plain else Segment(printable(text, "\n"), style)


def console(stream: TextIO, env: Mapping[str, str], color: Color = "auto", *, quiet: bool = False) -> Console:
    """A console on `stream`. COLUMNS is that of a terminal: a pipe or file gets whole lines, whatever COLUMNS says.

    Colours as --color says; "auto": on a terminal, unless NO_COLOR is set (no-color.org). `quiet` prints nothing.
    """
    tty = stream.isatty()
    columns = whole(env.get("COLUMNS", "")) or 0
    given = columns if 40 <= columns <= MOST_WIDTH else None
    plain = color == "never" or (color == "auto" and bool(env.get("NO_COLOR")))
    return Console(
        file=stream,
        theme=THEME,
        width=given if tty else MOST_WIDTH,
        force_terminal=tty,
        color_system=None if plain else "standard" if color == "always" and not tty else "auto",
        no_color=plain,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        quiet=quiet,
    )


def prose_width(console: Console) -> int:
    """Columns for prose: as wide as a terminal up to PROSE, unlimited elsewhere."""
    return console.width if console.width >= MOST_WIDTH else min(console.width, PROSE)


def print_table(console: Console, table: Table) -> None:
    """A table whose addresses stay whole: where the screen is too narrow for it, its lines go on beyond. No line ends
    in blanks."""
    wide = console.width
    needed = console.measure(table, options=console.options.update(max_width=1000)).minimum
    console.width = max(wide, needed)
    try:
        console.print(table)
    finally:
        console.width = wide
