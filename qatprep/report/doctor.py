"""What doctor found: the chain for people, a document for programs."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from rich.text import Text

from qatprep.assess import Assessment
from qatprep.checks.registry import Report
from qatprep.exits import ExitCode
from qatprep.facts import Facts
from qatprep.findings import Finding, Status
from qatprep.outcome import Outcome, verdict_document
from qatprep.outcome import document as last_word
from qatprep.report.console import Console
from qatprep.report.findings import RANK, STAGE, print_stage, stage_of, symbol
from qatprep.report.findings import document as finding
from qatprep.report.outcome import print_outcome
from qatprep.version import VERSION

SCHEMA = "qatprep.doctor/1"


def print_report(
    console: Console,
    judged: Assessment,
    outcome: Outcome,
    bootstrap: str,
    *,
    every: bool,
    verbose: bool,
    short: bool = False,
) -> None:
    """`bootstrap` are the options by which bootstrap fixes this host; `every` tells what is well too; `verbose` adds
    what was read; `short` tells the titles alone."""
    report, facts, config = judged.report, judged.facts, judged.config.source
    if short:
        for f in report.of(Status.FAIL, Status.UNKNOWN, Status.WARN):
            head = Text.assemble(symbol(console, f.status), f" {stage_of(f):{STAGE}}", (f"{f.id:14}", "id"))
            console.say(Text(f.title), head)
        print_outcome(console, outcome)
        return
    console.say(Text.assemble(("qatprep doctor: ", "id"), facts.host))
    about = [facts.cpu.model, f"profile {report.profile}", f"configuration: {config}"]
    console.say(Text(", ".join(part for part in about if part), style="dim"))
    console.say(Text())
    told = map(outcome.advise, report.findings)
    stages = [(stage, list(members)) for stage, members in groupby(told, key=stage_of)]
    for idle, together in groupby(stages, key=lambda s: not every and bool(_why_idle(s[1]))):
        if idle:
            reasons: dict[str, list[str]] = {}
            for stage, members in together:
                reasons.setdefault(_why_idle(members), []).append(stage)
            text = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
            console.say(Text(f"skipped: {text}", style="skipped"), symbol(console, Status.SKIPPED) + Text(" "))
            continue
        for stage, members in together:
            print_stage(console, stage, members, bootstrap, every=every, verbose=verbose)
    console.say(Text())
    print_outcome(console, outcome)
    _print_unseen(console, report, facts)


def _why_idle(members: list[Finding]) -> str:
    """The one reason for which nothing of a stage was judged, "" where there is more to tell."""
    why = {f.cause if f.status is Status.SKIPPED and not f.fix else "" for f in members}
    return why.pop() if len(why) == 1 else ""


def _print_unseen(console: Console, report: Report, facts: Facts) -> None:
    denied = [f for f in report.of(Status.UNKNOWN) if f.fix]
    if not denied or facts.euid == 0:
        return
    ids = ", ".join(dict.fromkeys(f.id for f in denied))
    text = f"An ordinary user cannot see everything: {ids} could not be checked. Run it as root to know."
    console.say(Text(text, style="unknown"))


def document(judged: Assessment, outcome: Outcome, code: ExitCode) -> dict[str, Any]:
    """schema/doctor.json."""
    report, facts = judged.report, judged.facts
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
        "config": judged.config.source,
        "profile": str(report.profile),
        "judged": [str(profile) for profile in report.judged],
        "result": str(report.worst),
        "summary": {str(status): count[status] for status in RANK},
        "verdicts": [verdict_document(verdict) for verdict in outcome.verdicts],
        "outcome": last_word(outcome, code),
        "findings": [finding(outcome.advise(f)) for f in report.findings],
    }
