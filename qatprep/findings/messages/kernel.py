"""The kernel log: the QAT drivers and the firmware loader.

Format strings and levels: drivers/crypto/intel/qat (drivers/crypto/qat before 6.4) of Linux 6.1, 6.12 and 7.2,
drivers/base/firmware_loader/main.c, drivers/base/dd.c.
"""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Source, rows_of
from qatprep.hardware import DRIVERS, SUPPORTED

_DRIVERS = "|".join(DRIVERS)
_NAMES = " ".join(f"-e {name}" for name in dict.fromkeys(family.driver for family in SUPPORTED))
_LOOK = f"See the lines before it: dmesg | grep -i -e qat {_NAMES}"
_RESTART = "Restart the program that uses the VF."
_COLD = "Switch the machine off completely and on again."

_row = rows_of(Source.KERNEL)

ROWS = (
    # -- the driver starts a device: adf_accel_engine.c, qat_uclo.c, qat_hal.c, adf_init.c, adf_drv.c
    _row(
        "firmware-missing",
        r"Failed to load (?:MMP|UOF) firmware (?:intel/qat/)?qat_"
        r"|Direct firmware load for (?:intel/qat/)?qat_\S+ failed",
        "QP-FW-001",
        "the driver did not find its firmware",
        "The files were not there when the driver asked for them: not installed, or not in the initramfs.",
        "qatprep explain QP-FW-001",
    ),
    _row(
        "firmware-suffix",
        r"firmware: failed to load (?:intel/qat/)?qat_\S+ \(",
        "QP-FW-001",
        "a firmware file was not found under one of its names",
        "The kernel tries the plain file, then .zst and .xz, and reports each that is missing: no proof of a failure.",
        "qatprep explain QP-FW-001",
        status=Status.WARN,
        versions="Debian's kernels",
    ),
    _row(
        "firmware-rejected",
        r"authentication error \(FCU_STATUS|Invalid (?:SUOF |UOF )?header 0x|Failed to map FW|Invalid UOF image"
        r"|Failed to load (?:MMP|UOF)$|Failed to (?:map|load) UOF firmware$|Invalid mask for UOF image"
        r"|incompatible (?:product type|device majver)|Invalid \S{1,20} firmware image|incorrect [SM]U?OF checksum"
        r"|bad S?[UM]OF version|UOF incompatible|is not found inside MOF|MMP size is too large"
        r"|broadcast load failed|firmware load failed timeout|start error \(FCU_STS",
        "QP-FW-001",
        "the device rejected its firmware",
        "The files are of another driver, too old, or damaged.",
        "Install the distribution's firmware package again, then load the driver again.",
    ),
    _row(
        "firmware-svn",
        r"Security Version Number failure|Invalid SVN check status",
        "QP-FW-001",
        "the firmware is below the device's security version",
        "The device was set to accept newer firmware only.",
        "Install newer firmware, then load the driver again.",
        versions="7.1 and later",
    ),
    _row(
        "firmware-gave-up",
        r"Failed to load acceleration FW",
        "QP-FW-001",
        "the firmware of a device was not loaded",
        "The driver did not find it, or the device rejected it: the lines before say which.",
        _LOOK,
        leading=True,
    ),
    _row(
        "engines",
        r"AE\d{1,2} is inactive|Failed to (?:init|reset) the AEs|Failed to initialise Acceleration Engine"
        r"|failed to get device out of reset|AE Start Failed|failed to stop AE|qat_hal_(?:chip_init|clr_reset) error",
        "QP-PF-001",
        "the engines of a device do not start",
        "The device does not come out of its reset: it hangs since an earlier failure, or the BIOS left it off.",
        _COLD,
        "Then update the BIOS.",
    ),
    _row(
        "init-message",
        r"Failed to send (?:init message|admin msg|KPT init)|Failed initialize admin comms|Cannot get dc capabilities",
        "QP-PF-001",
        "the firmware of a device does not answer the driver",
        "The driver's first message to the firmware got no answer: the device cannot reach the memory of the message "
        "(IOMMU, or a PF passed into a VM), its firmware is of another release than the driver, or it hangs.",
        "qatprep doctor --only iommu",
        "Install the distribution's newest firmware package, then switch the machine off completely and on again.",
    ),
    _row(
        "interrupts",
        r"Failed to allocate (?:\d+ MSI-X vectors|interrupts|IRQ \d+)|Failed to enable MSI interrupt",
        "QP-PF-001",
        "a device got no interrupts",
        "The machine has no free interrupt vectors, or interrupt remapping is off.",
        "In the BIOS setup switch on x2APIC and interrupt remapping.",
    ),
    _row(
        "power",
        r"Failed to power up the device|Failed to configure Power Management|Failed to query power-management info",
        "QP-PF-001",
        "a device could not be powered up",
        "Its power management, or the BIOS.",
        _COLD,
    ),
    _row(
        "numa",
        r"Invalid NUMA configuration",
        "QP-PF-001",
        "the BIOS does not report a device's NUMA node",
        "The driver refuses such a device on a machine of several nodes.",
        "Update the BIOS.",
    ),
    _row(
        "fused",
        r"No acceleration units (?:were )?found",
        "QP-PF-001",
        "a device has no acceleration units",
        "This CPU is sold without QAT.",
        "Use another machine, or CryptoMB.",
    ),
    _row(
        "probe-failed",
        rf"(?:{_DRIVERS})\b.{{0,200}}probe.{{0,200}}failed with error -\d+"
        rf"|(?:{_DRIVERS}): probe of .{{0,200}} failed with error -\d+",
        "QP-PF-001",
        "the driver could not start a device",
        "The lines before it say why.",
        _LOOK,
        leading=True,
    ),
    _row(
        "start-failed",
        r"Failed to (?:init|start) (?:device )?qat_dev",
        "QP-PF-002",
        "a device did not start",
        "The driver brought it down again.",
        _LOOK,
        leading=True,
    ),
    _row(
        "driver-failed",
        r"QAT: Driver (?:initialization|removal) failed",
        "QP-MOD-003",
        "a QAT module could not be loaded",
        "Lines before it say why.",
        _LOOK,
        leading=True,
    ),
    _row(
        "driver-services",
        r"Failed to (?:initialise|start|restart|shutdown) service \S|Failed to add configuration for (?:crypto|comp)"
        r"|Failed to configure QAT driver|Failed to register (?:crypto|compression) algs",
        "QP-PF-002",
        "a part of the driver did not start",
        "The kernel's own use of the device could not be set up.",
        _LOOK,
    ),
    _row(
        "order",
        r"must be down (?:to reconfigure the service|to set pm_idle_enabled|before (?:enabling|setting))",
        "QP-SVC-001",
        "services were written while the PF was up",
        "The write failed with EINVAL: the services of a PF can be changed only while it is down.",
        "qatprep explain QP-SVC-001",
        status=Status.WARN,
    ),
    # -- the out-of-tree stack
    _row(
        "out-of-tree",
        r"Invalid value of ServicesEnabled param|ServicesEnabled param not found"
        r"|disagrees about version of symbol",
        "QP-STACK-001",
        "modules of two QAT drivers were mixed",
        "A module of the out-of-tree stack met the kernel's, or the other way round.",
        "qatprep explain QP-STACK-001",
    ),
    _row(
        "foreign-module",
        r"(?:qat\w*|usdm_drv): loading out-of-tree module|(?:qat\w*|usdm_drv): module verification failed"
        r"|(?:qat\w*|usdm_drv): Unknown symbol",
        "QP-STACK-001",
        "a QAT module was loaded that is not part of this kernel",
        "It was compiled on its own: Intel's out-of-tree stack, or a module of another kernel.",
        "qatprep explain QP-STACK-001",
        status=Status.WARN,
    ),
    _row(
        "pf-iommu",
        r"Cannot use PF with IOMMU enabled",
        "QP-STACK-001",
        "a driver refuses the PF because the IOMMU is on",
        "This line is from the out-of-tree stack; the kernel's own driver and qatlib need the IOMMU. Do not switch it "
        "off.",
        "qatprep explain QP-STACK-001",
        versions="the out-of-tree driver",
    ),
    # -- a device that runs: adf_isr.c, adf_heartbeat.c, adf_aer.c, adf_gen4_ras.c, adf_gen6_ras.c
    _row(
        "hang",
        r"Fatal error, reset required",
        "QP-PF-003",
        "a device stopped answering: fatal error",
        "An uncorrectable error came up. The driver restarts the device only where auto_reset is on (Linux 6.9).",
        "qatprep device reset BDF",
    ),
    _row(
        "cold-reset",
        r"Fatal error, cold reset required",
        "QP-PF-003",
        "a device stopped answering: fatal error that needs a cold reset",
        "An uncorrectable error came up that restarting the device does not clear.",
        "Switch the machine off completely and on again: a reboot keeps the device powered.",
    ),
    _row(
        "heartbeat-lost",
        r"Heartbeat ERROR: QAT is not responding",
        "QP-PF-003",
        "a device stopped answering: heartbeat lost",
        "Its firmware hung. The driver restarts the device only where auto_reset is on (Linux 6.9).",
        "qatprep device reset BDF",
    ),
    _row(
        "ras-correctable",
        r"(?<!un)correctable (?:error|SER_SSMSH_ERR)|ARAM correctable error|errsou\d still set",
        "QP-PF-004",
        "a device reported hardware errors and corrected them",
        "One is harmless; many, or a growing number, are not.",
        "grep . /sys/bus/pci/devices/<PF>/qat_ras/errors_*",
        status=Status.WARN,
        device=True,
        versions="6.7 and later",
    ),
    _row(
        "ras",
        r"uncorrectable error|parity error|fatal error (?:on|for|in|ATH_CPH|CPR_XLT|DCPR_UCS|PKE|WAT_WCP)\b"
        r"|SPP (?:pull|push) data err|fatal push or pull data error|hang error encountered|fatal SER_SSMSH_ERR"
        r"|CPP_CFC_ERR:|ATU detected fault|DEVHALT due to|push pull error|parity fatal error"
        r"|Violation of PCIe TC VC mapping|Error in rate limiting block|multiple uncorrectable errors"
        r"|Error (?:due to response failure|status for a address translation)|parity uncorrectable error",
        "QP-PF-004",
        "a device reported hardware errors that it could not correct",
        "Memory, a slice or the bus of the device failed, or a program gave it an address it may not use.",
        "grep . /sys/bus/pci/devices/<PF>/qat_ras/errors_*",
        "Bring the PF down and up; when it comes again, have the CPU checked.",
        device=True,
        versions="6.7 and later",
    ),
    _row(
        "reset-failed",
        r"Restart device failed|device restart failed\. Device is unusable|Reset device timeout expired"
        r"|Failed to shutdown (?:Accel Engine|device)",
        "QP-PF-003",
        "the reset of a device failed",
        "It is unusable until its driver is loaded again, or the machine is switched off and on.",
        "Load the driver again; if that does not help, switch the machine off completely.",
    ),
    _row(
        "heartbeat",
        r"HB polling too frequent",
        "QP-LOG-001",
        "two programs ask for the heartbeat at the same time",
        "Asked twice within 200 ms the driver answers -1 although the device is well; the Kubernetes plugin then "
        "calls it unhealthy.",
        "Let only one program read heartbeat/status.",
        versions="6.6 and later",
    ),
    _row(
        "ring-reset",
        r"ring pair reset failed|Bank drain failed|Invalid bank number \(0x|coalesced timer for bank",
        "QP-LOG-001",
        "a ring of a device did not empty",
        "The device did not finish what the ring held within its time: a program ended in the middle, or the device "
        "hangs.",
        _RESTART,
        "qatprep doctor --only driver",
    ),
    _row(
        "firmware-message",
        r"Failed to send host msg to FW|adf_admin is not available|Failed to get fw timestamp"
        r"|Failed to synchronize qat timer",
        "QP-LOG-001",
        "a message of the driver to the firmware failed",
        "The firmware did not take it. Once is harmless; repeatedly means that the device hangs.",
        "qatprep doctor --only driver",
        status=Status.WARN,
    ),
    _row(
        "counters",
        r"Failed to create QAT fw_counters file table|invalid value returned by FW",
        "QP-LOG-001",
        "a device's counters could not be read",
        "They were read in debugfs while the device was stopped, restarting, or did not answer.",
        "qatprep doctor --only driver",
        status=Status.WARN,
        versions="6.6 and later",
    ),
    # -- a PF and its VFs: adf_pfvf_*.c, adf_sriov.c, adf_sysfs.c
    _row(
        "vf-interrupts",
        r"Too many ints from VF",
        "QP-LOG-001",
        "a VF sent too many interrupts",
        "The program that has it misbehaves; the PF stopped listening to it.",
        _RESTART,
    ),
    _row(
        "vf-silent",
        r"Failed to send (?:restarting|restarted|fatal error) msg to VF",
        "QP-LOG-001",
        "a program did not take its PF's message that the PF restarts or failed",
        "The program that has the VF does not listen to the PF; most do not.",
        _RESTART,
        status=Status.WARN,
        versions="6.7 and later",
    ),
    _row(
        "pfvf",
        r"Failed to send response to VF|PF2VF.{0,200}(?:timeout|failed)|PFVF response message timeout"
        r"|Collision on notification|Invalid (?:BlockMsg type|PFVF msg)|PFVF message value 0x",
        "QP-LOG-001",
        "a PF and a VF did not understand each other",
        "A message between them got no answer.",
        _RESTART,
    ),
    _row(
        "busy",
        r"Device qat_dev\d+ is busy|: Device busy|device in use|Cannot disable SR-IOV, device in reset",
        "QP-SRIOV-001",
        "kernel users kept a device busy",
        "dm-crypt, IPsec or zswap use QAT through the kernel's crypto interface.",
        "grep -A9 qat /proc/crypto",
    ),
    _row(
        "vf-running",
        r"Some VFs are still running",
        "QP-PF-002",
        "programs did not let go of their VFs when a PF restarted",
        "They were notified and did not answer within 10 seconds.",
        "Restart the programs that use QAT.",
    ),
    _row(
        "not-registered",
        r"Failed to find accel_dev",
        "QP-PF-001",
        "VFs were asked of a PF that its driver does not know",
        "The write failed with EFAULT: the driver did not finish starting the device.",
        "qatprep explain QP-PF-001",
    ),
    _row(
        "vfs-already",
        r"Already enabled for this device",
        "QP-SRIOV-001",
        "the PF had its VFs already",
        status=Status.OK,
        versions="before 6.12",
    ),
)
