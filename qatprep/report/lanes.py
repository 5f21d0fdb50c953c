"""Changes by device, equal devices together: the form of bootstrap's plan and of rollback's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.text import Text

from qatprep.report.console import Console
from qatprep.report.fold import prose_columns
from qatprep.report.rows import LABEL, rows
from qatprep.report.text import braced, compact
from qatprep.steps.base import Change
from qatprep.text import plural

_COUNT = 58
"""The column in which it stands how many VFs a line is about."""
_ROOM = 8
"""Columns for that number."""


class Step(NamedTuple):
    """A change as it is shown."""

    subject: str
    what: str
    before: str
    after: str
    cost: tuple[str, ...] = ()

    @property
    def text(self) -> Text:
        return Text.assemble((self.before, "old"), " -> ", (self.after, "new"))


def doing(change: Change) -> Step:
    _, before, after, cost = change.summary
    return Step(change.subject, change.what, before, after, tuple(cost))


def undoing(change: Change) -> Step:
    return Step(change.subject, change.what, change.summary.after, change.summary.before)


def print_host(console: Console, label: str, steps: Iterable[Step]) -> None:
    """Changes of the host itself."""
    lines: list[Text] = []
    room = prose_columns(console.width) - LABEL
    for step in steps:
        name = f"{step.what} {step.subject}"
        if len(name) + 2 + step.text.cell_len <= room:
            lines.append(Text.assemble(f"{name}: ", step.text))
        else:
            lines += [Text(name), Text.assemble("  ", step.text)]
        lines += [Text(f"cost: {cost}", "warn") for cost in step.cost]
    rows(console, label, lines, style="id")


def print_lanes(console: Console, lanes: Mapping[str, Sequence[Step]], *, pfs: bool, every: bool) -> None:
    """One block for the devices whose changes differ in nothing but addresses; with `every` one for each device, and a
    line for each VF. `pfs`: whether the devices are PFs."""
    kinds: dict[object, list[str]] = {}
    for device, steps in lanes.items():
        shape = tuple((s.what, s.before, s.after, s.subject == device) for s in steps)
        kinds.setdefault(device if every else shape, []).append(device)
    for devices in kinds.values():
        label = plural(len(devices), "PF" if pfs else "device")
        rows(console, label, [Text(line, "id") for line in braced(devices)], style="id")
        _print_lane(console, devices, lanes[devices[0]], every=every)


def _print_lane(console: Console, devices: list[str], lane: Sequence[Step], *, every: bool) -> None:
    for (what, before, after), same in groupby(lane, key=lambda step: (step.what, step.before, step.after)):
        steps = list(same)
        own = all(step.subject == devices[0] for step in steps)
        texts: list[Text] = []
        for step in steps if every else steps[:1]:
            text = Text.assemble((before, "old"), " -> ", (after, "new"))
            if every and not own:
                text = Text.assemble(f"{step.subject}  ", text)
            elif not own:
                count = plural(len(steps) * len(devices), "VF")
                text.append(" " * max(2, min(_COUNT, console.width - _ROOM) - LABEL - text.cell_len) + count)
            texts.append(text)
            texts += [Text(f"cost: {cost}", "warn") for cost in step.cost]
        rows(console, f"  {what}", texts)


def print_diff(console: Console, steps: Iterable[Step], *, every: bool = False) -> None:
    """The state before and after, subjects that are alike together; with `every` each for itself."""
    kinds: dict[object, list[Step]] = {}
    for n, step in enumerate(steps):
        kinds.setdefault((n,) if every else (step.what, step.before, step.after), []).append(step)
    if kinds:
        console.print(Text("--- before", "old"))
        console.print(Text("+++ after", "new"))
    for same in kinds.values():
        step, names = same[0], compact([step.subject for step in same])
        console.print(Text(f"-{names} {step.what}: {step.before}", "old"))
        console.print(Text(f"+{names} {step.what}: {step.after}", "new"))
