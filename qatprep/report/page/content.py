"""What the report of a node says, before anybody decides how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from qatprep.assess import Assessment, State
from qatprep.checks.base import Profile
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.qatlib import spell
from qatprep.findings import Finding, Status
from qatprep.outcome import Next, Outcome, proof_lines
from qatprep.plan.model import Plan
from qatprep.report.findings import RANK, stage_of, summary
from qatprep.report.outcome import state_text
from qatprep.report.page.numbers import Chart
from qatprep.report.page.topology import Numa, topology
from qatprep.report.plan import alike, together
from qatprep.report.text import because, grouped
from qatprep.steps.base import Change
from qatprep.text import plural
from qatprep.version import VERSION

NAMES = {Profile.QAT: "QAT", Profile.CRYPTOMB: "CryptoMB"}
WORDS = {Status.FAIL: "failed", Status.UNKNOWN: "unknown", Status.WARN: "warning"}
EVIDENCE = 12
"""How many are shown of one finding; the JSON document of doctor has them all."""
SUBJECTS = 24
"""The same for BDFs."""
_ARGUMENTS = ("iommu", "vfio", "qat", "pci", "blacklist", "hugepage", "lockdown")
"""Parts of the kernel arguments that are shown: others hold names of disks and secrets of installers."""
_TOLD = (Status.FAIL, Status.UNKNOWN, Status.WARN)


class Verdict(NamedTuple):
    name: str
    state: str
    mood: str
    """"ok", "fail" or "warn"."""
    text: str
    first: str
    """The id of the first failure, "" for none."""


class Line(NamedTuple):
    """One kind of change."""

    what: str
    """"16 VFs: driver", "services"."""
    before: str
    after: str


class Group(NamedTuple):
    """Changes of one device, or of several that differ in nothing but addresses."""

    title: str
    devices: tuple[str, ...]
    lines: tuple[Line, ...]
    costs: tuple[str, ...]


class Proved(NamedTuple):
    """What a PF (in a VM: a VF), or the CPU, signed."""

    device: str
    text: str
    holds: bool


@dataclass(frozen=True)
class Content:
    title: str
    about: str
    time: str
    """UTC, ISO 8601."""
    verdicts: tuple[Verdict, ...]
    next: tuple[Next, ...]
    remaining: tuple[str, ...]
    nodes: tuple[Numa, ...]
    strangers: tuple[str, ...]
    findings: tuple[Finding, ...]
    """What is shown: failures first, then what is unknown, then warnings; each in the order of the chain."""
    bootstrap: str
    """The options by which bootstrap fixes this host."""
    changes: int
    plan: tuple[Group, ...]
    notes: tuple[str, ...]
    """What the plan refuses, skips or doubts."""
    proof: tuple[str, ...]
    proved: tuple[Proved, ...]
    charts: tuple[Chart, ...]
    others: tuple[tuple[str, str], ...]
    """Stages in which nothing is shown, and what they saw."""
    environment: tuple[tuple[str, str], ...]

    @property
    def verdict(self) -> str:
        """The first verdict in one line: "QAT NOT READY"."""
        return f"{self.verdicts[0].name} {self.verdicts[0].state}" if self.verdicts else ""


def content(
    judged: Assessment,
    plan: Plan,
    outcome: Outcome,
    *,
    again: str,
    time: str,
    name_of: Callable[[str], str],
    charts: Sequence[Chart] = (),
    title: str = "",
) -> Content:
    """`again` are the options by which bootstrap works on the same host, `name_of` what is written next to a BDF."""
    facts, report = judged.facts, judged.report
    told = sorted(report.of(*_TOLD), key=lambda f: RANK.index(f.status))
    return Content(
        title=title or facts.host,
        about=", ".join(_about(facts)),
        time=time,
        verdicts=tuple(_verdicts(outcome)),
        next=outcome.next,
        remaining=outcome.remaining,
        nodes=topology(judged),
        strangers=tuple(
            f"{s.bdf} 8086:{s.device_id:04x}: {s.name or 'newer than this qatprep'}, not set up by qatprep"
            for s in facts.pci.strangers
        ),
        findings=tuple(map(outcome.advise, told)),
        bootstrap=again,
        changes=len(plan.changes),
        plan=tuple(_plan(plan, name_of)),
        notes=tuple(_notes(plan)),
        proof=tuple(proof_lines(outcome)),
        proved=tuple(_proved(outcome)),
        charts=tuple(charts),
        others=tuple(_others(report.findings)),
        environment=tuple(_environment(judged, time)),
    )


def _about(facts: Facts) -> Iterator[str]:
    yield facts.cpu.model or facts.cpu.machine
    yield f"Linux {facts.kernel.release or 'unknown'}"


def _verdicts(outcome: Outcome) -> Iterator[Verdict]:
    moods = {State.READY: "ok", State.CONFIGURED: "ok", State.NOT_READY: "fail", State.NOT_POSSIBLE: "fail"}
    for verdict in outcome.verdicts:
        state = state_text(verdict, simulated=outcome.simulated)
        mood = moods.get(verdict.state, "warn")
        yield Verdict(NAMES[verdict.subject], state, mood, verdict.text, verdict.first)


def _plan(plan: Plan, name_of: Callable[[str], str]) -> Iterator[Group]:
    if plan.host:
        yield Group("This host, first", (), tuple(_lines(plan.host, with_subject=True)), _costs(plan.host))
    for devices in alike(plan):
        lane = plan.lanes[devices[0]]
        kinds = ", ".join(sorted({name_of(device).split(",")[0] for device in devices} - {""}))
        title = f"each of {len(devices)} devices" if len(devices) > 1 else "1 device"
        named = f"{title} ({kinds})" if kinds else title
        yield Group(named, tuple(devices), tuple(_lines(lane, with_subject=False)), _costs(lane))
    if plan.finish:
        yield Group("This host, at the end", (), tuple(_lines(plan.finish, with_subject=True)), _costs(plan.finish))


def _lines(changes: Sequence[Change], *, with_subject: bool) -> Iterator[Line]:
    kinds: dict[tuple[str, str, str], tuple[Change, list[str]]] = {}
    for change, subjects in grouped(changes):
        key = (change.what, change.summary.before, change.summary.after)
        kinds.setdefault(key, (change, []))[1].extend(subjects)
    for change, subjects in kinds.values():
        prefix = ""
        if with_subject:
            prefix = f"{', '.join(subjects)}: "
        elif len(subjects) > 1:
            prefix = f"{plural(len(subjects), 'VF')}: "
        yield Line(f"{prefix}{change.what}", change.summary.before, change.summary.after)


def _costs(changes: Sequence[Change]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cost for change in changes for cost in change.summary.cost))


def _notes(plan: Plan) -> Iterator[str]:
    for refusal in plan.refused:
        yield f"{refusal.subject} is refused: {refusal.reason}"
        for holder in refusal.holders:
            yield f"{holder.vf} is open in {holder}"
    for names, item in together(plan.skipped):
        yield f"{names}: skipped, {because(item)}"
    yield from plan.doubts
    if plan.forecast:
        yield "Steps after loading a driver are planned again once it runs."


def _proved(outcome: Outcome) -> Iterator[Proved]:
    standing = outcome.standing
    for bdf in standing.asked:
        if bdf in standing.holds:
            signed = standing.holds[bdf]
            counted = f", {signed.counted} counted by the firmware" if signed.counted is not None else ""
            yield Proved(bdf, f"{signed.right} signatures right{counted}, {signed.provider}, {signed.time}", True)
        elif bdf in standing.void:
            yield Proved(bdf, f"void: {standing.void[bdf]}", False)
        elif standing.last:
            yield Proved(bdf, "not signed", False)
    if cpu := standing.cryptomb:
        yield Proved("CPU", f"{cpu.right} signatures right, {cpu.provider}, {cpu.time}", True)


def _others(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    for stage, group in groupby(findings, key=stage_of):
        members = list(group)
        if any(f.status is Status.OK for f in members) and not any(f.status in _TOLD for f in members):
            yield stage, summary(members).plain


def _environment(judged: Assessment, time: str) -> Iterator[tuple[str, str]]:
    facts = judged.facts
    yield "host", facts.host
    yield "CPU", facts.cpu.model or facts.cpu.machine
    machine = " ".join(part for part in (facts.cpu.vendor, facts.cpu.product) if part)
    if machine:
        yield "machine", machine
    if facts.cpu.hypervisor_name:
        yield "hypervisor", facts.cpu.hypervisor_name
    yield "kernel", " ".join(part for part in (facts.kernel.release, facts.kernel.build) if part) or "unknown"
    cmdline = facts.kernel.cmdline
    if isinstance(cmdline, Unknown):
        yield "kernel arguments", cmdline.reason
    elif told := " ".join(word for word in cmdline if any(part in word for part in _ARGUMENTS)):
        yield "kernel arguments", told
    yield "IOMMU", _iommu(facts)
    yield "libqat", _libqat(facts)
    runtime = facts.runtime.runtime
    yield "container runtime", runtime.name if runtime else "none"
    yield "Kubernetes", "yes" if facts.kubernetes.here else "no"
    yield "configuration", judged.config.source
    yield "seen as", "root" if facts.euid == 0 else "an ordinary user: not everything could be read"
    yield "qatprep", VERSION
    yield "time", time


def _iommu(facts: Facts) -> str:
    on, table = facts.iommu.on, facts.iommu.table
    running = "unknown" if isinstance(on, Unknown) else "on" if on else "off"
    named = "" if isinstance(table, Unknown) else f", table {table}" if table else ", no table in the firmware"
    return f"{running}{named}"


def _libqat(facts: Facts) -> str:
    qatlib = facts.qatlib
    if not qatlib.path:
        return "not installed on the host"
    return f"{spell(qatlib.release)}, {qatlib.path}" if qatlib.release else qatlib.path
