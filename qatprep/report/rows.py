"""Rows of a label and what is said next to it: the form of every screen. No boxes, so that a pipe shows the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from qatprep.report.console import Console, prose_width

if TYPE_CHECKING:  # `device list` shares this file, and waits for no check
    from qatprep.facts import Facts

LABEL = 16
"""Columns of a label."""


def row(console: Console, label: str, text: Text | str, *, style: str = "dim") -> None:
    """A label, and prose that wraps next to it."""
    hanging(console, Text(f"{label:{LABEL}}", style=style), text if isinstance(text, Text) else Text(text))


def rows(console: Console, label: str, lines: Iterable[Text | str], *, style: str = "dim") -> None:
    """Several lines under one label."""
    for n, line in enumerate(lines):
        row(console, "" if n else label, line, style=style)


def hanging(console: Console, head: Text, text: Text) -> None:
    """Prose behind `head`, its further lines below itself."""
    room = max(20, prose_width(console) - head.cell_len)
    for n, line in enumerate(text.wrap(console, room) or [Text()]):
        line.rstrip()
        whole = Text.assemble(head if n == 0 else " " * head.cell_len, line)
        whole.rstrip()
        console.print(whole, soft_wrap=True)


def columns(console: Console, header: Sequence[str], lines: Sequence[Sequence[Text | str]], right: set[str]) -> None:
    """A table without lines around it: no cell is cut or wrapped, no line ends in blanks."""
    cells = [[Text(name, style="dim") for name in header]]
    cells += [[cell if isinstance(cell, Text) else Text(cell) for cell in line] for line in lines]
    widths = [max(line[n].cell_len for line in cells) for n in range(len(header))]
    for line in cells:
        out = Text()
        for n, cell in enumerate(line):
            padding = " " * (widths[n] - cell.cell_len)
            out.append("  " if n else "")
            out.append_text(Text.assemble(padding, cell) if header[n] in right else Text.assemble(cell, padding))
        out.rstrip()
        console.print(out, soft_wrap=True)


def width_of(header: Sequence[str], lines: Sequence[Sequence[Text | str]]) -> int:
    """Columns that such a table takes."""
    table = [header, *lines]
    lengths = [[cell.cell_len if isinstance(cell, Text) else len(cell) for cell in line] for line in table]
    return sum(max(line[n] for line in lengths) for n in range(len(header))) + 2 * (len(header) - 1)


def print_title(console: Console, verb: str, facts: Facts) -> None:
    """Which host this is."""
    label = facts.host.split(", kernel ")[0]
    release = facts.kernel.release or "unknown"
    nodes = f", {facts.cpu.numa_nodes} NUMA nodes" if facts.cpu.numa_nodes > 2 else ""
    text = f"{label}, Linux {release}, {facts.cpu.name}{nodes}"
    name = f"qatprep {verb}"
    row(console, f"{name:{LABEL}}" if len(name) < LABEL else f"{name}  ", text, style="id")
    if facts.pci.vfs and not facts.pci.pfs:
        row(console, "", "a virtual machine: its VFs are here, their PFs are on the host")
