"""The node as metrics in Prometheus' text format (version 0.0.4), for node_exporter's textfile collector.

No timestamps: the collector refuses them, and tells the file's age itself (node_textfile_mtime_seconds).
"""

from __future__ import annotations

import calendar
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qatprep.assess import State
from qatprep.checks.table import BY_ID
from qatprep.engine.journal import APPLIED, AS_BEFORE
from qatprep.facts.base import Unknown
from qatprep.facts.pci import DeviceNode, Pf, Services, Vf
from qatprep.findings import Status
from qatprep.hardware import SERVICES
from qatprep.text import printable
from qatprep.version import VERSION

if TYPE_CHECKING:
    from qatprep.assess import Assessment
    from qatprep.checks.registry import Report
    from qatprep.config import NodeConfig
    from qatprep.engine.journal import Run
    from qatprep.facts import Facts
    from qatprep.outcome import Outcome
    from qatprep.plan.model import Plan

Labels = tuple[tuple[str, str], ...]

STATUS_VALUES = {
    Status.OK: 0,
    Status.WARN: 1,
    Status.UNKNOWN: 2,
    Status.FAIL: 3,
    Status.BLOCKED: 4,
    Status.SKIPPED: -1,
}
"""What qatprep_finding_status says. Frozen: alerts compare with these numbers."""

METRICS = {
    "qatprep_build_info": "Always 1; the labels say which qatprep wrote this.",
    "qatprep_node_ready": "Whether the node is ready for what `for` names (qat, cryptomb): 1 yes, 0 something to fix;"
    " absent where the node has no such device, or it is unknown.",
    "qatprep_node_proven": "Whether a signature of this boot proves it for what `for` names: 1 yes, 0 no.",
    "qatprep_proof_timestamp_seconds": "When the newest signature that still counts was made, in seconds since 1970.",
    "qatprep_finding_status": "Worst result of each check: 0 ok, 1 warn, 2 unknown, 3 fail, 4 blocked, -1 skipped.",
    "qatprep_drift_changes": "Changes that bootstrap would make now; 0 when the node is as configured.",
    "qatprep_devices_skipped": "Devices and files that bootstrap skips because of an earlier failure.",
    "qatprep_pf_info": "Always 1; the labels name kind, driver and services of each PF.",
    "qatprep_pf_up": "Whether the PF runs: bound to its driver, and its state is up.",
    "qatprep_vfs": "VFs of each PF by state: possible, made, bound (VFIO), ready (node as configured), held (in use).",
    "qatprep_last_run_timestamp_seconds": "When the last run that changed this node began, in seconds since 1970.",
    "qatprep_last_run_success": "Whether that run did what it was to do: 1, or 0 when it was undone or cut off.",
}
"""Names are API: documented in docs/persistence.md, never reused. All are gauges."""


@dataclass
class _Family:
    name: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)

    def add(self, value: float, *labels: tuple[str, str]) -> None:
        self.samples.append((labels, value))


def render(judged: Assessment, plan: Plan, outcome: Outcome, runs: Sequence[Run] | None) -> str:
    """The whole text. `runs` is None where the journals cannot be read: nothing is said about runs then."""
    out: list[str] = []
    for family in _families(judged, plan, outcome, runs):
        if not family.samples:
            continue
        out += [f"# HELP {family.name} {METRICS[family.name]}", f"# TYPE {family.name} gauge"]
        for labels, value in family.samples:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            out.append(f"{family.name}{{{inner}}} {value:.15g}" if inner else f"{family.name} {value:.15g}")
    return "\n".join(out) + "\n"


def _families(judged: Assessment, plan: Plan, outcome: Outcome, runs: Sequence[Run] | None) -> Iterator[_Family]:
    facts = judged.facts
    build = _Family("qatprep_build_info")
    build.add(1, ("version", VERSION), ("kernel", facts.kernel.release))
    yield build
    ready = _Family("qatprep_node_ready")
    proven = _Family("qatprep_node_proven")
    for verdict in outcome.verdicts:
        if verdict.well or verdict.state is State.NOT_READY:
            ready.add(int(verdict.well), ("for", str(verdict.subject)))
            proven.add(int(verdict.state is State.READY), ("for", str(verdict.subject)))
    yield ready
    yield proven
    stamp = _Family("qatprep_proof_timestamp_seconds")
    if outcome.standing.last:
        stamp.add(_seconds(outcome.standing.last))
    yield stamp
    yield _findings(judged.report)
    drift = _Family("qatprep_drift_changes")
    drift.add(len(plan.changes))
    yield drift
    skipped = _Family("qatprep_devices_skipped")
    skipped.add(len({item.subject for item in plan.skipped}))
    yield skipped
    yield from _devices(facts, judged.config)
    if told := [run for run in runs or () if run.time]:  # others were damaged or cut off before they could say when
        stamp, success = _Family("qatprep_last_run_timestamp_seconds"), _Family("qatprep_last_run_success")
        stamp.add(_seconds(told[-1].time))
        success.add(int(told[-1].status in (APPLIED, AS_BEFORE)))
        yield stamp
        yield success


def _seconds(stamp: str) -> int:
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def _findings(report: Report) -> _Family:
    family = _Family("qatprep_finding_status")
    worst: dict[str, Status] = {}
    order = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.BLOCKED, Status.OK, Status.SKIPPED)
    for finding in report.findings:
        worst[finding.id] = min(worst.get(finding.id, Status.SKIPPED), finding.status, key=order.index)
    for id, status in worst.items():
        stage = str(BY_ID[id].stage) if id in BY_ID else ""
        family.add(STATUS_VALUES[status], ("id", id), ("stage", stage))
    return family


def _devices(facts: Facts, config: NodeConfig) -> Iterator[_Family]:
    info, up, vfs = _Family("qatprep_pf_info"), _Family("qatprep_pf_up"), _Family("qatprep_vfs")
    gid = facts.nodes.gid(config.group)
    held = Counter(holder.vf for holder in facts.nodes.holders)
    for pf in facts.pci.pfs:
        device = ("device", pf.bdf)
        info.add(
            1,
            device,
            ("family", pf.name),
            ("numa_node", str(pf.numa_node)),
            ("driver", pf.driver if isinstance(pf.driver, str) else ""),
            ("services", _services(pf)),
        )
        if not isinstance(pf.state, Unknown):
            # Kernels before 6.0 have no state: a PF that its driver holds is up.
            up.add(int(pf.driver == pf.family.driver and pf.state in ("up", None)), device)
        if isinstance(pf.total_vfs, int):
            vfs.add(pf.total_vfs, device, ("state", "possible"))
        _count(vfs, pf.bdf, pf.vfs, gid, config, held)
    for vf in facts.pci.vfs:
        _count(vfs, vf.bdf, (vf,), gid, config, held)
    yield info
    yield up
    yield vfs


def _count(
    family: _Family, bdf: str, vfs: tuple[Vf, ...], gid: int | Unknown | None, config: NodeConfig, held: Counter[str]
) -> None:
    device = ("device", bdf)
    good = [vf for vf in vfs if isinstance(vf.node, DeviceNode) and (vf.node.gid, vf.node.mode) == (gid, config.mode)]
    family.add(len(vfs), device, ("state", "made"))
    family.add(sum(vf.bound is True for vf in vfs), device, ("state", "bound"))
    family.add(len(good), device, ("state", "ready"))
    family.add(sum(bool(held[vf.bdf]) for vf in vfs), device, ("state", "held"))


def _services(pf: Pf) -> str:
    """In one order, whatever order the kernel spells them in."""
    if not isinstance(pf.services, Services):
        return ""
    return ";".join(token for token in SERVICES if token in pf.services.tokens)


def _escaped(text: str) -> str:
    """What does not print is text of its own, backslash and all: Prometheus knows no escapes for it."""
    return printable(text, "\n").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
