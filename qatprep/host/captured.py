"""What a capture has next to that which qatprep itself reads, and the names that are taken out of it."""

from __future__ import annotations

from qatprep.hardware import DEBUGFS
from qatprep.host.base import Host

EXTRA = (
    "/etc/os-release",
    "/proc/version",
    "/proc/modules",
    "/etc/sysconfig/qat",
    "/sys/bus/pci/drivers_autoprobe",
    "/sys/module/vfio_pci/parameters/ids",
    "/sys/module/vfio_pci/parameters/disable_denylist",
    "/sys/module/intel_qat/version",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/bios_version",
    "/sys/class/dmi/id/bios_date",
)
"""What nothing in qatprep reads, and people who read a bug report ask for."""
DEBUG_FILES = ("dev_cfg", "fw_counters", "pm_status", "cnv_errors")
"""Of each device's directory in debugfs. Not heartbeat/status: reading that asks the device, and the survey has
(facts/health.py)."""
_DEBUG_DEADLINE = 3.0


def extra(recorder: Host) -> None:
    """Files for people. What is not there, or blocks, is passed over."""
    for path in EXTRA:
        _touch(recorder, path)
    try:
        listed = recorder.listdir(DEBUGFS)
    except OSError:
        listed = []
    directories = [f"{DEBUGFS}/{name}" for name in listed if name.startswith("qat_")]
    recorder.read_all([f"{d}/{name}" for d in directories for name in DEBUG_FILES], deadline=_DEBUG_DEADLINE)


def _touch(recorder: Host, path: str) -> None:
    try:
        recorder.read(path, deadline=_DEBUG_DEADLINE)
    except OSError:
        return


def names(host: Host) -> tuple[str, ...]:
    """What this host is called: never recorded, only known so that it can be taken out."""
    found = []
    for path in ("/proc/sys/kernel/hostname", "/etc/hostname", "/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = host.read_text(path, limit=4096).raw.strip()
        except OSError:
            continue
        first, _, domain = text.partition(".")
        found += [text, first, f".{domain}" if domain else ""] if not text.startswith("#") else []
    try:
        resolver = host.read_text("/etc/resolv.conf", limit=1 << 16).raw
    except OSError:
        resolver = ""
    for line in resolver.splitlines():
        words = line.split()
        found += [f".{word.strip('.')}" for word in words[1:] if words[0] in ("search", "domain")]
    return tuple(dict.fromkeys(name for name in found if name and not any(c.isspace() for c in name)))
