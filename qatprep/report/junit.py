"""What doctor found as JUnit XML, which CI systems show as tests: a suite for each stage, a case for each check.

A case has the id of its check and the statement that holds when all is well, so that it is the same case on every run.
There is a failure exactly where the exit status of doctor is not 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from qatprep.assess import Assessment, State
from qatprep.findings import Finding, Status
from qatprep.findings.pages import title
from qatprep.outcome import Outcome
from qatprep.report.findings import RANK, fix_label, stage_of
from qatprep.report.outcome import state_text
from qatprep.report.page.content import NAMES
from qatprep.report.text import valid
from qatprep.version import VERSION


def document(judged: Assessment, outcome: Outcome, *, strict: bool = False, require_proof: bool = False) -> str:
    """`strict`: what could not be seen is a failure, too. `require_proof`: so is a verdict that no signature proves."""
    report, facts = judged.report, judged.facts
    root = Element("testsuites", name="qatprep doctor")
    suite = _suite(root, "verdicts", (("host", facts.host), ("version", VERSION), ("profile", str(report.profile))))
    for verdict in outcome.verdicts:
        case = SubElement(suite, "testcase", classname="qatprep.verdicts", name=NAMES[verdict.subject])
        state = state_text(verdict, simulated=outcome.simulated)
        if require_proof and verdict.state is State.CONFIGURED:
            _failure(case, f"{state}: no signature proves it", verdict.text)
        else:
            SubElement(case, "system-out").text = valid(f"{state}: {verdict.text}")
    for stage, group in groupby(map(outcome.advise, report.findings), key=stage_of):
        suite = _suite(root, stage)
        for id, found in groupby(sorted(group, key=lambda f: f.id), key=lambda f: f.id):
            _case(suite, stage, id, list(found), strict=strict)
    for suite in [*root]:
        _count(suite, suite)
    _count(root, *root)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(root: Element, name: str, properties: Iterable[tuple[str, str]] = ()) -> Element:
    suite = SubElement(root, "testsuite", name=name)
    rows = list(properties)
    if rows:
        holder = SubElement(suite, "properties")
        for key, value in rows:
            SubElement(holder, "property", name=key, value=valid(value))
    return suite


def _case(suite: Element, stage: str, id: str, found: list[Finding], *, strict: bool) -> None:
    """One check: the worst of what it found decides, and all of it is reported."""
    case = SubElement(suite, "testcase", classname=f"qatprep.{stage.replace(' ', '-')}", name=f"{id} {title(id)}")
    worst = min((f.status for f in found), key=RANK.index)
    mine = [f for f in found if f.status is worst]
    head, text = "; ".join(f.title for f in mine), "\n\n".join(map(_text, mine))
    if worst is Status.FAIL or (strict and worst is Status.UNKNOWN):
        _failure(case, head, text)
    elif worst is Status.OK:
        return
    elif worst is Status.WARN:
        SubElement(case, "system-out").text = valid(text)
    else:
        why = {Status.BLOCKED: f"blocked by {', '.join(mine[0].blocked_by)}", Status.SKIPPED: mine[0].cause}
        SubElement(case, "skipped", message=valid(why.get(worst, f"{worst}: {head}")))


def _failure(case: Element, message: str, text: str) -> None:
    SubElement(case, "failure", message=valid(message)).text = valid(text)


def _text(f: Finding) -> str:
    rows = [f"{f.id} {f.status}: {f.title}"]
    if f.subjects:
        rows.append(f"where: {' '.join(f.subjects)}")
    rows += [f"seen: {e.path}: {e.value}" for e in f.evidence]
    if f.cause:
        rows.append(f"cause: {f.cause}")
    if f.step:
        rows.append(f"fix: qatprep {f.step}")
    if f.instead:
        rows.append(f"fix: {f.instead}")
    rows += [f"{fix_label(f)}: {step}" for step in f.fix]
    return "\n".join(rows)


def _count(element: Element, *suites: Element) -> None:
    cases = [case for suite in suites for case in suite.findall("testcase")]
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", "0")
    element.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
