"""The proof: sign once on each PF, and keep what signed where every verb reads it (facts/proof.py).

A PF whose VFs pods may be given is not opened unless it is named: a pod that is admitted meanwhile would not get its
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qatprep.crypto import direct_findings, smoke, smoke_direct
from qatprep.crypto.prover import Prover
from qatprep.crypto.result import ProviderResult
from qatprep.errors import QatprepError
from qatprep.facts import Facts, proof
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf, Services
from qatprep.facts.proof import Proof, Signed
from qatprep.findings import Finding, Status
from qatprep.host.base import Host
from qatprep.text import listed, plural

BUS = "/sys/bus/pci"
WITHOUT_LIBQAT = ("no-library", "no-module")
"""Codes of smoke's line on QAT that say nothing about QAT itself."""


@dataclass(frozen=True)
class Proven:
    """How an attempt to prove a host ended."""

    report: smoke.SmokeReport
    untried: Mapping[str, str]
    """PF -> why it was not opened."""
    kept: bool
    """Whether the proof was written."""
    findings: tuple[Finding, ...] = ()
    """What failed, or could not be tried, as doctor tells it."""
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
    cover = covered_by(host)
    report, found = _sign(host, facts, provider, away)
    signed = [result for result in report.results if result.state == "passed" or result.devices]
    if cover and any(result.devices for result in signed):
        return Proven(report, away, False, found, f"{cover} covers {BUS}: what signed is no device of this machine")
    if not cover and _keeps(host) and (rest := _unreached(facts, signed)):
        more, seen = _directly(host, facts, away, rest)
        # That none of the rest could be tried is no doubt of what signed: they are only not proven.
        found += tuple(f for f in seen if f.status is not Status.UNKNOWN)
        report = _joined(host, provider, report, more)
        signed.append(more)
    try:
        return Proven(report, away, _keep(host, facts, by, signed), found)
    except (OSError, QatprepError) as e:
        return Proven(report, away, False, found, str(e))


def _sign(
    host: Host, facts: Facts, provider: str, away: Mapping[str, str]
) -> tuple[smoke.SmokeReport, tuple[Finding, ...]]:
    """With every provider that is asked for. QAT by libqat; where that is missing, or where it must keep away from some
    PFs (it takes whichever VF it finds), by talking to one VF of each PF."""
    if provider not in ("auto", "qat"):
        return smoke.run(provider, host), ()
    if away:
        others = smoke.run("cryptomb", host).results if provider == "auto" else ()
    else:
        report = smoke.run(provider, host)
        libqat = next(result for result in report.results if result.provider == "qat")
        if libqat.code not in WITHOUT_LIBQAT:
            failed = direct_findings.of_libqat(libqat) if libqat.state == "failed" else ()
            return report, failed
        others = tuple(result for result in report.results if result is not libqat)
    result, found = _directly(host, facts, away)
    return smoke.judged(smoke.Provider(provider), host, (result, *others)), found


def _unreached(facts: Facts, signed: Sequence[ProviderResult]) -> list[str]:
    """PFs (in a VM: VFs) that could sign and did not, where libqat did: it takes the first VF that it can open
    (crypto/child.py, QAT_POLICY), and left to itself 6 at most (qatlib, qat_mgr_client.c, MAX_DEVS_NO_POLICY)."""
    libqat = [result for result in signed if result.provider == "qat" and result.code == "passed"]
    reached = {bdf for result in libqat for bdf, _, _ in result.devices}
    able = [pf.bdf for pf in facts.pci.pfs if pf.vfs and pf.family.supported and _may_sign(pf)]
    able += [vf.bdf for vf in facts.pci.vfs if vf.family.supported]
    return [bdf for bdf in able if bdf not in reached] if libqat else []


def _may_sign(pf: Pf) -> bool:
    return not isinstance(pf.services, Services) or "asym" in pf.services.tokens


def _joined(host: Host, provider: str, report: smoke.SmokeReport, more: ProviderResult) -> smoke.SmokeReport:
    """The report in which what libqat did not reach is in the line on QAT."""

    def whole(libqat: ProviderResult) -> ProviderResult:
        failed = more.state == "failed"
        return replace(
            libqat,
            state="failed" if failed else libqat.state,
            summary=f"{libqat.summary}; {more.summary}",
            fix=more.fix or libqat.fix,
            signatures=libqat.signatures + more.signatures,
            evidence=(*libqat.evidence, *more.evidence),
            devices=(*libqat.devices, *more.devices),
            code="" if failed else libqat.code,
        )

    results = tuple(whole(result) if result.provider == "qat" else result for result in report.results)
    return smoke.judged(smoke.Provider(provider), host, results)


def _directly(
    host: Host, facts: Facts, away: Mapping[str, str], only: Sequence[str] = ()
) -> tuple[ProviderResult, tuple[Finding, ...]]:
    """One signature on a free VF of each PF that is not kept away from; of those in `only` where it is given."""
    every = [*(pf.bdf for pf in facts.pci.pfs if pf.family.supported), *(vf.bdf for vf in facts.pci.vfs)]
    devices = [bdf for bdf in only or every if bdf not in away]
    if why := smoke.elsewhere(host):
        return ProviderResult("qat", "not run", f"not run: {why}"), ()
    if not devices:
        causes = "; ".join(dict.fromkeys(away.values()))
        command = f"qatprep doctor --prove --device {' --device '.join(away)}"
        return ProviderResult("qat", "not run", f"not tried on {listed(away)}: {causes}", command), ()
    with Prover() as prover:
        report = smoke_direct.run(host, every=False, prover=prover, one_of=devices)
    signing = tuple((result.pf or result.bdf, 1, None) for result in report.of("signs"))
    found = direct_findings.findings(report)
    rest = f"; not tried on {listed(away)}: {'; '.join(dict.fromkeys(away.values()))}" if away else ""
    failed = report.of("fails")
    first = f"; {failed[0].bdf}: {failed[0].verdict.summary}" if failed else ""
    result = ProviderResult(
        "qat",
        "failed" if failed else "passed" if signing else "unavailable",
        f"without libqat: {len(signing)} of {len(devices)} signed RSA-2048{first}{rest}",
        failed[0].verdict.fix if failed else "",
        library="VFIO, without libqat",
        key="rsa-2048",
        signatures=len(signing),
        wrong=0,
        checked_by=report.of("signs")[0].checked_by if signing else "",
        evidence=(report.evidence,),
        devices=signing,
    )
    return result, found


def covered_by(host: Host) -> str:
    """The file system that is mounted over the machine's own PCI devices (as an emulator does), "" where none is."""
    try:
        lines = host.read_text("/proc/self/mountinfo").text.splitlines()
    except OSError:
        return ""
    # "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw" (proc_pid_mountinfo(5))
    mounts = [(line.split()[4], line.partition(" - ")[2].split()[0]) for line in lines if " - " in line]
    over = [kind for place, kind in mounts if place in (BUS, f"{BUS}/devices")]
    return over[-1] if over and over[-1] != "sysfs" else ""


def _keeps(host: Host) -> bool:
    """Whether a proof may be written there."""
    return host.euid == 0 and host.writable


def _keep(host: Host, facts: Facts, by: str, signed: Sequence[ProviderResult]) -> bool:
    """Add what signed to the proof of this boot. False where only software did, or nobody may write there."""
    if not _keeps(host):
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
                entry = Signed(result.library, right, counted, time, by, proof.seal(devices[bdf], facts.health.of(bdf)))
                now = replace(now, devices={**now.devices, bdf: entry})
    if now == before or not (now.devices or now.cryptomb):
        return False
    proof.save(host, now)
    return True
