"""What doctor found: the chain for people, a document for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qatprep.checks.base import Finding, Profile, Status
from qatprep.checks.registry import Report
from qatprep.checks.table import BY_ID
from qatprep.checks.verdict import State
from qatprep.facts import Facts
from qatprep.report.text import plural
from qatprep.version import VERSION

SCHEMA = "qatprep.doctor/1"
_MAX_WIDTH = 120
"""Columns: longer lines of prose are hard to read, however wide the terminal."""
_SUBJECTS = 4
_EVIDENCE = 6
"""How many are spelt out for people; the JSON document has them all."""
_SYMBOLS = {
    Status.OK: ("✓", "+"),
    Status.WARN: ("!", "!"),
    Status.FAIL: ("✗", "x"),
    Status.UNKNOWN: ("?", "?"),
    Status.BLOCKED: ("·", "."),
    Status.SKIPPED: ("-", "-"),
}
_RANK = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.BLOCKED, Status.OK, Status.SKIPPED)
_SUMMED = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.OK, Status.BLOCKED, Status.SKIPPED)
_TOLD = (Status.FAIL, Status.UNKNOWN, Status.WARN)
_NAMES = {Profile.QAT: "QAT", Profile.CRYPTOMB: "CryptoMB"}
_STATE_STYLES = {State.READY: "ok", State.NOT_READY: "fail", State.NOT_POSSIBLE: "fail"}


class _Lines:
    """Printing line by line, so that a pipe gets no blanks at the ends; prose hangs, commands are never broken."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = min(console.width, _MAX_WIDTH)

    def print(self, text: Text, head: Text | str = "", hang: int | None = None) -> None:
        """Prose behind `head`, its further lines `hang` columns in (as far as `head` reaches unless told)."""
        first = head if isinstance(head, Text) else Text(head)
        indent = first.cell_len if hang is None else hang
        room = max(20, self.width - max(indent, first.cell_len))
        for n, line in enumerate(text.wrap(self.console, room) or [Text()]):
            line.rstrip()
            self.console.print(Text.assemble(first if n == 0 else " " * indent, line), soft_wrap=True)

    def row(self, label: str, words: str) -> None:
        """A label and a paragraph beside it."""
        self.print(Text(words), Text(f"{'':{_INDENT}}{label:{_LABEL}}", style="dim"))

    def command(self, label: str, command: str) -> None:
        """Something to paste: one line, whatever the width."""
        head = Text(f"{'':{_INDENT}}{label:{_LABEL}}", style="dim")
        self.console.print(Text.assemble(head, (command, "hint")), soft_wrap=True)


_INDENT = 6
_LABEL = 7
_STAGE = 14


def print_report(
    console: Console, report: Report, facts: Facts, config: str, bootstrap: str, *, every: bool, verbose: bool
) -> None:
    """`bootstrap` are the options by which bootstrap mends this host; `every` tells what is well too; `verbose` adds
    what was read."""
    lines = _Lines(console)
    lines.print(Text.assemble(("qatprep doctor: ", "id"), facts.host))
    about = [facts.cpu.model, f"profile {report.profile}", f"configuration: {config}"]
    lines.print(Text(", ".join(part for part in about if part), style="dim"))
    lines.print(Text())
    stages = [(stage, list(members)) for stage, members in groupby(report.findings, key=_stage)]
    for idle, together in groupby(stages, key=lambda s: "" if every else _why_idle(s[1])):
        if idle:
            names = ", ".join(stage for stage, _ in together)
            lines.print(
                Text(f"skipped: {names} ({idle})", style="skipped"), _symbol(console, Status.SKIPPED) + Text(" ")
            )
            continue
        for stage, members in together:
            _print_stage(lines, stage, members, bootstrap, every=every, verbose=verbose)
    lines.print(Text())
    _print_verdict(lines, report, bootstrap)
    _print_unseen(lines, report, facts)


def _stage(f: Finding) -> str:
    """A crashed check stands where the check does."""
    return BY_ID[f.id if f.id in BY_ID else f.evidence[0].path].stage.value


def _why_idle(members: list[Finding]) -> str:
    """The one reason for which nothing of a stage was judged, "" where there is more to tell."""
    why = {f.cause if f.status is Status.SKIPPED else "" for f in members}
    return why.pop() if len(why) == 1 else ""


def _print_stage(
    lines: _Lines, stage: str, members: list[Finding], bootstrap: str, *, every: bool, verbose: bool
) -> None:
    worst = min((f.status for f in members), key=_RANK.index)
    head = Text.assemble(_symbol(lines.console, worst), (f" {stage:{_STAGE}}", "id"))
    lines.print(_summary(members), head)
    for f in members:
        if f.status in _TOLD:
            _print_finding(lines, f, bootstrap, verbose=verbose)
        elif every:
            _headline(lines, f)


def _symbol(console: Console, status: Status) -> Text:
    fancy, plain = _SYMBOLS[status]
    return Text(plain if console.options.ascii_only else fancy, style=str(status))


def _summary(members: list[Finding]) -> Text:
    """A stage in half a line: how many checks hold, and what became of the others."""
    worst: dict[str, Status] = {}
    for f in members:
        # Well for some devices, blocked for others: it counts as well, and what blocks it is told all the same.
        status = Status.OK if {f.status, worst.get(f.id)} == {Status.OK, Status.BLOCKED} else f.status
        worst[f.id] = min(worst.get(f.id, Status.SKIPPED), status, key=_SUMMED.index)
    count = Counter(worst.values())
    partly = any(f.status is Status.BLOCKED and worst[f.id] is Status.OK for f in members)
    words = {
        Status.FAIL: "failed",
        Status.UNKNOWN: "not to be seen",
        Status.WARN: "warning" if count[Status.WARN] == 1 else "warnings",
        Status.OK: "ok",
    }
    parts = [Text(f"{count[s]} {word}", style=str(s)) for s, word in words.items() if count[s]]
    if count[Status.BLOCKED] or partly:
        by = dict.fromkeys(id for f in members if f.status is Status.BLOCKED for id in f.blocked_by)
        number = "in part " if not count[Status.BLOCKED] else f"{count[Status.BLOCKED]} " if parts else ""
        parts.append(Text(f"{number}blocked by {', '.join(by)}", style="blocked"))
    if count[Status.SKIPPED] and not parts:
        why = dict.fromkeys(f.cause for f in members if f.status is Status.SKIPPED)
        parts.append(Text(f"skipped: {'; '.join(why)}", style="skipped"))
    return Text(", ").join(parts)


def _headline(lines: _Lines, f: Finding) -> None:
    word = {Status.OK: "ok", Status.BLOCKED: "blocked", Status.SKIPPED: "skipped"}.get(f.status, f.status.upper())
    head = Text.assemble("    ", (f.id, "id"), " ", (word, str(f.status)), "  ")
    text = Text(f.title)
    if f.blocked_by:
        text.append(f" (by {', '.join(f.blocked_by)})", style="blocked")
    elif f.status is Status.SKIPPED:
        text.append(f" ({f.cause})", style="skipped")
    lines.print(text, head, hang=_INDENT)


def _print_finding(lines: _Lines, f: Finding, bootstrap: str, *, verbose: bool) -> None:
    _headline(lines, f)
    if f.subjects and not (len(f.subjects) == 1 and f.subjects[0] in f.title):
        lines.row("where", _some(f.subjects, len(f.subjects) if verbose else _SUBJECTS))
    if verbose:
        for n, e in enumerate(f.evidence[:_EVIDENCE]):
            lines.row("" if n else "seen", f"{e.path}: {e.value}")
        if len(f.evidence) > _EVIDENCE:
            lines.row("", f"and {len(f.evidence) - _EVIDENCE} more (--output json has all)")
    if f.cause:
        lines.row("cause", f.cause)
    label = "fix"
    if f.step:
        lines.command(label, f"qatprep {f.step}{bootstrap}")
        label = ""
        if f.fix:
            lines.row(label, "or by hand:")
    for step in f.fix:
        if is_command(step):
            lines.command(label, step)
        else:
            lines.row(label, step)
        label = ""


def is_command(step: str) -> bool:
    """Whether a step of Finding.fix is to be pasted; words begin with a capital letter."""
    return step[:1] == "/" or step[:1].islower()


def _some(subjects: Sequence[str], limit: int) -> str:
    """BDFs; those of one bus in a row without saying it again."""
    rows: dict[str, list[str]] = {}
    for bdf in subjects[:limit]:
        bus, _, rest = bdf.rpartition(":")
        rows.setdefault(bus, []).append(rest)
    shown = ", ".join(f"{bus}:{' '.join(rest)}" for bus, rest in rows.items())
    return shown if len(subjects) <= limit else f"{shown} and {len(subjects) - limit} more"


def _print_verdict(lines: _Lines, report: Report, bootstrap: str) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for verdict in report.verdicts:
        style = _STATE_STYLES.get(verdict.state, "warn")
        text = Text(verdict.text)
        if verdict.first:
            text = Text.assemble((verdict.first, "id"), ": ", text)
        grid.add_row(Text(_NAMES[verdict.subject], style="id"), Text(verdict.state.upper(), style=style), text)
    border = "ok" if report.worst is Status.OK else "fail" if report.worst is Status.FAIL else "warn"
    panel = Panel(grid, title="verdict", title_align="left", border_style=border, padding=(0, 1))
    lines.console.print(panel, width=lines.width)
    broken = report.of(Status.FAIL)
    mendable = [f for f in broken if f.step]
    told = broken or report.of(Status.WARN)
    if mendable:
        left = len({f.id for f in broken} - {f.id for f in mendable})
        rest = f"  (not: {plural(left, 'failure')} it cannot mend)" if left else ""
        _hint(lines, "mend it", f"qatprep bootstrap{bootstrap}", rest)
    if told:
        _hint(lines, "read on", f"qatprep explain {told[0].id}")


def _hint(lines: _Lines, label: str, command: str, rest: str = "") -> None:
    lines.console.print(Text.assemble((f"{label}: ", "dim"), (command, "hint"), (rest, "dim")), soft_wrap=True)


def _print_unseen(lines: _Lines, report: Report, facts: Facts) -> None:
    denied = [f for f in report.of(Status.UNKNOWN) if f.fix]
    if not denied or facts.euid == 0:
        return
    ids = ", ".join(dict.fromkeys(f.id for f in denied))
    text = f"An ordinary user cannot see everything: {ids} could not be judged. Run it as root to know."
    lines.print(Text(text, style="unknown"))


def document(report: Report, facts: Facts, config: str) -> dict[str, Any]:
    """schema/doctor.json."""
    count = Counter(f.status for f in report.findings)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "host": {
            "label": facts.host,
            "kernel": facts.kernel.release,
            "machine": facts.cpu.machine,
            "cpu": facts.cpu.model,
            "simulated": facts.simulated,
            "euid": facts.euid,
        },
        "config": config,
        "profile": str(report.profile),
        "judged": [str(profile) for profile in report.judged],
        "result": str(report.worst),
        "summary": {str(status): count[status] for status in _RANK},
        "verdicts": [
            {"for": str(v.subject), "state": str(v.state), "text": v.text, "first": v.first} for v in report.verdicts
        ],
        "findings": [_finding(f) for f in report.findings],
    }


def _finding(f: Finding) -> dict[str, Any]:
    return {
        "id": f.id,
        "stage": _stage(f),
        "status": str(f.status),
        "title": f.title,
        "subjects": list(f.subjects),
        "evidence": [{"path": e.path, "value": e.value} for e in f.evidence],
        "cause": f.cause,
        "fix": list(f.fix),
        "step": f.step,
        "blocked_by": list(f.blocked_by),
    }
