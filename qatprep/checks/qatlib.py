"""qatlib on this host: known errors of its release, and huge pages that keep it from starting.

Source: the sections "Known Limitations" and "Resolved Issues" of qatlib's README. Each is said only where what it names
is here: release, kernel, device, services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import attribute, functions, in_vm, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Services
from qatprep.facts.qatlib import HUGE_PAGES, Release, spell
from qatprep.findings import Evidence, Finding, failed, warned
from qatprep.hardware import PCI_DEVICES

_FIRST: Release = (0, 0)
_NEVER: Release = (99, 12)


class _Erratum(NamedTuple):
    """Releases from `first` up to, not including, `fixed`."""

    name: str
    first: Release
    fixed: Release
    concerns: Callable[[Context], list[Evidence]]
    """What of this host it is about; empty where it is about nothing here."""
    title: str
    cause: str
    fix: str = ""
    """What helps besides a newer release."""


def _compression_alone(ctx: Context) -> list[Evidence]:
    return [
        Evidence(pf.services.path, pf.services.text)
        for pf in ctx.pfs
        if isinstance(pf.services, Services) and pf.services.tokens == {"dc"}
    ][:4]


def _several_programs(ctx: Context) -> list[Evidence]:
    """Programs that have VFs and ask no qatmgr for them."""
    pids = {holder.pid for holder in ctx.facts.nodes.holders}
    if ctx.facts.runtime.qatmgr or len(pids) < 2:
        return []
    return [Evidence("/proc/*/fd", f"{len(pids)} processes have VFs open, and there is no qatmgr")]


def _other_domains(ctx: Context) -> list[Evidence]:
    every = [*(pf.bdf for pf in ctx.pfs), *(vf.bdf for vf in ctx.vfs)]
    return [Evidence(f"{PCI_DEVICES}/{bdf}", "its domain is not 0000") for bdf in every if bdf[:5] != "0000:"][:4]


def _attached_again(ctx: Context) -> list[Evidence]:
    return [
        attribute(vf.bdf, "device", f"{vf.family.vf_id:#06x}")
        for vf in ctx.vfs
        if in_vm(ctx.facts) and vf.pf is None and vf.family.generation == 5
    ][:4]


_ERRATA = (
    _Erratum(
        "QAT20-41747",
        _FIRST,
        (26, 2),
        _compression_alone,
        'programs may fail with "Error parsing enabled services from ADF"',
        "With PFs that offer only dc, the library takes a wrong list of services from the kernel's answer.",
    ),
    _Erratum(
        "QATE-105912",
        _FIRST,
        (26, 8),
        _several_programs,
        'programs that start at the same moment may fail with "Open vfio file ... failed"',
        "Without qatmgr each program looks for its VFs by itself, and two that do so at once disturb each other.",
        "Start the programs one after the other.",
    ),
    _Erratum(
        "QATE-99637",
        _FIRST,
        (24, 9),
        _other_domains,
        "programs do not see the devices of other PCI domains than 0000",
        "The library looks for devices in domain 0000 alone.",
    ),
    _Erratum(
        "QATE-102390",
        _FIRST,
        _NEVER,
        _attached_again,
        'after a VF was taken from this VM and given back, programs may fail with "Invalid numConcurrRequests"',
        "The library keeps what it knew of the VF before.",
        "After attaching a VF: systemctl restart qat, or restart the program where there is no qatmgr.",
    ),
)


def _errata(ctx: Context) -> Iterable[Finding]:
    library = ctx.facts.qatlib
    if library.release is None:
        return
    for erratum in _ERRATA:
        if erratum.first <= library.release < erratum.fixed and (evidence := erratum.concerns(ctx)):
            newer = f"Install qatlib {spell(erratum.fixed)} or later." if erratum.fixed != _NEVER else ""
            yield warned(
                "QP-LIB-001",
                erratum.title,
                evidence=(Evidence(library.path, f"qatlib {spell(library.release)}"), *evidence),
                cause=f"{erratum.cause} Source: qatlib README, {erratum.name}.",
                fix=tuple(text for text in (newer, erratum.fix) if text),
            )


_HUGE_PAGES_FROM, _HUGE_PAGES_FIXED = (25, 8), (26, 8)


def _huge_pages(ctx: Context) -> Iterable[Finding]:
    library = ctx.facts.qatlib
    if isinstance(library.pages, Unknown):
        yield unseen("QP-LIB-002", "cannot see whether there are huge pages", library.pages)
        return
    if not library.pages or library.release is None:
        return
    none_free = library.free == 0
    tell: Callable[..., Finding] = failed if none_free else warned
    yield tell(
        "QP-LIB-002",
        f"qatlib {spell(library.release)} fails when no huge page is free; "
        f"{'none' if none_free else library.free} of {library.pages} is",
        evidence=(
            Evidence(library.path, f"qatlib {spell(library.release)}"),
            Evidence(f"{HUGE_PAGES}/nr_hugepages", str(library.pages)),
            Evidence(f"{HUGE_PAGES}/free_hugepages", str(library.free)),
        ),
        cause="Releases 25.08 and 26.02 take huge pages wherever some are set aside, and do not start without them: "
        '"unable to get ringbuf(v:(nil)...)". Here they are set aside for other software. Source: qatlib README, '
        "QAT20-42018. This is the host's library; containers bring their own.",
        fix=(
            "Install qatlib 26.08 or later, which uses huge pages only where QAT_MAX_2M_HPG_PER_PROCESS asks for them.",
            f"Or set more of them aside: echo {library.pages + 64} > {HUGE_PAGES}/nr_hugepages",
        ),
    )


def _takes_huge_pages(ctx: Context) -> bool:
    release = ctx.facts.qatlib.release
    return release is not None and _HUGE_PAGES_FROM <= release < _HUGE_PAGES_FIXED


def _no_library(ctx: Context) -> str:
    release = ctx.facts.qatlib.release
    return "no qatlib on the host itself" if release is None else f"qatlib {spell(release)} takes no huge pages"


_NEEDS = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003")

CHECKS = (
    Check(
        "QP-LIB-001",
        Stage.QATLIB,
        _errata,
        needs=_NEEDS,
        applies=lambda ctx: ctx.facts.qatlib.release is not None,
        absent=_no_library,
        saw=lambda ctx: f"qatlib {spell(ctx.facts.qatlib.release or (0, 0))}: no known error concerns this host",
        about=functions,
    ),
    Check(
        "QP-LIB-002",
        Stage.QATLIB,
        _huge_pages,
        needs=_NEEDS,
        applies=_takes_huge_pages,
        absent=_no_library,
        looked=lambda ctx: f"{ctx.facts.qatlib.free} of {ctx.facts.qatlib.pages} huge pages free",
        about=functions,
    ),
)
