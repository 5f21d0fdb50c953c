"""Kernel modules: shipped, allowed, loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, change_arguments, functions, no_vfio, pfs, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.modules import Ban, Module
from qatprep.facts.pci import Pf
from qatprep.findings import Evidence, Finding, Status, failed
from qatprep.hardware import VFIO_VARIANT
from qatprep.text import listed


def _by_module(ctx: Context) -> dict[str, list[Pf]]:
    found: dict[str, list[Pf]] = {}
    for pf in ctx.pfs:
        found.setdefault(pf.family.module, []).append(pf)
    return found


def _works(mine: list[Pf]) -> bool:
    """The strongest sign of a module is a PF that it drives."""
    return any(pf.driver == pf.family.driver for pf in mine)


def _shipped(ctx: Context) -> Iterable[Finding]:
    kernel = ctx.facts.kernel
    dep = f"/lib/modules/{kernel.release}/modules.dep"
    for name, mine in _by_module(ctx).items():
        module = ctx.facts.modules.get(name)
        if _works(mine) or module.builtin or module.loaded is True or isinstance(module.file, str):
            continue
        subjects = tuple(pf.bdf for pf in mine)
        if isinstance(module.file, Unknown):
            yield unseen("QP-MOD-001", f"cannot tell whether this kernel ships {name}", module.file, subjects)
            continue
        option = mine[0].family.option
        config = kernel.config
        evidence = [Evidence(dep, f"no {name}.ko")]
        setting = None if isinstance(config, Unknown) else config.get(option)
        if not isinstance(config, Unknown):
            evidence.append(Evidence(kernel.config_path, f"{option}={setting or 'n'}"))
        if setting:
            cause = "The kernel was built with it, but the package that holds the module is not installed."
            fix: tuple[str, ...] = (
                "Install the kernel's package of further modules (Ubuntu: linux-modules-extra-<release>, "
                "Fedora and RHEL: kernel-modules-extra or kernel-modules), then: modprobe " + name,
            )
        else:
            cause = (
                f"This kernel was built without {option}. Debian's kernels (6.1, 6.12 and 7.2 were checked) are built "
                "so: they have QAT of generation 2 only."
            )
            fix = (
                f"Run a kernel that has {option}=m: qatlib's INSTALL names Fedora from 36 and RHEL from 8.4 on; on "
                "Debian build one. Then reboot.",
            )
        yield failed(
            "QP-MOD-001",
            f"this kernel does not ship {name}",
            subjects=subjects,
            evidence=tuple(evidence),
            cause=cause,
            fix=fix,
        )


def _allowed(ctx: Context) -> Iterable[Finding]:
    wanted: dict[str, tuple[str, ...]] = {name: tuple(pf.bdf for pf in mine) for name, mine in _by_module(ctx).items()}
    every = tuple(bdf for bdfs in wanted.values() for bdf in bdfs)
    wanted |= {name: every for name in ("intel_qat",) if wanted}  # every QAT module depends on it
    yield from _banned(ctx, "QP-MOD-002", wanted)


def _vfio_allowed(ctx: Context) -> Iterable[Finding]:
    yield from _banned(ctx, "QP-MOD-005", dict.fromkeys(("vfio", *_vfio_modules(ctx)), ()))


def _banned(ctx: Context, id: str, wanted: Mapping[str, tuple[str, ...]]) -> Iterable[Finding]:
    """Modules that something forbids; `wanted` has the devices that depend on each, () for the whole host."""
    for name, subjects in wanted.items():
        module = ctx.facts.modules.get(name)
        if not module.bans or module.builtin:
            continue
        loaded = module.loaded is True
        yield Finding(
            id,
            Status.WARN if loaded else Status.FAIL,
            f"{name} is loaded, but something forbids loading it" if loaded else f"something forbids loading {name}",
            subjects=subjects,
            evidence=tuple(Evidence(ban.path, ban.line) for ban in module.bans),
            cause=_why_banned(name, module.bans)
            + (" It was loaded in spite of that and may be missing after the next boot." if loaded else ""),
            fix=(*(fix := _lift(ctx, module.bans)), *(() if loaded or "Reboot." in fix else (f"modprobe {name}",))),
        )


def _why_banned(name: str, bans: tuple[Ban, ...]) -> str:
    if any(ban.path == "/proc/cmdline" for ban in bans):
        return f"The kernel command line forbids {name}."
    if name.startswith(("qat_", "intel_qat")):
        return (
            "A line in modprobe.d, often left by the out-of-tree QAT stack, whose guides say to blacklist the "
            "kernel's own modules."
        )
    return "A line in modprobe.d, as hardening guides recommend for what is not in use."


def _lift(ctx: Context, bans: tuple[Ban, ...]) -> tuple[str, ...]:
    steps: list[str] = []
    for ban in bans:
        if ban.path != "/proc/cmdline":
            steps.append(f"Take this line out of {ban.path}: {ban.line}")
    tokens = [ban.line for ban in bans if ban.path == "/proc/cmdline"]
    if tokens:
        steps += change_arguments(ctx.facts, remove=tokens)
    return tuple(steps)


def _loaded(ctx: Context) -> Iterable[Finding]:
    for name, mine in _by_module(ctx).items():
        module = ctx.facts.modules.get(name)
        subjects = tuple(pf.bdf for pf in mine)
        if _works(mine) or module.present is True:
            continue
        if isinstance(module.present, Unknown):
            yield unseen("QP-MOD-003", f"cannot tell whether {name} is loaded", module.present, subjects)
            continue
        yield failed(
            "QP-MOD-003",
            f"{name} is not loaded",
            subjects=subjects,
            evidence=(Evidence(f"/sys/module/{name}", "not there"),),
            cause="The kernel ships it and nothing forbids it, but it was not loaded since boot, or it was "
            "unloaded. As a rule udev loads it when the device is found.",
            fix=(f"modprobe {name}",),
            step=BOOTSTRAP,
        )


def _vfio_modules(ctx: Context) -> tuple[str, ...]:
    configs = [ctx.config.of(pf) for pf in ctx.pfs] or [ctx.config.devices]
    drivers = {config.driver for config in configs if config.vfs}
    if drivers <= {"none"}:
        return ()
    modules = ctx.facts.vfio_modules
    return (*modules, VFIO_VARIANT) if VFIO_VARIANT in drivers else modules


def _vfio(ctx: Context) -> Iterable[Finding]:
    modules = [ctx.facts.modules.get(name) for name in _vfio_modules(ctx)]
    release = ctx.facts.kernel.release
    lacking = [m for m in modules if m.file is None and m.present is False]
    if lacking:
        names = listed(m.name for m in lacking)
        yield failed(
            "QP-MOD-004",
            f"this kernel does not ship {names}",
            subjects=_variant_wanted(ctx) if [m.name for m in lacking] == [VFIO_VARIANT] else (),
            evidence=tuple(Evidence(f"/lib/modules/{release}/modules.dep", f"no {m.name}") for m in lacking),
            cause="The kernel was built without it, or the package that holds it is not installed.",
            fix=("Install the distribution's general kernel with all its module packages, and reboot.",),
        )
        return
    idle = [m for m in modules if m.present is False]
    if idle:
        yield _not_loaded(idle)
    blind = [m for m in modules if isinstance(m.present, Unknown)]
    for m in blind[:1]:
        if isinstance(m.present, Unknown):
            yield unseen("QP-MOD-004", f"cannot tell whether {m.name} is loaded", m.present)


def _variant_wanted(ctx: Context) -> tuple[str, ...]:
    """The PFs whose VFs are to have the variant driver: the others need no module of it."""
    return tuple(pf.bdf for pf in ctx.pfs if ctx.config.of(pf).driver == VFIO_VARIANT)


def _not_loaded(idle: list[Module]) -> Finding:
    names = [m.name for m in idle]
    return failed(
        "QP-MOD-004",
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} not loaded",
        evidence=tuple(Evidence(f"/sys/module/{name}", "not there") for name in names),
        cause=f"Nothing has loaded {'it' if len(names) == 1 else 'them'} since boot: no device asks for VFIO.",
        fix=(f"modprobe -a {' '.join(names)}",),
        step=BOOTSTRAP,
    )


_DEVICE = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003")

CHECKS = (
    Check(
        "QP-MOD-001",
        Stage.MODULES,
        _shipped,
        needs=(*_DEVICE, "QP-KRN-001"),
        about=pfs,
    ),
    Check(
        "QP-MOD-002",
        Stage.MODULES,
        _allowed,
        needs=(*_DEVICE, "QP-KRN-001", "QP-MOD-001"),
        about=pfs,
    ),
    Check(
        "QP-MOD-003",
        Stage.MODULES,
        _loaded,
        needs=(*_DEVICE, "QP-MOD-001", "QP-MOD-002"),
        about=pfs,
        saw=lambda ctx: f"{listed(_by_module(ctx))} loaded",
    ),
    Check(
        "QP-MOD-005",
        Stage.MODULES,
        _vfio_allowed,
        needs=(*_DEVICE, "QP-KRN-002", "QP-DEV-004"),
        applies=lambda ctx: bool(_vfio_modules(ctx)),
        absent=no_vfio,
        about=functions,
    ),
    Check(
        "QP-MOD-004",
        Stage.MODULES,
        _vfio,
        needs=(*_DEVICE, "QP-KRN-002", "QP-MOD-005", "QP-DEV-004"),
        applies=lambda ctx: bool(_vfio_modules(ctx)),
        absent=no_vfio,
        about=functions,
        saw=lambda ctx: f"{listed(_vfio_modules(ctx))} loaded",
    ),
)
