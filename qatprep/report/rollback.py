"""Runs, and what undoing them did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from qatprep.engine.journal import Run
from qatprep.engine.run import LOCK, effective
from qatprep.host.base import Host
from qatprep.report.console import print_table
from qatprep.report.text import compact, grouped
from qatprep.text import plural


def run_status(run: Run, host: Host) -> str:
    """How a run ended, in a word or two."""
    if run.status or not run.entries:
        return run.status or "empty"
    return "under way" if host.held(LOCK) else "cut off"


def runs_document(runs: Sequence[Run], host: Host) -> dict[str, Any]:
    return {
        "schema": "qatprep.runs/1",
        "host": host.label,
        "runs": [
            {
                "run": run.id,
                "time": run.time,
                "command": run.command,
                "status": run_status(run, host),
                "changes": len(run.entries),
                "standing": len(run.standing),
            }
            for run in runs
        ],
    }


def print_runs(console: Console, runs: Sequence[Run], host: Host) -> None:
    if not runs:
        console.print(f"{host.label} remembers no runs.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "time", "command", "status", "changes"):
        table.add_column(column, no_wrap=column != "command", justify="right" if column == "changes" else "left")
    for run in runs:
        table.add_row(run.id, run.time, run.command, run_status(run, host), str(len(run.entries)))
    print_table(console, table)


def print_chain(console: Console, chain: Sequence[Run], host: Host) -> None:
    for run in chain:
        gone = run.boot != host.boot_id()
        title = f"Run {run.id} ({run.command}, {run_status(run, host)}) of {host.label}"
        tree = Tree(Text(title, style="id"), guide_style="dim")
        for change, subjects in grouped(entry.change for entry in effective(host, run)):
            text = Text(f"{compact(subjects)} {change.what} ")
            text.append(change.summary.after, style="old").append(" -> ").append(change.summary.before, style="new")
            tree.add(text)
        if gone:
            tree.add(Text("the host was booted since: what was in sysfs and /dev is gone already", style="dim"))
        console.print(tree)


def rollback_document(host: str, status: str, chain: Sequence[Run], not_undone: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": "qatprep.rollback/1",
        "host": host,
        "status": status,
        "changed": status in ("rolled back", "partial"),
        "runs": [run.id for run in chain],
        "changes": [entry.change.describe() for run in chain for entry in run.standing],
        "not_undone": list(not_undone),
    }


def print_outcome(console: Console, chain: Sequence[Run], not_undone: Sequence[str]) -> None:
    if not not_undone:
        count = plural(len(chain), "run")
        console.print(Text(f"Rolled back: {count} undone, the host is as it was before.", style="ok"))
        return
    console.print(Text("Rolled back in part. This could not be undone:", style="fail"))
    for line in not_undone:
        console.print(f"  {line}")
    console.print(Text("When the cause is gone, run the same command again.", style="hint"))
