"""The shape of a row."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from qatprep.findings import Status


class Source(StrEnum):
    """Who writes a line."""

    KERNEL = "kernel"
    QATLIB = "qatlib"
    ENVOY = "envoy"
    CONTAINERD = "containerd"
    KUBERNETES = "kubernetes"
    """The kubelet, the API server, the device plugin."""
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
    """The id that a line of this kind is about; QP-LOG-001 for what only a log tells."""
    title: str
    cause: str = ""
    fix: tuple[str, ...] = ()
    """As Finding.fix."""
    status: Status = Status.FAIL
    """Of the finding when nothing but the line is known. OK: good news, or harmless by itself."""
