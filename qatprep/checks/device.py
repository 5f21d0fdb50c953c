"""Whether there is a QAT device, and one that can be used."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Evidence, Finding, Stage, Status
from qatprep.checks.text import attribute, failed, finding, in_vm, many, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf, Vf
from qatprep.hardware import PCI_DEVICES


def _present(ctx: Context) -> Iterable[Finding]:
    pci = ctx.facts.pci
    if isinstance(pci.visible, Unknown):
        yield unseen("QP-DEV-001", "the PCI bus cannot be looked at", pci.visible)
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
        fix = ("If this is a container, look at the host: qatprep doctor --root, with the host's / mounted.",)
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


def _known(ctx: Context) -> Iterable[Finding]:
    strangers = ctx.facts.pci.strangers
    status = Status.WARN if ctx.facts.has_qat else Status.FAIL
    newer = [s for s in strangers if not s.name]
    if newer:
        yield finding(
            "QP-DEV-002",
            status,
            f"{many(len(newer), 'device')} with an id newer than this qatprep",
            subjects=tuple(s.bdf for s in newer),
            evidence=tuple(attribute(s.bdf, "device", f"{s.device_id:#06x}") for s in newer),
            cause="The id lies beside those of the known QAT devices, and this version has no table entry for it.",
            fix=("Get a newer qatprep; until then set such a device up by hand.",),
        )
    for name in sorted({s.name for s in strangers if s.name}):
        mine = [s for s in strangers if s.name == name]
        yield finding(
            "QP-DEV-002",
            status,
            f"{many(len(mine), 'device')} of the kind {name}, which the mainline kernel does not drive",
            subjects=tuple(s.bdf for s in mine),
            evidence=tuple(attribute(s.bdf, "device", f"{s.device_id:#06x}") for s in mine),
            cause=f"{name} only ever had Intel's out-of-tree driver; qatlib and Envoy cannot use it.",
            fix=("Use another machine for QAT; CryptoMB may do: qatprep doctor --profile cryptomb",),
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
        yield finding(
            "QP-DEV-003",
            status,
            f"{many(len(mine), 'device')} of the generation 2 kind {name}, which qatlib does not drive",
            subjects=tuple(f.bdf for f in mine),
            evidence=(
                *(
                    attribute(f.bdf, "device", f"{f.family.pf_id if f in pci.pfs else f.family.vf_id:#06x}")
                    for f in mine
                ),
                *(Evidence("kernel log", line.text) for line in lines[-2:]),
            ),
            cause="qatlib and Envoy's QAT provider need generation 4 or later (4xxx, 401xx, 402xx, 420xx, 6xxx). "
            f"Linux keeps {name} (8086:{pf_id:04x}) and its VFs on vfio-pci's denylist for their known security flaws.",
            fix=(
                "Use the out-of-tree stack for this card, or another machine for Envoy.",
                "The vfio-pci option disable_denylist would not help: qatlib does not know the device. qatprep never "
                "sets it.",
            ),
        )


_ALL = ("QP-STACK-001", "QP-DEV-001")

CHECKS = (
    Check(
        "QP-DEV-001",
        Stage.DEVICE,
        "a QAT device is there",
        _present,
        explain="""\
A PCI function with one of Intel's QAT ids (vendor 8086): 4940 (4xxx), 4942 (401xx), 4944 (402xx), 4946 (420xx),
4948 (6xxx) for PFs, one more for their VFs. A VM sees VFs only. Every 4xxx PF offers 16 VFs; a two-socket Sapphire
Rapids server has up to eight PFs.

Why it matters: without a device there is nothing to set up. CryptoMB, the other way to fast TLS, needs only the
CPU.

How it is found out: vendor and device in every directory of /sys/bus/pci/devices. No lspci is needed, and nothing
depends on the PCI domain being 0000.

How to mend it: check that the CPU model has QAT (Intel's ARK pages list it, per SKU); look for the accelerators in
the BIOS setup; in a VM, have a VF passed through.""",
    ),
    Check(
        "QP-DEV-002",
        Stage.DEVICE,
        "every QAT device is one that this qatprep and the mainline kernel know",
        _known,
        needs=_ALL,
        explain="""\
Some QAT devices never had a driver in the mainline kernel (200xx, D15xx, C4xxx), and some are newer than this
version of qatprep (ids from 494a on). Both are shown and left alone.

Why it matters: a tool that takes an unknown id for a known one sets up the wrong thing. It is a warning while other
devices can be used, a failure when these are all there is.

How it is found out: the device id is looked up in a table, never guessed from the driver's name: 4xxx, 401xx and
402xx share the driver 4xxx.

How to mend it: for a newer device, a newer qatprep; for the others, Intel's out-of-tree stack, which Envoy cannot
use.""",
    ),
    Check(
        "QP-DEV-003",
        Stage.DEVICE,
        "every QAT device is one that qatlib drives (generation 4 and later)",
        _drivable,
        needs=_ALL,
        explain="""\
C62x, C3xxx and DH895xCC are QAT generation 2. The kernel has drivers for them, but qatlib (and with it Envoy's QAT
provider and the Kubernetes plugin's vfio mode) starts at generation 4.

Why it matters: since Linux 5.9 vfio-pci refuses these devices: "exists in vfio-pci device denylist, driver probing
disallowed". The parameter disable_denylist=1 would let them through, with the security flaws that put them there,
and qatlib would still not know them.

How it is found out: by the device id.

How to mend it: use another machine, or CryptoMB. Generation 4 devices in the same host are not touched by this:
then it is only a warning.""",
    ),
)
