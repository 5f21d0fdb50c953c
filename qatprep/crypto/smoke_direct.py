"""Which VFs sign, without libqat: one proof for one VF, or one for each VF of the node.

Only VFs on vfio-pci that nobody holds are touched. VFs given to pods are left alone even while nobody has them open: a
pod may be starting.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from qatprep.crypto import direct_verdict
from qatprep.crypto.keys import pkcs1_padded
from qatprep.crypto.qat_verdict import Verdict
from qatprep.crypto.smoke_qat import counters
from qatprep.direct import pke, target
from qatprep.direct.prover import Keep, Prover
from qatprep.direct.result import Cause, Proof
from qatprep.facts import kubernetes, nodes, pci
from qatprep.facts.base import Unknown
from qatprep.facts.pci import PciFacts, Services, Vf
from qatprep.host.base import Host

State = Literal["signs", "fails", "left alone"]


@dataclass(frozen=True)
class VfResult:
    bdf: str
    pf: str
    """"" in a VM, which sees no PF."""
    state: State
    verdict: Verdict
    proof: Proof | None = None
    checked_by: str = ""
    """The implementations that accepted the signature, beside integers; "" when none did."""


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
        return text + "; others use these PFs meanwhile" if self.counted > self.requests else text


Progress = Callable[[int, int, str], None]
"""Takes how many VFs are done, of how many, and the BDF that is next."""


def run(
    host: Host, *, every: bool, prover: Prover, keep: Keep | None = None, progress: Progress | None = None
) -> DirectReport:
    """Prove one VF that is free, or `every` one. `host` must be the running machine. Bounded in time."""
    began = host.now()
    found = pci.gather(host)
    results = _left_alone(host, found)
    free = [vf for vf in _best_first(found) if vf.bdf not in results]
    before = counters(host, found.pfs)
    requests = 0
    for done, vf in enumerate(free):
        if progress:
            progress(done, len(free) if every else 1, vf.bdf)
        result = _prove(host, vf, prover, keep)
        results[vf.bdf] = result
        requests += result.proof.seen.requests if result.proof else 0
        if not every and result.state != "left alone":
            break
    after = counters(host, found.pfs)
    counted = before if isinstance(before, Unknown) else after if isinstance(after, Unknown) else after - before
    without = tuple((pf.bdf, str(pf.state or "unknown")) for pf in found.pfs if not pf.vfs)
    tried = [results[vf.bdf] for vf in found.all_vfs if vf.bdf in results]
    return DirectReport(tuple(tried), without, counted, requests, host.now() - began)


def _best_first(found: PciFacts) -> Iterator[Vf]:
    """VFs of PFs whose services have asym come first: the others cannot sign."""
    signing = {pf.bdf for pf in found.pfs if isinstance(pf.services, Services) and "asym" in pf.services.tokens}
    yield from (vf for vf in found.all_vfs if vf.pf in signing)
    yield from (vf for vf in found.all_vfs if vf.pf not in signing)


def _left_alone(host: Host, found: PciFacts) -> dict[str, VfResult]:
    """The VFs that are not ours to touch, by BDF."""
    results: dict[str, VfResult] = {}

    def leave(vf: Vf, code: str, text: str, fix: str = "") -> None:
        results.setdefault(vf.bdf, VfResult(vf.bdf, vf.pf or "", "left alone", Verdict(code, text, fix)))

    held = {holder.vf: holder for holder in nodes.holders(host, found.all_vfs)[0]}
    pods = {bdf: entry.pod for entry in kubernetes.gather(host).pods for bdf in entry.devices}
    for vf in found.all_vfs:
        if not isinstance(vf.driver, Unknown) and vf.driver != target.DRIVER:
            text = f"{vf.bdf}: bound to {vf.driver or 'no driver'}, not to {target.DRIVER}"
            leave(vf, Cause.NOT_BOUND.value, text, "bind it: qatprep bootstrap")
        elif vf.bdf in held:
            leave(vf, Cause.HELD.value, f"{vf.bdf}: held by {held[vf.bdf]}")
        elif vf.bdf in pods:
            leave(vf, "allocated", f"{vf.bdf}: given to pod {pods[vf.bdf]}")
    return results


def _prove(host: Host, vf: Vf, prover: Prover, keep: Keep | None) -> VfResult:
    message = secrets.token_bytes(16)
    digest = hashlib.sha256(message).digest()
    proof = prover.prove(vf.bdf, int.from_bytes(pkcs1_padded(digest, pke.SIZE), "big"), keep)
    if proof.cause is Cause.HELD:  # meanwhile: by whom?
        holders = [str(holder) for holder in nodes.holders(host, (vf,))[0]]
        return VfResult(vf.bdf, vf.pf or "", "left alone", direct_verdict.explain(proof, holders), proof)
    checked_by = ""
    if proof.signs:
        checked_by = _checked_by(bytes.fromhex(proof.seen.signature), message)
    return VfResult(
        vf.bdf, vf.pf or "", "signs" if proof.signs else "fails", direct_verdict.explain(proof), proof, checked_by
    )


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
