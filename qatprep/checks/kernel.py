"""The kernel: whether it knows the device, how it was built, and what on its command line is in the way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from qatprep import hardware
from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import attribute, change_arguments, functions, have, pfs, share, some_pfs, supported, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.kernel import argument
from qatprep.facts.pci import DeviceNode, Pf, Services
from qatprep.findings import Evidence, Finding, failed, warned
from qatprep.text import listed, plural

_RELEASE = "/proc/sys/kernel/osrelease"


def _release(ctx: Context) -> Evidence:
    return Evidence(_RELEASE, ctx.facts.kernel.release or "not there")


def _knows(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    for family in hardware.FAMILIES:
        mine = [pf for pf in ctx.pfs if pf.family == family]
        module = ctx.facts.modules.get(family.module)
        if not mine or isinstance(kernel.version, Unknown) or kernel.version[:2] >= family.since:
            continue
        lost = [pf.bdf for pf in mine if pf.driver is None]
        # Backports are common: the version only speaks where no module here says that it knows the device.
        absent = module.file is None and module.present is False
        if lost and (absent or ctx.facts.modules.claims(family.module, family.pf_id) is not True):
            major, minor = family.since
            yield failed(
                "QP-KRN-001",
                f"Linux {kernel.release} is older than the driver for {share(lost, len(mine), f'{family.name} PF')}",
                subjects=tuple(lost),
                evidence=(_release(ctx), *(attribute(bdf, "device", f"{family.pf_id:#06x}") for bdf in lost)),
                cause=f"{family.module} knows {family.name} from Linux {major}.{minor} on, and "
                + (
                    "no backport of it is here." if absent else f"the {family.module} of this kernel is not a backport."
                ),
                fix=(f"Install a kernel from {major}.{minor} on, and reboot.",),
            )
    stuck: dict[str, list[Pf]] = {}
    for pf in ctx.pfs:
        want = ctx.config.of(pf).services
        if (
            pf.driver == pf.family.driver
            and pf.configurable is False
            and want is not None
            and isinstance(pf.services, Services)
            and pf.services.tokens != want
        ):
            stuck.setdefault(pf.services.text, []).append(pf)
    for text, mine in stuck.items():
        bdfs = [pf.bdf for pf in mine]
        yield failed(
            "QP-KRN-001",
            f"Linux {kernel.release} cannot set services, and {some_pfs(ctx, bdfs)} {have(bdfs)} {text}",
            subjects=tuple(bdfs),
            evidence=(
                _release(ctx),
                *(attribute(bdf, "qat/cfg_services", None) for bdf in bdfs),
                *(Evidence(pf.services.path, pf.services.text) for pf in mine if isinstance(pf.services, Services)),
            ),
            cause="qat/cfg_services came with Linux 6.0. Before, a PF has what its place in the order of probing "
            "gave it: the even ones sym;asym, the odd ones dc.",
            fix=(
                "Install a kernel from 6.0 on (6.12 or later is best), and reboot.",
                "Or live with it: --set devices.services=keep leaves the services as they are.",
            ),
        )


class _Option(NamedTuple):
    """A build option. `since`: the first mainline kernel that has it; before, its code is always there."""

    name: str
    since: tuple[int, int]
    what: str
    parent: str = ""
    """An option of its menu: without that one nothing is said about this one, for the list is not whole."""


# drivers/pci/Kconfig, drivers/vfio/Kconfig, drivers/vfio/pci/Kconfig. qatlib opens groups through the legacy container
# (qat_direct/adf_io/vfio/vfio_lib.c), not iommufd.
_OPTIONS = (
    _Option("CONFIG_PCI_IOV", (0, 0), "without it there are no VFs"),
    _Option("CONFIG_VFIO_PCI", (0, 0), "the driver for the VFs"),
    _Option("CONFIG_VFIO_IOMMU_TYPE1", (0, 0), "the IOMMU back end that qatlib asks for"),
    _Option("CONFIG_VFIO_GROUP", (6, 6), "/dev/vfio/<group>, which qatlib opens", "CONFIG_VFIO"),
    _Option("CONFIG_VFIO_CONTAINER", (6, 2), "/dev/vfio/vfio, which qatlib opens", "CONFIG_VFIO"),
)


def _built(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    proven = _proven(ctx)
    if isinstance(kernel.config, Unknown):
        open_questions = [
            option.name
            for option in _OPTIONS
            if option.name not in proven and (option.since == (0, 0) or _has_option(ctx, option))
        ]
        # Group and container are on in every distribution that has them: alone they are no reason to worry people.
        if [name for name in open_questions if name not in ("CONFIG_VFIO_GROUP", "CONFIG_VFIO_CONTAINER")]:
            yield unseen("QP-KRN-002", f"cannot tell whether the kernel has {listed(open_questions)}", kernel.config)
        return
    lacking = [
        option
        for option in _OPTIONS
        if option.name not in proven
        and _has_option(ctx, option)
        and (not option.parent or option.parent in kernel.config)
        and kernel.config.get(option.name) not in ("y", "m")
    ]
    if lacking:
        yield failed(
            "QP-KRN-002",
            f"the kernel was built without {listed(option.name for option in lacking)}",
            evidence=tuple(
                Evidence(kernel.config_path, f"{option.name} is not set ({option.what})") for option in lacking
            ),
            cause=f"Linux {kernel.release} was configured so; no module or setting adds it. Cloud and minimal "
            "kernels are often built like this.",
            fix=("Install the distribution's general kernel instead of a cloud or minimal one, and reboot.",),
        )


def _has_option(ctx: Context, option: _Option) -> bool:
    version = ctx.facts.kernel.version
    return option.since == (0, 0) or (not isinstance(version, Unknown) and version[:2] >= option.since)


def _proven(ctx: Context) -> set[str]:
    """Options whose effect is to be seen."""
    proven = set()
    if any(pf.total_vfs is not None for pf in ctx.pfs) or not ctx.pfs:
        proven.add("CONFIG_PCI_IOV")
    for name, module in (("CONFIG_VFIO_PCI", "vfio_pci"), ("CONFIG_VFIO_IOMMU_TYPE1", "vfio_iommu_type1")):
        found = ctx.facts.modules.get(module)
        if found.builtin or found.loaded is True or isinstance(found.file, str):
            proven.add(name)
    if any(vf.node is not None and not isinstance(vf.node, Unknown) for vf in ctx.vfs):
        proven.update(("CONFIG_VFIO_GROUP", "CONFIG_VFIO_PCI"))
    # The node is what qatlib opens, whoever makes it: vfio, or iommufd in its place.
    if isinstance(ctx.facts.nodes.container, DeviceNode):
        proven.add("CONFIG_VFIO_CONTAINER")
    if "vfio_iommu_type1" not in ctx.facts.vfio_modules:
        proven.update(("CONFIG_VFIO_IOMMU_TYPE1", "CONFIG_VFIO_CONTAINER"))
    return proven


def _needs_debugfs(ctx: Context) -> list[Pf]:
    return [pf for pf in ctx.pfs if pf.driver == pf.family.driver and pf.configurable is False]


def _debugfs(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    if isinstance(kernel.debugfs, Unknown):
        yield unseen(
            "QP-KRN-003", "debugfs, the only place that shows this kernel's services, is closed", kernel.debugfs
        )
        return
    mine = _needs_debugfs(ctx)
    if not kernel.debugfs:
        off = not isinstance(kernel.cmdline, Unknown) and {"off", "no-mount"} & set(kernel.argument("debugfs"))
        yield failed(
            "QP-KRN-003",
            "debugfs is not mounted, and this kernel shows the services nowhere else",
            evidence=(
                Evidence(hardware.DEBUGFS, "empty or not there"),
                *(attribute(pf.bdf, "qat/cfg_services", None) for pf in mine[:1]),
                *((Evidence("/proc/cmdline", f"debugfs={' '.join(off)}"),) if off else ()),
            ),
            cause="debugfs= on the kernel command line switches it off."
            if off
            else "Nothing has mounted it (systemd does by sys-kernel-debug.mount; containers do not see it).",
            fix=change_arguments(ctx.facts, remove=[f"debugfs={word}" for word in sorted(off)])
            if off
            else (f"mount -t debugfs none {hardware.DEBUGFS}",),
        )
    elif kernel.lockdown not in (None, "none") and any(
        isinstance(pf.services, Unknown) and pf.services.denied for pf in mine
    ):
        if ctx.facts.euid != 0:
            return  # QP-SVC-002 asks for root first
        yield failed(
            "QP-KRN-003",
            "kernel lockdown closes debugfs, and this kernel shows the services nowhere else",
            evidence=(Evidence("/sys/kernel/security/lockdown", str(kernel.lockdown)),),
            cause="Secure Boot puts the kernel into lockdown, and kernels of this age then refuse even to read "
            "debugfs.",
            fix=("Install a kernel from 6.0 on: there qat/cfg_services in sysfs shows the same.",),
        )


_ID = re.compile(r"8086:([0-9a-fA-F]{1,4})(?::|$)")
"""vendor:device, and what may follow of subvendor, subdevice, class and mask (drivers/vfio/pci/vfio_pci.c)."""


def _is_qat(text: str) -> bool:
    match = _ID.match(text.strip())
    return match is not None and int(match[1], 16) in {*hardware.BY_PF_ID, *hardware.BY_VF_ID}


def _ids(ctx: Context) -> list[tuple[Evidence, str]]:
    """Every id that vfio-pci is set to take, and where."""
    found: list[tuple[Evidence, str]] = []
    tokens = () if isinstance(ctx.facts.kernel.cmdline, Unknown) else ctx.facts.kernel.cmdline
    for token in tokens:
        found += [(Evidence("/proc/cmdline", token), value) for value in argument((token,), "vfio-pci.ids")]
    for options in ctx.facts.modules.options.get("vfio_pci", ()):
        found += [(Evidence(options.path, options.line), value) for value in options.values("ids")]
    return found


def _grabbed(ctx: Context) -> Iterable[Finding]:
    taken: dict[int, Evidence] = {}
    for evidence, text in _ids(ctx):
        match = _ID.match(text.strip())
        if match:
            taken.setdefault(int(match[1], 16), evidence)
    pf_list = [pf for pf in ctx.pfs if pf.family.pf_id in taken]
    now = [pf.bdf for pf in pf_list if pf.driver == hardware.VFIO_PCI]
    later = [pf.bdf for pf in pf_list if pf.driver != hardware.VFIO_PCI]
    for bdfs, tell, sentence in (
        (now, failed, "{} {} bound to vfio-pci, as its option ids asks"),
        (later, warned, "the ids of vfio-pci include {}: it takes them if it loads first"),
    ):
        if bdfs:
            sources = tuple(dict.fromkeys(taken[pf.family.pf_id] for pf in pf_list if pf.bdf in bdfs))
            verb = "is" if len(bdfs) == 1 else "are"
            yield tell(
                "QP-KRN-004",
                sentence.format(some_pfs(ctx, bdfs), verb),
                subjects=tuple(bdfs),
                evidence=sources + tuple(attribute(bdf, "driver", hardware.VFIO_PCI) for bdf in bdfs if bdf in now),
                cause="The id of the PF is among vfio-pci's ids. Only VFs may go to vfio-pci: without its own "
                "driver a PF has neither services nor VFs.",
                fix=_without_ids(ctx, sources),
            )
    vf_ids = {pf.family.vf_id for pf in ctx.pfs} | {vf.family.vf_id for vf in ctx.vfs}
    sources = tuple(dict.fromkeys(taken[i] for i in sorted(vf_ids & set(taken))))
    if sources:
        yield warned(
            "QP-KRN-004",
            "vfio-pci takes new VFs as soon as they are created, before their permissions are set",
            evidence=sources,
            cause="Intel's qatlib (before 26.02) gives the nodes to the group qat only when it binds the VFs "
            "itself; those that are bound already stay root's. qatprep sets the permissions in both cases.",
            fix=_without_ids(ctx, sources, reboot=False),
        )


def _without_ids(ctx: Context, sources: tuple[Evidence, ...], reboot: bool = True) -> tuple[str, ...]:
    steps: list[str] = []
    tokens = [e.value for e in sources if e.path == "/proc/cmdline"]
    others = [value for token in tokens for value in argument((token,), "vfio-pci.ids") if not _is_qat(value)]
    for source in sources:
        if source.path != "/proc/cmdline":
            steps.append(f"Take the QAT ids out of this line of {source.path}: {source.value}")
    if tokens:
        keep = [f"vfio-pci.ids={','.join(others)}"] if others else []
        steps += change_arguments(ctx.facts, add=keep, remove=tokens)
    elif reboot:
        steps.append(
            "Write the initramfs again if vfio-pci is in it (update-initramfs -u, dracut --force), then reboot."
        )
    return tuple(steps)


def _can_set(ctx: Context) -> str:
    able = [pf for pf in ctx.pfs if pf.configurable is True]
    waiting = [pf for pf in ctx.pfs if pf.driver is None]
    if len(waiting) == len(ctx.pfs):
        return f"Linux {ctx.facts.kernel.release}"
    return f"services can be set on {len(able)} of {plural(len(supported(ctx)), 'PF')}"


def _there(ctx: Context) -> str:
    return "has SR-IOV and VFIO" if ctx.pfs else "has VFIO"


_DEVICE = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003")

CHECKS = (
    Check(
        "QP-KRN-001",
        Stage.KERNEL,
        _knows,
        needs=_DEVICE,
        about=pfs,
        looked=_can_set,
    ),
    Check(
        "QP-KRN-002",
        Stage.KERNEL,
        _built,
        needs=_DEVICE,
        about=functions,
        saw=_there,
    ),
    Check(
        "QP-KRN-003",
        Stage.KERNEL,
        _debugfs,
        needs=_DEVICE,
        applies=lambda ctx: bool(_needs_debugfs(ctx)),
        about=lambda ctx: [pf.bdf for pf in _needs_debugfs(ctx)],
        absent=lambda ctx: "no PF whose services only debugfs shows",
    ),
    Check(
        "QP-KRN-004",
        Stage.KERNEL,
        _grabbed,
        needs=_DEVICE,
        about=functions,
        looked=lambda ctx: f"{plural(len(_ids(ctx)), 'id')} given to vfio-pci, none of them QAT's",
    ),
)
