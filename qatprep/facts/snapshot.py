"""One look at everything."""

from __future__ import annotations

from typing import NamedTuple

from qatprep.facts import (
    cpu,
    firmware,
    health,
    iommu,
    kernel,
    kubernetes,
    log,
    modules,
    nodes,
    pci,
    persist,
    proof,
    qatlib,
    runtime,
    setters,
    stack,
)
from qatprep.facts.base import DeviceFiles, Unknown
from qatprep.facts.pci import DeviceNode
from qatprep.host.base import Host


class Facts(NamedTuple):
    """One look at a host: everything the hardware chain is judged by."""

    host: str
    """The host's label."""
    euid: int
    simulated: bool
    cpu: cpu.CpuFacts
    kernel: kernel.KernelFacts
    iommu: iommu.IommuFacts
    modules: modules.ModuleFacts
    firmware: firmware.FirmwareFacts
    pci: pci.PciFacts
    health: health.HealthFacts
    nodes: nodes.NodeFacts
    stack: stack.StackFacts
    qatlib: qatlib.QatlibFacts
    persist: persist.PersistFacts
    setters: tuple[setters.Setter, ...]
    """Who else will set up the devices at the next boot."""
    log: log.LogFacts
    runtime: runtime.RuntimeFacts
    kubernetes: kubernetes.KubernetesFacts
    proof: proof.Proof | Unknown | None
    """What was signed at this boot."""

    @property
    def vfio_modules(self) -> tuple[str, ...]:
        """The modules that VFIO needs for VFs, as modprobe is called: without the container's where iommufd replaces
        it.

        With CONFIG_IOMMUFD_VFIO_CONTAINER=y iommufd makes /dev/vfio/vfio and answers as type1 does
        (drivers/iommu/iommufd/vfio_compat.c); vfio_iommu_type1 is not built then (drivers/vfio/Kconfig).
        """
        config, type1 = self.kernel.config, self.modules.get("vfio_iommu_type1")
        told = not isinstance(config, Unknown) and config.get("CONFIG_IOMMUFD_VFIO_CONTAINER") == "y"
        absent = type1.file is None and type1.present is False
        seen = isinstance(self.nodes.container, DeviceNode) and self.modules.get("iommufd").present is True
        return ("vfio_pci",) if absent and (told or seen) else ("vfio_pci", "vfio_iommu_type1")

    def pod(self, uid: str) -> str:
        """A pod's "namespace/name" as the kubelet's log folders tell it, else its UID."""
        held = (holder.pod for holder in self.nodes.holders if holder.container == f"pod {uid}")
        ran = (container.pod_name for container in self.runtime.containers if container.pod == uid)
        return next((name for name in (*held, *ran) if name), uid)

    @property
    def has_qat(self) -> bool:
        """Whether there is a QAT function that qatlib can drive."""
        pfs, vfs = self.pci.pfs, self.pci.vfs
        return any(pf.family.supported for pf in pfs) or any(vf.family.supported for vf in vfs)


def gather(host: Host, known: health.HealthFacts | None = None) -> Facts:
    """Look at the host once. Slow attributes are bounded in time; nothing here needs root.

    `known`: the health of the PFs where it was asked for a moment ago, since asking takes a second.
    """
    kernel_facts = kernel.gather(host)
    module_facts = modules.ModuleFacts(host, kernel_facts)
    files = DeviceFiles(host)
    pci_facts = pci.gather(host, files)
    pods = nodes.PodNames(host)
    runtime_facts = runtime.gather(host, pods)
    kubernetes_facts = kubernetes.gather(host, runtime_facts.kubelet)
    images = sorted({name for pf in pci_facts.pfs for name in pf.family.firmware})
    return Facts(
        host=host.label,
        euid=host.euid,
        simulated=host.simulated,
        cpu=cpu.gather(host),
        kernel=kernel_facts,
        iommu=iommu.gather(host),
        modules=module_facts,
        firmware=firmware.gather(host, kernel_facts, tuple(images)),
        pci=pci_facts,
        health=known or health.gather(host, pci_facts.pfs, files, polled=kubernetes_facts.plugin_registered),
        nodes=nodes.gather(host, pci_facts.all_vfs, pods),
        stack=stack.gather(host, module_facts, kernel_facts.release),
        qatlib=qatlib.gather(host),
        persist=persist.gather(host),
        setters=setters.gather(host, pci_facts),
        log=log.gather(host),
        runtime=runtime_facts,
        kubernetes=kubernetes_facts,
        proof=proof.gather(host),
    )
