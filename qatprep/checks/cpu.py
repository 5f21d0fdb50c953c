"""What CryptoMB needs of the CPU, and who is to blame when it is not there: CPU, hypervisor or operating system."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep import hardware
from qatprep.checks.base import Check, Context, Profile, Stage
from qatprep.checks.text import change_arguments, in_vm, unseen
from qatprep.facts.base import Unknown
from qatprep.findings import Evidence, Finding, failed, warned
from qatprep.text import listed

_PROFILES = frozenset({Profile.CRYPTOMB})


def _model(ctx: Context) -> tuple[Evidence, ...]:
    model = ctx.facts.cpu.model
    return (Evidence("/proc/cpuinfo model name", model),) if model else ()


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
    if isinstance(cpu.missing, Unknown):
        known = cpu.kernel_missing
        seen = (
            ""
            if isinstance(known, Unknown)
            else "; /proc/cpuinfo shows all that is needed"
            if not known
            else f"; /proc/cpuinfo does not show {listed(known)}"
        )
        yield unseen("QP-CPU-001", f"cpuid could not be asked{seen}", cpu.missing)
        return
    if not cpu.missing:
        return
    evidence = tuple(
        Evidence(f"cpuid {bit.leaf:#x}.{bit.subleaf} {bit.register}[{bit.bit}]", f"0: no {bit.name}")
        for bit in hardware.CRYPTO_MB_BITS
        if bit.name in cpu.missing
    )
    if in_vm(ctx.facts):
        cause = (
            "This is a VM. The hypervisor does not offer the instructions: it masks them, or the CPU below lacks them "
            f"(/proc/cpuinfo calls it {cpu.model or 'nothing'!r})."
        )
        fix: tuple[str, ...] = (
            "On the VM's host, see whether the CPU has them: grep -o -w -E 'avx512ifma|avx512_vbmi2' /proc/cpuinfo",
            "If it has, give the VM that CPU (QEMU: -cpu host, libvirt: host-passthrough), and restart the VM.",
        )
    else:
        cause = (
            f"The CPU itself lacks {'it' if len(cpu.missing) == 1 else 'them'} ({cpu.model or 'no model name'}); no "
            "setting of the operating system changes that. A few BIOSes can switch AVX-512 off."
        )
        fix = (
            "Use a CPU with the whole set: Intel Xeon Ice Lake, Sapphire Rapids or later, AMD EPYC from Zen 4 on.",
            "If this CPU model should have them, look for AVX-512 in the BIOS setup.",
        )
    yield failed(
        "QP-CPU-001",
        f"the CPU does not offer {listed(cpu.missing)}, which CryptoMB needs",
        evidence=evidence + _model(ctx),
        cause=cause,
        fix=fix,
    )


def _states(ctx: Context) -> Iterable[Finding]:
    cpu = ctx.facts.cpu
    if isinstance(cpu.osxsave, Unknown):
        yield unseen("QP-CPU-002", "cpuid could not be asked for OSXSAVE", cpu.osxsave)
        return
    if isinstance(cpu.states_missing, Unknown):
        yield unseen("QP-CPU-002", "XCR0 could not be read", cpu.states_missing)
        return
    if not cpu.states_missing:
        return
    tokens = () if isinstance(ctx.facts.kernel.cmdline, Unknown) else ctx.facts.kernel.cmdline
    guilty = [t for t in tokens if t in ("noxsave", "noxsaveopt", "nosimd") or t.startswith("clearcpuid=")]
    evidence: list[Evidence] = []
    if not cpu.osxsave:
        evidence.append(Evidence("cpuid 0x1 ecx[27]", "0: no OSXSAVE"))
    lacking = f"without {listed(cpu.states_missing)}"
    evidence.append(Evidence("XCR0", lacking))
    evidence += [Evidence("/proc/cmdline", token) for token in guilty]
    if guilty:
        cause = f"The kernel was told not to: {' '.join(guilty)} on its command line."
        fix = change_arguments(ctx.facts, remove=guilty)
    elif in_vm(ctx.facts):
        cause = "The hypervisor offers the AVX-512 instructions but not the saving of their registers (XSAVE, XCR0)."
        fix = ("On the VM's host, give the VM the whole CPU (QEMU: -cpu host), and restart the VM.",)
    else:
        cause = "The CPU has the instructions, but the operating system has not switched on their registers."
        fix = ("Look for lines about xsave or x86/fpu at the start of dmesg, and run a newer kernel.",)
    yield failed(
        "QP-CPU-002",
        f"the operating system has not switched on AVX-512 ({'XCR0 ' + lacking if cpu.osxsave else 'no OSXSAVE'})",
        evidence=tuple(evidence),
        cause=cause,
        fix=fix,
    )


def _agreement(ctx: Context) -> Iterable[Finding]:
    cpu = ctx.facts.cpu
    if isinstance(cpu.kernel_missing, Unknown):
        yield unseen("QP-CPU-003", "/proc/cpuinfo could not be read", cpu.kernel_missing)
        return
    if isinstance(cpu.missing, Unknown):
        return  # QP-CPU-001 says so
    hidden = [name for name in cpu.kernel_missing if name not in cpu.missing]
    if not hidden:
        return
    tokens = () if isinstance(ctx.facts.kernel.cmdline, Unknown) else ctx.facts.kernel.cmdline
    guilty = [token for token in tokens if token.startswith("clearcpuid=")]
    yield warned(
        "QP-CPU-003",
        f"cpuid has {listed(hidden)}, /proc/cpuinfo does not show it",
        evidence=(
            Evidence("/proc/cpuinfo flags", f"without {listed(hidden)}"),
            *(Evidence("/proc/cmdline", token) for token in guilty),
        ),
        cause="The kernel hides it from /proc/cpuinfo"
        + (f" because of {' '.join(guilty)}" if guilty else " (an erratum, or it does not know the flag)")
        + ". CryptoMB asks cpuid and will use it; tools that read /proc/cpuinfo will say that it cannot.",
        fix=change_arguments(ctx.facts, remove=guilty) if guilty else ("A newer kernel may know the flag.",),
    )


CHECKS = (
    Check(
        "QP-CPU-001",
        Stage.CPU,
        _instructions,
        saw=lambda ctx: "all six AVX-512 instruction sets that CryptoMB needs",
        profiles=_PROFILES,
    ),
    Check(
        "QP-CPU-002",
        Stage.CPU,
        _states,
        needs=("QP-CPU-001",),
        profiles=_PROFILES,
    ),
    Check(
        "QP-CPU-003",
        Stage.CPU,
        _agreement,
        needs=("QP-CPU-001", "QP-CPU-002"),
        profiles=_PROFILES,
    ),
)
