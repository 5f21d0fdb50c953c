"""One look at everything."""

from __future__ import annotations

from dataclasses import dataclass

from qatprep.facts import (
    cpu,
    firmware,
    iommu,
    kernel,
    kubernetes,
    log,
    modules,
    nodes,
    pci,
    persist,
    proof,
    runtime,
    stack,
)
from qatprep.facts.base import Unknown
from qatprep.host.base import Host


@dataclass(frozen=True)
class Facts:
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
    nodes: nodes.NodeFacts
    stack: stack.StackFacts
    persist: persist.PersistFacts
    log: log.LogFacts
    runtime: runtime.RuntimeFacts
    kubernetes: kubernetes.KubernetesFacts
    proof: proof.Proof | Unknown | None
    """What was signed at this boot."""

    @property
    def has_qat(self) -> bool:
        """Whether there is a QAT function that qatlib can drive."""
        pfs, vfs = self.pci.pfs, self.pci.vfs
        return any(pf.family.supported for pf in pfs) or any(vf.family.supported for vf in vfs)


def gather(host: Host) -> Facts:
    """Look at the host once. Slow attributes are bounded in time; nothing here needs root."""
    kernel_facts = kernel.gather(host)
    module_facts = modules.ModuleFacts(host, kernel_facts)
    pci_facts = pci.gather(host)
    runtime_facts = runtime.gather(host)
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
        nodes=nodes.gather(host, pci_facts.all_vfs),
        stack=stack.gather(host, module_facts, kernel_facts.release),
        persist=persist.gather(host),
        log=log.gather(host),
        runtime=runtime_facts,
        kubernetes=kubernetes.gather(host, runtime_facts.kubelet),
        proof=proof.gather(host),
    )
