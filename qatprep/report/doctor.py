"""What doctor found: the chain for people, a document for programs."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qatprep.checks.base import Profile
from qatprep.checks.registry import Report
from qatprep.checks.verdict import State
from qatprep.facts import Facts
from qatprep.findings import Finding, Status
from qatprep.report.findings import RANK, Lines, hint, print_stage, stage_of, symbol
from qatprep.report.findings import document as finding
from qatprep.text import plural
from qatprep.version import VERSION

SCHEMA = "qatprep.doctor/1"
_NAMES = {Profile.QAT: "QAT", Profile.CRYPTOMB: "CryptoMB"}
_STATE_STYLES = {State.READY: "ok", State.NOT_READY: "fail", State.NOT_POSSIBLE: "fail"}


def print_report(
    console: Console, report: Report, facts: Facts, config: str, bootstrap: str, *, every: bool, verbose: bool
) -> None:
    """`bootstrap` are the options by which bootstrap fixes this host; `every` tells what is well too; `verbose` adds
    what was read."""
    lines = Lines(console)
    lines.print(Text.assemble(("qatprep doctor: ", "id"), facts.host))
    about = [facts.cpu.model, f"profile {report.profile}", f"configuration: {config}"]
    lines.print(Text(", ".join(part for part in about if part), style="dim"))
    lines.print(Text())
    stages = [(stage, list(members)) for stage, members in groupby(report.findings, key=stage_of)]
    for idle, together in groupby(stages, key=lambda s: "" if every else _why_idle(s[1])):
        if idle:
            names = ", ".join(stage for stage, _ in together)
            lines.print(
                Text(f"skipped: {names} ({idle})", style="skipped"), symbol(console, Status.SKIPPED) + Text(" ")
            )
            continue
        for stage, members in together:
            print_stage(lines, stage, members, bootstrap, every=every, verbose=verbose)
    lines.print(Text())
    _print_verdict(lines, report, bootstrap)
    _print_unseen(lines, report, facts)


def _why_idle(members: list[Finding]) -> str:
    """The one reason for which nothing of a stage was judged, "" where there is more to tell."""
    why = {f.cause if f.status is Status.SKIPPED else "" for f in members}
    return why.pop() if len(why) == 1 else ""


def _print_verdict(lines: Lines, report: Report, bootstrap: str) -> None:
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
    fixable = [f for f in broken if f.step]
    told = broken or report.of(Status.WARN)
    if fixable:
        left = len({f.id for f in broken} - {f.id for f in fixable})
        rest = f"  (not: {plural(left, 'failure')} it cannot fix)" if left else ""
        hint(lines, "fix it", f"qatprep bootstrap{bootstrap}", rest)
    if told:
        hint(lines, "read on", f"qatprep explain {told[0].id}")


def _print_unseen(lines: Lines, report: Report, facts: Facts) -> None:
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
        "summary": {str(status): count[status] for status in RANK},
        "verdicts": [
            {"for": str(v.subject), "state": str(v.state), "text": v.text, "first": v.first} for v in report.verdicts
        ],
        "findings": [finding(f) for f in report.findings],
    }
