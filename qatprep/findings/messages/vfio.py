"""The kernel log: PCI, SR-IOV, VFIO and the IOMMU; then the CPU; then what is harmless.

Format strings: drivers/pci/{iov,pci,pcie/aer}.c, drivers/vfio/{vfio_main,vfio_iommu_type1}.c,
drivers/vfio/pci/vfio_pci{,_core}.c, drivers/iommu/{iommu,amd/iommu,intel/dmar}.c,
arch/x86/kernel/{cpu/bugs,cpu/common,fpu/init,traps}.c.
"""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Source, rows_of

_RESTART = "Restart the program that uses the VF."

_row = rows_of(Source.KERNEL)
_cpu = rows_of(Source.CPU)

ROWS = (
    # -- PCI
    _row(
        "d3cold",
        r"Unable to change power state from \S{1,20} to D0, device inaccessible|can't change power state from D3cold"
        r"|not ready \d+ms after (?:FLR|bus reset|resume)",
        "QP-LOG-001",
        "a function does not answer on the bus",
        "It was put to sleep and did not wake up, or its PF was reset or failed: every read of it gives all ones.",
        "qatprep doctor --only driver",
        "Remove the function and rescan the bus, or switch the machine off completely and on again.",
    ),
    _row(
        "transactions",
        r"timed out waiting for pending transaction; performing function level reset anyway",
        "QP-LOG-001",
        "a function was reset while it still worked",
        "The program that had the VF ended in the middle of requests, or the device hangs.",
        "qatprep doctor --only driver",
        status=Status.WARN,
    ),
    _row(
        "aer",
        r"PCIe Bus Error: severity=|AER: (?:Un)?correctable error message received|AER: can't recover",
        "QP-LOG-001",
        "the PCI bus reported an error of a function",
        "The link, or what the device sent on it. Corrected errors are no trouble unless there are many.",
        "See all of it: dmesg | grep -A8 'PCIe Bus Error'",
        status=Status.WARN,
    ),
    # -- SR-IOV
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
        "qatprep explain QP-SRIOV-001",
        status=Status.WARN,
    ),
    _row(
        "no-driver",
        r"no driver bound to device; cannot configure SR-IOV|driver does not support SR-IOV configuration via sysfs",
        "QP-PF-001",
        "VFs were asked of a PF without a QAT driver",
        "The QAT driver did not have the PF then.",
        "qatprep explain QP-PF-001",
    ),
    _row(
        "mmio",
        r"not enough MMIO resources for SR-IOV|can't enable \d+ VFs|SR-IOV: IOV BARS not allocated"
        r"|VF BAR\S* \S+: (?:no space for|failed to assign)|VF BAR \d+ \[mem[^\]]{1,80}\]: can't assign",
        "QP-SRIOV-002",
        "there was no room for VFs on the bus or in the address space",
        "The BIOS left too little.",
        "In the BIOS setup: SR-IOV, ARI, MMIO above 4 GB; or the kernel argument pci=realloc.",
    ),
    _row(
        "held",
        r"blocked until released by user|Device is currently in use, task|Relaying device request to user",
        "QP-SRIOV-001",
        "removing VFs waits for a process that has one open",
        "The write to sriov_numvfs or state blocks until the process closes the VF.",
        "ls -l /proc/*/fd 2>/dev/null | grep /dev/vfio/",
    ),
    # -- VFIO and the IOMMU
    _row(
        "iommu-off",
        r"IOMMU should be enabled for SR-IOV",
        "QP-IOMMU-002",
        "the QAT driver misses the IOMMU",
        "It was off when VFs were made.",
        "qatprep explain QP-IOMMU-002",
    ),
    _row(
        "rmrr",
        r"ineligible for IOMMU domain attach due to platform RMRR requirement"
        r"|Firmware has requested this device have a 1:1 IOMMU mapping",
        "QP-VFIO-003",
        "the IOMMU refuses to hand out a function",
        "The BIOS reserved memory for it (RMRR, or a 1:1 mapping): the kernel gives such a function to no process.",
        "In the BIOS setup switch off what shares memory with the device (management agents, legacy USB), or update "
        "the BIOS.",
    ),
    _row(
        "vfio-probe",
        r"vfio-pci.{0,200}(?:probe with driver vfio-pci|probe of \S+) failed with error -\d+",
        "QP-VFIO-001",
        "vfio-pci refused a device",
        "Error -22: no IOMMU group, or a device on the denylist.",
        "qatprep explain QP-VFIO-001",
        leading=True,
    ),
    _row(
        "pf-in-vfio",
        r"Cannot bind to PF with SR-IOV enabled",
        "QP-PF-001",
        "vfio-pci was asked to take a PF that has VFs",
        "A program binds by ids or by driver_override; a PF must stay with the QAT driver.",
        "qatprep explain QP-PF-001",
        status=Status.WARN,
    ),
    _row(
        "denylist",
        r"exists in vfio-pci device denylist",
        "QP-DEV-003",
        "vfio-pci refuses a device of generation 2",
        "It is on the kernel's denylist.",
        "qatprep explain QP-DEV-003",
    ),
    _row(
        "vf-token",
        r"VF token required to access device|Incorrect VF token provided|VF token incorrectly provided",
        "QP-PF-001",
        "VFIO asks for a token before it opens a VF",
        "VFs have tokens only while their PF is bound to vfio-pci: it was taken from the QAT driver. qatlib gives "
        "no token.",
        "Give the PF back to the QAT driver: qatprep explain QP-PF-001",
    ),
    _row(
        "noiommu",
        r"vfio-noiommu device opened by user|Adding kernel taint for vfio-noiommu",
        "QP-IOMMU-005",
        "a function was handed out without an IOMMU",
        "enable_unsafe_noiommu_mode is on: programs with such a VF can write anywhere in memory.",
        "qatprep explain QP-IOMMU-005",
        status=Status.WARN,
    ),
    _row(
        "vfio-ids",
        r"vfio_pci: invalid id string",
        "QP-MOD-004",
        "vfio-pci does not understand its ids",
        "They are 8086:4941, with commas between them and without quotes.",
        "grep -rs vfio-pci /proc/cmdline /etc/modprobe.d",
        status=Status.WARN,
    ),
    _row(
        "memlock",
        r"RLIMIT_MEMLOCK \(\d+\) exceeded",
        "QP-MEM-005",
        "a program was not allowed to lock enough memory",
        "VFIO locks the memory that a device works on: 16 MiB for each VF, and what else the program uses. The "
        "limit of the program (RLIMIT_MEMLOCK) was lower.",
        "For containers: LimitMEMLOCK= of the container runtime's unit; for a service: of its own unit.",
    ),
    _row(
        "no-remapping",
        r"No interrupt remapping support",
        "QP-IOMMU-005",
        "the IOMMU has no interrupt remapping",
        "VFIO refuses devices then, unless unsafe interrupts are allowed.",
        "In the BIOS setup switch on x2APIC and interrupt remapping.",
    ),
    _row(
        "dma-fault",
        r"DMAR:.{0,200}Request device \[[0-9a-f:.]+\].{0,40}fault addr|AMD-Vi: Event logged \[IO_PAGE_FAULT",
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
        "With Secure Boot the kernel forbids reading debugfs; from 6.0 on services are in sysfs and it is not needed.",
        "qatprep explain QP-KRN-003",
        status=Status.WARN,
    ),
    # -- the CPU
    _cpu(
        "gds",
        r"GDS: Microcode update needed! Disabling AVX as mitigation",
        "QP-CPU-002",
        "the kernel switched AVX off to mitigate Gather Data Sampling",
        "gather_data_sampling=force is set, and the microcode that mitigates it better is missing.",
        "Install the CPU's newest microcode (intel-microcode, microcode_ctl), or remove gather_data_sampling=force.",
        "cat /sys/devices/system/cpu/vulnerabilities/gather_data_sampling",
        versions="6.5 and later, and stable kernels of 2023",
    ),
    _cpu(
        "clearcpuid",
        r"clearcpuid: |Clearing CPUID bits:",
        "QP-CPU-003",
        "the kernel was asked to hide CPU features",
        "The kernel argument clearcpuid= names them. It hides them from /proc/cpuinfo, not from programs that ask the "
        "CPU.",
        "Remove clearcpuid= from the kernel arguments, and reboot.",
        status=Status.WARN,
    ),
    _cpu(
        "fxsave",
        r"x86/fpu: x87 FPU will use FXSAVE",
        "QP-CPU-002",
        "the kernel does not use XSAVE: programs have no AVX registers",
        "noxsave or clearcpuid= switched it off, or a hypervisor hides it.",
        "grep -o -e noxsave -e 'clearcpuid=[^ ]*' /proc/cmdline",
    ),
    _cpu(
        "sigill",
        r"traps: .{1,40} trap invalid opcode .{1,120} in (?:envoy|libcrypto_mb|libqat|python|qatprep)",
        "QP-CPU-001",
        "a program executed an instruction that this CPU does not have",
        "It was compiled for another CPU, or crypto_mb was used without the instruction sets it needs.",
        "qatprep doctor --profile cryptomb",
    ),
)

HARMLESS = (
    _row(
        "started",
        r"qat_dev\d+ started \d+ acceleration engines",
        "QP-PF-002",
        "a device started",
        status=Status.OK,
    ),
    _row(
        "device-runs",
        r"qat_dev\d+ stopped \d+ acceleration engines|Device qat_dev\d+ already (?:up|down)"
        r"|(?:Resetting|Starting|Stopping) device qat_dev|feature not supported by FW|Spurious PFVF interrupt"
        r"|Device reset completed successfully"
        r"|Could not get (?:frequency|capabilities)|QAT: Stopping all acceleration devices",
        "QP-PF-002",
        "the driver starts and stops a device",
        status=Status.OK,
    ),
    _row(
        "function-found",
        r"\[8086:[0-9a-f]{4}\] type [0-9a-f]{2} class|(?:Adding to|Removing from) iommu group|enabling device \("
        r"|(?:VF\(n\) )?BAR \d+[: ]|: reg 0x[0-9a-f]{2}|PME# (?:supported|disabled)|enabling bus mastering"
        r"|Max Payload Size set to|supports D1|Enabled with IDT|Using PCI Express|save config |restoring config"
        r"|saving config|VF BAR \d+[: ]|Setting identity map for device|Set context mapping",
        "QP-DEV-001",
        "the kernel found a function and gave it its place",
        status=Status.OK,
    ),
    _row(
        "vfio-opens",
        r"vfio-pci \S+: reset(?:ting| done)|vfio_pci: add \[|VFIO - User Level meta-driver",
        "QP-VFIO-001",
        "VFIO opens and resets a function",
        status=Status.OK,
    ),
    _row(
        "fault-follows",
        r"DRHD: handling fault status reg",
        "QP-LOG-001",
        "the IOMMU reports a fault: the line after says whose",
        status=Status.OK,
    ),
    _row(
        "boot",
        r"command line: |Linux version \d|(?:direct-)?loading firmware|systemd\[1\]: (?:Start|Finish|Stop|Reach|Listen"
        r"|Mount|Load|Queue|Set up|Created)|systemd-modules-load\[\d+\]: Inserted|Inserted module '",
        "QP-LOG-001",
        "the machine boots",
        status=Status.OK,
    ),
)
