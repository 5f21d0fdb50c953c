"""The drawings of the report: squares for VFs, bars for numbers. Elements of one tree, so that nothing is ever pasted
into markup as text."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from qatprep.report.page.numbers import Bar
from qatprep.report.page.topology import Device, Mark, Square
from qatprep.report.text import valid

_STEP = 22
"""Units from one square to the next; a square has 16."""
_COLUMNS = 8


def squares(device: Device) -> Element:
    """The VFs of a PF, eight in a row."""
    columns = min(_COLUMNS, max(1, len(device.squares)))
    rows = max(1, -(-len(device.squares) // _COLUMNS))
    width, height = columns * _STEP - 4, rows * _STEP - 4
    picture = Element("svg", {"viewBox": f"-1 -1 {width} {height}", "role": "img", "class": "vfs"})
    picture.set("style", f"max-width:{width * 1.25:g}px")
    picture.set("aria-label", valid(f"{device.name}: {device.usable_text}"))
    for n, one in enumerate(device.squares):
        picture.append(square(one, n % _COLUMNS * _STEP, n // _COLUMNS * _STEP))
    return picture


def square(one: Square, x: int = 0, y: int = 0) -> Element:
    """One VF. Its shape says what its colour says."""
    group = Element("g", {"class": f"vf {one.mark}", "transform": f"translate({x} {y})"})
    SubElement(group, "title").text = valid(one.text)
    if one.mark is Mark.ABSENT:
        SubElement(group, "circle", {"cx": "8", "cy": "8", "r": "1.5"})
        return group
    SubElement(group, "rect", {"width": "16", "height": "16", "rx": "3"})
    shape = _SHAPES.get(one.mark, "")
    if shape:
        SubElement(group, "path", {"d": shape})
    return group


_SHAPES = {
    Mark.HELD: "M4.5 8.5h7",
    Mark.SERVICES: "M3.5 12.5l9-9",
    Mark.NODE: "M8 4v5M8 12v.1",
    Mark.BROKEN: "M4.5 4.5l7 7M11.5 4.5l-7 7",
    Mark.UNKNOWN: "M6 6.2a2 2 0 1 1 2.6 2L8 9.4M8 12v.1",
}


def bar(one: Bar, most: float) -> Element:
    """A bar as long as its share of the longest."""
    picture = Element("svg", {"viewBox": "0 0 100 8", "preserveAspectRatio": "none", "aria-hidden": "true"})
    share = max(0.0, min(1.0, one.value / most)) if most > 0 else 0.0
    kind = "bar fast" if one.accelerated else "bar"
    SubElement(picture, "rect", {"class": kind, "width": f"{100 * share:.2f}", "height": "8"})
    return picture
