"""The proof: sign once on each PF, and keep what signed where every verb reads it (facts/proof.py).

A PF whose VFs pods may be given is not opened unless it is named: libqat takes whichever VF it finds, and a pod that is
admitted meanwhile would not get its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qatprep.crypto import smoke
from qatprep.crypto.result import ProviderResult
from qatprep.errors import QatprepError
from qatprep.facts import Facts, proof
from qatprep.facts.base import Unknown
from qatprep.facts.proof import Proof, Signed
from qatprep.host.base import Host
from qatprep.text import listed, plural


@dataclass(frozen=True)
class Proven:
    """How an attempt to prove a host ended."""

    report: smoke.SmokeReport
    untried: Mapping[str, str]
    """PF -> why it was not opened."""
    kept: bool
    """Whether the proof was written."""
    why_not: str = ""
    """Why it was not, "" where it was or where nothing signed."""


def given(facts: Facts) -> dict[str, str]:
    """PF (in a VM: VF) -> why it is not opened: its VFs are given to pods, or offered to them by a device plugin."""
    owners = {vf.bdf: vf.pf or vf.bdf for vf in facts.pci.all_vfs}
    pods: dict[str, int] = {}
    for item in facts.kubernetes.pods:
        for bdf in item.devices:
            if bdf in owners:
                pods[owners[bdf]] = pods.get(owners[bdf], 0) + 1
    offered = facts.kubernetes.registered
    every = [] if offered is None or isinstance(offered, Unknown) else [bdf for ids in offered.values() for bdf in ids]
    found = {owners[bdf]: "its VFs are offered to pods by a device plugin" for bdf in every if bdf in owners}
    if isinstance(offered, Unknown):
        why = f"whether its VFs are offered to pods is unknown ({offered.reason})"
        found |= dict.fromkeys(owners.values(), why)
    return found | {bdf: f"{plural(number, 'VF')} given to pods" for bdf, number in pods.items()}


def prove(host: Host, facts: Facts, by: str, named: Sequence[str] = (), provider: str = "auto") -> Proven:
    """Sign on the PFs of a host, and write the proof for those that did.

    `by` is what was run, for people; `named` are PFs that are opened although pods may be given their VFs. Raises
    nothing for what the host or a device does.
    """
    away = {bdf: why for bdf, why in given(facts).items() if bdf not in named}
    report = _sign(host, provider, away)
    signed = [result for result in report.results if result.state == "passed"]
    try:
        return Proven(report, away, _keep(host, facts, by, signed))
    except (OSError, QatprepError) as e:
        return Proven(report, away, False, str(e))


def _sign(host: Host, provider: str, away: Mapping[str, str]) -> smoke.SmokeReport:
    """With every provider that is asked for. A way to sign on chosen VFs alone, without libqat, belongs here."""
    if not away or provider not in ("auto", "qat"):
        return smoke.run(provider, host)
    names = listed(away)
    tried = f"not tried: {'; '.join(dict.fromkeys(away.values()))}"
    command = f"qatprep doctor --prove --device {' --device '.join(away)}"
    fix = f"libqat takes whichever VF it finds; to sign all the same: {command}"
    result = ProviderResult("qat", "not run", f"{tried} ({names})", fix)
    if provider == "qat":
        return smoke.SmokeReport("qat", host.label, (result,), "qat was not tried", False)
    other = smoke.run("cryptomb", host)
    return replace(
        other, asked="auto", results=(result, *other.results), ok="failed" not in [r.state for r in other.results]
    )


def _keep(host: Host, facts: Facts, by: str, signed: Sequence[ProviderResult]) -> bool:
    """Add what signed to the proof of this boot. False where only software did, or nobody may write there."""
    if host.euid != 0 or not host.writable:
        return False
    devices = {pf.bdf: pf for pf in facts.pci.pfs} | {vf.bdf: vf for vf in facts.pci.vfs}
    before = proof.gather(host)
    now = before if isinstance(before, Proof) else Proof(host.boot_id())
    time = host.wallclock()
    for result in signed:
        if result.provider == "cryptomb":
            now = replace(now, cryptomb=Signed(result.library, result.signatures, None, time, by))
        for bdf, right, counted in result.devices:
            if bdf in devices:
                entry = Signed(result.library, right, counted, time, by, proof.seal(devices[bdf]))
                now = replace(now, devices={**now.devices, bdf: entry})
    if now == before or not (now.devices or now.cryptomb):
        return False
    proof.save(host, now)
    return True
