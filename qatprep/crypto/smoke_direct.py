"""Which VFs sign, without libqat: one proof for one VF, or one for each VF of the node.

Only VFs on vfio-pci that nobody holds are touched. VFs given to pods are left alone even while nobody has them open: a
pod may be starting.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from qatprep.crypto import direct_verdict
from qatprep.crypto.keys import pkcs1_padded
from qatprep.crypto.prover import Keep, Prover
from qatprep.crypto.qat_verdict import Verdict
from qatprep.crypto.smoke_qat import counters, total
from qatprep.direct import pke
from qatprep.direct.result import Cause, Proof
from qatprep.facts import kubernetes, nodes, pci
from qatprep.facts.base import Unknown
from qatprep.facts.pci import PciFacts, Services, Vf
from qatprep.host.base import Host

State = Literal["signs", "fails", "left alone"]
LEFT_ALONE = (Cause.HELD, Cause.NOT_BOUND)
"""Causes that say nothing against a VF."""


@dataclass(frozen=True)
class VfResult:
    bdf: str
    pf: str
    """"" in a VM, which sees no PF."""
    state: State
    verdict: Verdict
    proof: Proof | None = None
    checked_by: str = ""
    """The implementations that accepted the signature, next to integers; "" when none did."""


@dataclass(frozen=True)
class DirectReport:
    results: tuple[VfResult, ...]
    without_vfs: tuple[tuple[str, str], ...]
    """PFs that have no VFs, each with its state."""
    counted: int | Unknown
    """How far fw_counters rose over all PFs meanwhile."""
    requests: int
    seconds: float

    def of(self, state: State) -> tuple[VfResult, ...]:
        return tuple(result for result in self.results if result.state == state)

    @property
    def ok(self) -> bool:
        return bool(self.of("signs")) and not self.of("fails")

    @property
    def evidence(self) -> str:
        """What the firmware's own counters say."""
        if isinstance(self.counted, Unknown):
            return f"fw_counters: unknown ({self.counted.reason})"
        text = f"fw_counters: {self.counted} responses for {self.requests} requests"
        if self.counted > self.requests:
            return text + "; others use these PFs meanwhile"
        missing = self.requests - self.counted
        return f"{text}; {missing} not counted" if missing else text


Progress = Callable[[int, int, str], None]
"""Takes how many VFs are done, of how many, and the BDF that is next."""


def run(
    host: Host,
    *,
    every: bool,
    prover: Prover,
    keep: Keep | None = None,
    progress: Progress | None = None,
    one_of: Collection[str] | None = None,
) -> DirectReport:
    """Prove one VF that is free, `every` one, or one of each PF (in a VM: each VF) in `one_of`, and none of any other.
    `host` must be the running machine. Bounded in time."""
    began = host.now()
    found = pci.gather(host)
    results = _left_alone(host, found)
    free = [vf for vf in _best_first(found) if vf.bdf not in results]
    with_vfs = tuple(pf for pf in found.pfs if pf.vfs)
    before = total(counters(host, with_vfs))
    proofs: list[tuple[Vf, Proof, str]] = []
    waiting = set(one_of or ())
    for done, vf in enumerate(free):
        owner = vf.pf or vf.bdf
        if one_of is not None and owner not in waiting:
            continue
        if progress:
            progress(done, len(free) if every else 1, vf.bdf)
        proof, checked_by = _prove(vf, prover, keep)
        proofs.append((vf, proof, checked_by))
        if one_of is not None and proof.cause not in LEFT_ALONE:
            waiting.discard(owner)
        elif not every and proof.cause not in LEFT_ALONE:
            break
    after = total(counters(host, with_vfs))
    counted = before if isinstance(before, Unknown) else after if isinstance(after, Unknown) else after - before
    # Who holds a VF is asked only now: that it is held, the kernel has said.
    held = tuple(vf for vf, proof, _ in proofs if proof.cause is Cause.HELD)
    holders = nodes.holders(host, held)[0]
    for vf, proof, checked_by in proofs:
        verdict = direct_verdict.explain(proof, [str(holder) for holder in holders if holder.vf == vf.bdf])
        results[vf.bdf] = VfResult(vf.bdf, vf.pf or "", _state(proof), verdict, proof, checked_by)
    return DirectReport(
        results=tuple(results[vf.bdf] for vf in found.all_vfs if vf.bdf in results),
        without_vfs=tuple((pf.bdf, str(pf.state or "unknown")) for pf in found.pfs if not pf.vfs),
        counted=counted,
        requests=sum(proof.seen.requests for _, proof, _ in proofs),
        seconds=host.now() - began,
    )


def _state(proof: Proof) -> State:
    return "signs" if proof.signs else "left alone" if proof.cause in LEFT_ALONE else "fails"


def _best_first(found: PciFacts) -> Iterator[Vf]:
    """VFs of PFs whose services have asym come first: the others cannot sign."""
    signing = {pf.bdf for pf in found.pfs if isinstance(pf.services, Services) and "asym" in pf.services.tokens}
    yield from (vf for vf in found.all_vfs if vf.pf in signing)
    yield from (vf for vf in found.all_vfs if vf.pf not in signing)


def _left_alone(host: Host, found: PciFacts) -> dict[str, VfResult]:
    """The VFs that must not be tried, by BDF: of devices this proof does not know, or given to pods."""
    verdicts = {
        bdf: Verdict("allocated", f"given to pod {entry.pod}")
        for entry in kubernetes.gather(host).pods
        for bdf in entry.devices
    }
    for vf in found.all_vfs:
        if not vf.family.supported:
            verdicts[vf.bdf] = Verdict("unsupported", f"{vf.family.name} is older than generation 4: other registers")
    return {
        vf.bdf: VfResult(vf.bdf, vf.pf or "", "left alone", verdicts[vf.bdf])
        for vf in found.all_vfs
        if vf.bdf in verdicts
    }


def _prove(vf: Vf, prover: Prover, keep: Keep | None) -> tuple[Proof, str]:
    message = secrets.token_bytes(16)
    digest = hashlib.sha256(message).digest()
    proof = prover.prove(vf.bdf, int.from_bytes(pkcs1_padded(digest, pke.SIZE), "big"), keep)
    return proof, _checked_by(bytes.fromhex(proof.seen.signature), message) if proof.signs else ""


def _checked_by(signature: bytes, message: bytes) -> str:
    """Integers have accepted it; so must `cryptography`, where it is installed. RuntimeError if they disagree."""
    try:
        import cryptography
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        return "integer arithmetic"
    try:
        key = rsa.RSAPublicNumbers(pke.E, pke.N).public_key()
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise RuntimeError("integers accept a signature that cryptography refuses") from None
    return f"integer arithmetic and cryptography {cryptography.__version__}"
