"""What CryptoMB needs of the CPU, and who is to blame when it is not there: CPU, hypervisor or operating system."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep import hardware
from qatprep.checks.base import Check, Context, Evidence, Finding, Profile, Stage
from qatprep.checks.text import change_arguments, failed, in_vm, listed, unseen, warned
from qatprep.facts.base import Unknown

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
            "If it has, give the VM that CPU (QEMU: -cpu host, libvirt: host-passthrough), and start the VM anew.",
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
        fix = ("On the VM's host, give the VM the whole CPU (QEMU: -cpu host), and start the VM anew.",)
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
        "the CPU has every instruction set that CryptoMB needs",
        _instructions,
        profiles=_PROFILES,
        explain="""\
crypto_mb, the library inside Envoy's CryptoMB provider, works through eight RSA operations at once with AVX-512. It
needs all of BMI2, AVX512F, AVX512DQ, AVX512BW, AVX512IFMA and AVX512VBMI2: IFMA alone, as some guides test for, is
not enough.

Why it matters: with one of them missing Envoy says "Multi-buffer CPU instructions not available." and rejects the
listener or its secrets; a program that does not ask first dies of SIGILL.

How it is found out: the bits of CPUID leaf 7 themselves (cpu_features.c in crypto_mb asks the same). The hypervisor
bit of leaf 1 tells a CPU that lacks them from a hypervisor that masks them.

How to mend it: on the machine itself, only by another CPU (or a BIOS switch for AVX-512). In a VM, by another CPU
model: -cpu host, host-passthrough.""",
    ),
    Check(
        "QP-CPU-002",
        Stage.CPU,
        "the operating system has switched on the AVX-512 register states",
        _states,
        needs=("QP-CPU-001",),
        profiles=_PROFILES,
        explain="""\
That a CPU has AVX-512 does not mean that it may be used: the operating system must save the registers when it
switches between programs. It says so by OSXSAVE in CPUID leaf 1 and by bits 1, 2, 5, 6 and 7 of XCR0.

Why it matters: without these bits the first AVX-512 instruction is a SIGILL. VMs of hypervisors that hide XSAVE
crashed programs that trusted the feature bits alone.

How it is found out: CPUID leaf 1, then XGETBV.

How to mend it: take noxsave or clearcpuid= off the kernel command line; in a VM, give it the whole CPU model.""",
    ),
    Check(
        "QP-CPU-003",
        Stage.CPU,
        "/proc/cpuinfo agrees with cpuid",
        _agreement,
        needs=("QP-CPU-001", "QP-CPU-002"),
        profiles=_PROFILES,
        explain="""\
/proc/cpuinfo shows what the kernel chose to use; cpuid tells what programs will find. Mostly they agree.

Why it matters: people, Ansible facts and node labels read /proc/cpuinfo, crypto_mb asks cpuid. Where they differ,
one of them tells a wrong story about this node.

How it is found out: the flags line of the first processor against the same bits of cpuid.

How to mend it: usually clearcpuid= on the kernel command line is the reason. It is only ever a warning.""",
    ),
)
