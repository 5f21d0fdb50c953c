"""Whether there is a QAT device, and one that can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import attribute, in_vm, log_lines, pfs, some_pfs, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf, Vf
from qatprep.findings import Evidence, Finding, Status, failed
from qatprep.hardware import PCI_DEVICES, SUPPORTED
from qatprep.text import plural


def _present(ctx: Context) -> Iterable[Finding]:
    pci = ctx.facts.pci
    if isinstance(pci.visible, Unknown):
        yield unseen("QP-DEV-001", "the PCI bus cannot be read", pci.visible)
        return
    if pci.pfs or pci.vfs or pci.strangers:
        return
    if not pci.visible:
        where = Evidence(PCI_DEVICES, "empty or not there")
        cause = "This host shows no PCI devices at all: it has no PCI bus, or /sys is not that of the host."
    elif in_vm(ctx.facts):
        where = Evidence(PCI_DEVICES, "no Intel QAT function (8086:494x) among them")
        cause = "This is a VM, and no QAT VF is passed through to it."
    else:
        where = Evidence(PCI_DEVICES, "no Intel QAT function (8086:494x) among them")
        cause = (
            "This CPU model has no QAT (most Xeons from the 4th generation on have; some are sold with it switched "
            "off), or the BIOS hides it."
        )
    if not pci.visible:
        fix = ("If this is a container, check the host: qatprep doctor --root, with the host's / mounted.",)
    elif in_vm(ctx.facts):
        fix = ("On the VM's host, pass a VF through to this VM; qatprep makes the VFs there.",)
    else:
        fix = ("Look in the BIOS setup for the accelerators (QAT, CPM, IOAT/DSA menus).",)
    yield failed(
        "QP-DEV-001",
        "there is no QAT device",
        evidence=(where,),
        cause=cause,
        fix=(*fix, "CryptoMB needs no device: qatprep doctor --profile cryptomb"),
    )


def _found(ctx: Context) -> str:
    pci = ctx.facts.pci
    what = "PF" if pci.pfs else "VF"
    every: tuple[Pf | Vf, ...] = pci.pfs or pci.vfs
    kinds = Counter(f.family.name for f in every)
    places = Counter(f.numa_node for f in every if f.numa_node >= 0)
    where = f": {', '.join(f'{count} on NUMA node {node}' for node, count in sorted(places.items()))}" if places else ""
    return f"{', '.join(f'{plural(count, what)} {name}' for name, count in kinds.items()) or 'others only'}{where}"


def _families(ctx: Context) -> str:
    every: tuple[Pf | Vf, ...] = (*ctx.facts.pci.pfs, *ctx.facts.pci.all_vfs)
    kinds = Counter(f.family.name for f in every)
    known = ", ".join(f"{plural(count, 'function')} {name}" for name, count in kinds.items())
    return known or "none of a known family"


def _known(ctx: Context) -> Iterable[Finding]:
    strangers = ctx.facts.pci.strangers
    status = Status.WARN if ctx.facts.has_qat else Status.FAIL
    newer = [s for s in strangers if not s.name]
    if newer:
        yield Finding(
            "QP-DEV-002",
            status,
            f"{plural(len(newer), 'device')} with an id newer than this qatprep",
            subjects=tuple(s.bdf for s in newer),
            evidence=tuple(attribute(s.bdf, "device", f"{s.device_id:#06x}") for s in newer),
            cause="The id is next to those of the known QAT devices, but this version has no table entry for it.",
            fix=("Get a newer qatprep; until then set such a device up by hand.",),
        )
    for name in sorted({s.name for s in strangers if s.name}):
        mine = [s for s in strangers if s.name == name]
        yield Finding(
            "QP-DEV-002",
            status,
            f"{plural(len(mine), 'device')} of the kind {name}, which the mainline kernel does not drive",
            subjects=tuple(s.bdf for s in mine),
            evidence=tuple(attribute(s.bdf, "device", f"{s.device_id:#06x}") for s in mine),
            cause=f"{name} only ever had Intel's out-of-tree driver; qatlib and Envoy cannot use it.",
            fix=("Use another machine for QAT; CryptoMB may work: qatprep doctor --profile cryptomb",),
        )


def _drivable(ctx: Context) -> Iterable[Finding]:
    pci = ctx.facts.pci
    status = Status.WARN if ctx.facts.has_qat else Status.FAIL
    every: tuple[Pf | Vf, ...] = (*pci.pfs, *pci.vfs)
    names = {f.family.name for f in every if not f.family.supported}
    for name in sorted(names):
        mine = [f for f in every if f.family.name == name]
        pf_id = mine[0].family.pf_id
        lines = [line for line in ctx.facts.log.of("denylist") if line.bdf in ("", *(f.bdf for f in pci.all_vfs))]
        yield Finding(
            "QP-DEV-003",
            status,
            f"{plural(len(mine), 'device')} of the generation 2 kind {name}, which qatlib does not drive",
            subjects=tuple(f.bdf for f in mine),
            evidence=(
                *(
                    attribute(f.bdf, "device", f"{f.family.pf_id if f in pci.pfs else f.family.vf_id:#06x}")
                    for f in mine
                ),
                *(Evidence("kernel log", line.text) for line in lines[-2:]),
            ),
            cause="qatlib and Envoy's QAT provider need generation 4 or later "
            f"({', '.join(family.name for family in SUPPORTED)}). "
            f"Linux keeps {name} (8086:{pf_id:04x}) and its VFs on vfio-pci's denylist for their known security flaws.",
            fix=(
                "Use the out-of-tree stack for this card, or another machine for Envoy.",
                "The vfio-pci option disable_denylist would not help: qatlib does not know the device. qatprep never "
                "sets it.",
            ),
        )


def _of_the_host(ctx: Context) -> Iterable[Finding]:
    if not in_vm(ctx.facts) or ctx.facts.iommu.xen:
        return
    mine = [pf for pf in ctx.pfs if pf.total_vfs is None and not pf.vfs and ctx.config.of(pf).vfs]
    if mine:
        bdfs = tuple(pf.bdf for pf in mine)
        yield failed(
            "QP-DEV-004",
            f"{some_pfs(ctx, bdfs)} {'was' if len(bdfs) == 1 else 'were'} passed into this VM as a PF",
            subjects=bdfs,
            evidence=(
                *(attribute(bdf, "sriov_totalvfs", None) for bdf in bdfs),
                Evidence("cpuid leaf 1, ecx bit 31", "a hypervisor"),
            ),
            cause="A hypervisor that passes a PF through leaves its SR-IOV capability out, so that no VFs can be made "
            "in the VM; and qatlib opens VFs. No BIOS setting changes that.",
            fix=(
                "On the VM's host, leave the PF to its driver and pass VFs into the VM: prepare the host with "
                "qatprep, then for each VF QEMU's -device vfio-pci,host=<VF>, or libvirt's <hostdev managed='no'>.",
                "The VM needs a virtual IOMMU for them (QEMU: -device intel-iommu,intremap=on,caching-mode=on).",
            ),
        )


def _functions(ctx: Context) -> list[Pf | Vf]:
    return [*ctx.pfs, *ctx.vfs]


def _powered(ctx: Context) -> Iterable[Finding]:
    mine = [f for f in _functions(ctx) if f.power is not None]
    outside = {f.bdf for f in mine}
    bdfs = tuple(f.bdf for f in mine if getattr(f, "pf", None) not in outside)
    if bdfs:
        yield failed(
            "QP-DEV-005",
            f"{plural(len(bdfs), 'QAT device')} {'is' if len(bdfs) == 1 else 'are'} without power (D3cold)",
            subjects=bdfs,
            evidence=tuple(attribute(bdf, "power_state", "D3cold") for bdf in bdfs) + log_lines(ctx, "d3cold"),
            cause='The kernel cannot bring the device back to D0: it does not answer on the bus ("Unable to change '
            'power state from D3cold to D0, device inaccessible"). Power management of the PCIe port switched it '
            "off, or the device hangs.",
            fix=(
                "Keep the kernel from switching ports off: add pcie_port_pm=off to the kernel command line, and "
                "vfio-pci.disable_idle_d3=1 where vfio-pci had the device.",
                "Switch the machine off completely and on again: a reboot does not power such a device up.",
            ),
        )


_ALL = ("QP-STACK-001", "QP-DEV-001")

CHECKS = (
    Check(
        "QP-DEV-001",
        Stage.DEVICE,
        _present,
        saw=_found,
    ),
    Check(
        "QP-DEV-002",
        Stage.DEVICE,
        _known,
        needs=_ALL,
        looked=_families,
    ),
    Check(
        "QP-DEV-003",
        Stage.DEVICE,
        _drivable,
        needs=_ALL,
        looked=_families,
    ),
    Check(
        "QP-DEV-004",
        Stage.DEVICE,
        _of_the_host,
        needs=(*_ALL, "QP-DEV-003"),
        about=pfs,
    ),
    Check(
        "QP-DEV-005",
        Stage.DEVICE,
        _powered,
        needs=(*_ALL, "QP-DEV-003"),
        about=lambda ctx: [f.bdf for f in _functions(ctx)],
    ),
)
