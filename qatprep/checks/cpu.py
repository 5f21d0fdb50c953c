"""What CryptoMB needs of the CPU, and who is to blame when it is not there: CPU, hypervisor or operating system.

What is needed depends on the crypto_mb inside the node's Envoy (`envoy` of the configuration), by the table in
instruction_sets.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qatprep.checks import cpu_owner
from qatprep.checks.base import Check, Context, Profile, Stage
from qatprep.checks.text import change_arguments, in_vm, log_lines, unseen
from qatprep.facts.base import Unknown
from qatprep.findings import Evidence, Finding, failed, warned
from qatprep.instruction_sets import AVX512, AVX512F, ENVOY, Bit, EnvoyBuild, cleared_by, envoy_build
from qatprep.text import listed

_PROFILES = frozenset({Profile.CRYPTOMB})


def _build(ctx: Context) -> EnvoyBuild:
    return envoy_build(ctx.config.envoy)


def _envoy(ctx: Context) -> str:
    return f"Envoy {ctx.config.envoy[0]}.{ctx.config.envoy[1]}" if ctx.config.envoy else ""


def _machine(ctx: Context) -> tuple[Evidence, ...]:
    cpu = ctx.facts.cpu
    product = " ".join(word for word in (cpu.vendor, cpu.product) if word)
    found = (
        ("/proc/cpuinfo model name", cpu.model),
        ("/sys/class/dmi/id", product),
        ("cpuid 0x40000000", cpu.hypervisor_name),
    )
    return tuple(Evidence(path, said) for path, said in found if said)


def _arguments(ctx: Context) -> tuple[str, ...]:
    cmdline = ctx.facts.kernel.cmdline
    return () if isinstance(cmdline, Unknown) else cmdline


def _clearing(ctx: Context, bits: Sequence[Bit]) -> list[str]:
    """Arguments of the running kernel that clear one of these bits: clearcpuid= by name or number."""
    wanted = {value for bit in bits for value in cleared_by(bit)}
    return [
        token
        for token in _arguments(ctx)
        if token.startswith("clearcpuid=") and wanted & set(token.partition("=")[2].lower().split(","))
    ]


def _names(bits: Sequence[Bit]) -> str:
    """Without AVX512F there is nothing of AVX-512: then its parts are evidence enough."""
    return "AVX-512" if AVX512F in bits else listed([bit.name for bit in bits])


def _instructions(ctx: Context) -> Iterable[Finding]:
    cpu = ctx.facts.cpu
    if cpu.machine != "x86_64":
        yield failed(
            "QP-CPU-001",
            f"this is not an x86-64 machine ({cpu.machine})",
            evidence=(Evidence("uname -m", cpu.machine),),
            cause="CryptoMB is written with Intel's AVX-512 instructions.",
            fix=("Use Envoy's ordinary software path (BoringSSL) on this machine.",),
        )
        return
    if isinstance(cpu.bits, Unknown):
        seen = ""
        if not isinstance(cpu.flags, Unknown):
            hidden = [bit.name for bit in AVX512.executes if bit.flag and bit.flag not in cpu.flags]
            seen = f"; /proc/cpuinfo {f'does not show {listed(hidden)}' if hidden else 'shows all that is needed'}"
        yield unseen("QP-CPU-001", f"cpuid could not be asked{seen}", cpu.bits)
        return
    build = _build(ctx)
    path, missing = cpu.judge(build.paths, states=False)
    if not missing:
        return
    bits = tuple(bit for bit in missing if bit.register != "xcr0")
    evidence = tuple(
        Evidence(f"cpuid {bit.leaf:#x}.{bit.subleaf} {bit.register}[{bit.bit}]", f"0: no {bit.name}") for bit in bits
    )
    newer, still = cpu.judge(ENVOY[-1].paths, states=False)
    if newer is not None and not still:
        yield failed(
            "QP-CPU-001",
            f"{_envoy(ctx)} needs {_names(bits)}, which this CPU does not have",
            evidence=evidence + _machine(ctx),
            cause=f"Its crypto_mb ({build.crypto_mb}) does not use {newer.name}, which this CPU has.",
            fix=(f"Use Envoy {'.'.join(map(str, ENVOY[-1].since))} or later: it signs with {newer.name}.",),
        )
        return
    names = _names(bits)
    cause, fix = cpu_owner.why(cpu, bits)
    if path is not None:
        cause += (
            " Envoy would take the provider all the same, and die of SIGILL: the library asks for less than its "
            f"{path.name} code executes."
        )
    yield failed(
        "QP-CPU-001",
        f"the CPU does not offer {names}, which CryptoMB needs",
        evidence=evidence + _machine(ctx),
        cause=cause,
        fix=fix,
    )


def _states(ctx: Context) -> Iterable[Finding]:
    cpu = ctx.facts.cpu
    if isinstance(cpu.osxsave, Unknown):
        yield unseen("QP-CPU-002", "cpuid could not be asked for OSXSAVE", cpu.osxsave)
        return
    if isinstance(cpu.xcr0, Unknown):
        yield unseen("QP-CPU-002", "XCR0 could not be read", cpu.xcr0)
        return
    if not cpu.known:
        return  # QP-CPU-001 says so
    build = _build(ctx)
    path, _ = cpu.judge(build.paths, states=False)
    if path is None or not cpu.judge(build.paths)[1]:
        return
    missing = tuple(bit for bit in path.executes if bit.register == "xcr0" and not cpu.xcr0 >> bit.bit & 1)
    lacking = f"without {listed([bit.name.removeprefix('XCR0 ') for bit in missing])}"
    evidence = [] if cpu.osxsave else [Evidence("cpuid 0x1 ecx[27]", "0: no OSXSAVE")]
    evidence.append(Evidence("XCR0", lacking))
    guilty = [token for token in _arguments(ctx) if token == "noxsave"] + _clearing(ctx, missing)
    if "AVX disabled" in cpu.gds:
        evidence.append(Evidence("/sys/devices/system/cpu/vulnerabilities/gather_data_sampling", cpu.gds))
        evidence += log_lines(ctx, "gds")
        force = [token for token in _arguments(ctx) if token == "gather_data_sampling=force"]
        evidence += [Evidence("/proc/cmdline", token) for token in force]
        cause = (
            "The kernel has switched AVX off against Gather Data Sampling (GDS, Downfall), because the CPU's microcode "
            "has no mitigation of its own and "
            + (
                "gather_data_sampling=force is on its command line."
                if force
                else "it was built to do so (CONFIG_GDS_FORCE_MITIGATION, CONFIG_MITIGATION_GDS_FORCE)."
            )
        )
        fix: tuple[str, ...] = (
            "Install newer microcode (Debian: intel-microcode, Fedora and RHEL: microcode_ctl; or a BIOS update), and "
            "reboot: the kernel then leaves AVX on.",
        )
        without = change_arguments(ctx.facts, remove=force) if force else ("Boot with gather_data_sampling=off.",)
        fix += ("Or accept the vulnerability:", *without)
    elif guilty:
        evidence += [Evidence("/proc/cmdline", token) for token in guilty]
        cause = f"The kernel command line forbids it: {' '.join(guilty)} on its command line."
        fix = change_arguments(ctx.facts, remove=guilty)
    elif in_vm(ctx.facts):
        evidence += _machine(ctx)
        cause = (
            f"The hypervisor offers the {path.name} instructions, but not the saving of their registers (XSAVE, "
            "XCR0): the kernel of this VM cannot switch them on."
        )
        fix = (
            "Ask the administrator of the VM's host to give the VM the whole CPU with XSAVE (QEMU: -cpu host; Xen: no "
            "cpuid= limit; VMware: a newer EVC mode).",
            "Stop the VM and start it again: a reboot from inside keeps its CPU.",
        )
    else:
        cause = "The CPU has the instructions, but the operating system has not switched on their registers."
        fix = ("Look for lines about xsave or x86/fpu at the start of dmesg, and run a newer kernel.",)
    yield failed(
        "QP-CPU-002",
        f"the operating system has not switched on {path.name} ({'XCR0 ' + lacking if cpu.osxsave else 'no OSXSAVE'})",
        evidence=tuple(evidence),
        cause=cause,
        fix=fix,
    )


def _agreement(ctx: Context) -> Iterable[Finding]:
    cpu = ctx.facts.cpu
    if isinstance(cpu.flags, Unknown):
        yield unseen("QP-CPU-003", "/proc/cpuinfo could not be read", cpu.flags)
        return
    if not cpu.known or isinstance(cpu.bits, Unknown):
        return  # QP-CPU-001 says so
    path, _ = cpu.judge(_build(ctx).paths)
    hidden = [bit for bit in (path.executes if path else ()) if bit in cpu.bits and bit.flag not in cpu.flags]
    if not hidden:
        return
    names = listed([bit.name for bit in hidden])
    guilty = _clearing(ctx, hidden)
    yield warned(
        "QP-CPU-003",
        f"cpuid has {names}, /proc/cpuinfo does not show {'it' if len(hidden) == 1 else 'them'}",
        evidence=(
            Evidence("/proc/cpuinfo flags", f"without {names}"),
            *(Evidence("/proc/cmdline", token) for token in guilty),
        ),
        cause="The kernel hides it from /proc/cpuinfo"
        + (f" because of {' '.join(guilty)}" if guilty else " (an erratum, or it does not know the flag)")
        + ". CryptoMB asks cpuid and will use it; tools that read /proc/cpuinfo will say that it cannot.",
        fix=change_arguments(ctx.facts, remove=guilty) if guilty else ("A newer kernel may know the flag.",),
    )


def _path(ctx: Context) -> Iterable[Finding]:
    cpu = ctx.facts.cpu
    if not cpu.known:
        return  # QP-CPU-001 says so
    build = _build(ctx)
    path, missing = cpu.judge(build.paths)
    if path is None or missing or path.name == AVX512.name:
        return
    if "p-256" not in path.kinds:
        yield warned(
            "QP-CPU-004",
            f"CryptoMB works here with {path.name}, and {_envoy(ctx)} signs with RSA keys alone",
            evidence=_machine(ctx),
            cause=f"Its crypto_mb ({build.crypto_mb}) has no P-256 on this path: Envoy takes a P-256 key, and then "
            "every handshake with it fails.",
            fix=(f"Use RSA keys, or Envoy {'.'.join(map(str, ENVOY[-1].since))} or later.",),
        )
    elif ctx.config.envoy is None:
        rsa, both = (".".join(map(str, b.since)) for b in ENVOY[1:])
        yield warned(
            "QP-CPU-004",
            f"CryptoMB works here with {path.name}: from Envoy {both} on",
            evidence=_machine(ctx),
            cause='The CPU has no complete AVX-512. Older Envoys refuse the listener: "Multi-buffer CPU instructions '
            f'not available." Envoy {rsa} takes RSA and P-256 keys and signs with RSA alone, so that every handshake '
            "with P-256 fails.",
            fix=("Tell qatprep the node's Envoy: --set envoy=1.36, or envoy: '1.36' in /etc/qatprep.yaml.",),
        )


def _shown(ctx: Context, where: str) -> str:
    cpu = ctx.facts.cpu
    path = cpu.judge(_build(ctx).paths)[0] if cpu.known else None
    return f"{path.name} in {where}" if path else where


CHECKS = (
    Check(
        "QP-CPU-001",
        Stage.CPU,
        _instructions,
        saw=lambda ctx: "every instruction set that CryptoMB needs",
        profiles=_PROFILES,
    ),
    Check(
        "QP-CPU-002",
        Stage.CPU,
        _states,
        looked=lambda ctx: _shown(ctx, "XCR0"),
        needs=("QP-CPU-001",),
        profiles=_PROFILES,
    ),
    Check(
        "QP-CPU-003",
        Stage.CPU,
        _agreement,
        looked=lambda ctx: _shown(ctx, "cpuid and /proc/cpuinfo"),
        needs=("QP-CPU-001", "QP-CPU-002"),
        profiles=_PROFILES,
    ),
    Check(
        "QP-CPU-004",
        Stage.CPU,
        _path,
        looked=lambda ctx: _shown(ctx, "cpuid"),
        needs=("QP-CPU-001", "QP-CPU-002"),
        profiles=_PROFILES,
    ),
)
