"""Kernels with known trouble: a small table of releases, each line with its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import functions, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Services
from qatprep.findings import Evidence, Finding, warned

_RELEASE = "/proc/sys/kernel/osrelease"


class _Erratum(NamedTuple):
    """A range of mainline or stable releases: from `first` up to, not including, `fixed`."""

    first: tuple[int, int, int]
    fixed: tuple[int, int, int]
    title: str
    cause: str
    source: str
    concerns: Callable[[Context], bool] = lambda ctx: True
    """Whether what it names is here."""


def _first_generation_four(ctx: Context) -> bool:
    """PFs that a kernel of this series drives by itself, and a qatlib that fails, as far as the host has one.

    Kubernetes: which qatlib the images bring is not known. 24.09 fails for compression alone.
    """
    known = [pf for pf in ctx.pfs if pf.family.since <= (6, 1)]
    release = ctx.facts.qatlib.release
    if release is None or ctx.facts.kubernetes.here:
        return bool(known)
    dc = any(isinstance(pf.services, Services) and "dc" in pf.services.tokens for pf in known)
    return bool(known) and (release == (25, 8) or (release == (24, 9) and dc))


_ERRATA = (
    _Erratum(
        (5, 11, 0),
        (5, 17, 0),
        "qatlib cannot ask PFs of this kernel what their VFs offer",
        "The messages between VF and PF came with Linux 5.17. Before, qatlib does not learn what a VF can do "
        '("DC Instances are not present"), and the devices do no compression.',
        "qatlib INSTALL",
    ),
    _Erratum(
        (6, 1, 0),
        (6, 1, 149),
        'qatlib 24.09 and 25.08 fail with "Failed to get enabled services" on this kernel',
        "Kernels 6.1.0 to 6.1.148 lack a fix that these releases of qatlib rely on.",
        "qatlib README, QATE-106085",
        _first_generation_four,
    ),
)


def _errata(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    if isinstance(kernel.version, Unknown):
        yield unseen("QP-KRN-005", "the kernel's version is unknown", kernel.version)
        return
    exact = _stable_version(kernel.release, kernel.build)
    for erratum in _ERRATA:
        if not erratum.concerns(ctx):
            continue
        low, high = erratum.first, erratum.fixed
        if high < (6, 0, 0) and any(pf.configurable is True for pf in ctx.pfs):
            continue  # a distribution's kernel with a driver of 6.0 or later in it
        series = kernel.version[:2]
        if exact is None and low[:2] <= series <= high[:2] and series < (high[0], high[1] + (high[2] > 0)):
            yield unseen(
                "QP-KRN-005",
                f"cannot tell whether this kernel has a known erratum: {erratum.title}",
                Unknown(
                    f"neither {_RELEASE} ({kernel.release}) nor uname -v ({kernel.build}) names the stable release"
                ),
            )
        elif exact is not None and low <= exact < high:
            yield warned(
                "QP-KRN-005",
                erratum.title,
                evidence=(Evidence(_RELEASE, kernel.release), Evidence("/proc/sys/kernel/version", kernel.build)),
                cause=f"{erratum.cause} Source: {erratum.source}.",
                fix=(f"Install a kernel from {'.'.join(map(str, high)).removesuffix('.0')} on, and reboot.",),
            )


def _stable_version(release: str, build: str) -> tuple[int, int, int] | None:
    """The mainline or stable release a kernel was made from; None where a distribution hides it.

    6.12.7 and 6.1.55-foo say it; 6.1.0-30-amd64 and 5.14.0-427.el9 do not, but Debian puts it into uname -v.
    """
    if match := re.search(r"\bDebian (\d+)\.(\d+)\.(\d+)", build):
        return int(match[1]), int(match[2]), int(match[3])
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(-\d+)?", release)
    if match is None or (match[3] in ("0", None) and match[4]):
        return None
    return int(match[1]), int(match[2]), int(match[3] or 0)


CHECKS = (
    Check(
        "QP-KRN-005",
        Stage.KERNEL,
        _errata,
        needs=("QP-STACK-001", "QP-DEV-001", "QP-DEV-003"),
        about=functions,
        saw=lambda ctx: "no known erratum",
    ),
)
