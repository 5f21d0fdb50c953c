"""What else sets up the devices at the next boot: said today, while all is well."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import for_each
from qatprep.facts.pci import Services
from qatprep.facts.setters import QATLIB_SETTINGS, Kind, Setter
from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.hardware import VFIO_DRIVERS, parse_services
from qatprep.text import listed, plural

_QATLIB_TAKES = (
    *("sym", "asym", "sym;asym", "dc", "sym;dc", "asym;dc", "dcc", "decomp", "sym;decomp", "asym;decomp"),
    *("dc;decomp", "sym;asym;dc", "sym;asym;decomp", "sym;dc;decomp", "asym;dc;decomp"),
)
"""What qatlib's qat_init.sh acts on; it passes over any other text."""
_INIT_CONTAINER_TAKES = (
    *("sym", "asym", "sym;asym", "asym;sym", "dc", "sym;dc", "asym;dc", "dcc", "decomp"),
    *("asym;sym;dc", "asym;sym;decomp"),
)
"""The same of the plugin's demo/qat-init.sh."""


def _of(ctx: Context, *kinds: Kind) -> list[Setter]:
    return [setter for setter in ctx.facts.setters if setter.kind in kinds]


def _overrides(ctx: Context) -> Iterable[Finding]:
    pfs = {pf.bdf: pf for pf in ctx.facts.pci.pfs}
    groups: dict[tuple[str, str], list[Setter]] = {}
    for setter in _of(ctx, Kind.DRIVERCTL):
        pf = pfs.get(setter.bdf)
        if pf is not None and setter.says != pf.family.driver:
            groups.setdefault((setter.says, pf.family.driver), []).append(setter)
        elif pf is None and setter.says not in VFIO_DRIVERS and ctx.config.devices.driver in VFIO_DRIVERS:
            groups.setdefault((setter.says, ctx.config.devices.driver), []).append(setter)
    for (driver, wanted), mine in groups.items():
        bdfs = [setter.bdf for setter in mine]
        yield failed(
            "QP-PERS-004",
            f"the next boot binds {listed(bdfs) if len(bdfs) < 3 else plural(len(bdfs), 'QAT device')} to {driver}, "
            f"not {wanted}",
            subjects=tuple(bdfs),
            evidence=tuple(Evidence(setter.path, setter.says) for setter in mine),
            cause="driverctl has stored an override; its udev rule sets it as soon as the device appears. "
            + ("A PF without its own driver has no services and no VFs." if any(bdf in pfs for bdf in bdfs) else ""),
            fix=(
                f"qatprep device take-over {' '.join(bdfs)}",
                f"Or: {'; '.join(for_each(bdfs, 'driverctl unset-override $d', 'd'))}",
            ),
        )


def _would_change(ctx: Context, text: str) -> list[str]:
    """PFs whose services are another text: both scripts stop such a PF, whatever the order of the tokens."""
    return [pf.bdf for pf in ctx.pfs if isinstance(pf.services, Services) and pf.services.text != text]


def _lacks(ctx: Context, text: str) -> bool:
    """Whether PFs with these services would not offer what the configuration wants."""
    wanted = [want for pf in ctx.pfs if (want := ctx.config.of(pf).services) is not None]
    return any(parse_services(text) != want for want in wanted)


def _qatlib(ctx: Context) -> Iterable[Finding]:
    for setter in _of(ctx, Kind.QATLIB):
        text = setter.says if setter.says in _QATLIB_TAKES else ""
        changed = _would_change(ctx, text) if text else []
        evidence = [Evidence(setter.path, "enabled")]
        if setter.says:
            evidence.append(Evidence(QATLIB_SETTINGS, f"ServicesEnabled={setter.says}"))
        if changed:
            cause = (
                f"At each start it stops every PF whose services are not written {text}, which destroys the VFs, and "
                "sets them; it starts after qatprep. From Linux 6.15 on the kernel writes sym;asym as asym;sym."
            )
        else:
            cause = (
                "It sets ServicesEnabled of /etc/sysconfig/qat where that is given, makes VFs, binds them and gives "
                "their nodes to the group qat. qatmgr itself keeps no VF open; programs that use it do."
            )
        yield Finding(
            "QP-PERS-003",
            Status.FAIL if changed and _lacks(ctx, text) else Status.WARN,
            f"the next boot sets {plural(len(changed), 'PF')} to {text}: qat.service does"
            if changed
            else "qat.service sets up the devices at boot as well, in its own way",
            subjects=tuple(changed),
            evidence=tuple(evidence),
            cause=cause,
            fix=(
                "Where no program on the host itself uses qatmgr (Envoy and Kubernetes do not):",
                "systemctl disable --now qat.service",
                f"Else leave ServicesEnabled unset in {QATLIB_SETTINGS}.",
            ),
        )


_WAYS = {
    Kind.UDEV: "Take the rule out, then: udevadm control --reload",
    Kind.UNIT: "systemctl disable {unit}",
    Kind.SCRIPT: "Take the line out.",
    Kind.OPERATOR: "Take the device out of the node's SriovNetworkNodePolicy: the operator is for network devices.",
}


def _others(ctx: Context) -> Iterable[Finding]:
    for setter in _of(ctx, *_WAYS):
        yield warned(
            "QP-PERS-005",
            f"{setter.kind} sets up QAT devices at boot as well: {setter.path.rsplit('/', 1)[-1]}"[:100],
            evidence=(Evidence(setter.path, setter.says),),
            cause="It writes services, VFs or drivers of its own. The last writer wins, and a change of services "
            "destroys the VFs that were made before.",
            fix=(
                _WAYS[setter.kind].format(unit=setter.path.rsplit("/", 1)[-1]),
                "Or leave it all to that: persist: false in the configuration.",
            ),
        )
    for setter in _of(ctx, Kind.INIT_CONTAINER):
        changed = _would_change(ctx, setter.says) if setter.says in _INIT_CONTAINER_TAKES else []
        if changed:
            yield Finding(
                "QP-PERS-005",
                Status.FAIL if _lacks(ctx, setter.says) else Status.WARN,
                f"the QAT plugin's init container sets {plural(len(changed), 'PF')} to {setter.says} when it starts",
                subjects=tuple(changed),
                evidence=(Evidence(setter.path, f"ServicesEnabled={setter.says}"),),
                cause="At each start of the plugin's pod it stops every PF whose services are written otherwise, which "
                "destroys the VFs. From Linux 6.15 on the kernel writes sym;asym as asym;sym.",
                fix=("In the ConfigMap qat-config give the services as the kernel writes them, or take them out.",),
            )


_NEEDS = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003")


def _systemd(ctx: Context) -> bool:
    return ctx.facts.persist.systemd is True and ctx.facts.has_qat


def _counted(ctx: Context, *kinds: Kind) -> str:
    return f"{plural(len(_of(ctx, *kinds)), 'setting')} of {listed(kinds)}, none against the configuration"


CHECKS = (
    Check(
        "QP-PERS-003",
        Stage.PERSISTENCE,
        _qatlib,
        needs=_NEEDS,
        applies=_systemd,
        looked=lambda ctx: "qat.service is not enabled",
    ),
    Check(
        "QP-PERS-004",
        Stage.PERSISTENCE,
        _overrides,
        needs=_NEEDS,
        applies=lambda ctx: ctx.facts.has_qat,
        looked=lambda ctx: _counted(ctx, Kind.DRIVERCTL),
    ),
    Check(
        "QP-PERS-005",
        Stage.PERSISTENCE,
        _others,
        needs=_NEEDS,
        applies=lambda ctx: ctx.facts.has_qat,
        saw=lambda ctx: "no udev rule, unit or script sets up these devices",
    ),
)
