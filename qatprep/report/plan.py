"""A plan and its outcome, for people and as a document for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qatprep.assess import Skipped
from qatprep.engine.bootstrap import Result
from qatprep.facts import Facts
from qatprep.hardware import BDF
from qatprep.plan.model import Plan
from qatprep.report.console import Console
from qatprep.report.lanes import doing, print_diff, print_host, print_lanes
from qatprep.report.rows import print_title, row, rows
from qatprep.report.text import because, braces
from qatprep.text import plural


def print_plan(console: Console, plan: Plan, facts: Facts, config: str, *, verb: str, every: bool = False) -> None:
    """The plan: what is changed on the host, then device by device. `every` shows each device and VF for itself."""
    print_title(console, verb, facts)
    row(console, "configuration", config)
    console.print()
    print_host(console, "host", map(doing, plan.host))
    lanes = {device: list(map(doing, lane)) for device, lane in plan.lanes.items()}
    print_lanes(console, lanes, pfs=bool(facts.pci.pfs), every=every)
    print_host(console, "host, then" if plan.lanes else "host", map(doing, plan.finish))
    for names, item in together(plan.skipped):
        row(console, "skipped", Text(f"{names}: {because(item)}", "warn"))
    rows(console, "doubtful", [Text(doubt, "warn") for doubt in plan.doubts])
    if plan.forecast:
        row(console, "note", "steps after loading a driver are planned again once it runs")
    if not plan.empty:
        if not plan.costs:
            row(console, "cost", "nothing in use is lost, nothing is restarted")
        on = f" on {plural(len(plan.lanes), 'PF' if facts.pci.pfs else 'device')}" if plan.lanes else ""
        sure = ", a forecast until the driver runs" if plan.forecast else ""
        row(console, "total", f"{plural(len(plan.changes), 'change')}{on}{sure}")


def alike(plan: Plan) -> list[list[str]]:
    """Devices whose lanes differ in nothing but addresses, together."""
    kinds: dict[tuple[tuple[str, str, str, bool], ...], list[str]] = {}
    for device, lane in plan.lanes.items():
        shape = tuple((c.kind, c.summary.before, c.summary.after, c.subject == device) for c in lane)
        kinds.setdefault(shape, []).append(device)
    return list(kinds.values())


def print_plan_diff(console: Console, plan: Plan, *, every: bool = False) -> None:
    """The plan as a diff."""
    print_diff(console, map(doing, plan.changes), every=every)


def together(skipped: Sequence[Skipped]) -> list[tuple[str, Skipped]]:
    """What is skipped for one reason, together."""
    reasons: dict[tuple[str, str], list[Skipped]] = {}
    for item in skipped:
        reasons.setdefault((item.reason, item.finding), []).append(item)
    return [(_names([item.subject for item in items]), items[0]) for items in reasons.values()]


def _names(subjects: list[str]) -> str:
    return braces(subjects) if all(BDF.fullmatch(subject) for subject in subjects) else " ".join(subjects)


def plan_document(plan: Plan, host: str, config: str, *, diff: bool = False) -> dict[str, Any]:
    document = {"schema": "qatprep.plan/1", "host": host, "config": config, **plan.describe()}
    return {**document, **_diff(plan)} if diff else document


def _diff(plan: Plan) -> dict[str, Any]:
    """In the form Ansible prints: two texts."""
    before, after = ("".join(f"{line}\n" for line in lines) for lines in _states(plan))
    return {"diff": {"before": before, "after": after}}


def _states(plan: Plan) -> tuple[list[str], list[str]]:
    """A line for the state of every subject, before and after."""
    rows = [(f"{change.subject} {change.what}", change.summary) for change in plan.changes]
    return [f"{name}: {s.before}" for name, s in rows], [f"{name}: {s.after}" for name, s in rows]


def result_document(
    result: Result, host: str, config: str, *, check: bool = False, diff: bool = False
) -> dict[str, Any]:
    """schema qatprep.bootstrap/1. `changed` is what Ansible means by it: in check mode, what would change."""
    plan = result.plan
    document: dict[str, Any] = {
        "schema": "qatprep.bootstrap/1",
        "host": host,
        "config": config,
        "status": result.status,
        "check": check,
        "changed": not plan.empty if check else result.status in ("applied", "partial"),
        "run": result.run,
        "resumed": result.resumed,
        "made": [change.describe() for change in result.made],
        "failure": None,
        "not_undone": list(result.not_undone),
        "skipped": [item._asdict() for item in result.skipped],
        "plan": plan.describe(),
    }
    if result.failure:
        subject = result.failure.change.subject if result.failure.change else ""
        document["failure"] = {"subject": subject, "message": result.failure.message, "hint": result.failure.hint}
    return {**document, **_diff(plan)} if diff else document


def idle(skipped: Sequence[Skipped], host: str, *, qat: bool, failed: bool) -> str:
    """Why nothing is to be done. `failed`: whether doctor finds a failure."""
    if skipped:
        return "Nothing was changed. Fix the problems below first."
    if failed and qat:
        return "Nothing is left that bootstrap may change. What is wrong is below."
    return f"Nothing to do: {'the host matches its configuration' if qat else f'{host} has no QAT device to set up'}."


def undone(count: int) -> str:
    """What a run that went back did to the host."""
    if not count:
        return "Nothing was changed: the first step failed."
    if count == 1:
        return "Rolled back: 1 change was undone; what it changed is as it was."
    return f"Rolled back: all {count} changes were undone; what they changed is as it was."


def _forecast(result: Result) -> str:
    """Why another number of changes was made than planned, "" where it is the same."""
    planned, made = len(result.plan.changes), len(result.made)
    if not result.plan.forecast or planned == made:
        return ""
    return f"; {planned} were forecast before the driver ran, which left {'more' if made > planned else 'less'} to do"


def print_result(
    console: Console, result: Result, host: str, undo: str, *, qat: bool, failed: bool, again: str
) -> None:
    """One paragraph: what happened, what was skipped, what to do.

    `undo` says how it is undone; `qat`: whether the host has a QAT device at all; `failed`: whether doctor
    finds a failure; `again`: the options by which another command works on the same host.
    """
    say = console.print
    if result.resumed:
        say(Text(f"Run {result.resumed} had been cut off; this run continued from there.", style="warn"))
    if result.status == "unchanged":
        say(
            Text(idle(result.skipped, host, qat=qat, failed=failed), style="warn" if result.skipped or failed else "ok")
        )
    elif result.status == "applied":
        say(Text(f"Done: {plural(len(result.made), 'change')}, each read back{_forecast(result)}.", style="ok"))
        row(console, "undo", Text(undo, style="hint"), shell=undo.startswith("qatprep "))
    elif result.status == "declined" or result.status == "refused":
        say("Nothing was changed.")
    if result.failure:
        what = "Interrupted." if result.status == "interrupted" else f"error: {result.failure.message}"
        say(Text(what, style="fail"))
        if result.failure.hint:
            console.say(Text(result.failure.hint, "hint"), Text("  fix:   ", "dim"))
    if result.status in ("rolled back", "interrupted"):
        say(Text(undone(len(result.made)), style="warn"))
    elif result.status == "partial":
        say(Text("Rolled back in part. This could not be undone:", style="fail"))
        for line in result.not_undone:
            console.say(line, "  ")
        row(console, "next", Text(f"qatprep rollback {result.run}, when the cause is gone", style="hint"))
    for subjects, item in together(result.skipped):
        row(console, "skipped", Text(f"{subjects}: {item.reason}", style="warn"))
    if result.skipped:
        ids = ",".join(sorted({item.finding for item in result.skipped}))
        row(console, "", Text(f"qatprep doctor --only {ids}{again} shows the cause and the fix", style="hint"))
