"""Firmware: two images a PF, under the flat names the kernel asks for, in a form it can unpack."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import log_lines, pfs, some_pfs
from qatprep.facts.pci import Pf, Services
from qatprep.findings import Evidence, Finding, Status
from qatprep.hardware import FIRMWARE_SUFFIXES, Family
from qatprep.text import listed

_COMPRESSION = {".zst": "CONFIG_FW_LOADER_COMPRESS_ZSTD", ".xz": "CONFIG_FW_LOADER_COMPRESS_XZ"}
_UNPACK = {".zst": "zstd -d", ".xz": "xz -dk"}
_GIT = "https://git.kernel.org/pub/scm/linux/kernel/git/firmware/linux-firmware.git/plain/intel/qat"


def _images(ctx: Context) -> Iterable[Finding]:
    groups: dict[tuple[tuple[str, str], bool, bool], list[Pf]] = {}
    for pf in ctx.pfs:
        if ctx.facts.firmware.lacking(pf.family):
            runs = pf.driver == pf.family.driver
            groups.setdefault((pf.family.firmware, runs, runs and _to_be_started(ctx, pf)), []).append(pf)
    for (names, runs, started), mine in groups.items():
        yield _missing(ctx, names, mine, runs=runs, started=started)


def _to_be_started(ctx: Context, pf: Pf) -> bool:
    """Whether the configuration takes a PF that runs down, to start it again: for its services, and for VFs that it
    does not have (qat_common/adf_sriov.c, adf_sriov_configure)."""
    want = ctx.config.of(pf)
    services = isinstance(pf.services, Services) and want.services not in (None, pf.services.tokens)
    return (services and pf.configurable is True) or (want.vfs and pf.num_vfs == 0)


def _missing(ctx: Context, names: tuple[str, str], mine: list[Pf], *, runs: bool, started: bool) -> Finding:
    images = [ctx.facts.firmware.images[name] for name in names]
    lacking = [image for image in images if not image.found]
    bdfs = tuple(pf.bdf for pf in mine)
    packed = [path for image in lacking for path in image.unusable if _suffix(path) and not _dangling(ctx, path)]
    dangling = [path for image in lacking for path in image.unusable if path not in packed]
    elsewhere = [path for image in lacking for path in image.elsewhere]
    evidence = [
        *(
            Evidence(f"/lib/firmware/{image.name}", "not there, nor in a form this kernel can unpack")
            for image in lacking
        ),
        *(Evidence(image.found[0], "there") for image in images if image.found),
        *(Evidence(path, f"there, but {_COMPRESSION[_suffix(path)]} is not set") for path in packed),
        *(Evidence(path, "a link that leads nowhere") for path in dangling),
        *(Evidence(path, "there, but the kernel does not look below intel/qat/") for path in elsewhere),
    ]
    for pf in mine[:1]:
        evidence += log_lines(ctx, "firmware-missing", "probe-failed", bdf=pf.bdf)
    what = listed(image.name for image in lacking)
    are = "is" if len(lacking) == 1 else "are"
    if packed:
        title = f"{what} {are} there only in a compression this kernel cannot unpack"
        cause = (
            f"This kernel was built without {listed(dict.fromkeys(_COMPRESSION[_suffix(p)] for p in packed))}, so "
            "it does not even look for such files."
        )
        fix = [f"{_UNPACK[_suffix(path)]} {path}" for path in dict.fromkeys(packed)]
    elif dangling:
        title = f"{what} {are} only a link that leads nowhere"
        cause = "The package that holds the files below intel/qat/ is not installed, or was cut short."
        fix = ["Install the firmware package again (see qatprep explain QP-FW-001)."]
    elif elsewhere:
        title = f"{what} {are} only below intel/qat/, where the kernel does not look"
        cause = (
            "linux-firmware moved the files to intel/qat/ and leaves links under the old names; the kernel still "
            "asks for the old names, and the links are missing (files copied by hand, or a package that lost them)."
        )
        fix = [f"ln -s intel/qat/{path.rsplit('/', 1)[-1]} /lib/firmware/" for path in elsewhere]
    else:
        half = len(lacking) < len(images)
        title = f"the firmware {what} {are} missing" + (" (the other half is there)" if half else "")
        cause = _where_from(mine[0].family, half)
        fix = [
            f"Install the firmware package of this distribution that has {what}, or fetch the files:",
            *(f"curl -fLo /lib/firmware/{image.name} {_GIT}/{image.name}" for image in lacking),
        ]
    again = [
        f"Write the initramfs again if {mine[0].family.module} is loaded from there (update-initramfs -u, dracut "
        "--force).",
        f"modprobe -r {mine[0].family.module}; modprobe {mine[0].family.module}",
    ]
    who = some_pfs(ctx, bdfs)
    if runs:
        cause += (
            f" {who[0].upper()}{who[1:]} run{'s' if len(bdfs) == 1 else ''} today: the firmware was loaded before it "
        )
        cause += "went away, or from the initramfs. The next loading of the driver will fail"
        cause += "; so would their start after a change of services, or with VFs." if started else "."
        again = again[:1]
    return Finding(
        "QP-FW-001",
        Status.WARN if runs and not started else Status.FAIL,
        title,
        subjects=bdfs,
        evidence=tuple(evidence),
        cause=cause,
        fix=(*fix, *again),
    )


def _suffix(path: str) -> str:
    return next((suffix for suffix in FIRMWARE_SUFFIXES if suffix and path.endswith(suffix)), "")


def _dangling(ctx: Context, path: str) -> bool:
    """An unusable file in a form the kernel can unpack can only be a link that leads nowhere."""
    config = ctx.facts.kernel.config
    return not isinstance(config, dict) or config.get(_COMPRESSION[_suffix(path)]) == "y"


def _where_from(family: Family, half: bool) -> str:
    if half:
        return "The driver needs both images, MMP first. One was copied without the other, or a package is damaged."
    return f"The firmware package is not installed, or is too old: {family.firmware_note}."


CHECKS = (
    Check(
        "QP-FW-001",
        Stage.FIRMWARE,
        _images,
        saw=lambda ctx: f"{listed(dict.fromkeys(name for pf in ctx.pfs for name in pf.family.firmware))} found",
        needs=("QP-STACK-001", "QP-DEV-001", "QP-DEV-003", "QP-KRN-001"),
        about=pfs,
    ),
)
