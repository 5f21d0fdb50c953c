"""How the proof of VFs looks: a VF, a table by PF, a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from qatprep.crypto.direct_findings import findings, id_of
from qatprep.crypto.direct_verdict import libqat_notes
from qatprep.crypto.qat_verdict import Verdict
from qatprep.crypto.smoke_direct import DirectReport, State, VfResult
from qatprep.facts.base import Unknown
from qatprep.report.console import Console
from qatprep.report.findings import document as finding
from qatprep.report.marks import Mark, mark
from qatprep.report.rows import columns
from qatprep.report.text import compact
from qatprep.text import plural

_MARKS: dict[State, Mark] = {"signs": "ok", "fails": "fail", "left alone": "skipped"}


def verdict(report: DirectReport) -> str:
    """One sentence."""
    signs, fails, left = (report.of(state) for state in ("signs", "fails", "left alone"))
    if not report.results:
        return "no VF signs: this node has no QAT VFs"
    tried = len(signs) + len(fails)
    parts = [f"{len(signs)} of {plural(tried, 'VF')} {'signs' if tried == 1 else 'sign'}"]
    if fails:
        parts.append(f"{len(fails)} failed")
    if left:
        parts.append(f"{len(left)} left alone")
    return ", ".join(parts)


def document(report: DirectReport, host: str) -> dict[str, Any]:
    return {
        "schema": "qatprep.smoke-direct/1",
        "host": host,
        "ok": report.ok,
        "verdict": verdict(report),
        "vfs": [_vf(result) for result in report.results],
        "pfs_without_vfs": [{"bdf": bdf, "state": state} for bdf, state in report.without_vfs],
        "fw_counters": {
            "responses": None if isinstance(report.counted, Unknown) else report.counted,
            "requests": report.requests,
            "summary": report.evidence,
        },
        "findings": [finding(f) for f in findings(report)],
        "notes": _notes(report),
        "seconds": round(report.seconds, 3),
    }


def _vf(result: VfResult) -> dict[str, Any]:
    proof = result.proof
    seen = proof.seen if proof else None
    return {
        "bdf": result.bdf,
        "pf": result.pf,
        "state": result.state,
        "code": result.verdict.code,
        "step": proof.step.value if proof else "",
        "summary": result.verdict.summary,
        "fix": result.verdict.fix,
        "evidence": proof.evidence if proof else {},
        "not_undone": list(proof.not_undone) if proof else [],
        "way": seen.way if seen else "",
        "device_node": seen.device_node if seen else "",
        "services": list(seen.services) if seen else [],
        "ring_pair": seen.pair if seen and seen.pair >= 0 else None,
        "checked_by": result.checked_by,
        "seconds": round(proof.seconds, 3) if proof else 0.0,
    }


def _notes(report: DirectReport) -> list[str]:
    notes = []
    for state in dict.fromkeys(state for _, state in report.without_vfs):
        pfs = [bdf for bdf, its in report.without_vfs if its == state]
        notes.append(f"{plural(len(pfs), 'PF')} without VFs, state {state}: {compact(pfs)}")
    notes += dict.fromkeys(note for r in report.of("signs") if r.proof for note in libqat_notes(r.proof))
    notes += [f"{r.bdf}: not undone: {thing}" for r in report.results if r.proof for thing in r.proof.not_undone]
    return notes


def print_report(console: Console, report: DirectReport, *, every: bool) -> None:
    if every and report.results:
        _print_by_pf(console, report)
    for results in _alike(result for result in report.results if not (every and result.state == "signs")):
        first = results[0]
        text = Text(f"{compact([result.bdf for result in results])}: {first.verdict.summary}")
        if first.checked_by and first.proof:
            text.append(f"\nchecked by {first.checked_by}; {first.proof.seconds:.2f} s", "dim")
        if first.verdict.fix:
            text.append(f"\n{first.verdict.fix}", "hint")
        if first.state == "fails":
            text.append(f"\nqatprep explain {id_of(first)}", "dim")
        console.say(text, mark(console, _MARKS[first.state]) + Text(" "))
    for note in _notes(report):
        console.say(note, mark(console, "warn") + Text(" "))
    if report.requests:
        console.say(Text(report.evidence, style="dim"), "  ")
    seconds = f" ({report.seconds:.1f} s)" if every else ""
    console.print(Text(verdict(report) + seconds, style="ok" if report.ok else "fail"))


def _alike(results: Iterable[VfResult]) -> list[list[VfResult]]:
    """Results of one verdict together."""
    groups: dict[Verdict, list[VfResult]] = {}
    for result in results:
        groups.setdefault(result.verdict, []).append(result)
    return list(groups.values())


def _print_by_pf(console: Console, report: DirectReport) -> None:
    lines: list[list[Text | str]] = []
    for pf in dict.fromkeys(result.pf for result in report.results):
        mine = [result for result in report.results if result.pf == pf]
        states = Counter(result.state for result in mine)
        services = next((" ".join(r.proof.seen.services) for r in mine if r.proof and r.proof.seen.services), "-")
        cells = [Text(str(states[state]), "fail" if state == "fails" and states[state] else "") for state in _MARKS]
        lines.append([Text(pf or "none visible", style="id"), services, str(len(mine)), *cells])
    numbers = ("VFs", "sign", "failed", "left alone")
    columns(console, ("PF", "services of a VF", *numbers), lines, numbers)
