"""qatlib, qatmgr, and what else opens a VF by its device node.

Sources: qatlib 24.02 to 26.08, quickassist/lookaside/access_layer/src/qat_direct/vfio (adf_io/vfio since 25.08),
quickassist/utilities/{libusdm_drv,qat_mgr}; QEMU hw/vfio; docs/mesh.md names the others.
"""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Source, rows_of

_LIMIT = (
    "Raise LimitMEMLOCK of the unit that runs containers, restart it, recreate the pod.",
    "qatprep explain QP-MEM-001",
)
_HUGE_PAGES = "grep -i huge /proc/meminfo"

_row = rows_of(Source.QATLIB)
_mgr = rows_of(Source.QATMGR)
_qemu = rows_of(Source.QEMU)

ROWS = (
    # -- opening the VF
    _row(
        "device-node-missing",
        r"/dev/vfio/[0-9]+['\": ].{0,40}no such file or directory|open(?:ing)? /dev/vfio/\S+.{0,20}no such file",
        "QP-K8S-010",
        "a VF's device node does not exist",
        "No VF was given to the container, or the IOMMU group's number has changed (it may at every boot).",
        "In the pod: resources.limits with the node's exact resource name. With Docker: --device, once per node.",
    ),
    _row(
        "no-device",
        r"No devices? found|no QAT device(?! found)|QAT_HW device not available|no hardware, switch to SW",
        "QP-K8S-010",
        "qatlib found no device",
        "The container has no VF, or one process has taken all: without QAT_POLICY=1 the first takes one of each PF.",
        "Set resources.limits, and QAT_POLICY=1 in every container.",
    ),
    _row(
        "device-node-open",
        r"Open (?:vfio file|failed on) /dev/vfio/\S+|Failed to open the VFIO group|Cannot open vfio device",
        "QP-K8S-011",
        "qatlib could not open a VF's device node",
        "Its owner or mode, a container that was not given the device, or another process that has it open: the error "
        "before or after it says which.",
        "qatprep explain QP-K8S-011",
    ),
    _row(
        "device-node-denied",
        r"(?:open|access)\w* (?:vfio file )?/dev/vfio/\S+.{0,60}(?:permission denied|EACCES|errno=13)"
        r"|/dev/vfio/\S+: permission denied",
        "QP-K8S-011",
        "the container's user may not open its VF",
        "EACCES: the device node in the container belongs to root.",
        "Switch on device ownership in the runtime; set runAsUser and runAsGroup in the pod, both not 0.",
        "qatprep explain QP-RT-001",
    ),
    _row(
        "device-node-cgroup",
        r"/dev/vfio/\S+ ?.{0,40}(?:operation not permitted|EPERM|errno=1\b)",
        "QP-K8S-010",
        "the container was not given the VF that it opens",
        "EPERM, not EACCES: the device cgroup forbids it, whatever owner and mode say. A volume with /dev/vfio shows "
        "the node and does not allow it.",
        "Set resources.limits instead of a volume; with Docker or Podman: --device, once per node.",
    ),
    _row(
        "device-node-busy",
        r"/dev/vfio/\S+ ?.{0,40}(?:device or resource busy|EBUSY|errno=16)",
        "QP-LOG-002",
        "another process has the VF",
        "A VFIO group can be opened once: by another container, qatlib's own service, or a virtual machine.",
        "ls -l /proc/*/fd 2>/dev/null | grep /dev/vfio/",
    ),
    _row(
        "vfio-lock",
        r"Failed to (?:open|acquire) /dev/vfio (?:for locking|lock)",
        "QP-LOG-002",
        "qatlib could not lock /dev/vfio",
        "It takes a lock on the directory; the container has none, or may not read it.",
        "Give the VFs by resources.limits or --device, which make the directory.",
        versions="26.08 and later",
    ),
    # -- memory
    _row(
        "dma-map-memlock",
        r"VFIO_IOMMU_MAP_DMA failed.{0,80}errno[= ]12|VFIO_IOMMU_MAP_DMA.{0,40}(?:Cannot allocate memory|ENOMEM)",
        "QP-MEM-005",
        "mapping memory for the VF failed with ENOMEM",
        "The memlock limit is too low. IPC_LOCK does not help a process that is not root.",
        *_LIMIT,
    ),
    _row(
        "dma-map-full",
        r"VFIO_(?:IOMMU_)?MAP_DMA failed.{0,80}(?:errno[= ]28|No space left on device)"
        r"|possibly running out of DMA mappings",
        "QP-LOG-002",
        "the process has used up its DMA mappings",
        "ENOSPC: vfio_iommu_type1 allows dma_entry_limit mappings for each container of VFIO, 65535 unless changed.",
        "cat /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
        "echo 524288 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
    ),
    _row(
        "no-iommu",
        r"VFIO_IOMMU_MAP_DMA failed.{0,80}errno[= ](?!12\b|28\b)\d+|VFIO_SET_IOMMU (?:ioctl )?failed|No IOMMU"
        r"|IOMMU is not (?:enabled|supported)|VFIO_GROUP_SET_CONTAINER ioctl failed",
        "QP-IOMMU-002",
        "VFIO cannot use the IOMMU",
        "The IOMMU is off in the BIOS or the kernel, or another driver has functions of the same group.",
        "qatprep doctor --only iommu",
    ),
    _row(
        "ringbuf",
        r"unable to get ringbuf ?\(v:|adf_init_ring failed|Unable to allocate contiguous chunk of memory",
        "QP-MEM-005",
        "qatlib got no memory for its rings and pools",
        "The memlock limit is too low; or huge pages: qatlib 25.08 to 26.02 uses them as soon as the machine has any, "
        "and fails where they are used up or not allowed (QAT20-42018).",
        *_LIMIT,
        _HUGE_PAGES,
        "With huge pages: update qatlib to 26.08.",
    ),
    _row(
        "huge-pages",
        r"No 2M huge pages configured|Hugepages are (?:not configured|needed)|(?:2M )?Huge pages (?:exhausted"
        r"|configured but consumed)|huge page memory allocation failed|for hpg_fd failed",
        "QP-LOG-002",
        "qatlib got no huge pages",
        "QAT_MAX_2M_HPG_PER_PROCESS asks for them, or the release uses them when there are any, and none is free.",
        _HUGE_PAGES,
        "Unset QAT_MAX_2M_HPG_PER_PROCESS: qatlib does not need huge pages.",
    ),
    # -- the group
    _row(
        "group-not-viable",
        r"group \d+ is not viable|Group is not viable",
        "QP-VFIO-003",
        "the VF's IOMMU group is not viable",
        "Another driver has a function of the same group.",
        "qatprep doctor --only binding",
    ),
    _qemu(
        "address-spaces",
        r"group \d+ used in multiple address spaces",
        "QP-VFIO-003",
        "functions of one IOMMU group were given to a virtual machine that has an IOMMU of its own",
        "QEMU puts each function into an address space of its own then, which the real IOMMU cannot do within a group.",
        "Give the machine one function of the group, or put them behind a pcie-pci-bridge, or leave its IOMMU out.",
    ),
    # -- instances
    _row(
        "no-instance",
        r"Failed to start QAT\.(?!\w)|Failed to initialise all service instances|No (?:asym|crypto|cy) instances"
        r"|There are no crypto instances",
        "QP-K8S-003",
        "QAT has no instance that can sign",
        "The VF is of a PF that offers only dc or sym; or an instance did not start, for example for too little "
        "memlock.",
        "Ask for a resource with cy or asym.",
        "qatprep doctor --only services",
    ),
    _row(
        "no-compression",
        r"There are no compression instances",
        "QP-K8S-003",
        "the VFs offer no compression, as they should for TLS",
        status=Status.OK,
    ),
    _row(
        "start-failed-in-program",
        r"userStart?MultiProcess\(-\d|icp_sal_userStart\w* failed|userProcessToStart: Failed to start"
        r"|Failed to start SSL|do_userStart\(\) - : Failed|Failed to (?:initialise|start|shutdown) Subservice"
        r"|Sal Ctrl failed to start in given time|SalCtrl_\w+\(\) - : Private data is NULL",
        "QP-LOG-002",
        "a program could not start qatlib",
        "Lines before it say why: no VF, no permission, too little memlock.",
        "qatprep smoke --provider qat",
        leading=True,
    ),
    # -- the PF
    _row(
        "pf-incompatible",
        r"Incompatible PF driver detected|Comms incompatible between VF and PF|Error in PF2VF communication"
        r"|PFVF expecting Version Response",
        "QP-LOG-002",
        "the driver of the PF and qatlib do not understand each other",
        "In a virtual machine: the host's driver is too old or the out-of-tree one. Else the PF did not answer: it was "
        "restarting, or hangs.",
        "qatprep doctor --only driver",
        "Update the kernel that has the PF, or qatlib.",
    ),
    _row(
        "pf-answer",
        r"Failed to get \w{1,40} response|ACK not received from remote|PF has not support for PFVF",
        "QP-LOG-002",
        "the PF left a question of qatlib without an answer",
        "qatlib continues without it, and takes the PF for an older one. Alone it is harmless.",
        "qatprep doctor --only driver",
        status=Status.WARN,
    ),
    _row(
        "services-unknown",
        r"Failed to get enabled services|Cannot query device (?:capabilities|ring to service map)"
        r"|Detected unknown service",
        "QP-KRN-005",
        "qatlib could not ask the PF for its services",
        "On Linux 6.1 before 6.1.149, qatlib 24.09 to 25.08 gets a wrong answer (QATE-106085); else the PF did not "
        "answer.",
        "Update the kernel, then qatlib.",
    ),
    # -- how many VFs a process takes
    _row(
        "too-few",
        r"Insufficient devices: requested \d+|Policy \d+ is (?:greater than|incompatible with) the number of",
        "QP-K8S-010",
        "a process asks for more VFs than it has",
        "QAT_POLICY (POLICY of qatmgr) is the number of VFs that each process takes.",
        "Set QAT_POLICY=1, or give the container more VFs.",
    ),
    _row(
        "policy-zero",
        r"QAT_POLICY=0 is not supported in standalone mode",
        "QP-LOG-002",
        "QAT_POLICY=0 is not possible without qatmgr",
        "0 means a VF of each PF, which only qatmgr can share out. In a container there is none.",
        "Set QAT_POLICY=1, or leave it out.",
        versions="26.02 and later",
    ),
    # -- qatmgr
    _mgr(
        "qatmgr-no-device",
        r"No QAT device found|get_dev_list failed",
        "QP-VFIO-001",
        "qatmgr found no VF",
        "No VF is bound to vfio-pci, or qatmgr may not open their device nodes.",
        "qatprep doctor --only binding",
    ),
    _mgr(
        "qatmgr-other",
        r"received response from incompatible qatmgr",
        "QP-LOG-002",
        "qatmgr is of another release than the library",
        "qatlib was updated while qatmgr ran.",
        "Restart qatlib's service (this ends what uses QAT through it): systemctl restart qat",
    ),
    _mgr(
        "qatmgr-runs",
        r"Another qatmgr may be running|Failed qat_mgr_vfio_build_data",
        "QP-LOG-002",
        "qatmgr did not start",
        "Another one runs already, or it could not read the devices: lines before it say which.",
        "systemctl status qat",
        leading=True,
    ),
)
