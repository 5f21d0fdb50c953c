"""Consoles: the same text on a terminal, in a pipe and in a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TextIO

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from rich.theme import Theme

from qatprep.report.fold import MOST_WIDTH, broken, given_columns, prose_columns
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


class Console(RichConsole):
    """rich's, but lines are broken at blanks alone (report/fold.py), and what does not print in a text is shown as an
    escape: only rich itself moves the cursor."""

    def print(self, *objects: Any, **options: Any) -> None:
        """A text is prose; anything else is rich's."""
        if len(objects) == 1 and isinstance(objects[0], str | Text) and not options.get("soft_wrap"):
            text = Text(objects[0]) if isinstance(objects[0], str) else objects[0].copy()
            text.style = text.style or options.get("style") or ""
            self.say(text)
        else:
            super().print(*objects, **options)

    def say(self, text: Text | str, head: Text | str = "", hang: int | None = None, *, shell: bool = False) -> None:
        """Prose behind `head`, its further lines `hang` columns in (as far as `head` reaches unless told). `shell`: a
        command, which stays one when it is pasted."""
        head = Text(head) if isinstance(head, str) else head
        columns = self.width if shell else prose_columns(self.width)
        for line in (Text(text) if isinstance(text, str) else text).split("\n", allow_blank=True):
            own = len(line.plain) - len(line.plain.lstrip())
            under = own + (head.cell_len if hang is None else hang)
            found = list(broken(line.plain, columns, head.cell_len, under, shell=shell, measure=cell_len))
            blank = not head.plain.strip()
            if blank and len(found) > 1 and found[0][1] == found[0][2]:  # the first word is wider than what is left
                del found[0]
            for n, (indent, start, end) in enumerate(found):
                more = shell and end > start and n < len(found) - 1
                before = " " * indent if n or blank else head
                out = Text.assemble(before, line[start:end], " \\" if more else "")
                out.rstrip()
                super().print(out, soft_wrap=True)
            head = Text(" " * head.cell_len)

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
    plain = color == "never" or (color == "auto" and bool(env.get("NO_COLOR")))
    return Console(
        file=stream,
        theme=THEME,
        width=given_columns(env) if tty else MOST_WIDTH,
        force_terminal=tty,
        color_system=None if plain else "standard" if color == "always" and not tty else "auto",
        no_color=plain,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        quiet=quiet,
    )
