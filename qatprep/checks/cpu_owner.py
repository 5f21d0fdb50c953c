"""Whose CPU this is, and who can give it other instructions: hardware, a cloud, a hypervisor.

Told apart by DMI (the vendor and product that firmware or hypervisor names), the signature in CPUID leaf 0x40000000,
the model name and the flags of /proc/cpuinfo. One row for each; the first that fits is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qatprep.facts.cpu import CpuFacts
from qatprep.instruction_sets import AVX512_CPUS, AVX512F, Bit
from qatprep.text import listed


class Owner(NamedTuple):
    fits: Callable[[CpuFacts], bool]
    cause: str
    """Why instructions are missing. {model} is the CPU's name, {product} DMI's."""
    fix: tuple[str, ...]
    """What the reader can do. {flags} and {features}: what is missing, as QEMU and as libvirt's XML want it."""


def _dmi(vendor: str, product: str = "") -> Callable[[CpuFacts], bool]:
    return lambda cpu: cpu.vendor.startswith(vendor) and cpu.product.startswith(product)


def _signature(name: str) -> Callable[[CpuFacts], bool]:
    return lambda cpu: cpu.hypervisor_name == name


def _flag(name: str) -> Callable[[CpuFacts], bool]:
    return lambda cpu: isinstance(cpu.flags, frozenset) and name in cpu.flags


def _model(pattern: str) -> Callable[[CpuFacts], bool]:
    return lambda cpu: re.search(pattern, cpu.model) is not None


_AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
"""chassis_asset_tag of every Azure VM (cloud-init DataSourceAzure)."""
_AZURE_SIZE = "On Azure, use another VM size: Dsv5, Esv5 (Intel Ice Lake or later), Dsv6, Esv6 (Intel Emerald Rapids)."
_RESTART = "Stop the VM and start it again: a reboot from inside keeps its CPU."
_ASK = "Ask the administrator of the VM's host: from inside the VM it cannot be changed."
_LOOK = "On the VM's host, see whether its CPU has them: grep -o -w -E '{pattern}' /proc/cpuinfo | sort -u"

OWNERS = (
    Owner(
        _flag("tdx_guest"),
        "This is a TDX guest (trust domain). Its XFAM, fixed when it was created, leaves AVX-512 out, so the TDX "
        "module hides the instructions.",
        (
            "Have the trust domain created with XFAM bits 5 to 7 (QEMU: -cpu host), and attest it again.",
            _ASK,
        ),
    ),
    Owner(
        _dmi("Amazon EC2"),
        "The EC2 instance type {product} has a CPU without the instructions ({model}).",
        ("Use another instance type: m6i, c6i, r6i or m7i, c7i, r7i (Intel), m7a, c7a, r7a (AMD Zen 4), or later.",),
    ),
    Owner(
        _dmi("Google"),
        "Google Cloud has put this VM on a CPU without the instructions ({model}); a machine type such as n2 or n1 is "
        "served by several generations.",
        (
            'For n2: gcloud compute instances update NAME --min-cpu-platform="Intel Ice Lake" (with the VM stopped).',
            "Or use another machine type: c3, n4, c4 (Intel), c3d, c4d (AMD Zen 4 or later).",
        ),
    ),
    Owner(
        lambda cpu: cpu.asset_tag == _AZURE_TAG,
        "This Azure VM size does not offer the instructions ({model}).",
        (_AZURE_SIZE,),
    ),
    Owner(
        lambda cpu: _dmi("Microsoft Corporation", "Virtual Machine")(cpu) or _signature("Microsoft Hv")(cpu),
        "Hyper-V does not offer the instructions to this VM ({model}): the VM size, or processor compatibility mode, "
        "masks them.",
        (
            _AZURE_SIZE,
            "On your own Hyper-V: Set-VMProcessor NAME -CompatibilityForMigrationEnabled $false (with the VM off).",
        ),
    ),
    Owner(
        lambda cpu: _dmi("VMware")(cpu) or _signature("VMwareVMware")(cpu),
        "VMware does not offer the instructions to this VM ({model}): the cluster's EVC mode, EVC of the VM, or an old "
        "virtual hardware version masks them.",
        (
            "Set the EVC mode of the cluster (and of the VM) to Intel Ice Lake or later, or switch EVC off.",
            "Upgrade the VM's virtual hardware version.",
            "Power the VM off and on: a reboot keeps its CPU.",
        ),
    ),
    Owner(
        lambda cpu: _dmi("Xen")(cpu) or _signature("XenVMMXenVMM")(cpu),
        "Xen does not offer {what} to this VM ({model}).",
        (
            "Ask the administrator of the Xen host: cpuid= of the VM's configuration or the pool's CPU level "
            "(XCP-ng) masks them.",
        ),
    ),
    Owner(
        lambda cpu: _dmi("Nutanix")(cpu) or _dmi("oVirt")(cpu) or _dmi("Red Hat", "RHEV")(cpu),
        "The virtualisation cluster masks the instructions so that VMs can move between its hosts ({model}).",
        ("Ask its owner for the cluster's or the VM's CPU model: Icelake-Server or later, or pass-through.", _RESTART),
    ),
    Owner(
        _dmi("OpenStack"),
        "Nova's CPU model does not offer the instructions to this VM ({model}).",
        (
            "Ask the cloud's owner for a flavor on hosts with cpu_mode = host-passthrough, or cpu_model_extra_flags = "
            "{flags} in nova.conf.",
            _RESTART,
        ),
    ),
    Owner(
        _dmi("KubeVirt"),
        "KubeVirt's CPU model does not offer the instructions to this VM ({model}).",
        ("Set spec.template.spec.domain.cpu.model: host-passthrough in the VirtualMachine.", _RESTART),
    ),
    Owner(
        lambda cpu: _dmi("innotek")(cpu) or _dmi("Oracle Corporation", "VirtualBox")(cpu),
        "VirtualBox offers no AVX-512 to its VMs.",
        ("Use another hypervisor or the machine itself.",),
    ),
    Owner(
        _model(r"EPYC-v4 Processor"),
        "The VM has QEMU's CPU model EPYC-v4, which is a Zen 1 without AVX-512. SEV-SNP guests of Kata Containers get "
        "it from Kata, whatever the CPU below.",
        (
            "Run the pod with a runtime class without SEV-SNP, or on nodes that are not VMs.",
            "Or have QEMU started with -cpu EPYC-Genoa or -cpu EPYC-v4,{flags}. The host's CPU must be Zen 4 or later.",
        ),
    ),
    Owner(
        _model(r"Intel (Xeon|Core) Processor \(|AMD EPYC(-\w+)*(-v\d)? Processor|QEMU Virtual|Common KVM"),
        "The VM has one of QEMU's CPU models, {model}, which does not have {names}, whatever the CPU below.",
        (
            "Add what is missing. QEMU: -cpu MODEL,{flags}. libvirt, in <cpu>: {features}",
            "Or give the VM the whole CPU (QEMU: -cpu host, libvirt: host-passthrough).",
            _LOOK,
            _RESTART,
        ),
    ),
    Owner(
        lambda cpu: cpu.hypervisor is True and not cpu.vendor,
        "This is a VM without DMI, as Firecracker makes them ({model}). Its CPU template (T2, T2S, T2CL and C3 mask "
        "AVX-512 or parts of it) or the CPU below lacks the instructions.",
        (
            "Start the microVM without a CPU template, or with one that keeps them (Firecracker: cpu-config).",
            _LOOK,
            _ASK,
        ),
    ),
    Owner(
        lambda cpu: cpu.hypervisor is True,
        "This is a VM. The hypervisor masks the instructions, or the CPU below lacks them ({model}).",
        (
            _LOOK,
            "If it has, give the VM that CPU (QEMU: -cpu host, libvirt: host-passthrough). QEMU: -cpu MODEL,{flags} "
            "adds them to a model.",
            _RESTART,
        ),
    ),
    Owner(
        _model(r"Core\(TM\)|Pentium|Celeron"),
        "{model} is a client CPU: since Alder Lake they have no AVX-512, and AVX-IFMA only since Arrow Lake and Lunar "
        "Lake. No setting changes that.",
        (f"Use another CPU for CryptoMB: {AVX512_CPUS}.",),
    ),
    Owner(
        lambda cpu: True,
        "The CPU itself lacks {names} ({model}); no setting of the operating system changes that. A few BIOSes can "
        "switch AVX-512 off.",
        (
            f"Use another CPU for CryptoMB: {AVX512_CPUS}.",
            "If this CPU model should have them, look for AVX-512 in the BIOS setup.",
        ),
    ),
)


def why(cpu: CpuFacts, missing: Sequence[Bit]) -> tuple[str, tuple[str, ...]]:
    """Cause and fix for instructions that cpuid does not show."""
    flags = [bit.flag for bit in missing if bit.flag]
    qemu = [flag.replace("avx512_", "avx512").replace("_", "-") for flag in flags]
    values = {
        "model": cpu.model or "no model name",
        "product": cpu.product or "of this VM",
        "names": "AVX-512" if AVX512F in missing else listed([bit.name for bit in missing]),
        "what": "the instructions" if flags else "the register states of AVX-512 (XCR0)",
        "flags": ",".join(f"+{name}" for name in qemu),
        "features": " ".join(f"<feature policy='require' name='{name}'/>" for name in qemu),
        "pattern": "|".join(flags),
    }
    owner = next(row for row in OWNERS if row.fits(cpu))
    return owner.cause.format(**values), tuple(step.format(**values) for step in owner.fix)
