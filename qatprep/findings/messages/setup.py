"""What sets QAT devices up next to qatprep: qatlib's qat_init.sh, the device plugin's init container, shells, tools.

Sources: qatlib quickassist/utilities/service/qat_init.sh.in; intel-device-plugins-for-kubernetes demo/qat-init.sh;
DPDK usertools/dpdk-devbind.py; driverctl's script; the error texts of echo in bash and dash.
"""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Source, rows_of

_script = rows_of(Source.QAT_INIT)
_shell = rows_of(Source.SHELL)
_dpdk = rows_of(Source.DPDK)
_driverctl = rows_of(Source.DRIVERCTL)

ROWS = (
    # -- qat_init.sh and the init container
    _script(
        "script-services",
        r"Can't write to cfg_services file: .{1,80} is not supported",
        "QP-SVC-001",
        "the kernel did not take the services",
        "The device's family does not offer them, this kernel does not know them yet, or the PF was up.",
        "qatprep explain QP-SVC-001",
    ),
    _script(
        "script-no-services",
        r"Cannot access /sys/\S{1,200}/qat/cfg_services",
        "QP-SVC-002",
        "the services of a PF are not in sysfs",
        "The QAT driver does not have the PF, or the kernel is before 6.0.",
        "qatprep doctor --only driver,services",
    ),
    _script(
        "script-no-driver",
        r"QAT driver is still not present after",
        "QP-MOD-003",
        "qat_init.sh waited for the QAT driver, which did not come",
        "The module is not loaded, not part of this kernel, forbidden, or its firmware is missing. Releases before "
        "25.08 also wait without success where the modules of two families are loaded.",
        "qatprep doctor --profile qat",
    ),
    _script(
        "script-numvfs",
        r"sriov_numvfs is not found or not writable",
        "QP-PF-001",
        "the init container cannot make VFs",
        "The QAT driver does not have the PF; or the container may not write to sysfs: it must be privileged.",
        "qatprep doctor --only driver",
    ),
    _script(
        "script-no-vfio",
        r"vfio-pci driver needed by QAT VFs must be loaded",
        "QP-MOD-004",
        "vfio-pci is not loaded",
        "The init container cannot load it; the node must.",
        "modprobe vfio-pci",
        "qatprep explain QP-MOD-004",
    ),
    _script(
        "script-echo",
        r"qat-init\.sh: line \d+: echo: write error: Invalid argument",
        "QP-SVC-001",
        "the init container wrote services that the kernel did not take",
        "The device's family does not offer them, this kernel does not know them yet, or the PF was up. The script "
        "goes on, and names the services that the PF had before.",
        "qatprep explain QP-SVC-001",
    ),
    _script(
        "script-configured",
        r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] already configured",
        "QP-SVC-001",
        "the init container left a PF as it was",
        "It had VFs already: the script changes neither their number nor the services then.",
        "qatprep doctor --only services,binding",
        status=Status.WARN,
    ),
    _script(
        "script-services-now",
        r"configured with services: \w[\w;]{0,40}",
        "QP-SVC-001",
        "the script says which services the PF has, which need not be those it wrote",
        status=Status.OK,
    ),
    # -- a shell
    _shell(
        "dash-write",
        r"\d{1,5}: echo: (?:echo: )?I/O error",
        "QP-LOG-002",
        "a write into sysfs failed",
        "dash says I/O error whatever the kernel answered. In qat_init.sh it is the line that writes cfg_services: the "
        "device's family does not offer these services, or this kernel does not know them.",
        "qatprep doctor --only services",
        "dmesg | tail",
    ),
    _shell(
        "write-enodev",
        r"(?:write error|/sys/\S{1,200}): No such device",
        "QP-VFIO-001",
        "a driver does not take the device that was written to bind",
        "ENODEV: no such function, or the driver does not know its ids and driver_override does not name the driver; "
        "for a VF also: its services' driver is not loaded.",
        "qatprep explain QP-VFIO-001",
    ),
    _shell(
        "write-erange",
        r"(?:write error|sriov_numvfs): Numerical result out of range",
        "QP-SRIOV-001",
        "more VFs were asked for than the PF has",
        "sriov_totalvfs is the most.",
        "cat /sys/bus/pci/devices/<PF>/sriov_totalvfs",
    ),
    _shell(
        "write-ebusy",
        r"(?:write error|/sys/\S{1,200}): Device or resource busy",
        "QP-SRIOV-001",
        "a device was busy when it was written to",
        "sriov_numvfs: the PF has VFs (write 0 first), or the kernel's crypto interface uses it. bind: another driver "
        "has the device.",
        "qatprep doctor --only sr-iov,binding",
    ),
    _shell(
        "write-enomem",
        r"(?:write error|sriov_numvfs): Cannot allocate memory",
        "QP-SRIOV-002",
        "there was no room for the VFs",
        "ENOMEM of sriov_numvfs: the BIOS left too little address space or bus numbers.",
        "qatprep explain QP-SRIOV-002",
    ),
    _shell(
        "write-einval",
        r"(?<!: line \d: echo: )(?<!: line \d\d: echo: )(?<!: line \d\d\d: echo: )write error: Invalid argument"
        r"|/sys/\S{1,200}: Invalid argument",
        "QP-LOG-002",
        "the kernel refused a value written into sysfs",
        "cfg_services: services that the device or the kernel does not offer, or the PF is up. sriov_numvfs: no IOMMU. "
        "bind: no IOMMU group.",
        "qatprep doctor --only iommu,services",
    ),
    # -- dpdk-devbind
    _dpdk(
        "devbind-bind",
        r"Error: bind failed for \S{1,20} - Cannot (?:bind to driver|open)",
        "QP-VFIO-001",
        "dpdk-devbind could not bind a device",
        "[Errno 22]: no IOMMU group, or the device is on vfio-pci's denylist. [Errno 19]: the driver does not take it.",
        "qatprep doctor --only iommu,binding",
    ),
    _dpdk(
        "devbind-unbind",
        r"Error: unbind failed for \S{1,20} - Cannot open",
        "QP-VFIO-002",
        "dpdk-devbind failed while it took a failed bind back",
        "After a bind that failed it unbinds from a driver without a name. The bind is what failed; driver_override is "
        "left as it was set.",
        "qatprep doctor --only binding",
    ),
    _dpdk(
        "devbind-iommu",
        r"IOMMU support is disabled, use --noiommu-mode",
        "QP-IOMMU-002",
        "dpdk-devbind sees no IOMMU",
        "It is off in the BIOS or the kernel. Do not use --noiommu-mode: programs could write anywhere in memory.",
        "qatprep doctor --only iommu",
    ),
    _dpdk(
        "devbind-module",
        r"Error: Driver '\S{1,40}' is not loaded",
        "QP-MOD-004",
        "the driver that dpdk-devbind is to bind to is not loaded",
        "It loads none.",
        "modprobe vfio-pci",
    ),
    # -- driverctl
    _driverctl(
        "driverctl-bind",
        r"driverctl: failed to bind device",
        "QP-VFIO-001",
        "driverctl could not bind a device",
        "driver_override names the driver now, but the driver did not take the device: no IOMMU group, or vfio-pci's "
        "denylist. The override is not stored for the next boot.",
        "driverctl list-overrides",
        "qatprep doctor --only binding",
    ),
    _driverctl(
        "driverctl-other",
        r"driverctl: (?:no such (?:device|module)|device does not support driver override|unbinding \S{1,20} failed)",
        "QP-VFIO-002",
        "driverctl could not set an override",
        "The device or the driver does not exist now: VFs exist only once they were made. An override for a VF is lost "
        "when the VF is made again.",
        "driverctl list-overrides",
    ),
)
