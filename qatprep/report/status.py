"""The node on one screen: what it can do, its devices and who has them, and what is still to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from qatprep.assess import Assessment
from qatprep.engine.journal import APPLIED, Run
from qatprep.facts import Facts
from qatprep.host.base import Host
from qatprep.outcome import Outcome
from qatprep.plan.model import Plan
from qatprep.report.console import Console
from qatprep.report.device import devices_document, print_vfs
from qatprep.report.outcome import print_next, print_verdicts
from qatprep.report.pf_table import print_pfs
from qatprep.report.rollback import run_status
from qatprep.report.rows import print_title, row, rows
from qatprep.report.status_containers import container_lines, kubernetes_lines
from qatprep.report.status_vfs import held_lines, print_loose_vfs, vf_lines
from qatprep.report.text import because, braces
from qatprep.text import plural


class Seen(NamedTuple):
    """All that the screen shows."""

    facts: Facts
    judged: Assessment
    plan: Plan
    outcome: Outcome
    runs: Sequence[Run]

    @property
    def now(self) -> int:
        """Changes that can be made now."""
        return len(self.plan.changes) - self.waiting

    @property
    def waiting(self) -> int:
        """Changes that wait until somebody lets a VF go."""
        return sum(len(self.plan.lanes.get(refusal.subject, ())) for refusal in self.plan.refused)


def status_document(host: Host, seen: Seen) -> dict[str, Any]:
    facts, plan = seen.facts, seen.plan
    devices = devices_document(host, facts.pci, facts.nodes)
    last = seen.runs[-1] if seen.runs else None
    every = facts.pci.all_vfs
    return {
        "schema": "qatprep.status/1",
        "host": host.label,
        "kernel": facts.kernel.release,
        "config": seen.judged.config.source,
        "counts": {
            "pfs": len(facts.pci.pfs),
            "vfs": len(every),
            "usable": sum(not seen.judged.unusable(vf) for vf in every),
            "held": len({holder.vf for holder in facts.nodes.holders}),
            "changes_now": seen.now,
            "changes_waiting": seen.waiting,
        },
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


def print_status(console: Console, host: Host, seen: Seen, undo: str, *, verbose: bool) -> None:
    """`undo`: how the last run is undone; `verbose`: a line for each PF and VF."""
    facts = seen.facts
    print_title(console, "status", facts)
    console.print()
    print_verdicts(console, seen.outcome)
    console.print()
    if facts.pci.pfs:
        print_pfs(console, seen.judged, every=verbose)
    if facts.pci.vfs:
        print_loose_vfs(console, seen.judged, every=verbose)
    if verbose and facts.pci.all_vfs:
        console.print()
        print_vfs(console, facts.pci.all_vfs, facts.nodes)
    if facts.pci.pfs or facts.pci.vfs or facts.pci.strangers:
        console.print()
    rows(console, "VFs", vf_lines(facts.pci, facts.nodes))
    rows(console, "held", held_lines(facts))
    rows(console, "other QAT", _strangers(facts))
    row(console, "IOMMU", iommu_line(seen.judged))
    rows(console, "containers", container_lines(console, seen.judged))
    rows(console, "Kubernetes", kubernetes_lines(console, seen.judged))
    row(console, "after a reboot", reboot_line(facts))
    rows(console, "configuration", _configuration(seen))
    rows(console, "last run", _last_run(host, seen.runs, undo, wide=console.width >= 120))
    print_next(console, seen.outcome)


def _strangers(facts: Facts) -> Iterator[str]:
    for other in facts.pci.strangers:
        name = other.name or "newer than this qatprep"
        yield f"{other.bdf} 8086:{other.device_id:04x}: {name}, not set up by qatprep"


def iommu_line(judged: Assessment) -> Text:
    """Whether it is on, and what doctor says against it."""
    on = judged.facts.iommu.on
    words = {True: "on", False: "off"}[on] if isinstance(on, bool) else f"unknown: {on.reason}"
    ids = [f.id for f in judged.report.findings if f.id.startswith("QP-IOMMU") and f.status in ("fail", "warn")]
    text = Text(words)
    if ids:
        text.append("; ").append(" ".join(dict.fromkeys(ids)), "id")
    elif on is True:
        text.append("; no change pending")
    return text


def reboot_line(facts: Facts) -> str:
    """Whether the node is prepared again at the next boot."""
    found = facts.persist
    unit = "qatprep-apply.service"
    if found.systemd is not True:
        return "not prepared: " + ("systemd does not run here" if found.systemd is False else found.systemd.reason)
    from qatprep.facts.persist import APPLY

    if found.text(APPLY) is None:
        return f"not prepared: there is no {unit}"
    if found.enabled.get(APPLY) is not True:
        return f"not prepared: {unit} is not enabled"
    return f"prepared by {unit}, before containers start"


def _configuration(seen: Seen) -> Iterator[Text | str]:
    plan, source = seen.plan, seen.judged.config.source
    if plan.empty and not plan.skipped:
        yield Text.assemble(f"{source}; ", ("the host matches it", "ok"))
        return
    refused = {refusal.subject for refusal in plan.refused}
    free = [device for device in plan.lanes if device not in refused]
    where = f" ({braces(free)})" if free and len(free) <= 4 else f" on {len(free)} devices" if free else ""
    if seen.now:
        yield Text.assemble(f"{source}; ", (f"{plural(seen.now, 'change')} can be made now{where}", "warn"))
    elif plan.empty:
        yield Text.assemble(f"{source}; ", ("nothing can be changed before what is broken is fixed", "warn"))
    else:
        yield f"{source}"
    for refusal in plan.refused:
        vfs = braces(list(dict.fromkeys(holder.vf for holder in refusal.holders)))
        yield Text(f"{plural(len(plan.lanes.get(refusal.subject, ())), 'change')} wait until {vfs} is free", "warn")
    reasons: dict[str, list[str]] = {}
    for item in plan.skipped:
        reasons.setdefault(because(item), []).append(item.subject)
    for why, subjects in reasons.items():
        names = braces(subjects) if all(":" in subject for subject in subjects) else ", ".join(subjects)
        yield Text(f"{names} skipped: {why}", "warn")


def _last_run(host: Host, runs: Sequence[Run], undo: str, *, wide: bool) -> Iterator[str]:
    if not runs:
        return
    last = runs[-1]
    state = run_status(last, host)
    yield f"{last.time}, {last.command}, {plural(len(last.entries), 'change')}, {state}"
    if last.standing and (wide or state != APPLIED):
        yield undo
