"""Signing on QAT: through libqat as Envoy does it, every signature checked, the device's own counters as proof."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from qatprep import hardware
from qatprep.crypto import qat_verdict
from qatprep.crypto.qat import Libraries, QatRun, QatSession, Trouble
from qatprep.crypto.qat_verdict import Verdict
from qatprep.crypto.result import ProviderResult
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf
from qatprep.host.base import Host
from qatprep.text import plural

SIGNATURES = 64
POLL_DELAY = 0.0005
STATUS = {-1: ": fatal error or restart of the device", -6: ": the device does not support them"}
"""What a CpaStatus says of an operation. What the device itself refuses is none of them: libqat calls it a success and
leaves the output as it was (lac_rsa_decrypt.c: LacRsa_ProcessDecCb ignores the flag), which is counted as WRONG."""
ABSENT = ("no-device", "no-library", "no-module")
"""Verdicts that say nothing against QAT on this node: there is none, or nothing here to ask it with (a container brings
its own libqat). The others are failures."""


def sign(host: Host, libraries: Libraries | None = None) -> ProviderResult:
    """64 RSA-2048 signatures on every instance in turn. Bounded in time; raises nothing."""
    node = qat_verdict.look(host)
    try:
        with QatSession(libraries) as session:
            if not session.rsa_instances:
                return _failed(qat_verdict.no_rsa(node, len(session.instances)), session.output())
            before = counters(host, node.pfs)
            run = session.run("rsa-2048", count=SIGNATURES, poll_delay=POLL_DELAY)
            after = counters(host, node.pfs)
            devices = _devices(node, session.instances, run.measured.completed, before, after)
            count = session.rsa_instances
            name = f"libqat, {plural(count, 'instance')}"
            software = [str(i["part"]) for i in session.instances if i["rsa"] and not i["offloaded"]]
            if software:
                return _failed(Verdict("not-offloaded", f"{name}, which say they are software: {software[0]}"), ())
            return _result(name, run, total(before), total(after), devices, session.output())
    except Trouble as trouble:
        return _failed(qat_verdict.judge(node, trouble), trouble.output)


def _failed(verdict: Verdict, output: tuple[str, ...]) -> ProviderResult:
    return ProviderResult(
        "qat",
        "unavailable" if verdict.code in ABSENT else "failed",
        verdict.summary,
        verdict.fix,
        evidence=tuple(f"libqat: {line}" for line in output[-4:]),
        code=verdict.code,
    )


def _result(
    name: str,
    run: QatRun,
    before: int | Unknown,
    after: int | Unknown,
    devices: tuple[tuple[str, int, int | None], ...],
    output: tuple[str, ...],
) -> ProviderResult:
    measured = run.measured
    wrong = max(run.wrong, measured.failed)
    proof = _proof(before, after, measured.completed)
    code, made = "passed", f"{measured.completed} RSA-2048 signatures"
    if run.lost:
        code, summary = "lost", f"{run.lost} of {SIGNATURES} operations never came back"
    elif run.last_status and not run.wrong:
        why = STATUS.get(run.last_status, "")
        code, summary = (
            "refused",
            f"{measured.failed} of {SIGNATURES} operations ended with status {run.last_status}{why}",
        )
    elif wrong:
        code, summary = "wrong", f"{made}, {wrong} WRONG"
    elif measured.completed < SIGNATURES:
        code, summary = "lost", f"only {measured.completed} of {SIGNATURES} operations could be sent"
    elif isinstance(before, int) and isinstance(after, int) and after - before < measured.completed:
        code, summary = "not-offloaded", f"{made}, all right, but NOT on the device"
    else:
        summary = f"{made}, all right"
    import cryptography

    checker = f"cryptography {cryptography.__version__}"
    return ProviderResult(
        "qat",
        "passed" if code == "passed" else "failed",
        f"{name}: {summary} ({checker})",
        library=name,
        key="rsa-2048",
        signatures=run.checked,
        wrong=wrong,
        checked_by=checker,
        evidence=(proof, *(f"libqat: {line}" for line in output[-4:])) if code != "passed" else (proof,),
        devices=devices if code == "passed" else (),
        code=code,
    )


def counters(host: Host, pfs: tuple[Pf, ...]) -> dict[str, int] | Unknown:
    """Responses of the firmware of each PF so far: debugfs fw_counters, Linux 6.6, root only (adf_fw_counters.c)."""
    found: dict[str, int] = {}
    for pf in pfs:
        path = f"{hardware.DEBUGFS}/qat_{pf.family.driver}_{pf.bdf}/fw_counters"
        try:
            text = host.read_text(path, deadline=3.0).text
        except OSError as e:
            return Unknown(f"{path}: {e.strerror}")
        found[pf.bdf] = sum(int(row[2]) for row in re.finditer(r"^\s*\d+:\s+(\d+)\s+(\d+)", text, re.MULTILINE))
    return found if pfs else Unknown("no PF is visible here: the counters are the host's")


def total(found: dict[str, int] | Unknown) -> int | Unknown:
    """Of all PFs together."""
    return found if isinstance(found, Unknown) else sum(found.values())


def _devices(
    node: qat_verdict.QatNode,
    instances: list[dict[str, Any]],
    completed: int,
    before: dict[str, int] | Unknown,
    after: dict[str, int] | Unknown,
) -> tuple[tuple[str, int, int | None], ...]:
    """Which PFs (in a VM: VFs) signed. By their firmware's counters where these counted our operations and nothing
    else; else those whose VFs libqat has an instance on, one signature for each at least. `busAddress` is the address
    of the VF without its domain (qatlib, adf_process_proxy.c, icp_adf_getBusAddress): what two domains have is not
    counted."""
    rises = (
        {bdf: after[bdf] - before[bdf] for bdf in after} if isinstance(before, dict) and isinstance(after, dict) else {}
    )
    if rises and sum(rises.values()) == completed:
        return tuple((bdf, rise, rise) for bdf, rise in rises.items() if rise > 0)
    signing = [instance for instance in instances if instance["rsa"]][:SIGNATURES]  # each in turn: one at least
    owners: dict[str, set[str]] = {}
    for vf in node.vfs:
        owners.setdefault(vf.bdf.partition(":")[2], set()).add(vf.pf or vf.bdf)
    found = [owners.get(_short(int(instance["bus"])), set()) for instance in signing]
    count = Counter(bdf for bdfs in found if len(bdfs) == 1 for bdf in bdfs)
    return tuple((bdf, number, rises.get(bdf)) for bdf, number in count.items() if rises.get(bdf, 1) > 0)


def _short(routing: int) -> str:
    """bb:dd.f of a PCI routing ID."""
    return f"{routing >> 8:02x}:{routing >> 3 & 31:02x}.{routing & 7}"


def _proof(before: int | Unknown, after: int | Unknown, operations: int) -> str:
    if isinstance(before, Unknown):
        return f"offload is not proven: {before.reason}"
    if isinstance(after, Unknown):
        return f"offload is not proven: {after.reason}"
    rise = after - before
    return f"the device's firmware counted {rise} responses for {operations} operations (fw_counters)"
