"""The report as Markdown, for an issue or a merge request: GitHub's dialect, which others read as well.

Text is escaped, so that nothing a host says becomes markup: what Markdown or HTML gives a meaning has a backslash
before it. What people paste or compare (commands, evidence, addresses) is code, in which nothing has a
meaning, behind a fence that is longer than any in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from qatprep.findings import Finding
from qatprep.report.findings import fix_label, is_command, some, stage_of
from qatprep.report.page.content import EVIDENCE, SUBJECTS, WORDS, Content, Group
from qatprep.report.page.numbers import Chart
from qatprep.report.page.topology import LEGEND, Device, Mark
from qatprep.report.text import valid
from qatprep.text import plural
from qatprep.version import VERSION

SIGNS = {
    Mark.USABLE: "#",
    Mark.HELD: "=",
    Mark.SERVICES: "/",
    Mark.BINDING: "o",
    Mark.NODE: "!",
    Mark.BROKEN: "x",
    Mark.UNKNOWN: "?",
    Mark.ABSENT: ".",
}
_ACTIVE = re.compile(r"([\\`*_\[\]<>&|~#$])|(:(?=//)|(?<=www)\.)", re.IGNORECASE)
_LEADING = re.compile(r"^([-+=:]|\d+(?=[.)]))")


def escaped(text: str) -> str:
    """A text on one line in which nothing is markup (CommonMark, 2.4: ASCII punctuation may have a backslash)."""
    plain = _ACTIVE.sub(lambda found: f"\\{found[0]}", " ".join(valid(text).split()))
    lead = _LEADING.match(plain)
    if lead is None:
        return plain
    number = lead[1] if lead[1].isdigit() else ""
    return f"{number}\\{plain[len(number) :]}"


def code(text: str) -> str:
    """A text on one line as code, outside of tables."""
    plain = " ".join(valid(text).split())
    if not plain:
        return ""
    fence = "`" * (_longest(plain) + 1)
    edge = " " if plain[0] == "`" or plain[-1] == "`" else ""
    return f"{fence}{edge}{plain}{edge}{fence}"


def block(text: str, indent: str = "") -> list[str]:
    """Lines of code, below what they are indented by."""
    fence = "`" * max(3, _longest(text) + 1)
    return [f"{indent}{line}".rstrip() for line in (fence, *valid(text).split("\n"), fence)]


def _longest(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def page(shown: Content) -> str:
    """The whole document."""
    return "\n".join(_lines(shown)) + "\n"


def _lines(shown: Content) -> Iterator[str]:
    yield f"# {escaped(shown.title)}: {escaped(shown.verdict)}"
    yield ""
    yield f"{escaped(shown.about)}. {escaped(shown.time)}"
    yield ""
    yield from _table(
        ("for", "verdict", "why"),
        ((escaped(v.name), f"**{escaped(v.state)}**", _because(v.first, v.text)) for v in shown.verdicts),
    )
    if shown.next or shown.remaining:
        yield from ("## Next", "")
        yield from (f"- {code(action)}" for action in shown.remaining)
        yield from (f"- {code(item.command)} {escaped(item.why)}".rstrip() for item in shown.next)
        yield ""
    yield from _nodes(shown)
    if shown.findings:
        yield from ("## Findings", "")
        for f in shown.findings:
            yield from _finding(f, shown.bootstrap)
    yield from _plan(shown)
    yield from ("## Proof", "", escaped("; ".join(shown.proof)), "")
    if shown.proved:
        yield from _table(
            ("device", "", "what"),
            ((escaped(p.device), "holds" if p.holds else "no proof", escaped(p.text)) for p in shown.proved),
        )
    if shown.charts:
        yield from ("## Measured", "")
        for chart in shown.charts:
            yield from _chart(chart)
    if shown.others:
        yield from ("## Other stages", "")
        yield from _table(("stage", "seen"), ((escaped(a), escaped(b)) for a, b in shown.others))
    yield from ("## Environment", "")
    yield from _table(("", ""), ((escaped(a), escaped(b)) for a, b in shown.environment))
    yield f"Made by qatprep {escaped(VERSION)}."


def _because(first: str, text: str) -> str:
    return f"{first}: {escaped(text)}" if first else escaped(text)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table of cells that are Markdown already: escaped text has no bare pipe."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _nodes(shown: Content) -> Iterator[str]:
    if not shown.nodes and not shown.strangers:
        return
    yield from ("## Node", "")
    if shown.nodes:
        drawn = []
        for node in shown.nodes:
            drawn += [node.name, *(f"  {_device(device)}" for device in node.devices)]
        yield from block("\n".join(drawn))
        yield ""
        marks = {square.mark for node in shown.nodes for device in node.devices for square in device.squares}
        told = [f"{code(SIGNS[mark])} {LEGEND[mark]}" for mark in Mark if mark in marks]
        yield from (f"One sign is one VF: {', '.join(told)}", "")
    yield from (f"- {escaped(text)}" for text in shown.strangers)
    if shown.strangers:
        yield ""


def _device(device: Device) -> str:
    drawn = "".join(SIGNS[square.mark] for square in device.squares)
    groups = f"groups {device.groups}" if device.groups else ""
    first = device.first.id if device.first else ""
    parts = [device.name, f"{device.services:10}" if device.services else "", drawn, device.usable_text, groups, first]
    return "  ".join(part for part in parts if part)


def _finding(f: Finding, bootstrap: str) -> Iterator[str]:
    yield from (f"### {f.id}: {escaped(f.title)}", "", f"{WORDS[f.status]}, {stage_of(f)}", "")
    if f.subjects:
        yield f"- where: {code(some(f.subjects, SUBJECTS))}"
    for e in f.evidence[:EVIDENCE]:
        yield f"- seen: {code(f'{e.path}: {e.value}')}"
    if len(f.evidence) > EVIDENCE:
        yield f"- and {len(f.evidence) - EVIDENCE} more"
    if f.cause:
        yield f"- cause: {escaped(f.cause)}"
    if f.step or f.instead:
        yield from _steps("fix", [f"qatprep {f.step}{bootstrap}" if f.step else f.instead])
    if f.fix:
        yield from _steps(fix_label(f), f.fix)
    yield ""


def _steps(label: str, steps: Iterable[str]) -> Iterator[str]:
    yield f"- {label}:"
    for step in steps:
        yield ""
        yield from block(step, "  ") if is_command(step) else [f"  {escaped(step)}"]


def _plan(shown: Content) -> Iterator[str]:
    yield from ("## Plan", "")
    if not shown.changes:
        yield from ("bootstrap has nothing to change.", "")
    else:
        yield from (f"{code(f'qatprep bootstrap{shown.bootstrap}')}: {plural(shown.changes, 'change')}", "")
    for group in shown.plan:
        yield from _group(group)
    yield from (f"- {escaped(note)}" for note in shown.notes)
    if shown.notes:
        yield ""


def _group(group: Group) -> Iterator[str]:
    devices = f": {code(' '.join(group.devices))}" if group.devices else ""
    yield from (f"{escaped(group.title)}{devices}", "")
    for line in group.lines:
        yield f"- {escaped(line.what)}: {escaped(line.before)} → {escaped(line.after)}"
    yield from (f"- cost: {escaped(cost)}" for cost in group.costs)
    yield ""


def _chart(chart: Chart) -> Iterator[str]:
    yield from (f"### {escaped(chart.title)}", "", escaped(chart.about), "")
    yield from _table(("", ""), ((escaped(one.label), escaped(one.text)) for one in chart.bars))
    if chart.advice:
        yield from (escaped(chart.advice), "")
