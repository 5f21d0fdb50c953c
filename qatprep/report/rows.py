"""Rows of a label and what is said next to it: the form of every screen. No boxes, so that a pipe shows the same."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from qatprep.report.console import Console
from qatprep.report.fold import broken

if TYPE_CHECKING:  # `device list` shares this file, and waits for no check
    from qatprep.facts import Facts

LABEL = 16
"""Columns of a label."""
_NARROW = 24
"""Columns that a column keeps when it wraps."""


def row(console: Console, label: str, text: Text | str, *, style: str = "dim", shell: bool = False) -> None:
    """A label, and prose that wraps next to it; `shell`: a command."""
    console.say(text, Text(f"{label:{LABEL}}", style=style), shell=shell)


def rows(console: Console, label: str, lines: Iterable[Text | str], *, style: str = "dim") -> None:
    """Several lines under one label."""
    for n, line in enumerate(lines):
        row(console, "" if n else label, line, style=style)


def columns(
    console: Console, header: Sequence[str], lines: Sequence[Sequence[Text | str]], right: Container[str] = ()
) -> None:
    """A table without lines around it, no line of which ends in blanks.

    Where the terminal is too narrow for it, the widest column wraps; where even that is too wide, the last columns
    follow below their row, each with its name.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in line] for line in lines]
    widths = [max([len(name), *(line[n].cell_len for line in cells)]) for n, name in enumerate(header)]
    words = [[word for line in cells for word in line[n].plain.split()] for n in range(len(header))]
    surplus = sum(widths) + 2 * (len(widths) - 1) - console.width
    shown = len(header)
    if surplus > 0:
        free = [n for n, name in enumerate(header) if name not in right]
        widest = max(free, key=lambda n: widths[n])
        room = widths[widest] - surplus
        if room >= max(_NARROW, len(header[widest]), *map(cell_len, words[widest])):
            widths[widest] = room
        else:
            while shown > 1 and sum(widths[:shown]) + 2 * (shown - 1) > console.width:
                shown -= 1
    if any(header[:shown]):
        _print_row(console, [Text(name, style="dim") for name in header[:shown]], widths, header, right)
    for line in cells:
        _print_row(console, line[:shown], widths, header, right)
        rest = [(name, cell) for name, cell in zip(header[shown:], line[shown:], strict=True) if cell.plain]
        if rest:
            parts = [Text.assemble((f"{name} " if name else "", "dim"), cell) for name, cell in rest]
            console.say(Text(", ").join(parts), "    ")


def _print_row(
    console: Console, line: Sequence[Text], widths: Sequence[int], header: Sequence[str], right: Container[str]
) -> None:
    """The cells of a row; one that is wider than its column takes several lines."""
    parts = [
        [cell[start:end] for _, start, end in broken(cell.plain, widths[n], measure=cell_len)]
        if cell.cell_len > widths[n]
        else [cell]
        for n, cell in enumerate(line)
    ]
    for k in range(max(map(len, parts))):
        out = Text()
        for n, part in enumerate(parts):
            cell = part[k] if k < len(part) else Text()
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
