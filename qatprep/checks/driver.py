"""The PF and its driver: bound, and up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import (
    BOOTSTRAP,
    FIND_HOLDERS,
    attribute,
    for_each,
    log_lines,
    pfs,
    some_pfs,
    supported,
    unseen,
)
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf
from qatprep.findings import Evidence, Finding, Status, failed
from qatprep.findings.messages import BY_KEY
from qatprep.hardware import PCI_DRIVERS, VFIO_DRIVERS
from qatprep.text import plural


class _Reason(NamedTuple):
    """Why a probe failed, as the log tells it."""

    key: str
    cause: str
    fix: tuple[str, ...]
    again: bool
    """Whether bootstrap tries the driver again: some things trying again cannot cure."""
    bind: bool = True
    """Whether binding it by hand is worth a try once `fix` is done."""


# qat_*/adf_drv.c, qat_common/adf_init.c, adf_accel_engine.c, qat_uclo.c, adf_anti_rb.c; the most telling first.
_REASONS = (
    _Reason(
        "numa",
        "The BIOS does not report the device's NUMA node, and without it the driver refuses the device "
        "on a machine of several nodes.",
        ("Update the BIOS, or look there for NUMA and sub-NUMA clustering settings.",),
        again=False,
        bind=False,
    ),
    _Reason(
        "fused",
        "All acceleration units of this device are fused off: this CPU is sold without QAT.",
        ("Use another machine for QAT; CryptoMB may work: qatprep doctor --profile cryptomb",),
        again=False,
        bind=False,
    ),
    _Reason(
        "power",
        "The device could not be powered up.",
        ("Switch the machine off completely, then on again; look for power settings of the accelerators in the BIOS.",),
        again=False,
        bind=False,
    ),
    _Reason(
        "engines",
        "Its acceleration engines do not come out of reset: the device is dead until its power was off.",
        (
            "Switch the machine off completely, then on again (a reboot keeps the device powered).",
            "If that does not help, update the BIOS, then have the CPU checked.",
        ),
        again=False,
        bind=False,
    ),
    _Reason(
        "firmware-svn",
        "The firmware is older than the security version the device demands.",
        ("Install newer firmware, then load the driver again.",),
        again=False,
    ),
    _Reason(
        "firmware-rejected",
        "The device rejected the firmware: files of another driver (the out-of-tree stack overwrites them), too old, "
        "or damaged.",
        ("Install the distribution's firmware package again, then load the driver again.",),
        again=False,
    ),
    _Reason(
        "firmware-missing",
        "When the driver last tried, the firmware was not there. It is now: it came later, or it is still missing in "
        "the initramfs from which the module is loaded.",
        ("Write the initramfs again if the module is loaded from there (update-initramfs -u, dracut --force).",),
        again=True,
    ),
    _Reason(
        "probe-failed",
        "The driver tried the device and gave up; the lines before that one in the log say why.",
        (),
        again=True,
    ),
)
_SILENT = _Reason(
    "",
    "The driver is loaded but does not have the device: it was unbound by hand, or its probe error has been "
    "rotated out of the kernel log.",
    (),
    again=True,
)


def _bound(ctx: Context) -> Iterable[Finding]:
    groups: dict[tuple[str | None, str, str, bool], list[Pf]] = {}
    for pf in ctx.pfs:
        if isinstance(pf.driver, Unknown):
            yield unseen("QP-PF-001", f"cannot see the driver of PF {pf.bdf}", pf.driver, (pf.bdf,))
        elif pf.driver is None and isinstance(pf.num_vfs, Unknown) and not pf.num_vfs.denied:
            yield _leaving(ctx, pf, pf.num_vfs)
        elif pf.driver != pf.family.driver:
            key = "" if pf.driver else _why(ctx, pf)
            held = isinstance(pf.override, str) and pf.override != pf.family.driver
            groups.setdefault((pf.driver, pf.family.driver, key, held), []).append(pf)
    for (driver, wanted, key, held), mine in groups.items():
        bdfs = tuple(pf.bdf for pf in mine)
        who = some_pfs(ctx, bdfs)
        verb = "is" if len(bdfs) == 1 else "are"
        base = tuple(attribute(pf.bdf, "driver", pf.driver) for pf in mine)
        if held:
            base += tuple(attribute(pf.bdf, "driver_override", pf.override) for pf in mine)
        if driver is not None:
            yield _wrong_driver(who, verb, driver, wanted, bdfs, base, held)
        elif held:
            yield failed(
                "QP-PF-001",
                f"{who} {verb} without a driver",
                subjects=bdfs,
                evidence=base,
                cause=f"driver_override keeps {wanted} away: it names another driver (driverctl, dpdk-devbind or a "
                "script).",
                fix=for_each(bdfs, _give("$pf", "", wanted)),
            )
        else:
            reason = next((r for r in _REASONS if r.key == key), _SILENT)
            cause = (_cause_before(ctx, bdfs[0]) if key == "probe-failed" else "") or reason.cause
            bind = for_each(bdfs, f"echo $pf > {PCI_DRIVERS}/{wanted}/bind") if reason.bind else ()
            yield failed(
                "QP-PF-001",
                f"{who} {verb} without a driver" + (": the driver could not start it" if key else ""),
                subjects=bdfs,
                evidence=base + (log_lines(ctx, *(r.key for r in _REASONS), bdf=bdfs[0]) if key else ()),
                cause=cause,
                fix=(*reason.fix, *bind),
                step=BOOTSTRAP if reason.again else "",
            )


def _leaving(ctx: Context, pf: Pf, blocked: Unknown) -> Finding:
    """The kernel takes the driver's link away first, then has it remove the VFs, with the device locked
    (drivers/base/dd.c, __device_release_driver)."""
    return failed(
        "QP-PF-001",
        f"PF {pf.bdf} is being removed from its driver",
        subjects=(pf.bdf,),
        evidence=(attribute(pf.bdf, "driver", None), *log_lines(ctx, "held", bdf="")),
        cause=f"{blocked.reason}: the PF is being unbound or removed from the bus, and the kernel waits until "
        "every process has closed its VF.",
        fix=(FIND_HOLDERS, "Stop the processes that hold a VF, then run doctor again."),
    )


def _cause_before(ctx: Context, bdf: str) -> str:
    """The cause of the first known line before the driver gave up, "" when none is known."""
    log = ctx.facts.log
    for last in log.of("probe-failed", bdf=bdf)[-1:]:
        rows = [BY_KEY[line.key] for line in log.before(last) if line.key]
        return next((row.cause for row in rows if row.status is Status.FAIL and not row.leading and row.cause), "")
    return ""


def _why(ctx: Context, pf: Pf) -> str:
    """The key of the reason that the log gives, "" for none. Lines that name no device count where others name it."""
    if not ctx.facts.log.of(*(r.key for r in _REASONS), bdf=pf.bdf):
        return ""
    return next((r.key for r in _REASONS if log_lines(ctx, r.key, bdf=pf.bdf)), "")


def _give(pf: str, driver: str, wanted: str) -> str:
    """Shell words that take a PF from a driver and give it to its own."""
    unbind = f"echo {pf} > {PCI_DRIVERS}/{driver}/unbind; " if driver else ""
    return f"echo > /sys/bus/pci/devices/{pf}/driver_override; {unbind}echo {pf} > {PCI_DRIVERS}/{wanted}/bind"


def _wrong_driver(
    who: str, verb: str, driver: str, wanted: str, bdfs: tuple[str, ...], evidence: tuple[Evidence, ...], held: bool
) -> Finding:
    cause = f"A PF belongs to {wanted}: without it there are neither services nor VFs."
    if driver in VFIO_DRIVERS:
        cause += " Only VFs go to vfio-pci. " + (
            "driver_override was set on the PF (driverctl, dpdk-devbind or a script with the wrong BDF)."
            if held
            else "The PF itself was bound, or its id was given to vfio-pci."
        )
    return failed(
        "QP-PF-001",
        f"{who} {verb} bound to {driver} instead of {wanted}",
        subjects=bdfs,
        evidence=evidence,
        cause=cause,
        fix=(
            *for_each(bdfs, _give("$pf", driver, wanted)),
            "Find what did it, or it will be back after the next boot: ls /etc/driverctl.d; "
            "grep -r vfio /etc/modprobe.d /proc/cmdline",
        ),
    )


def _up(ctx: Context) -> Iterable[Finding]:
    down: list[Pf] = []
    for pf in ctx.pfs:
        if isinstance(pf.state, Unknown):
            yield unseen("QP-PF-002", f"cannot see whether PF {pf.bdf} is up", pf.state, (pf.bdf,))
        elif pf.state not in (None, "up"):  # kernels before 6.0 tell no state: a PF with a driver is up
            if held := log_lines(ctx, "held") if isinstance(pf.num_vfs, Unknown) or pf.num_vfs else ():
                yield _going_down(pf, held)
            else:
                down.append(pf)
    keys = ("start-failed", "reset-failed", "hang", "cold-reset", "heartbeat-lost")
    for told in (True, False):
        mine = [pf for pf in down if bool(_own_lines(ctx, keys, pf)) is told]
        if not mine:
            continue
        bdfs = tuple(pf.bdf for pf in mine)
        yield failed(
            "QP-PF-002",
            f"{some_pfs(ctx, bdfs)} {'is' if len(bdfs) == 1 else 'are'} down",
            subjects=bdfs,
            evidence=tuple(attribute(pf.bdf, "qat/state", pf.state) for pf in mine)
            + tuple(line for pf in mine[:2] for line in _own_lines(ctx, keys, pf)),
            cause="The last start or reset of the device failed, and the driver left it down; the lines before in "
            "the log say why."
            if told
            else '"down" was written (by an incomplete service change, qat_init.sh, an administrator), or a '
            "start failed. A PF that is down has no VFs.",
            fix=for_each(bdfs, "echo up > /sys/bus/pci/devices/$pf/qat/state"),
            step=BOOTSTRAP,
        )


def _going_down(pf: Pf, held: tuple[Evidence, ...]) -> Finding:
    """Its VFs go before "down" is done (qat_common/adf_sriov.c, adf_disable_sriov); vfio-pci said that one waits."""
    return failed(
        "QP-PF-002",
        f"PF {pf.bdf} is going down",
        subjects=(pf.bdf,),
        evidence=(attribute(pf.bdf, "qat/state", pf.state), *held),
        cause='"down" was written, or its services are being changed, and the kernel waits until every '
        "process has closed its VF.",
        fix=(FIND_HOLDERS, "Stop the processes that hold a VF, then run doctor again."),
    )


def _own_lines(ctx: Context, keys: tuple[str, ...], pf: Pf) -> tuple[Evidence, ...]:
    return tuple(Evidence("kernel log", line.text) for line in ctx.facts.log.of(*keys, bdf=pf.bdf)[-2:])


CHECKS = (
    Check(
        "QP-PF-001",
        Stage.DRIVER,
        _bound,
        needs=("QP-STACK-001", "QP-DEV-001", "QP-DEV-003", "QP-KRN-001", "QP-KRN-004", "QP-MOD-001", "QP-MOD-002",
               "QP-MOD-003", "QP-FW-001"),
        about=pfs,
    ),
    Check(
        "QP-PF-002",
        Stage.DRIVER,
        _up,
        needs=("QP-PF-001",),
        about=pfs,
        saw=lambda ctx: f"{len(ctx.pfs)} of {plural(len(supported(ctx)), 'PF')} bound to their driver, and up",
    ),
)  # fmt: skip
