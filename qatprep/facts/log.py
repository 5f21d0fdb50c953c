"""The lines of the kernel log that tell of trouble with QAT, the IOMMU or VFIO."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qatprep.facts.base import Unknown, unknown
from qatprep.hardware import BDF
from qatprep.host.base import Host

# Format strings of the kernel: qat_common/*.c, drivers/base/firmware_loader/main.c, drivers/base/dd.c,
# drivers/pci/iov.c, drivers/vfio/*.c, drivers/iommu/intel/dmar.c. What they mean is told in checks/log.py.
PATTERNS = {
    "firmware-missing": r"Failed to load (?:MMP|UOF) firmware qat_|Direct firmware load for qat_\S+ failed",
    "firmware-rejected": r"QAT: authentication error|QAT: Invalid header|Failed to map FW|Invalid UOF image"
    r"|Failed to load (?:MMP|UOF)$|Failed to (?:map|load) UOF firmware$",
    "firmware-svn": r"Security Version Number failure",
    "probe-failed": r"(?:4xxx|420xx|6xxx|c6xx|c3xxx|dh895xcc)\b.*probe.*failed with error -\d+"
    r"|(?:4xxx|420xx|6xxx|c6xx|c3xxx|dh895xcc): probe of .* failed with error -\d+",
    "power": r"Failed to power up the device",
    "numa": r"Invalid NUMA configuration",
    "fused": r"No acceleration units found",
    "iommu-off": r"IOMMU should be enabled for SR-IOV",
    "vfio-probe": r"vfio-pci.*(?:probe with driver vfio-pci|probe of \S+) failed with error -\d+",
    "denylist": r"exists in vfio-pci device denylist",
    "vfs-already": r"Already enabled for this device",
    "vfs-rounded": r"VFs requested; only \d+ enabled",
    "vfs-busy": r"VFs already enabled\. Disable before enabling",
    "no-driver": r"no driver bound to device; cannot configure SR-IOV",
    "mmio": r"not enough MMIO resources for SR-IOV|can't enable \d+ VFs|SR-IOV: IOV BARS not allocated",
    "busy": r"Device qat_dev\d+ is busy|: Device busy|device in use",
    "order": r"must be down to reconfigure the service",
    "start-failed": r"Failed to start (?:device )?qat_dev",
    "vf-running": r"Some VFs are still running",
    "held": r"blocked until released by user|Device is currently in use, task|Relaying device request to user",
    "out-of-tree": r"Invalid value of ServicesEnabled param|ServicesEnabled param not found"
    r"|disagrees about version of symbol",
    "vf-interrupts": r"Too many ints from VF",
    "hang": r"Fatal error, reset required|Heartbeat ERROR: QAT is not responding",
    "reset-failed": r"Restart device failed|device restart failed\. Device is unusable",
    "memlock": r"RLIMIT_MEMLOCK \(\d+\) exceeded",
    "no-remapping": r"No interrupt remapping support",
    "dma-fault": r"DMAR:.*Request device \[[0-9a-f:.]+\] fault addr",
    "lockdown": r"Lockdown: .*debugfs access is restricted",
    "heartbeat": r"HB polling too frequent",
    "pfvf": r"Failed to send response to VF|PF2VF.*(?:timeout|failed)",
    "pf-iommu": r"Cannot use PF with IOMMU enabled",
}


@dataclass(frozen=True)
class LogLine:
    key: str
    """Which of PATTERNS it matches."""
    text: str
    bdf: str
    """The device it names, "" when none."""


@dataclass(frozen=True)
class LogFacts:
    lines: tuple[LogLine, ...] | Unknown

    def of(self, *keys: str, bdf: str = "") -> tuple[LogLine, ...]:
        """Lines of these kinds, for one device when `bdf` is given; () when the log could not be read."""
        if isinstance(self.lines, Unknown):
            return ()
        return tuple(line for line in self.lines if line.key in keys and (not bdf or line.bdf == bdf))


def gather(host: Host) -> LogFacts:
    try:
        text = host.kernel_log()
    except OSError as e:
        return LogFacts(unknown(e))
    return LogFacts(tuple(_parse(text)))


def _parse(text: str) -> list[LogLine]:
    """Most lines match nothing, and most logs have none that does: the single patterns are compiled only then."""
    anything = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS.values()))
    found = []
    for line in text.splitlines():
        if not anything.search(line):
            continue
        key = next(key for key, pattern in PATTERNS.items() if re.search(pattern, line))
        bdf = BDF.search(line)
        found.append(LogLine(key, line, bdf[0] if bdf else ""))
    return found
