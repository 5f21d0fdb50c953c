"""Draws the README's picture: what qatprep prints on a terminal, as SVG, from a run on a simulated host.

    python packaging/picture.py [FILE]

FILE is docs/images/doctor.svg unless given. The same run gives the same bytes; tests/packages/test_picture.py compares
them. The picture loads nothing, has its own light and dark colours, and its text stays text.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "doctor.svg"
COMMAND = ("qatprep", "doctor", "--short", "--simulate", "spr-2s")
COLUMNS = 100
ALT = "qatprep doctor on a two-socket Sapphire Rapids server: four findings, the verdicts, and what to do next"
WIDTH, HEIGHT, SIZE, EDGE = 8, 20, 13, 16
"""Pixels: a column, a line, the font, the margin."""
COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
"""ANSI's, by number."""
STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; }
  .bold { font-weight: 600; } .dim { fill: #656d76; }
  .red { fill: #c01c28; } .green { fill: #1a7f37; } .yellow { fill: #8a5b00; } .magenta { fill: #8250df; }
  .cyan { fill: #0b6a82; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d; } text { fill: #e6edf3; } .dim { fill: #9198a1; }
    .red { fill: #ff8880; } .green { fill: #56d364; } .yellow { fill: #e3b341; } .magenta { fill: #d2a8ff; }
    .cyan { fill: #76d5e8; }
  }
"""


def on_terminal() -> str:
    """What the command prints on a terminal of COLUMNS columns, with its colours."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        keep = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
        env = {**keep, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-m", *COMMAND], env)
    data = bytearray()
    try:
        while piece := os.read(terminal, 1 << 16):
            data += piece
    except OSError:  # EIO: the command has ended
        pass
    os.close(terminal)
    os.waitpid(child, 0)
    return data.decode().replace("\r\n", "\n").rstrip("\n")


def svg(text: str) -> str:
    """Text with ANSI colours, as it would be on a terminal, as SVG."""
    from rich.console import Console
    from rich.text import Text

    lines = [Text.from_ansi(f"$ {' '.join(COMMAND)}"), *(Text.from_ansi(line) for line in text.split("\n"))]
    width = COLUMNS * WIDTH + 2 * EDGE
    height = len(lines) * HEIGHT + 2 * EDGE
    picture = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img")
    picture.set("font-family", "ui-monospace, SFMono-Regular, Menlo, 'DejaVu Sans Mono', 'Liberation Mono', monospace")
    picture.set("font-size", str(SIZE))
    SubElement(picture, "title").text = ALT
    SubElement(picture, "style").text = STYLE
    page = {"x": "0.5", "y": "0.5", "width": str(width - 1), "height": str(height - 1), "rx": "8", "class": "page"}
    SubElement(picture, "rect", page)
    console = Console(width=COLUMNS, color_system="standard")
    for number, line in enumerate(lines):
        column = 0
        for segment in line.render(console):
            if segment.text.strip():
                start = column + len(segment.text) - len(segment.text.lstrip())
                _word(picture, segment.text.strip(), start, number, _classes(segment.style))
            column += len(segment.text)
    indent(picture, " ")
    return tostring(picture, encoding="unicode") + "\n"


def _word(picture: Element, text: str, column: int, line: int, classes: str) -> None:
    """A piece of a line in its columns, whatever font the reader has."""
    where = {"x": str(EDGE + column * WIDTH), "y": str(EDGE + line * HEIGHT + SIZE)}
    element = SubElement(picture, "text", {**where, "textLength": str(len(text) * WIDTH)})
    element.set("xml:space", "preserve")
    if classes:
        element.set("class", classes)
    element.text = text


def _classes(style: object) -> str:
    from rich.style import Style

    if not isinstance(style, Style):
        return ""
    names = [name for name, on in (("bold", style.bold), ("dim", style.dim)) if on]
    if style.color and style.color.number is not None:
        names.append(COLOURS[style.color.number % len(COLOURS)])
    return " ".join(names)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg(on_terminal()), encoding="utf-8")
