"""What each PF offers: asym and sym for TLS, dc for compression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qatprep import config
from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, attribute, for_each, log_lines, pfs, some_pfs, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf, Services
from qatprep.findings import Evidence, Finding, failed
from qatprep.hardware import parse_services, services_since, spell_services
from qatprep.text import plural


def _possible(ctx: Context) -> Iterable[Finding]:
    for mistake, mine in config.impossible(ctx.config, ctx.pfs):
        family = mine[0].family
        yield failed(
            "QP-SVC-003",
            mistake.text,
            subjects=tuple(pf.bdf for pf in mine),
            evidence=(
                Evidence(str(mistake.place), mistake.key),
                attribute(mine[0].bdf, "device", f"{family.pf_id:#06x}"),
            ),
            cause=f"A {family.name} device {family.services.problem(ctx.config.of(mine[0]).services or frozenset())}, "
            "whatever the kernel. bootstrap leaves these PFs as they are.",
            fix=(f"Set {mistake.key} to {mistake.hint.removeprefix('for example ')}, or to keep.",),
        )


def _readable(ctx: Context) -> Iterable[Finding]:
    debugfs_closed = ctx.facts.kernel.debugfs is not True
    for pf in ctx.pfs:
        if not isinstance(pf.services, Unknown):
            continue
        if pf.configurable is False and debugfs_closed:
            continue  # QP-KRN-003 says so, once
        if pf.services.denied:
            yield unseen("QP-SVC-002", f"cannot see the services of PF {pf.bdf}", pf.services, (pf.bdf,))
        else:
            yield failed(
                "QP-SVC-002",
                f"the services of PF {pf.bdf} cannot be read",
                subjects=(pf.bdf,),
                evidence=(Evidence(f"/sys/bus/pci/devices/{pf.bdf}/qat/cfg_services", pf.services.reason),),
                cause=f"{pf.services.reason}. A mixture of drivers, or a service newer than this qatprep.",
                fix=(
                    f"cat /sys/bus/pci/devices/{pf.bdf}/qat/cfg_services",
                    f"modprobe -r {pf.family.module}; modprobe {pf.family.module}",
                ),
            )


def _configured(ctx: Context) -> Iterable[Finding]:
    wrong: dict[tuple[str, str, bool], list[Pf]] = {}
    for pf in ctx.pfs:
        want = ctx.config.of(pf).services
        if want is None or not isinstance(pf.services, Services) or pf.services.tokens == want:
            continue
        wrong.setdefault((pf.services.text, spell_services(want), bool(pf.vfs)), []).append(pf)
    for (text, wanted, has_vfs), mine in wrong.items():
        bdfs = tuple(pf.bdf for pf in mine)
        cause = _cause(ctx, text, wanted)
        busy = tuple(line for pf in mine[:2] for line in log_lines(ctx, "busy", "order", bdf=pf.bdf))
        if any("busy" in line.value or "in use" in line.value for line in busy):
            cause += " An attempt failed: users inside the kernel (dm-crypt, IPsec, zswap) keep the device busy."
        if has_vfs:
            cause += " Changing services takes the VFs of the PF away for a moment."
        holders = [h for h in ctx.facts.nodes.holders if any(vf.bdf == h.vf for pf in mine for vf in pf.vfs)]
        if holders:
            cause += f" In use now: {'; '.join(f'{h.vf} by {h}' for h in holders[:3])}."
        yield failed(
            "QP-SVC-001",
            f"{some_pfs(ctx, bdfs)} {'offers' if len(bdfs) == 1 else 'offer'} {text}, not {wanted}",
            subjects=bdfs,
            evidence=tuple(
                Evidence(pf.services.path, pf.services.text) for pf in mine if isinstance(pf.services, Services)
            )
            + busy[-2:],
            cause=cause,
            fix=(("Stop the processes that have a VF open: the write blocks until they close it.",) if holders else ())
            + for_each(
                bdfs,
                "q=/sys/bus/pci/devices/$pf/qat; echo down > $q/state; "
                f"echo '{wanted}' > $q/cfg_services; echo up > $q/state",
            ),
            step=BOOTSTRAP,
        )


def _cause(ctx: Context, text: str, wanted: str) -> str:
    """The driver gives sym;asym to a device with an even number and dc to one with an odd one (adf_gen4_config.c,
    adf_gen4_cfg_dev_init); gen6's gives sym to some. Where all of several offer the same, something has set them.
    """
    tokens = parse_services(text)
    known = [pf.services.tokens for pf in ctx.pfs if isinstance(pf.services, Services)]
    alike = len(known) == len(ctx.pfs) > 1 and len(set(known)) == 1
    cause = "The driver itself gives sym alone to few devices, those for wireless networks. "
    if tokens in ({"dc"}, {"asym", "sym"}) and not alike:
        cause = (
            "They were not set since the driver was loaded: it gives sym;asym to every other PF and dc "
            "(compression) to the rest, in the order of probing. "
        )
    elif tokens != {"sym"}:
        cause = (
            "Something has set them since the driver was loaded, which gives sym;asym to every other PF and dc to the "
            "rest: see first who uses them as they are. "
        )
    if "asym" in parse_services(wanted) and "asym" not in tokens:
        cause += "TLS handshakes need asym."
    version = ctx.facts.kernel.version
    since = services_since(parse_services(wanted))
    if not isinstance(version, Unknown) and (6, 0) <= version[:2] < since:
        cause += (
            f" Mainline takes {wanted} from Linux {since[0]}.{since[1]} on; this kernel refuses it as an invalid "
            "argument, unless the distribution backported it."
        )
    return cause.strip()


def _offered(ctx: Context) -> str:
    every = [pf for pf in ctx.facts.pci.pfs if pf.family.supported]
    offers = Counter(spell_services(pf.services.tokens) for pf in ctx.pfs if isinstance(pf.services, Services))
    return ", ".join(f"{services} on {count} of {plural(len(every), 'PF')}" for services, count in offers.items())


CHECKS = (
    Check("QP-SVC-003", Stage.SERVICES, _possible, about=pfs),
    Check(
        "QP-SVC-002",
        Stage.SERVICES,
        _readable,
        needs=("QP-PF-001", "QP-KRN-003"),
        about=pfs,
    ),
    Check(
        "QP-SVC-001",
        Stage.SERVICES,
        _configured,
        needs=("QP-PF-002", "QP-PF-003", "QP-SVC-002", "QP-SVC-003"),
        about=lambda ctx: [pf.bdf for pf in ctx.pfs if not isinstance(pf.services, Unknown)],
        saw=_offered,
    ),
)
