"""The marks before a line, the same on every screen; ASCII where the output takes nothing else."""

from __future__ import annotations

from typing import Literal

from rich.text import Text

from qatprep.report.console import Console

Mark = Literal["ok", "warn", "fail", "unknown", "blocked", "skipped"]
MARKS: dict[Mark, tuple[str, str]] = {
    "ok": ("✓", "+"),
    "warn": ("!", "!"),
    "fail": ("✗", "x"),
    "unknown": ("?", "?"),
    "blocked": ("·", "."),
    "skipped": ("-", "-"),
}
"""By their style in console.THEME."""


def mark(console: Console, name: Mark) -> Text:
    fancy, plain = MARKS[name]
    return Text(plain if console.options.ascii_only else fancy, style=name)
