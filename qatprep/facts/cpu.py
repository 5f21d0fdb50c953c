"""What the CPU offers crypto_mb, from cpuid and XCR0, with /proc/cpuinfo (the kernel's view) as a cross-check."""

from __future__ import annotations

from dataclasses import dataclass

from qatprep import hardware
from qatprep.facts.base import Unknown, unknown
from qatprep.host.base import Host


@dataclass(frozen=True)
class CpuFacts:
    machine: str
    model: str
    hypervisor: bool | Unknown
    """Whether CPUID.1:ECX[31] says that a hypervisor stands between."""
    missing: tuple[str, ...] | Unknown
    """Names of devices.CRYPTO_MB_BITS that cpuid does not have."""
    osxsave: bool | Unknown
    states_missing: tuple[str, ...] | Unknown
    """Names of devices.XCR0_STATES the OS has not switched on."""
    kernel_missing: tuple[str, ...] | Unknown
    """Names of devices.CRYPTO_MB_BITS whose flag /proc/cpuinfo does not show."""


def gather(host: Host) -> CpuFacts:
    machine = host.machine()
    model, flags = _cpuinfo(host)
    if isinstance(flags, Unknown):
        kernel_missing: tuple[str, ...] | Unknown = flags
    else:
        kernel_missing = tuple(bit.name for bit in hardware.CRYPTO_MB_BITS if bit.flag not in flags)
    if machine != "x86_64":
        nothing = Unknown(f"cpuid: not an x86-64 machine ({machine})")
        return CpuFacts(machine, model, nothing, nothing, nothing, nothing, kernel_missing)
    missing: tuple[str, ...] | Unknown
    states: tuple[str, ...] | Unknown
    hypervisor: bool | Unknown
    osxsave: bool | Unknown
    try:
        hypervisor = _has(host, hardware.HYPERVISOR_BIT)
        osxsave = _has(host, hardware.OSXSAVE_BIT)
        missing = tuple(bit.name for bit in hardware.CRYPTO_MB_BITS if not _has(host, bit))
    except OSError as e:
        missing = osxsave = hypervisor = Unknown(f"cpuid: {e.strerror}")
    if isinstance(osxsave, Unknown):
        states = osxsave
    elif not osxsave:
        states = tuple(name for name, _ in hardware.XCR0_STATES)
    else:
        try:
            xcr0 = host.xcr0()
            states = tuple(name for name, bit in hardware.XCR0_STATES if not xcr0 >> bit & 1)
        except OSError as e:
            states = Unknown(f"XGETBV: {e.strerror}")
    return CpuFacts(machine, model, hypervisor, missing, osxsave, states, kernel_missing)


def _has(host: Host, bit: hardware.CpuBit) -> bool:
    if bit.leaf > host.cpuid(0).eax:
        return False
    registers = host.cpuid(bit.leaf, bit.subleaf)
    return bool(getattr(registers, bit.register) >> bit.bit & 1)


def _cpuinfo(host: Host) -> tuple[str, frozenset[str] | Unknown]:
    """Model name and flags of the first processor block."""
    try:
        text = host.read_text("/proc/cpuinfo", limit=16 << 20)
    except OSError as e:
        return "", unknown(e)
    fields: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = fields.get("flags")
    if flags is None:
        return fields.get("model name", ""), Unknown("/proc/cpuinfo: no flags line")
    return fields.get("model name", ""), frozenset(flags.split())
