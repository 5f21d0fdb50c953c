"""The shape of a row."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from qatprep.findings import Status


class Source(StrEnum):
    """Who writes a line."""

    KERNEL = "kernel"
    """About QAT, VFIO, PCI and the IOMMU: what the kernel log of a host is read with."""
    CPU = "kernel (CPU)"
    """About instruction sets, which CryptoMB needs."""
    QATLIB = "qatlib"
    """The library, in whatever program has loaded it; programs of its kind that open VFIO groups."""
    QATMGR = "qatmgr"
    QAT_INIT = "qat_init.sh"
    """qatlib's script, and the init container of the device plugin, which is based on it."""
    SHELL = "a shell"
    """echo and tee into sysfs, by hand or in anybody's script."""
    DPDK = "dpdk-devbind"
    DRIVERCTL = "driverctl"
    QEMU = "QEMU"
    ENVOY = "envoy"
    ISTIO = "istio"
    CONTAINERD = "containerd"
    KUBERNETES = "kubernetes"
    """The kubelet, the API server, the scheduler."""
    PLUGIN = "device plugin"
    SYSTEMD = "systemd"
    AUDIT = "audit"
    """AppArmor and SELinux."""


class Message(NamedTuple):
    key: str
    """Names the row; code that looks for one kind of line uses it."""
    source: Source
    pattern: str
    """A regular expression, upper and lower case alike. What it matches is quoted, so it never reaches into what may
    be secret, and it has no unbounded `.*`."""
    finding: str
    """The id that a line of this kind is about; QP-LOG-001 and QP-LOG-002 for what only a log tells."""
    title: str
    cause: str = ""
    fix: tuple[str, ...] = ()
    """As Finding.fix."""
    status: Status = Status.FAIL
    """Of the finding when nothing but the line is known. OK: good news, or harmless by itself."""
    versions: str = ""
    """Releases of the writer that have this sentence, "" where all that were looked at have it."""
    leading: bool = False
    """Whether it only says that something failed, and the lines before it may say why."""
    device: bool = False
    """Whether it counts only behind the name of a QAT device: memory and other devices report errors in such words."""


def rows_of(source: Source) -> Callable[..., Message]:
    """Makes rows of one writer: key, pattern, finding, title, cause, and the rest by name."""

    def row(key: str, pattern: str, finding: str, title: str, cause: str = "", *fix: str, **more: object) -> Message:
        return Message(key, source, pattern, finding, title, cause, fix)._replace(**more)  # type: ignore[arg-type]

    return row
