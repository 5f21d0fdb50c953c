"""A direct proof as findings: what failed on the way to a signature, and what libqat would still lack."""

from __future__ import annotations

from qatprep.crypto.direct_verdict import libqat_notes
from qatprep.crypto.result import ProviderResult
from qatprep.crypto.smoke_direct import DirectReport, VfResult
from qatprep.direct.result import Step
from qatprep.findings import Evidence, Finding, Status
from qatprep.text import plural

_OPENED, _PF, _SIGNS, _LIBQAT = "QP-PROOF-001", "QP-PROOF-002", "QP-PROOF-003", "QP-PROOF-004"
_IDS = {Step.MAILBOX: _PF, Step.RINGS: _PF, Step.SIGN: _SIGNS}
"""By the step that was reached; the steps before concern the opening."""


def id_of(result: VfResult) -> str:
    """The finding that a VF's failure is."""
    return _IDS.get(result.proof.step, _OPENED) if result.proof else _OPENED


def findings(report: DirectReport) -> tuple[Finding, ...]:
    """One for each kind of failure, with all its VFs; one for what signs; what keeps libqat from these."""
    alike: dict[tuple[str, str, str], list[VfResult]] = {}
    for result in report.of("fails"):
        alike.setdefault((id_of(result), result.verdict.code, result.verdict.summary), []).append(result)
    found = [
        Finding(
            id,
            Status.FAIL,
            summary,
            subjects=tuple(result.bdf for result in results),
            evidence=tuple(_evidence(result) for result in results),
            fix=(results[0].verdict.fix,) if results[0].verdict.fix else (),
        )
        for (id, _, summary), results in alike.items()
    ]
    if signing := report.of("signs"):
        subjects = tuple(result.bdf for result in signing)
        evidence = Evidence("fw_counters", report.evidence.removeprefix("fw_counters: "))
        title = f"{plural(len(signing), 'VF')} signed RSA-2048, checked by {signing[0].checked_by}"
        found.append(Finding(_SIGNS, Status.OK, title, subjects, (evidence,)))
    elif not found and (left := report.of("left alone")):
        reasons = ", ".join(dict.fromkeys(result.verdict.code for result in left))
        title = f"no VF could be tried: {plural(len(left), 'VF')} left alone ({reasons})"
        found.append(Finding(_SIGNS, Status.UNKNOWN, title, tuple(result.bdf for result in left)))
    notes = {note: None for result in signing if result.proof for note in libqat_notes(result.proof)}
    found += [Finding(_LIBQAT, Status.FAIL, note, tuple(result.bdf for result in signing)) for note in notes]
    return tuple(found)


def of_libqat(result: ProviderResult) -> tuple[Finding, ...]:
    """The finding that a failure of libqat on this node is."""
    seen = tuple(Evidence("libqat", line) for line in result.evidence) or (Evidence("libqat", result.code),)
    return (Finding(_SIGNS, Status.FAIL, result.summary[:100], evidence=seen, fix=(result.fix,) if result.fix else ()),)


def _evidence(result: VfResult) -> Evidence:
    """The code, and what was seen."""
    proof = result.proof
    seen = [f"{name} {value}" for name, value in proof.evidence.items()] if proof else []
    where = proof.seen.device_node if proof and proof.seen.device_node else result.bdf
    return Evidence(where, ", ".join((result.verdict.code, *seen)))
