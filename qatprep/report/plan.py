"""A plan and its outcome, as a tree for people and as a document for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from qatprep.assess import Skipped
from qatprep.engine.bootstrap import Result
from qatprep.plan.model import Plan
from qatprep.report.text import because, grouped
from qatprep.steps.base import Change
from qatprep.text import plural


def print_plan(console: Console, plan: Plan, title: str, name_of: Callable[[str], str], *, every: bool = False) -> None:
    """The plan as a tree: host-wide changes, then one branch a device. `every` lists each VF."""
    tree = Tree(Text(title, style="id"), guide_style="dim")
    if plan.host:
        branch = tree.add(Text("this host, first", style="id"))
        for change in plan.host:
            branch.add(_change(change, [change.subject], with_subject=True))
    for devices in [[device] for device in plan.lanes] if every else _alike(plan):
        branch = tree.add(_devices(devices, name_of))
        lane = plan.lanes[devices[0]]
        rows = [(change, [change.subject]) for change in lane] if every else grouped(lane)
        for change, subjects in rows:
            leaf = branch.add(_change(change, subjects, with_subject=every and subjects != devices))
            for cost in change.summary.cost:
                leaf.add(Text(f"cost: {cost}", style="warn"))
    if plan.finish:
        branch = tree.add(Text("this host, at the end", style="id"))
        for change in plan.finish:
            leaf = branch.add(_change(change, [change.subject], with_subject=True))
            for cost in change.summary.cost:
                leaf.add(Text(f"cost: {cost}", style="warn"))
    for refusal in plan.refused:
        branch = tree.add(Text(f"{refusal.subject}: refused, {refusal.reason}", style="fail"))
        for holder in refusal.holders:
            branch.add(Text(f"{holder.vf} is held by {holder}"))
    for names, item in _together(plan.skipped):
        tree.add(Text(f"{names}: skipped, {because(item)}", style="warn"))
    for doubt in plan.doubts:
        tree.add(Text(f"doubtful: {doubt}", style="warn"))
    console.print(tree)
    if plan.forecast:
        console.print(Text("Steps after loading a driver are planned again once it runs.", "dim"))


def _alike(plan: Plan) -> list[list[str]]:
    """Devices whose lanes differ in nothing but addresses, together."""
    kinds: dict[tuple[tuple[str, str, str, bool], ...], list[str]] = {}
    for device, lane in plan.lanes.items():
        shape = tuple((c.kind, c.summary.before, c.summary.after, c.subject == device) for c in lane)
        kinds.setdefault(shape, []).append(device)
    return list(kinds.values())


def _together(skipped: Sequence[Skipped]) -> list[tuple[str, Skipped]]:
    """What is skipped for one reason, together."""
    reasons: dict[tuple[str, str], list[Skipped]] = {}
    for item in skipped:
        reasons.setdefault((item.reason, item.finding), []).append(item)
    return [(" ".join(item.subject for item in items), items[0]) for items in reasons.values()]


def _devices(devices: list[str], name_of: Callable[[str], str]) -> Text:
    if len(devices) == 1:
        return Text(f"{devices[0]}  {name_of(devices[0])}".rstrip(), style="id")
    families = sorted({name_of(device).split(",")[0] for device in devices} - {""})
    text = Text(f"{len(devices)} PFs, each ({', '.join(families)})", style="id")
    return text.append(f"  {' '.join(devices)}", style="dim")


def _change(change: Change, subjects: list[str], *, with_subject: bool) -> Text:
    text = Text()
    if len(subjects) > 1:
        text.append(f"{plural(len(subjects), 'VF')}: ")
    elif with_subject:
        text.append(f"{subjects[0]} ")
    text.append(f"{change.what} ")
    text.append(change.summary.before, style="old")
    text.append(" -> ")
    text.append(change.summary.after, style="new")
    return text


def diff_lines(plan: Plan) -> list[str]:
    """The plan as a diff: the state of every subject before and after."""
    pairs = zip(*_states(plan), strict=True)
    lines = [line for before, after in pairs for line in (f"-{before}", f"+{after}")]
    return ["--- before", "+++ after", *lines] if lines else []


def print_diff(console: Console, plan: Plan) -> None:
    for line in diff_lines(plan):
        style = "old" if line.startswith("-") else "new"
        console.print(Text(line, style=style), soft_wrap=True)


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


def idle(skipped: Sequence[Skipped], host: str, *, qat: bool) -> str:
    """Why nothing is to be done."""
    if skipped:
        return "Nothing was changed. Fix the problems below first."
    return f"Nothing to do: {'the host matches its configuration' if qat else f'{host} has no QAT device to set up'}."


def undone(count: int) -> str:
    """What a run that went back did to the host."""
    if not count:
        return "Nothing was changed: the first step failed."
    every = "1 change was" if count == 1 else f"all {count} changes were"
    return f"Rolled back: {every} undone, the host is as it was."


def print_result(console: Console, result: Result, host: str, undo: str, *, qat: bool) -> None:
    """One paragraph: what happened, what was skipped, what to do.

    `undo` tells how it is undone; `qat`: whether the host has a QAT device at all.
    """
    say = console.print
    if result.resumed:
        say(Text(f"Run {result.resumed} had been cut off; this run continued from there.", style="warn"))
    if result.status == "unchanged":
        say(Text(idle(result.skipped, host, qat=qat), style="warn" if result.skipped else "ok"))
    elif result.status == "applied":
        say(Text(f"Done: {plural(len(result.made), 'change')}, each read back.", style="ok"))
        say(Text(f"{undo[0].upper()}{undo[1:]}", style="hint"))
    elif result.status == "declined":
        say("Nothing was changed.")
    elif result.status == "refused":
        for refusal in result.plan.refused:
            say(Text(f"Refused for {refusal.subject}: {refusal.reason}.", style="fail"))
            for holder in refusal.holders:
                say(f"  {holder.vf} is held by {holder}")
        say("Nothing was changed. Stop these processes (drain the pods), then run this again.")
    if result.failure:
        failed = "Interrupted." if result.status == "interrupted" else f"Failed: {result.failure.message}"
        say(Text(failed, style="fail"))
        if result.failure.hint:
            say(Text(f"  hint: {result.failure.hint}", style="hint"))
    if result.status in ("rolled back", "interrupted"):
        say(Text(undone(len(result.made)), style="warn"))
    elif result.status == "partial":
        say(Text("Rolled back in part. This could not be undone:", style="fail"))
        for line in result.not_undone:
            say(f"  {line}")
        say(Text(f"When the cause is gone: qatprep rollback {result.run}", style="hint"))
    for subjects, item in _together(result.skipped):
        say(Text(f"Skipped: {subjects}, {item.reason}", style="warn"))
    if result.skipped:
        ids = ",".join(sorted({item.finding for item in result.skipped}))
        say(Text(f"  qatprep doctor --only {ids} shows the cause and the fix", style="hint"))
