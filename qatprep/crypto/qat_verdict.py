"""What a failure of libqat means on this node, and what to do about it: each cause its own verdict.

libqat says little and not always the truth ("No devices found" for a VF it may not open), so what the node shows is
asked first and the library's words second. Its messages: qatlib, qat_direct/adf_io/vfio/*.c and libusdm's
qae_mem_utils_vfio.c.
"""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass

from qatprep import hardware
from qatprep.crypto import native
from qatprep.crypto.qat import Trouble
from qatprep.facts import nodes, pci
from qatprep.facts.base import Unknown, names
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import DeviceNode, Pf, Vf
from qatprep.host.base import Host
from qatprep.text import plural

MEMLOCK_PER_VF = 16 << 20
"""Bytes libqat pins for a VF before the application's own: qatlib INSTALL, section on memlock."""

INSTALL = "install the library: apt install libqat4 libusdm0 (Debian 13, Ubuntu 24.04 or later), dnf install qatlib"
DIRECT = "a VF is proved without it by: qatprep smoke --direct"
BOOTSTRAP = "run: qatprep bootstrap"


@dataclass(frozen=True)
class QatNode:
    """What the node shows of QAT to the user that runs this."""

    pfs: tuple[Pf, ...]
    vfs: tuple[Vf, ...]
    holders: tuple[Holder, ...]
    euid: int
    groups: frozenset[int]
    memlock: int
    """Bytes; -1 for unlimited."""
    may_lock: bool
    """CAP_IPC_LOCK: the limit does not count (drivers/vfio/vfio_iommu_type1.c, vfio_pin_pages_remote)."""
    service: bool
    """Whether qatmgr hands out the VFs: its socket is there."""

    @property
    def bound(self) -> tuple[Vf, ...]:
        return tuple(vf for vf in self.vfs if vf.bound is True)

    def usable(self, vf: Vf) -> bool:
        """Whether this user may open the VF's node. True when that is not known."""
        if not isinstance(vf.node, DeviceNode) or self.euid == 0:
            return True
        mode = vf.node.mode
        if vf.node.uid == self.euid:
            return mode & 0o600 == 0o600
        if vf.node.gid in self.groups:
            return mode & 0o060 == 0o060
        return mode & 0o006 == 0o006


@dataclass(frozen=True)
class Verdict:
    code: str
    """Stable, for programs: no-device, no-vfs, not-bound, no-permission, held, memlock, no-library, library, no-rsa,
    hung, died, no-module, refused."""
    summary: str
    fix: str = ""


def look(host: Host) -> QatNode:
    """Everything at once, before libqat is asked: afterwards its own process would be among the holders."""
    import os

    found = pci.gather(host)
    vfs = found.all_vfs
    holders, _ = nodes.holders(host, vfs)
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return QatNode(
        pfs=found.pfs,
        vfs=vfs,
        holders=holders,
        euid=os.geteuid(),
        groups=frozenset({os.getegid(), *os.getgroups()}),
        memlock=-1 if soft == resource.RLIM_INFINITY else soft,
        may_lock=_may_lock(host),
        service="qatmgr.sock" in _names(host, "/run/qat"),
    )


def _names(host: Host, path: str) -> tuple[str, ...]:
    listed = names(host, path)
    return () if isinstance(listed, Unknown) else listed


def _may_lock(host: Host) -> bool:
    """CAP_IPC_LOCK is bit 14 of CapEff (include/uapi/linux/capability.h)."""
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)", host.read_text("/proc/self/status").text, re.MULTILINE)
    except OSError:
        return False
    return bool(found and int(found[1], 16) >> 14 & 1)


def judge(node: QatNode, trouble: Trouble) -> Verdict:
    """The verdict on a libqat that did not come up, or failed later."""
    if trouble.kind == "absent":
        if not node.vfs and not node.pfs:
            return _absent(node)
        return Verdict(
            "no-module", "qatprep has no native module here: nothing can be sent to QAT", native.missing()[1]
        )
    if trouble.kind == "hung":
        return Verdict(
            "hung",
            f"libqat did not answer ({trouble.stage}, {trouble.detail}) and was ended",
            "see the kernel log: qatprep doctor; set the PF down and up if it does not answer its VFs",
        )
    if trouble.kind == "died":
        return Verdict("died", f"libqat took its process down ({trouble.stage}): {trouble.detail}")
    return (
        (_of_node(node, trouble) if trouble.stage != "run" else None)
        or _of_library(trouble)
        or _of_words(node, trouble)
        or Verdict("refused", f"libqat refused: {trouble.detail}{_status(trouble.status)}")
    )


def no_rsa(node: QatNode, instances: int) -> Verdict:
    """The verdict on a libqat that started but has nothing that does RSA."""
    offered = sorted({pf.services.text for pf in node.pfs if isinstance(pf.services, pci.Services)})
    offers = f"; the PFs offer {', '.join(offered)}" if offered else ""
    fix = (
        "give a PF the asym service: qatprep device services --help"
        if node.pfs
        else ("ask the administrator of the host for a VF of a PF with the asym service")
    )
    if instances:
        count = plural(instances, "instance")
        return Verdict("no-rsa", f"libqat has {count}, but none does RSA: the VF has no asym service{offers}", fix)
    if not node.vfs:
        return _absent(node)
    return Verdict("no-rsa", f"libqat started but has no crypto instance: the VF has neither asym nor sym{offers}", fix)


def _absent(node: QatNode) -> Verdict:
    if not node.pfs:
        return Verdict("no-device", "no QAT device on this machine")
    return Verdict("no-vfs", f"{_count(node.pfs, 'QAT device')}, but no VFs: libqat works with VFs only", BOOTSTRAP)


def _of_node(node: QatNode, trouble: Trouble) -> Verdict | None:
    if not node.vfs:
        return _absent(node)
    if trouble.stage == "load":
        return None
    if not node.bound:
        return Verdict(
            "not-bound",
            f"{_count(node.vfs, 'VF')}, none bound to {hardware.VFIO_PCI}: libqat cannot open them",
            BOOTSTRAP,
        )
    allowed = [vf for vf in node.bound if node.usable(vf)]
    if not allowed:
        vf = node.bound[0]
        assert isinstance(vf.node, DeviceNode)
        return Verdict(
            "no-permission",
            f"this user may not open {vf.node.path} ({vf.bdf}), which is {vf.node.mode:04o} {vf.node.uid}:{vf.node.gid}"
            + (f", nor any other of {len(node.bound)}" if len(node.bound) > 1 else ""),
            "join the group that owns the nodes, or give them one with: qatprep bootstrap --set nodes.group=NAME",
        )
    held = {holder.vf: holder for holder in node.holders}
    if all(vf.bdf in held for vf in allowed) and not node.service:
        first = held[allowed[0].bdf]
        others = f" (and {len(allowed) - 1} more VFs are held, too)" if len(allowed) > 1 else ""
        return Verdict(
            "held", f"{first.vf} is held by {first}{others}: a VF serves one process", "stop it, or make more VFs"
        )
    if node.memlock >= 0 and not node.may_lock and node.memlock < MEMLOCK_PER_VF:
        return _memlock(node)
    return None


def _memlock(node: QatNode) -> Verdict:
    return Verdict(
        "memlock",
        f"this user may lock {node.memlock >> 10} KiB of memory; libqat pins {MEMLOCK_PER_VF >> 20} MiB a VF",
        "raise it: LimitMEMLOCK= in the unit, `memlock` in /etc/security/limits.conf, or CAP_IPC_LOCK for the process",
    )


def _of_library(trouble: Trouble) -> Verdict | None:
    if trouble.stage != "load":
        return None
    if "No such file or directory" in trouble.detail and "cannot open shared object" in trouble.detail:
        name = trouble.detail.split(":", 1)[0]
        return Verdict("no-library", f"{name} is not installed", f"{INSTALL}; {DIRECT}")
    return Verdict("library", f"libqat cannot be loaded: {trouble.detail}", "install the one of this distribution")


def _of_words(node: QatNode, trouble: Trouble) -> Verdict | None:
    text = "\n".join((*trouble.output, trouble.detail))
    if re.search(r"VFIO_IOMMU_MAP_DMA failed.*errno=12|unable to get ringbuf|no memory for the device", text):
        if node.memlock < 0 or node.may_lock:
            return Verdict(
                "refused", "libqat got no memory for the device, and no limit forbids it", "see the kernel log"
            )
        return _memlock(node)
    if "Group is not viable" in text:
        return Verdict(
            "not-bound", "a function in the VF's IOMMU group is bound to another driver", "qatprep doctor says which"
        )
    if re.search(r"[Ii]ncompatible (PF driver|between VF)|Comms incompatible", text):
        return Verdict("refused", "the PF's kernel driver and this libqat do not understand each other", "update both")
    if "incompatible qatmgr" in text:
        return Verdict("refused", "libqat and the running qatmgr are of different versions", "systemctl restart qat")
    return _none_opened(text)


def _none_opened(text: str) -> Verdict | None:
    """libqat tried every VF. Each that somebody holds it passes over without a word, or with EBUSY; any other line
    before the last says why a VF could not be opened."""
    before, tried, _ = text.partition("No available devices after trying")
    why = [line.removeprefix("err: ") for line in before.splitlines() if line.startswith("err: ")]
    if tried and why and "Device or resource busy" not in text:
        fix = "see the kernel log: qatprep doctor; qatprep smoke --direct tries the VF without libqat"
        return Verdict("refused", f"libqat could open no VF: {why[0]}", fix)
    if tried or "Device or resource busy" in text:
        return Verdict("held", "every VF that could be used is held by another process", "stop it, or make more VFs")
    return None


def _status(status: int) -> str:
    known = {
        -1: "FAIL",
        -2: "RETRY",
        -3: "RESOURCE",
        -4: "INVALID_PARAM",
        -5: "FATAL",
        -6: "UNSUPPORTED",
        -7: "RESTARTING",
    }
    return f" says {known.get(status, str(status))}" if status else ""


def _count(things: tuple[object, ...], noun: str) -> str:
    return plural(len(things), noun)
