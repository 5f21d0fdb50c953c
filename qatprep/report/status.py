"""The node in a few lines: devices, drift, last run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from qatprep.engine.journal import Run
from qatprep.facts import Facts
from qatprep.host.base import Host
from qatprep.outcome import Outcome
from qatprep.plan.model import Plan
from qatprep.report.device import devices_document, print_devices
from qatprep.report.outcome import print_outcome
from qatprep.report.rollback import run_status
from qatprep.report.text import because
from qatprep.text import plural


def status_document(host: Host, facts: Facts, plan: Plan, config: str, runs: Sequence[Run]) -> dict[str, Any]:
    devices = devices_document(host, facts.pci, facts.nodes)
    last = runs[-1] if runs else None
    return {
        "schema": "qatprep.status/1",
        "host": host.label,
        "kernel": facts.kernel.release,
        "config": config,
        "drift": [change.describe() for change in plan.changes],
        "skipped": [item._asdict() for item in plan.skipped],
        "last_run": {"run": last.id, "time": last.time, "command": last.command, "status": run_status(last, host)}
        if last
        else None,
        "pfs": devices["pfs"],
        "vfs": devices["vfs"],
        "others": devices["others"],
        "holders_complete": devices["holders_complete"],
    }


def print_status(
    console: Console, host: Host, facts: Facts, plan: Plan, outcome: Outcome, config: str, runs: Sequence[Run]
) -> None:
    release = facts.kernel.release or "unknown"
    kernel = "" if release in host.label else f", kernel {release}"
    console.print(f"{host.label}{kernel}, {facts.cpu.model or facts.cpu.machine}")
    console.print()
    print_outcome(console, outcome)
    console.print()
    print_devices(console, host, facts.pci, facts.nodes, with_vfs=False)
    console.print()
    if plan.empty and not plan.skipped and not outcome.failed:
        console.print(Text(f"As configured ({config}).", style="ok"))
    elif not plan.empty:
        count = plural(len(plan.changes), "change")
        console.print(Text(f"Not as configured ({config}): {count} to make; qatprep plan shows them.", style="warn"))
    for item in plan.skipped:
        console.print(Text(f"{item.subject} is skipped: {because(item)}", style="warn"))
    if runs:
        last = runs[-1]
        console.print(f"Last run: {last.id}, {last.command}, {run_status(last, host)}.")
    else:
        console.print("No run of qatprep is remembered here.")
