"""What the end of a direct proof means, and what to do about it: each cause in words."""

from __future__ import annotations

from collections.abc import Sequence

from qatprep.crypto.qat_verdict import MEMLOCK_PER_VF, Verdict
from qatprep.direct.result import Cause, Evidence, Proof, Step

LOG = "see the kernel log: journalctl -k, qatprep doctor"
RESTART = (
    "restart the PF, which removes its VFs and stops the programs that use them: write down to its qat/state, "
    "then run qatprep bootstrap; in a VM, on the host"
)

_FIX = {
    Cause.NO_DEVICE: "VFs exist only while their PF is up: qatprep doctor",
    Cause.NOT_BOUND: "bind it: qatprep bootstrap",
    Cause.NO_IOMMU: "switch the IOMMU on: qatprep doctor --only iommu",
    Cause.DEVICE_POLICY: "give this container the device: a resource request (Kubernetes) or --device (podman)",
    Cause.HELD: "stop the process that holds it, or use another VF: a VF serves one process",
    Cause.NOT_VIABLE: "bind the other functions of the group to vfio-pci, or unbind them",
    Cause.IOMMU_REFUSED: 'the kernel log says why: "RMRR" (the firmware uses the device\'s memory) or '
    '"No interrupt remapping support" (set it in the BIOS)',
    Cause.MEMLOCK: "raise it: LimitMEMLOCK= in the unit, `memlock` in /etc/security/limits.conf, or CAP_IPC_LOCK",
    Cause.MAP_REFUSED: LOG,
    Cause.DEVICE_REFUSED: LOG,
    Cause.FUNCTION_GONE: LOG,
    Cause.PF_SILENT: RESTART,
    Cause.PF_NO_ANSWER: RESTART,
    Cause.PF_NONSENSE: "run the PF with the kernel's own driver: the out-of-tree driver has another protocol",
    Cause.PF_RESTARTING: "wait until the PF is up, then try again",
    Cause.PF_FATAL: RESTART,
    Cause.VERSION_REFUSED: "run the PF on Linux 5.17 or later, with the kernel's own driver",
    Cause.NO_ASYM: "give the PF the asym service: qatprep device services --help; in a VM, ask for a VF of such a PF",
    Cause.NOT_TAKEN: RESTART,
    Cause.NO_ANSWER: RESTART,
    Cause.STRAY_ANSWER: RESTART,
    Cause.REFUSED: RESTART,
    Cause.WRONG: "do not use this device; report it to Intel with --record",
    Cause.DEADLINE: "try again when the host is less busy; if it stays so, " + RESTART,
    Cause.HUNG: LOG + ". The process still runs: it holds the VF until the kernel returns",
    Cause.DIED: "try again; please report it",
    Cause.SYSTEM_ERROR: LOG,
    Cause.WRONG_REGISTERS: "this is no QAT VF of generation 4 or later; please report it",
}


def explain(proof: Proof, holders: Sequence[str] = ()) -> Verdict:
    """The verdict on a proof, without the VF's name. `holders`: who has it open, where that is the cause."""
    seen, cause = proof.seen, proof.cause
    if cause is None:
        return Verdict("passed", f"signs: RSA-2048 on ring pair {seen.pair}, {seen.way} {seen.device_node}")
    special = {Cause.NODE_MISSING: _missing, Cause.NOT_PERMITTED: _not_permitted}
    fix = special[cause](proof.evidence) if cause in special else _FIX[cause]
    return Verdict(cause.value, _summary(cause, proof.step, proof.evidence, holders), fix)


def libqat_notes(proof: Proof) -> tuple[str, ...]:
    """What keeps libqat from a VF that signs here: this proof needs less than libqat."""
    seen = proof.seen
    notes = []
    if seen.memlock_limit is not None and seen.memlock_limit < MEMLOCK_PER_VF:
        notes.append(
            f"libqat will not start: memlock is {seen.memlock_limit >> 10} KiB, it needs "
            f"{MEMLOCK_PER_VF >> 20} MiB a VF (this proof: {seen.dma_bytes >> 10} KiB)"
        )
    if seen.msi == 0:
        notes.append("libqat will not start: the VF has no MSI (this proof needs none)")
    return tuple(notes)


def _missing(evidence: Evidence) -> str:
    node = evidence["node"]
    if node == "/dev/vfio/vfio":
        return "load the module: modprobe vfio_iommu_type1"
    if node == "/dev/iommu":
        return "load the module: modprobe iommufd"
    return "in a container: give it the device; on the host: udevadm trigger, qatprep doctor"


def _not_permitted(evidence: Evidence) -> str:
    node = evidence["node"]
    if node == "/dev/iommu":
        return "it is root's, 0660: chgrp qat /dev/iommu gives it to the group qat until the next boot"
    if node.startswith("/dev/vfio/devices/"):
        return f"chgrp qat {node} && chmod 0660 {node}; chmod on all below /dev/vfio would close the folder devices"
    return "join the group that owns the node: qatprep status shows it"


def _summary(cause: Cause, step: Step, evidence: Evidence, holders: Sequence[str]) -> str:
    def of(name: str) -> str:
        value = evidence.get(name, "")
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    waited = f"{evidence.get('seconds', 0):g} s"
    match cause:
        case Cause.NO_DEVICE:
            return f"there is no such device ({of('path')})"
        case Cause.NOT_BOUND:
            return f"bound to {of('driver')}, not to vfio-pci"
        case Cause.NO_IOMMU:
            return f"no IOMMU: {of('why') or of('path')}"
        case Cause.NODE_MISSING:
            return f"{of('node')} is missing"
        case Cause.NOT_PERMITTED | Cause.DEVICE_POLICY:
            return f"{of('node')} cannot be opened: {of('error')}"
        case Cause.HELD:
            who = ", ".join(holders) or "a process that cannot be seen from here"
            return f"held by {who}"
        case Cause.NOT_VIABLE:
            return f"IOMMU group {of('group')} is not viable: other functions in it are {of('others') or 'unknown'}"
        case Cause.IOMMU_REFUSED:
            return f"the kernel refuses to put IOMMU group {of('group')} behind the IOMMU: {of('error')}"
        case Cause.MEMLOCK:
            return (
                f"memlock is {evidence['limit']} bytes; this proof needs {evidence['needs']}, "
                f"libqat needs {MEMLOCK_PER_VF >> 20} MiB a VF"
            )
        case Cause.MAP_REFUSED:
            return f"the IOMMU maps no memory: {of('why') or of('error')}"
        case Cause.DEVICE_REFUSED:
            return f"the kernel does not open the device: {of('error')}"
        case Cause.WRONG_REGISTERS:
            return f"{of('region')} has {of('size')} bytes; {of('needs')} are needed"
        case Cause.FUNCTION_GONE:
            return f"the function does not answer any more: {of('register')} reads {of('value') or of('error')}"
        case Cause.PF_SILENT:
            return f"the PF did not take {of('message')} in {waited}"
        case Cause.PF_NO_ANSWER:
            return f"the PF took {of('message')} and did not answer in {waited}"
        case Cause.PF_NONSENSE:
            return f"the PF's answers make no sense: {_shown(evidence)}"
        case Cause.PF_RESTARTING:
            return "the PF is restarting; it was notified that this VF is free"
        case Cause.PF_FATAL:
            return "the PF reports a fatal error"
        case Cause.VERSION_REFUSED:
            return f"the PF's mailbox has version {of('pf')} and refuses version {of('ours')} (verdict {of('verdict')})"
        case Cause.NO_ASYM:
            return f"no ring pair has the asym service: the PF offers {of('services')}"
        case Cause.NOT_TAKEN:
            return f"the device took no request in {waited} (head {of('head')}, tail {of('tail')})"
        case Cause.NO_ANSWER:
            return f"the device took a request and did not answer in {waited}"
        case Cause.STRAY_ANSWER:
            return f"the device gave an answer to no request of ours ({_shown(evidence)})"
        case Cause.REFUSED:
            return f"the device refused the operation (status {of('status')}, error {of('error')})"
        case Cause.WRONG:
            return "the signature is WRONG"
        case Cause.DEADLINE:
            return f"not done after {waited}, in step {step.value}"
        case Cause.HUNG:
            return f"the kernel has not returned from step {step.value} for {waited} (process {of('pid')})"
        case Cause.DIED:
            return f"the process that proves died in step {step.value}: {of('how')}"
        case Cause.SYSTEM_ERROR:
            return (
                f"step {step.value} failed: {of('error')}{f' ({path})' if (path := of('path') or of('node')) else ''}"
            )


def _shown(evidence: Evidence) -> str:
    """What was seen, the reason first, long lists cut."""
    shown = {name: " ".join(value[:3]) if isinstance(value, list) else value for name, value in evidence.items()}
    why = shown.pop("why", "")
    values = ", ".join(f"{name} {value}" for name, value in shown.items())
    return f"{why} ({values})" if why else values
