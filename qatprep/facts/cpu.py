"""What the CPU offers crypto_mb, from cpuid and XCR0, with /proc/cpuinfo (the kernel's view) as a cross-check; and
whose CPU it is: hypervisor and machine, by cpuid and DMI.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qatprep import instruction_sets as sets
from qatprep.facts.base import Unknown, line_of, names, read_line, unknown
from qatprep.host.base import Host
from qatprep.instruction_sets import Bit, CodePath

GDS = "/sys/devices/system/cpu/vulnerabilities/gather_data_sampling"
DMI = "/sys/class/dmi/id"
NODES = "/sys/devices/system/node"
_HYPERVISOR_LEAF = 0x4000_0000


class CpuFacts(NamedTuple):
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
    """DMI chassis_asset_tag of a Hyper-V guest, by which Azure is recognised; "" elsewhere."""
    packages: int
    """CPU packages (sockets) in /proc/cpuinfo, 0 where it does not tell."""
    numa_nodes: int
    """0 where sysfs does not tell."""
    sockets: Mapping[int, int]
    """NUMA node -> CPU package, without those of which it is not known."""

    @property
    def name(self) -> str:
        """What its owner calls it: "2 x Xeon Platinum 8480+"."""
        short = re.sub(r"\((R|TM)\)|\bCPU\b|\bIntel\b|@ .*| Processor$", "", self.model)
        short = " ".join(short.split()) or self.machine
        return f"{self.packages} x {short}" if self.packages > 1 else short

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
    model, flags, packages = _cpuinfo(host)
    nodes = names(host, NODES)
    listed = () if isinstance(nodes, Unknown) else nodes
    numbers = sorted(int(match[1]) for name in listed if (match := re.fullmatch(r"node(\d{1,6})", name)))
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
        packages=packages,
        numa_nodes=len(numbers),
        sockets=_sockets(host, numbers),
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
    return line_of(raw).strip()


def _sockets(host: Host, nodes: Sequence[int]) -> dict[int, int]:
    """NUMA node -> CPU package, by the first CPU of the node (nodeN/cpulist: "0-55,112-167") in /proc/cpuinfo."""
    try:
        text = host.read_text("/proc/cpuinfo", limit=16 << 20).text
    except OSError:
        return {}
    package: dict[int, int] = {}
    for block in text.split("\n\n"):
        ids = dict(re.findall(r"(?m)^(processor|physical id)\s*: (\d{1,6})$", block))
        if len(ids) == 2:
            package[int(ids["processor"])] = int(ids["physical id"])
    found = {}
    for node in nodes:
        cpu = re.match(r"\d{1,6}", _line(host, f"{NODES}/node{node}/cpulist"))
        if cpu and int(cpu[0]) in package:
            found[node] = package[int(cpu[0])]
    return found


def _cpuinfo(host: Host) -> tuple[str, frozenset[str] | Unknown, int]:
    """Model name and flags of the first processor block, and how many packages there are."""
    try:
        text = host.read_text("/proc/cpuinfo", limit=16 << 20).text
    except OSError as e:
        return "", unknown(e), 0
    packages = len(set(re.findall(r"(?m)^physical id\s*: (\d+)$", text)))
    fields: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = fields.get("flags")
    if flags is None:
        return fields.get("model name", ""), Unknown("/proc/cpuinfo: no flags line"), packages
    return fields.get("model name", ""), frozenset(flags.split()), packages
