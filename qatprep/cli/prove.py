"""doctor --prove: one signature on a free VF, among the findings and in the verdict."""

from __future__ import annotations

from dataclasses import replace

from qatprep.checks.base import Profile
from qatprep.checks.registry import Report
from qatprep.checks.verdict import State, Verdict
from qatprep.crypto import smoke, smoke_direct
from qatprep.crypto.direct_findings import findings
from qatprep.crypto.prover import Prover
from qatprep.errors import InputError
from qatprep.findings import Finding, Status
from qatprep.host.base import Host


def proven(report: Report, host: Host) -> Report:
    """The report with what a direct proof found. InputError for a host that is not the running machine."""
    if why_not := smoke.elsewhere(host):
        raise InputError(f"--prove signs on the running machine: {why_not}")
    if Profile.QAT not in report.judged:
        raise InputError("--prove proves QAT VFs", "leave out --profile, or give qat")
    with Prover() as prover:
        found = findings(smoke_direct.run(host, every=False, prover=prover))
    verdicts = tuple(_with(verdict, found) for verdict in report.verdicts)
    return replace(report, findings=(*report.findings, *found), verdicts=verdicts)


def _with(verdict: Verdict, found: tuple[Finding, ...]) -> Verdict:
    if verdict.subject is not Profile.QAT or verdict.state not in (State.READY, State.UNKNOWN, State.PARTIAL):
        return verdict
    for status, state in ((Status.FAIL, State.NOT_READY), (Status.UNKNOWN, State.UNKNOWN)):
        if first := next((f for f in found if f.status is status), None):
            return Verdict(Profile.QAT, state, first.title, first.id)
    signed = next((f.title for f in found if f.status is Status.OK), "")
    return replace(verdict, text=f"{verdict.text}; {signed}") if signed else verdict
