"""The one judge: facts and a configuration -> findings, verdicts, and the devices that are skipped.

Every verb takes verdicts and finding ids from here. A planner asks which devices are skipped and why; it knows no id of
its own. What follows from a verdict (next actions, exit status) is outcome.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from qatprep.checks.base import Profile, Stage
from qatprep.checks.log import reservation
from qatprep.checks.registry import Report, evaluate
from qatprep.checks.table import BY_ID
from qatprep.checks.text import BOOTSTRAP
from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.health import running, signs_of_death
from qatprep.facts.pci import DeviceNode, Services, Vf
from qatprep.findings import CRASH, Finding, Status
from qatprep.hardware import spell_services
from qatprep.host.base import Host
from qatprep.instruction_sets import envoy_build
from qatprep.text import listed, plural


class State(StrEnum):
    """How a verdict says it. The order is that of severity only where a verdict takes the first that holds."""

    READY = "ready"
    """Every finding is clear, and a signature was made on it."""
    CONFIGURED = "configured"
    """Everything that can be read is right; no signature proves it."""
    NOT_READY = "not ready"
    """There is something to fix."""
    NOT_PRESENT = "not present"
    """The node has no such device: nothing to fix."""
    NOT_POSSIBLE = "not possible"
    """What there is cannot be used."""
    UNKNOWN = "unknown"
    """No fault was found, but not everything could be seen."""
    PARTIAL = "not checked"
    """No fault was found in what --only and --skip left."""


@dataclass(frozen=True)
class Verdict:
    subject: Profile
    state: State
    text: str
    first: str = ""
    """The id of the first broken link, "" when there is none."""

    @property
    def well(self) -> bool:
        """Nothing speaks against it: configured, or ready."""
        return self.state in (State.CONFIGURED, State.READY)


class Skipped(NamedTuple):
    """What could not be prepared (a device, a file, a unit), and why."""

    subject: str
    reason: str
    finding: str
    """The id that `qatprep doctor` gives for it, "" where doctor has nothing to say about it."""


_ABOVE = (Stage.STACK, Stage.DEVICE, Stage.KERNEL, Stage.IOMMU, Stage.MODULES, Stage.FIRMWARE)
"""Links above the steps. A failure here that bootstrap does not fix keeps the devices it is about from being prepared;
what could not be read here does not, because the device itself shows whether it works."""
_OWN = (Stage.DRIVER, Stage.SERVICES, Stage.SRIOV, Stage.BINDING)
"""Links that the steps work on: what could not be read of a device cannot be changed and undone either."""
_SET_UP = (*_OWN, Stage.NODES)
_FOR_VFS = (Stage.IOMMU, Stage.BINDING, Stage.SRIOV)
"""Failures here do not matter to a PF that is to have no VFs, or none for VFIO."""


@dataclass(frozen=True)
class Assessment:
    """A host, judged."""

    facts: Facts
    config: NodeConfig
    report: Report

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each way to fast TLS that was judged. CONFIGURED where nothing is against it: proof.py knows more."""
        made = {Profile.QAT: _qat, Profile.CRYPTOMB: _cryptomb}
        return tuple(made[profile](self.facts, self.config, self.report) for profile in self.report.judged)

    @cached_property
    def failures(self) -> tuple[Finding, ...]:
        return self.report.of(Status.FAIL)

    @property
    def prepared(self) -> bool:
        """Whether QAT is here and nothing is against it."""
        return any(verdict.subject is Profile.QAT and verdict.well for verdict in self.verdicts)

    def why(self, bdf: str, tried: frozenset[str] = frozenset()) -> Skipped | None:
        """Why a PF or VF is skipped, None when nothing keeps it from being prepared.

        `tried`: PFs whose driver was just tried without success. A PF is not skipped for one of its VFs alone.
        """
        unused = self._without_vfs(bdf)
        for f, stage in self._in_the_way:
            if (f.subjects and bdf not in f.subjects) or (unused and stage in _FOR_VFS):
                continue
            if f.status is Status.UNKNOWN:
                return Skipped(bdf, f.cause or f.title, f.id)
            if f.step != BOOTSTRAP or (bdf in tried and stage is Stage.DRIVER):
                return Skipped(bdf, f.title, f.id)
        return None

    @cached_property
    def _in_the_way(self) -> tuple[tuple[Finding, Stage | None], ...]:
        """What can keep a device from being prepared, with its stage; in the order of the report."""
        staged = [(f, stage_of(f)) for f in self.report.every if f.id != CRASH]
        return tuple(
            (f, stage)
            for f, stage in staged
            if (f.status is Status.FAIL and stage in (*_ABOVE, *_OWN))
            or (f.status is Status.UNKNOWN and f.subjects and stage in (*_OWN, Stage.IOMMU))
        )

    def _without_vfs(self, bdf: str) -> bool:
        """Whether this is a PF that is to have no VFs, or none for VFIO."""
        pf = self.facts.pci.pf(bdf)
        return pf is not None and (not self.config.of(pf).vfs or self.config.of(pf).driver == "none")

    def named(self, *stages: Stage) -> str:
        """The id of the first trouble of these stages, "" when doctor has none: for files and units that a planner
        leaves alone."""
        told = (f for f in self.report.every if f.status in (Status.FAIL, Status.WARN, Status.UNKNOWN))
        return next((f.id for f in told if stage_of(f) in stages), "")

    def unusable(self, vf: Vf) -> str:
        """Why a VF cannot serve TLS now, "" where it can: its PF answers and offers asym, a VFIO driver has the VF, and
        the device node belongs to whom the configuration says. That somebody holds it does not count."""
        pf, facts = self.facts.pci.pf(vf.pf or ""), self.facts
        if pf is not None:
            if not running(pf):
                return f"its PF is {pf.state}" if isinstance(pf.state, str) else "its PF has no driver"
            if signs_of_death(pf, facts.health.of(pf.bdf), facts.log):
                return "its PF does not answer"
            if not isinstance(pf.services, Services):
                return "the services of its PF are unknown"
            if "asym" not in pf.services.tokens:
                return f"its PF offers {pf.services.text}, not asym"
        if vf.bound is not True:
            return f"on {vf.driver}" if isinstance(vf.driver, str) else "no driver"
        if vf.noiommu or vf.neighbours or vf.reserved:
            return "its IOMMU group cannot be used"
        if not isinstance(vf.node, DeviceNode):
            return "no device node"
        if (vf.node.gid, vf.node.mode) != (facts.nodes.gid(self.config.group), self.config.mode):
            return "its device node is not as configured"
        return ""

    def wrong(self, bdfs: Iterable[str]) -> tuple[Finding, ...]:
        """What is still wrong with these PFs (in a VM, VFs) after they were set up: failures, and what cannot be seen.

        Looks at driver, services, VFs, binding and device nodes; where one of these is blocked for such a device, at
        what blocks it.
        """
        mine = set(bdfs)
        mine |= {vf.bdf for vf in self.facts.pci.all_vfs if vf.pf in mine}
        used = {bdf for bdf in mine if not self._without_vfs(bdf)}
        about: dict[Stage | None, set[str]] = {
            stage: used if stage in (*_FOR_VFS, Stage.NODES) else mine for stage in _SET_UP
        }
        touching = [f for f in self.report.findings if about.get(stage_of(f), set()) & set(f.subjects)]
        roots = {id for f in touching if f.status is Status.BLOCKED for id in f.blocked_by}
        return tuple(
            f
            for f in self.report.of(Status.FAIL, Status.UNKNOWN)
            if f in touching or (f.id in roots and (not f.subjects or mine & set(f.subjects)))
        )


def assess(
    facts: Facts,
    config: NodeConfig,
    profile: Profile = Profile.AUTO,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> Assessment:
    """Judge a host. `only` and `skip`: see checks.registry.evaluate, which raises InputError for wrong ones."""
    return Assessment(facts, config, evaluate(facts, config, profile, only, skip))


def with_proof(judged: Assessment, found: tuple[Finding, ...]) -> Assessment:
    """The same host with what an attempt to sign found."""
    report = judged.report
    return replace(judged, report=replace(report, findings=(*report.findings, *found), every=(*report.every, *found)))


def advice(host: Host, bdf: str, otherwise: str) -> str:
    """For a verb that cannot do what was asked with a device: what doctor says about it, else `otherwise`."""
    from qatprep import config
    from qatprep.facts import gather

    found = assess(gather(host), config.NodeConfig()).why(bdf)
    return f"{found.reason}: qatprep doctor --only {found.finding}" if found else otherwise


def stage_of(f: Finding) -> Stage | None:
    """The stage a finding belongs to, None for what only a proof finds; of a check that crashed, that of the check."""
    check = BY_ID.get(f.evidence[0].path if f.id == CRASH else f.id)
    return check.stage if check else None


def _qat(facts: Facts, config: NodeConfig, report: Report) -> Verdict:
    mine = _of(Profile.QAT, report)
    pci = facts.pci
    if isinstance(pci.visible, Unknown):
        return Verdict(
            Profile.QAT, State.UNKNOWN, pci.visible.reason, next((f.id for f in mine if f.status is Status.UNKNOWN), "")
        )
    if not (pci.pfs or pci.vfs or pci.strangers):
        first = next((f.id for f in mine if f.status is Status.FAIL), "")
        return Verdict(Profile.QAT, State.NOT_PRESENT, "no QAT device on this host", first)
    if not facts.has_qat:
        told = next((f for f in mine if f.status in (Status.FAIL, Status.WARN) and stage_of(f) is Stage.DEVICE), None)
        text = told.title if told else "no QAT device here that qatlib drives"
        return Verdict(Profile.QAT, State.NOT_POSSIBLE, text, told.id if told else "")
    return _against(Profile.QAT, mine, report) or Verdict(
        Profile.QAT, State.CONFIGURED, inventory(facts) + reservation(report.every)
    )


def _cryptomb(facts: Facts, config: NodeConfig, report: Report) -> Verdict:
    mine = _of(Profile.CRYPTOMB, report)
    told = next((f for f in mine if stage_of(f) is Stage.CPU and (f.status is Status.FAIL or f.weighed)), None)
    if told is not None:
        return Verdict(Profile.CRYPTOMB, State.NOT_POSSIBLE, told.title, told.id)
    if against := _against(Profile.CRYPTOMB, mine, report):
        return against
    path, _ = facts.cpu.judge(envoy_build(config.envoy).paths)
    text = f"the CPU has what crypto_mb's {path.name if path else ''} code needs, and its registers are switched on"
    return Verdict(Profile.CRYPTOMB, State.CONFIGURED, text)


def _against(subject: Profile, mine: list[Finding], report: Report) -> Verdict | None:
    """What failures, unknowns and missing checks make of it; None when nothing is against it."""
    broken = [f for f in mine if f.status is Status.FAIL]
    if broken:
        others = list(dict.fromkeys(f.id for f in broken if f.id != broken[0].id))
        more = f" (and {', '.join(others)})" if others else ""
        return Verdict(subject, State.NOT_READY, f"{broken[0].title}{more}", broken[0].id)
    skipped = sorted(id for id in report.left_out if subject in BY_ID[id].profiles)
    if skipped:
        text = f"no fault in what was read; {plural(len(skipped), 'check')} left out"
        return Verdict(subject, State.PARTIAL, text)
    unseen = [f for f in mine if f.status is Status.UNKNOWN and stage_of(f) is not Stage.LOG]
    if unseen:
        ids = list(dict.fromkeys(f.id for f in unseen))
        return Verdict(subject, State.UNKNOWN, f"no fault in what could be seen; not seen: {', '.join(ids)}", ids[0])
    return None


def _of(subject: Profile, report: Report) -> list[Finding]:
    """Its findings; a check that crashed counts for what it was about."""
    by_proof = frozenset({Profile.QAT})
    checks = [(f, BY_ID.get(f.id if f.id != CRASH else f.evidence[0].path)) for f in report.every]
    return [f for f, check in checks if subject in (check.profiles if check else by_proof)]


def inventory(facts: Facts) -> str:
    """What a node that is configured has: "8 PFs with sym;asym, 128 VFs"."""
    pfs = [pf for pf in facts.pci.pfs if pf.family.supported]
    if not pfs:
        return f"{plural(len([vf for vf in facts.pci.vfs if vf.family.supported]), 'VF')} of this VM"
    offered = sorted({spell_services(pf.services.tokens) for pf in pfs if isinstance(pf.services, Services)})
    services = f" with {listed(offered)}" if offered else ""
    return f"{plural(len(pfs), 'PF')}{services}, {plural(sum(len(pf.vfs) for pf in pfs), 'VF')}"
