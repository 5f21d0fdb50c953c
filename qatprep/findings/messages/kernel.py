"""The kernel log: QAT drivers, firmware loader, SR-IOV, VFIO, IOMMU.

Format strings: qat_common/*.c, drivers/base/firmware_loader/main.c, drivers/base/dd.c, drivers/pci/iov.c,
drivers/vfio/*.c, drivers/iommu/intel/dmar.c.
"""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Message, Source
from qatprep.hardware import DRIVERS, SUPPORTED

_DRIVERS = "|".join(DRIVERS)
_NAMES = " ".join(f"-e {name}" for name in dict.fromkeys(family.driver for family in SUPPORTED))
_LOOK = (f"Look at the lines before it: dmesg | grep -i -e qat {_NAMES}",)
_RESTART = ("Restart the program that uses the VF.",)
_RESET = ("qatprep device reset BDF",)


def _row(
    key: str,
    pattern: str,
    finding: str,
    title: str,
    cause: str = "",
    fix: tuple[str, ...] = (),
    status: Status = Status.FAIL,
) -> Message:
    return Message(key, Source.KERNEL, pattern, finding, title, cause, fix, status)


ROWS = (
    # -- the QAT driver starts a device
    _row(
        "firmware-missing",
        r"Failed to load (?:MMP|UOF) firmware qat_|Direct firmware load for qat_\S+ failed",
        "QP-FW-001",
        "the driver did not find its firmware",
        "The files were not there when the driver asked for them: not installed, or not in the initramfs.",
        ("qatprep explain QP-FW-001",),
    ),
    _row(
        "firmware-rejected",
        r"QAT: authentication error|QAT: Invalid header|Failed to map FW|Invalid UOF image"
        r"|Failed to load (?:MMP|UOF)$|Failed to (?:map|load) UOF firmware$",
        "QP-FW-001",
        "the device rejected its firmware",
        "The files are of another driver, too old, or damaged.",
        ("Install the distribution's firmware package again, then load the driver again.",),
    ),
    _row(
        "firmware-svn",
        r"Security Version Number failure",
        "QP-FW-001",
        "the firmware is below the device's security version",
        "The device was told to accept newer firmware only.",
        ("Install newer firmware, then load the driver again.",),
    ),
    _row(
        "probe-failed",
        rf"(?:{_DRIVERS})\b.{{0,200}}probe.{{0,200}}failed with error -\d+"
        rf"|(?:{_DRIVERS}): probe of .{{0,200}} failed with error -\d+",
        "QP-PF-001",
        "the driver could not start a device",
        "The line before it tells why.",
        _LOOK,
    ),
    _row(
        "power",
        r"Failed to power up the device",
        "QP-PF-001",
        "a device could not be powered up",
        "Its power management, or the BIOS.",
        ("Switch the machine off completely and on again.",),
    ),
    _row(
        "engines",
        r"QAT: AE\d+ is inactive|failed to get device out of reset|qat_hal_clr_reset error|Failed to init the AEs",
        "QP-PF-001",
        "the engines of a device did not start",
        "The device does not come out of reset.",
        ("Switch the machine off completely and on again: a reboot keeps the device powered.",),
    ),
    _row(
        "numa",
        r"Invalid NUMA configuration",
        "QP-PF-001",
        "the BIOS does not tell a device's NUMA node",
        "The driver refuses such a device on a machine of several nodes.",
        ("Update the BIOS.",),
    ),
    _row(
        "fused",
        r"No acceleration units (?:were )?found",
        "QP-PF-001",
        "a device has no acceleration units",
        "This CPU is sold without QAT.",
        ("Use another machine, or CryptoMB.",),
    ),
    _row(
        "start-failed",
        r"Failed to start (?:device )?qat_dev",
        "QP-PF-002",
        "a device did not start",
        "The driver brought it down again.",
        _LOOK,
    ),
    _row(
        "order",
        r"must be down to reconfigure the service",
        "QP-SVC-001",
        "services were written while the PF was up",
        "The write failed with EINVAL: the services of a PF can be changed only while it is down.",
        ("qatprep explain QP-SVC-001",),
        Status.WARN,
    ),
    _row(
        "out-of-tree",
        r"Invalid value of ServicesEnabled param|ServicesEnabled param not found"
        r"|disagrees about version of symbol",
        "QP-STACK-001",
        "modules of two QAT drivers were mixed",
        "A module of the out-of-tree stack met the kernel's, or the other way round.",
        ("qatprep explain QP-STACK-001",),
    ),
    _row(
        "pf-iommu",
        r"Cannot use PF with IOMMU enabled",
        "QP-STACK-001",
        "a driver refuses the PF because the IOMMU is on",
        "This line is from the out-of-tree stack; the kernel's own driver and qatlib need the IOMMU. Do not switch it "
        "off.",
        ("qatprep explain QP-STACK-001",),
    ),
    # -- a device that runs
    _row(
        "started",
        r"qat_dev\d+ started \d+ acceleration engines",
        "QP-PF-002",
        "a device started",
        status=Status.OK,
    ),
    _row(
        "hang",
        r"Fatal error, reset required",
        "QP-PF-003",
        "a device stopped answering: fatal error",
        "An uncorrectable error came up. The driver restarts the device only where auto_reset is on (Linux 6.9).",
        _RESET,
    ),
    _row(
        "cold-reset",
        r"Fatal error, cold reset required",
        "QP-PF-003",
        "a device stopped answering: fatal error that needs a cold reset",
        "An uncorrectable error came up that restarting the device does not clear.",
        ("Switch the machine off completely and on again: a reboot keeps the device powered.",),
    ),
    _row(
        "heartbeat-lost",
        r"Heartbeat ERROR: QAT is not responding",
        "QP-PF-003",
        "a device stopped answering: heartbeat lost",
        "Its firmware hung. The driver restarts the device only where auto_reset is on (Linux 6.9).",
        _RESET,
    ),
    _row(
        "reset-failed",
        r"Restart device failed|device restart failed\. Device is unusable",
        "QP-PF-003",
        "the reset of a device failed",
        "It is unusable until its driver is loaded again, or the machine is switched off and on.",
        ("Load the driver again; if that does not help, switch the machine off completely.",),
    ),
    _row(
        "device-errors",
        r"(?:Correctable|Uncorrectable) error detected"
        r"|(?:parity|push pull|data|command) (?:fatal |correctable )?error: 0x",
        "QP-PF-004",
        "a device reported hardware errors",
        "Its error reporting (RAS) found errors in memory or on a bus of the device.",
        ("grep . /sys/bus/pci/devices/*/qat_ras/errors_*",),
        Status.WARN,
    ),
    _row(
        "heartbeat",
        r"HB polling too frequent",
        "QP-LOG-001",
        "two programs ask for the heartbeat at the same time",
        "Asked twice within 200 ms the driver answers -1 although the device is well; the Kubernetes plugin then "
        "calls it unhealthy.",
        ("Let only one program read heartbeat/status.",),
    ),
    _row(
        "vf-interrupts",
        r"Too many ints from VF",
        "QP-LOG-001",
        "a VF sent too many interrupts",
        "The program that has it misbehaves; the PF stopped listening to it.",
        _RESTART,
    ),
    _row(
        "pfvf",
        r"Failed to send response to VF|PF2VF.{0,200}(?:timeout|failed)",
        "QP-LOG-001",
        "a PF and a VF did not understand each other",
        "A message between them got no answer.",
        _RESTART,
    ),
    # -- SR-IOV
    _row(
        "vfs-already",
        r"Already enabled for this device",
        "QP-SRIOV-001",
        "the PF had its VFs already",
        status=Status.OK,
    ),
    _row(
        "vfs-rounded",
        r"VFs requested; only \d+ enabled",
        "QP-SRIOV-001",
        "the driver made all VFs of the PF, whatever number was written",
        status=Status.OK,
    ),
    _row(
        "vfs-busy",
        r"VFs already enabled\. Disable before enabling",
        "QP-SRIOV-001",
        "another number of VFs was written while there were VFs",
        "The write failed with EBUSY: a PF that has VFs takes no other number than 0.",
        ("qatprep explain QP-SRIOV-001",),
        Status.WARN,
    ),
    _row(
        "no-driver",
        r"no driver bound to device; cannot configure SR-IOV",
        "QP-PF-001",
        "VFs were asked of a PF without a driver",
        "The QAT driver did not have the PF then.",
        ("qatprep explain QP-PF-001",),
    ),
    _row(
        "mmio",
        r"not enough MMIO resources for SR-IOV|can't enable \d+ VFs|SR-IOV: IOV BARS not allocated",
        "QP-SRIOV-002",
        "there was no room for VFs on the bus or in the address space",
        "The BIOS left too little.",
        ("In the BIOS setup: SR-IOV, ARI, MMIO above 4 GB; or the kernel argument pci=realloc.",),
    ),
    _row(
        "busy",
        r"Device qat_dev\d+ is busy|: Device busy|device in use",
        "QP-SRIOV-001",
        "kernel users kept a device busy",
        "dm-crypt, IPsec or zswap use QAT through the kernel's crypto interface.",
        ("grep -A9 qat /proc/crypto",),
    ),
    _row(
        "vf-running",
        r"Some VFs are still running",
        "QP-PF-002",
        "programs did not let go of their VFs when a PF restarted",
        "They were told and did not answer within 10 seconds.",
        ("Restart the programs that use QAT.",),
    ),
    _row(
        "held",
        r"blocked until released by user|Device is currently in use, task|Relaying device request to user",
        "QP-SRIOV-001",
        "removing VFs waits for a process that has one open",
        "The write to sriov_numvfs or state blocks until the process closes the VF.",
        ("ls -l /proc/*/fd 2>/dev/null | grep /dev/vfio/",),
    ),
    # -- VFIO and the IOMMU
    _row(
        "iommu-off",
        r"IOMMU should be enabled for SR-IOV",
        "QP-IOMMU-002",
        "the QAT driver misses the IOMMU",
        "It was off when VFs were made.",
        ("qatprep explain QP-IOMMU-002",),
    ),
    _row(
        "vfio-probe",
        r"vfio-pci.{0,200}(?:probe with driver vfio-pci|probe of \S+) failed with error -\d+",
        "QP-VFIO-001",
        "vfio-pci refused a device",
        "Error -22: no IOMMU group, or a device on the denylist.",
        ("qatprep explain QP-VFIO-001",),
    ),
    _row(
        "denylist",
        r"exists in vfio-pci device denylist",
        "QP-DEV-003",
        "vfio-pci refuses a device of generation 2",
        "It is on the kernel's denylist.",
        ("qatprep explain QP-DEV-003",),
    ),
    _row(
        "memlock",
        r"RLIMIT_MEMLOCK \(\d+\) exceeded",
        "QP-MEM-005",
        "a program was not allowed to lock enough memory",
        "VFIO locks the memory that a device works on: 16 MiB for each VF, and what the program uses beside. The "
        "limit of the program (RLIMIT_MEMLOCK) was lower.",
        ("For containers: LimitMEMLOCK= of the container runtime's unit; for a service: of its own unit.",),
    ),
    _row(
        "no-remapping",
        r"No interrupt remapping support",
        "QP-IOMMU-005",
        "the IOMMU has no interrupt remapping",
        "VFIO refuses devices then, unless unsafe interrupts are allowed.",
        ("In the BIOS setup switch on x2APIC and interrupt remapping.",),
    ),
    _row(
        "dma-fault",
        r"DMAR:.{0,200}Request device \[[0-9a-f:.]+\] fault addr",
        "QP-LOG-001",
        "a QAT device accessed memory it was not given",
        "The program that has the VF ended or gave it a wrong address; the IOMMU stopped it.",
        _RESTART,
    ),
    _row(
        "lockdown",
        r"Lockdown: .{0,100}debugfs access is restricted",
        "QP-KRN-003",
        "lockdown closed debugfs",
        "With Secure Boot the kernel lets nobody read debugfs; from 6.0 on services are in sysfs and it is not needed.",
        ("qatprep explain QP-KRN-003",),
        Status.WARN,
    ),
)
