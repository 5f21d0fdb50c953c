"""What the CPU offers crypto_mb, from cpuid and XCR0, with /proc/cpuinfo (the kernel's view) as a cross-check; and
whose CPU it is: hypervisor and machine, by cpuid and DMI.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from qatprep import instruction_sets as sets
from qatprep.facts.base import Unknown, read_line, unknown
from qatprep.host.base import Host
from qatprep.instruction_sets import Bit, CodePath

GDS = "/sys/devices/system/cpu/vulnerabilities/gather_data_sampling"
DMI = "/sys/class/dmi/id"
_HYPERVISOR_LEAF = 0x4000_0000


@dataclass(frozen=True)
class CpuFacts:
    machine: str
    model: str
    hypervisor: bool | Unknown
    """Whether CPUID.1:ECX[31] says that this is a VM."""
    hypervisor_name: str
    """The signature in CPUID leaf 0x40000000, such as "KVMKVMKVM"; "" on hardware or where it cannot be read."""
    bits: frozenset[Bit] | Unknown
    """Those of instruction_sets.BITS that cpuid has; XCR0 is apart."""
    osxsave: bool | Unknown
    xcr0: int | Unknown
    """0 without OSXSAVE."""
    flags: frozenset[str] | Unknown
    """What /proc/cpuinfo shows."""
    gds: str
    """What the kernel says of Gather Data Sampling, "" where it does not know it."""
    vendor: str
    """DMI sys_vendor: whose machine it is, "" without DMI."""
    product: str
    """DMI product_name; with some clouds the instance type."""
    asset_tag: str
    """DMI chassis_asset_tag of a Hyper-V guest, by which Azure is told from others; "" elsewhere."""

    @property
    def known(self) -> bool:
        return not isinstance(self.bits, Unknown) and not isinstance(self.xcr0, Unknown)

    def judge(self, paths: Sequence[CodePath], *, states: bool = True) -> tuple[CodePath | None, tuple[Bit, ...]]:
        """What instruction_sets.judge says of this CPU; ValueError where cpuid or XCR0 is unknown.

        `states` False: as if the operating system had switched on every register state.
        """
        bits, xcr0 = self.bits, self.xcr0
        if isinstance(bits, Unknown) or (states and isinstance(xcr0, Unknown)):
            raise ValueError("cpuid or XCR0 is unknown")
        mask = xcr0 if states and not isinstance(xcr0, Unknown) else -1
        return sets.judge(paths, lambda bit: bool(mask >> bit.bit & 1) if bit.register == "xcr0" else bit in bits)


def gather(host: Host) -> CpuFacts:
    machine = host.machine()
    model, flags = _cpuinfo(host)
    nothing = Unknown(f"cpuid: not an x86-64 machine ({machine})")
    bits: frozenset[Bit] | Unknown = nothing
    hypervisor: bool | Unknown = nothing
    osxsave: bool | Unknown = nothing
    xcr0: int | Unknown = nothing
    name = ""
    if machine == "x86_64":
        try:
            hypervisor = _has(host, sets.HYPERVISOR, flags)
            osxsave = _has(host, sets.OSXSAVE, flags)
            bits = frozenset(bit for bit in sets.BITS if bit.register != "xcr0" and _has(host, bit, flags))
            name = _hypervisor_name(host) if hypervisor else ""
        except OSError as e:
            bits = osxsave = hypervisor = Unknown(f"cpuid: {e.strerror}")
        xcr0 = osxsave if isinstance(osxsave, Unknown) else _xcr0(host) if osxsave else 0
    vendor = _line(host, f"{DMI}/sys_vendor")
    # Elsewhere an asset tag is a number of the owner's, and none of a capture's business.
    tag = _line(host, f"{DMI}/chassis_asset_tag") if vendor == "Microsoft Corporation" else ""
    return CpuFacts(
        machine=machine,
        model=model,
        hypervisor=hypervisor,
        hypervisor_name=name,
        bits=bits,
        osxsave=osxsave,
        xcr0=xcr0,
        flags=flags,
        gds=_line(host, GDS),
        vendor=vendor,
        product=_line(host, f"{DMI}/product_name"),
        asset_tag=tag,
    )


def _line(host: Host, path: str) -> str:
    text = read_line(host, path)
    return text.strip() if isinstance(text, str) else ""


def _has(host: Host, bit: Bit, flags: frozenset[str] | Unknown) -> bool:
    if bit.leaf > host.cpuid(0).eax:
        return False
    if bit.subleaf and bit.subleaf > host.cpuid(bit.leaf).eax:
        return False
    try:
        registers = host.cpuid(bit.leaf, bit.subleaf)
    except OSError as e:
        if e.errno != errno.ENOTSUP or not bit.subleaf or isinstance(flags, Unknown):
            raise
        return bit.flag in flags  # a capture made before qatprep read this subleaf
    return bool(getattr(registers, bit.register) >> bit.bit & 1)


def _xcr0(host: Host) -> int | Unknown:
    try:
        return host.xcr0()
    except OSError as e:
        return Unknown(f"XGETBV: {e.strerror}")


def _hypervisor_name(host: Host) -> str:
    """EBX, ECX and EDX are twelve characters (Linux arch/x86/include/asm/cpuid, every hypervisor of note)."""
    try:
        registers = host.cpuid(_HYPERVISOR_LEAF)
    except OSError:
        return ""
    raw = b"".join(getattr(registers, name).to_bytes(4, "little") for name in ("ebx", "ecx", "edx"))
    return raw.rstrip(b"\0").decode("ascii", "backslashreplace").strip()


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
