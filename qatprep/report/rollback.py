"""Runs, and what undoing them did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qatprep.engine.journal import Entry, Run
from qatprep.engine.run import LOCK, effective
from qatprep.facts.nodes import Holder
from qatprep.host.base import Host
from qatprep.report.console import Console
from qatprep.report.lanes import Step, print_host, print_lanes, undoing
from qatprep.report.rows import columns, row
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
    cells = [(run.id, run.time, run.command, run_status(run, host), str(len(run.entries))) for run in runs]
    columns(console, ("run", "time", "command", "status", "changes"), cells, {"changes"})


def print_chain(console: Console, chain: Sequence[Run], host: Host, *, every: bool = False) -> None:
    """What undoing these runs changes, newest first: in the form of bootstrap's plan."""
    for run in chain:
        entries = effective(host, run)
        title = f"run {run.id}, {run.command}, {run_status(run, host)}, {host.label}"
        row(console, f"{'qatprep rollback':18}", title, style="id")
        if run.boot != host.boot_id():
            row(console, "", "the host was booted since: what was in sysfs and /dev is gone already")
        console.print()
        places = [n for n, entry in enumerate(entries) if entry.lane]
        first, last = (places[0], places[-1] + 1) if places else (len(entries), len(entries))
        print_host(console, "host", [undoing(entry.change) for entry in entries[:first]])
        lanes: dict[str, list[Step]] = {}
        between = [entry for entry in entries[first:last] if not entry.lane]
        for entry in entries[first:last]:
            if entry.lane:
                lanes.setdefault(entry.lane, []).append(undoing(entry.change))
        print_lanes(console, dict(sorted(lanes.items())), pfs=_pfs(entries), every=every)
        after = [undoing(entry.change) for entry in [*between, *entries[last:]]]
        print_host(console, "host, then" if places else "host", after)
        removed = sum(entry.change.kind == "create-vfs" for entry in entries)
        if removed:
            row(console, "cost", f"the VFs of {plural(removed, 'PF')} are removed; one that is held is never taken")
        row(console, "total", plural(len(entries), "change"))


def _pfs(entries: Sequence[Entry]) -> bool:
    """Whether lanes are those of PFs: in a VM each VF has its own, and all that is changed there is itself."""
    return any(entry.lane and entry.change.subject != entry.lane for entry in entries) or any(
        entry.lane and entry.change.kind in ("set-services", "create-vfs", "remove-vfs") for entry in entries
    )


def rollback_document(
    host: str, status: str, chain: Sequence[Run], not_undone: Sequence[str], held: Sequence[Holder] = ()
) -> dict[str, Any]:
    """schema/rollback.json. `held`: who has VFs open that would go, where that is why it was refused."""
    holders: dict[str, list[str]] = {}
    for holder in held:
        holders.setdefault(holder.vf, []).append(str(holder))
    return {
        "schema": "qatprep.rollback/1",
        "host": host,
        "status": status,
        "changed": status in ("rolled back", "partial"),
        "runs": [run.id for run in chain],
        "changes": [entry.change.describe() for run in chain for entry in run.standing],
        "not_undone": list(not_undone),
        "refused": [
            {"subject": vf, "reason": "it would be removed while in use", "holders": names}
            for vf, names in holders.items()
        ],
    }


def print_outcome(console: Console, chain: Sequence[Run], not_undone: Sequence[str]) -> None:
    if not not_undone:
        what = "what it changed" if len(chain) == 1 else "what they changed"
        text = f"Rolled back: {plural(len(chain), 'run')} undone; {what} is as it was before."
        console.print(Text(text, style="ok"))
        return
    console.print(Text("Rolled back in part. This could not be undone:", style="fail"))
    for line in not_undone:
        console.say(line, "  ")
    console.print(Text("When the cause is gone, run the same command again.", style="hint"))
