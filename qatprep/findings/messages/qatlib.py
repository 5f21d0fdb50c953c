"""qatlib, and what else opens a VF by its device node: its sources are named in docs/mesh.md."""

from __future__ import annotations

from qatprep.findings.messages.row import Message, Source

_LIMIT = (
    "Raise LimitMEMLOCK of the unit that runs containers, restart it, recreate the pod.",
    "qatprep explain QP-MEM-001",
)

ROWS = (
    Message(
        "device-node-missing",
        Source.QATLIB,
        r"/dev/vfio/[0-9]+['\": ].{0,40}no such file or directory|open(?:ing)? /dev/vfio/\S+.{0,20}no such file",
        "QP-K8S-010",
        "a VF's device node does not exist",
        "No VF was given to the container, or the IOMMU group's number has changed (it may at every boot).",
        ("In the pod: resources.limits with the node's exact resource name. With Docker: --device, once per node.",),
    ),
    Message(
        "no-device",
        Source.QATLIB,
        r"No device found|no QAT device|QAT_HW device not available",
        "QP-K8S-010",
        "qatlib found no device",
        "The container has no VF, or one process has taken all: without QAT_POLICY=1 the first takes one of each PF.",
        ("Set resources.limits, and QAT_POLICY=1 in every container.",),
    ),
    Message(
        "device-node-denied",
        Source.QATLIB,
        r"(?:open|access)\w* (?:vfio file )?/dev/vfio/\S+.{0,60}(?:permission denied|EACCES|errno=13)"
        r"|/dev/vfio/\S+: permission denied|Open vfio file /dev/vfio/\S+ failed",
        "QP-K8S-011",
        "the container's user may not open its VF",
        "The device node in the container belongs to root.",
        (
            "Switch on device ownership in the runtime; set runAsUser and runAsGroup in the pod, both not 0.",
            "qatprep explain QP-RT-001",
        ),
    ),
    Message(
        "dma-map-memlock",
        Source.QATLIB,
        r"VFIO_IOMMU_MAP_DMA failed.{0,60}errno[= ]12|VFIO_IOMMU_MAP_DMA.{0,40}(?:Cannot allocate memory|ENOMEM)",
        "QP-MEM-005",
        "mapping memory for the VF failed with ENOMEM",
        "The memlock limit is too low. IPC_LOCK does not help a process that is not root.",
        _LIMIT,
    ),
    Message(
        "no-iommu",
        Source.QATLIB,
        r"VFIO_IOMMU_MAP_DMA failed.{0,60}errno[= ](?!12\b)\d+|VFIO_SET_IOMMU failed|No IOMMU"
        r"|IOMMU is not (?:enabled|supported)",
        "QP-IOMMU-002",
        "VFIO cannot use the IOMMU",
        "The IOMMU is off in the BIOS or the kernel, or another driver has functions of the same group.",
        ("qatprep doctor --only iommu",),
    ),
    Message(
        "group-not-viable",
        Source.QATLIB,
        r"group \d+ is not viable",
        "QP-VFIO-003",
        "the VF's IOMMU group is not viable",
        "Another driver has a function of the same group.",
        ("qatprep doctor --only binding",),
    ),
    Message(
        "no-instance",
        Source.QATLIB,
        r"Failed to start QAT\.(?!\w)|Failed to initialise all service instances|No (?:asym|crypto|cy) instances",
        "QP-K8S-003",
        "QAT has no instance that can sign",
        "The VF is of a PF that offers only dc or sym; or an instance did not start, for example for too little "
        "memlock.",
        ("Ask for a resource with cy or asym.", "qatprep doctor --only services"),
    ),
)
