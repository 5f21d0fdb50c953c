"""Consoles: the same text on a terminal, in a pipe and in a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console as Console
from rich.table import Table
from rich.theme import Theme

from qatprep.facts.base import whole

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
MOST_WIDTH = 10_000
"""More COLUMNS than any terminal has are a mistake, and rich would fill them with blanks."""
PIPE_WIDTH = 100
"""Columns when the stream is no terminal and COLUMNS says nothing."""


def console(stream: TextIO, env: Mapping[str, str]) -> Console:
    """A console on `stream`. NO_COLOR and COLUMNS mean what they mean everywhere; markup is off unless asked for."""
    tty = stream.isatty()
    columns = whole(env.get("COLUMNS", "")) or 0
    width = columns if 40 <= columns <= MOST_WIDTH else None if tty else PIPE_WIDTH
    return Console(
        file=stream,
        theme=THEME,
        width=width,
        force_terminal=tty,
        no_color=bool(env.get("NO_COLOR")) or None,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def print_table(console: Console, table: Table) -> None:
    """A table whose addresses stay whole: where the screen is too narrow for it, its lines go on beyond."""
    wide = console.width
    needed = console.measure(table, options=console.options.update(max_width=1000)).minimum
    console.width = max(wide, needed)
    try:
        console.print(table)
    finally:
        console.width = wide
