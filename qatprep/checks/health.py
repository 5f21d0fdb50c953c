"""Whether the PFs answer, whether they report errors, and whether the driver restarts them when they stop."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, attribute, for_each, pfs, some_pfs, supported
from qatprep.facts.base import Unknown
from qatprep.facts.health import COUNTERS, FATAL, Sign, counter, recovered, running, signs_of_death
from qatprep.facts.pci import Pf
from qatprep.findings import SEEN, Evidence, Finding, Status, failed, warned
from qatprep.findings.pages import title
from qatprep.text import plural

_POWER = (
    "Switch the machine off completely and on again: the kernel asks for a cold reset, and a reboot keeps the device "
    "powered."
)


def _answers(ctx: Context) -> Iterable[Finding]:
    dead: dict[bool, list[tuple[Pf, tuple[Sign, ...]]]] = {}
    for pf in ctx.pfs:
        if signs := signs_of_death(pf, ctx.facts.health.of(pf.bdf), ctx.facts.log):
            dead.setdefault(any(sign.cold for sign in signs), []).append((pf, signs))
    for cold, found in dead.items():
        bdfs = tuple(pf.bdf for pf, _ in found)
        alone = len(bdfs) == 1
        cause = "Its firmware hung or a fatal error came up" if alone else "Their firmware hung or fatal errors came up"
        cause += ": nothing signs there until the device is restarted, although its files say that it is up."
        if any(pf.auto_reset is False for pf, _ in found):
            cause += " auto_reset is off, so the driver does not restart it by itself."
        yield failed(
            "QP-PF-003",
            f"{some_pfs(ctx, bdfs)} {'does' if alone else 'do'} not answer",
            subjects=bdfs,
            evidence=tuple(Evidence(sign.path, sign.value) for _, signs in found for sign in signs),
            cause=cause,
            fix=(_POWER,) if cold else (f"qatprep device reset {' '.join(bdfs)}",),
        )
    if not dead:
        yield _looked_at(ctx)


def _looked_at(ctx: Context) -> Finding:
    """That nothing speaks against it, and how many of the PFs said so themselves."""
    bdfs = tuple(pfs(ctx))
    beating = [bdf for bdf in bdfs if ctx.facts.health.of(bdf).beats]
    told = (
        Evidence(SEEN, f"{len(beating)} of {len(supported(ctx))} heartbeats")
        if beating
        else Evidence("heartbeat/status", f"not asked of {plural(len(bdfs), 'PF')}")
    )
    return Finding("QP-PF-003", Status.OK, title("QP-PF-003"), bdfs, (told,))


def _errors(ctx: Context) -> Iterable[Finding]:
    yield from _restarted(ctx)
    health = ctx.facts.health
    mine = [pf for pf in ctx.pfs if running(pf) and set(health.of(pf.bdf).errors) - {FATAL}]
    if not mine:
        return
    bdfs = tuple(pf.bdf for pf in mine)
    read = [(pf, name, value) for pf in mine for name, value in health.of(pf.bdf).errors.items() if name != FATAL]
    worse = any(name == COUNTERS[1] for _, name, _ in read)
    yield warned(
        "QP-PF-004",
        f"{some_pfs(ctx, bdfs)} reported hardware errors since {'it was' if len(bdfs) == 1 else 'they were'} started",
        subjects=bdfs,
        evidence=tuple(Evidence(counter(pf, name), str(value)) for pf, name, value in read),
        cause="Errors that could not be corrected: requests that were being worked on were lost. The device goes on."
        if worse
        else "The device corrected them itself and nothing was lost; many of them announce worse.",
        fix=(
            *for_each(bdfs, "grep . /sys/bus/pci/devices/$pf/qat_ras/errors_*"),
            "Look again in a day. If the numbers grow, update BIOS and firmware, then have the CPU checked.",
        ),
    )


def _restarted(ctx: Context) -> Iterable[Finding]:
    lines = {pf.bdf: found for pf in ctx.pfs if (found := recovered(pf, ctx.facts.log))}
    if lines:
        bdfs = tuple(lines)
        yield warned(
            "QP-PF-004",
            f"{some_pfs(ctx, bdfs)} stopped answering, and {'was' if len(bdfs) == 1 else 'were'} restarted since",
            subjects=bdfs,
            evidence=tuple(Evidence("kernel log", line.text) for found in lines.values() for line in found),
            cause="The device works again. Programs that had a VF open at that time lost their requests.",
            fix=(
                "Restart programs that used its VFs and sign no more. If it happens again, update BIOS and firmware, "
                "then have the CPU checked.",
            ),
        )


def _restarts(ctx: Context) -> Iterable[Finding]:
    wrong: dict[bool | None, list[Pf]] = {}
    for pf in ctx.pfs:
        want = ctx.config.of(pf).auto_reset
        if want is not None and not isinstance(pf.auto_reset, Unknown) and pf.auto_reset is not want:
            wrong.setdefault(pf.auto_reset, []).append(pf)
    for now, mine in wrong.items():
        if now is None and not any(ctx.config.of(pf).auto_reset for pf in mine):
            continue  # a kernel that cannot restart them does not
        bdfs = tuple(pf.bdf for pf in mine)
        text = f"auto_reset of {some_pfs(ctx, bdfs)} is {'on' if now else 'off'}, not as configured"
        cause = "The driver starts with it off, and a write lasts until the driver is loaded again."
        if now is None:
            text = f"auto_reset cannot be set for {some_pfs(ctx, bdfs)}"
            cause = f"It came with Linux 6.9, this is {ctx.facts.kernel.release}."
        yield warned(
            "QP-PF-005",
            text,
            subjects=bdfs,
            evidence=tuple(attribute(pf.bdf, "qat/auto_reset", _shown(pf.auto_reset)) for pf in mine),
            cause=cause,
            fix=("Run a newer kernel, or take devices.auto_reset out of the configuration.",)
            if now is None
            else for_each(bdfs, f"echo {'off' if now else 'on'} > /sys/bus/pci/devices/$pf/qat/auto_reset"),
            step="" if now is None else BOOTSTRAP,
        )


def _shown(value: bool | Unknown | None) -> str | None:
    return None if value is None or isinstance(value, Unknown) else "on" if value else "off"


CHECKS = (
    Check("QP-PF-003", Stage.DRIVER, _answers, needs=("QP-PF-002",), about=pfs),
    Check("QP-PF-004", Stage.DRIVER, _errors, needs=("QP-PF-003",), about=pfs),
    Check("QP-PF-005", Stage.DRIVER, _restarts, needs=("QP-PF-001",), about=pfs),
)
