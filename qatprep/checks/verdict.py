"""The verdict: for QAT and for CryptoMB, whether the node is ready, and if not, the first broken link."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qatprep.checks.base import Profile
from qatprep.checks.log import reservation
from qatprep.checks.table import BY_ID
from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Services
from qatprep.findings import CRASH, Finding, Status
from qatprep.hardware import spell_services
from qatprep.instruction_sets import envoy_build
from qatprep.text import listed, plural


class State(StrEnum):
    READY = "ready"
    NOT_READY = "not ready"
    """There is something to fix."""
    NOT_PRESENT = "not present"
    """The node has no such device: nothing to fix."""
    NOT_POSSIBLE = "not possible"
    """What there is cannot be used."""
    UNKNOWN = "unknown"
    """No fault was found, but not everything could be seen."""
    PARTIAL = "not judged"
    """No fault was found in what --only and --skip left."""


@dataclass(frozen=True)
class Verdict:
    subject: Profile
    state: State
    text: str
    first: str = ""
    """The id of the first broken link, "" when there is none."""


def verdicts(
    facts: Facts,
    config: NodeConfig,
    judged: tuple[Profile, ...],
    findings: tuple[Finding, ...],
    left_out: frozenset[str],
) -> tuple[Verdict, ...]:
    """One for each way to fast TLS that was judged. `left_out`: ids that --only and --skip kept from being told."""
    made = {Profile.QAT: _qat, Profile.CRYPTOMB: _cryptomb}
    return tuple(made[profile](facts, config, findings, left_out) for profile in judged)


def _common(subject: Profile, mine: list[Finding], left_out: frozenset[str]) -> Verdict | None:
    """What failures, unknowns and missing checks make of it; None when nothing is against it."""
    broken = [f for f in mine if f.status is Status.FAIL]
    if broken:
        others = list(dict.fromkeys(f.id for f in broken if f.id != broken[0].id))
        more = f" (and {', '.join(others)})" if others else ""
        return Verdict(subject, State.NOT_READY, f"{broken[0].title}{more}", broken[0].id)
    skipped = sorted(id for id in left_out if subject in BY_ID[id].profiles)
    if skipped:
        return Verdict(
            subject, State.PARTIAL, f"no fault in what was looked at; {plural(len(skipped), 'check')} left out"
        )
    unseen = [f for f in mine if f.status is Status.UNKNOWN and f.id != "QP-LOG-001"]
    if unseen:
        ids = list(dict.fromkeys(f.id for f in unseen))
        return Verdict(subject, State.UNKNOWN, f"no fault in what could be seen; not seen: {', '.join(ids)}", ids[0])
    return None


def _of(subject: Profile, findings: tuple[Finding, ...]) -> list[Finding]:
    """Its findings; a check that crashed counts for what it was about."""
    return [f for f in findings if subject in BY_ID[f.id if f.id != CRASH else f.evidence[0].path].profiles]


def _qat(facts: Facts, config: NodeConfig, findings: tuple[Finding, ...], left_out: frozenset[str]) -> Verdict:
    mine = _of(Profile.QAT, findings)
    pci = facts.pci
    if isinstance(pci.visible, Unknown):
        return Verdict(Profile.QAT, State.UNKNOWN, pci.visible.reason, "QP-DEV-001")
    if not (pci.pfs or pci.vfs or pci.strangers):
        first = next((f.id for f in mine if f.status is Status.FAIL), "")
        return Verdict(Profile.QAT, State.NOT_PRESENT, "no QAT device on this host", first)
    if not facts.has_qat:
        told = next((f for f in mine if f.status in (Status.FAIL, Status.WARN) and f.id.startswith("QP-DEV-")), None)
        text = told.title if told else "no QAT device here that qatlib drives"
        return Verdict(Profile.QAT, State.NOT_POSSIBLE, text, told.id if told else "")
    against = _common(Profile.QAT, mine, left_out)
    return against or Verdict(Profile.QAT, State.READY, _inventory(facts) + reservation(findings))


def _inventory(facts: Facts) -> str:
    """What a node that is ready has: 8 PFs with sym;asym, 128 VFs."""
    pfs = [pf for pf in facts.pci.pfs if pf.family.supported]
    if not pfs:
        return f"{plural(len([vf for vf in facts.pci.vfs if vf.family.supported]), 'VF')} of this VM"
    offered = sorted({spell_services(pf.services.tokens) for pf in pfs if isinstance(pf.services, Services)})
    services = f" with {listed(offered)}" if offered else ""
    return f"{plural(len(pfs), 'PF')}{services}, {plural(sum(len(pf.vfs) for pf in pfs), 'VF')}"


def _cryptomb(facts: Facts, config: NodeConfig, findings: tuple[Finding, ...], left_out: frozenset[str]) -> Verdict:
    mine = _of(Profile.CRYPTOMB, findings)
    told = next(
        (f for f in mine if f.status in (Status.FAIL, Status.WARN) and f.id in ("QP-CPU-001", "QP-CPU-002")), None
    )
    if told is not None:
        return Verdict(Profile.CRYPTOMB, State.NOT_POSSIBLE, told.title, told.id)
    against = _common(Profile.CRYPTOMB, mine, left_out)
    if against:
        return against
    path, _ = facts.cpu.judge(envoy_build(config.envoy).paths)
    text = f"the CPU has what crypto_mb's {path.name if path else ''} code needs, and its registers are switched on"
    return Verdict(Profile.CRYPTOMB, State.READY, text)
