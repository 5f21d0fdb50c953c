"""Handshakes judged: did the server answer, can a provider sign for its key, and did one (where Envoy can be asked)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.mesh.inspect.config_dump import Certificate, Dump, TlsChain
from qatprep.mesh.inspect.handshake import Series
from qatprep.mesh.inspect.histogram import queues
from qatprep.mesh.inspect.stats import Stats
from qatprep.mesh.keys import trouble
from qatprep.mesh.provider import Kind

_CAUSES = {
    "verify failed": "The certificate is of another CA, or for another name: --ca and --server-name choose them.",
    "CERTIFICATE_REQUIRED": "The server wants a certificate of the client (mutual TLS), and qatprep has none.",
    "WRONG_VERSION_NUMBER": "The port does not speak TLS.",
    "RECORD_LAYER_FAILURE": "The port does not speak TLS.",
}
"""By what OpenSSL says."""


class Signer(StrEnum):
    PROVIDER = "provider"
    WORKER = "worker"
    """BoringSSL on Envoy's own thread."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Proof:
    """Who signed during the handshakes, and how that is known."""

    signer: Signer
    provider: str
    """qat or cryptomb where the listener has one, else ""."""
    why: str


def batches(stats: Stats) -> int:
    """CryptoMB's batches in these statistics."""
    found = queues(stats.histograms, None, None)
    return sum(queue.sizes.total if queue.sizes else queue.histogram.total or 0 for queue in found)


def proof(series: Series, dump: Dump, during: Stats) -> Proof:
    """`during`: what Envoy counted from before the first handshake until after the last.

    Without fallback Envoy has no key but the provider's own, so a full handshake is the provider's signature. With
    fallback only CryptoMB's histogram tells; QAT has no statistics in Envoy.
    """
    certificates = _certificates(series, dump, during)
    if not certificates:
        return Proof(Signer.UNKNOWN, "", "no TLS listener of this Envoy counted these handshakes: is it another Envoy?")
    kinds = {(certificate.provider, certificate.fallback) for certificate in certificates}
    if len(kinds) > 1:
        return Proof(Signer.UNKNOWN, "", "the listener has certificates with different providers")
    provider, fallback = kinds.pop()
    if not series.full():
        return Proof(Signer.UNKNOWN, provider, "no full handshake: nothing was signed")
    if not provider:
        return Proof(Signer.WORKER, "", "the listener's certificate has no private_key_provider")
    count = batches(during)
    if provider == Kind.CRYPTOMB and count:
        return Proof(Signer.PROVIDER, provider, f"CryptoMB's queues counted {count} batches meanwhile")
    if not fallback:
        return Proof(Signer.PROVIDER, provider, "without fallback Envoy has this key inside the provider only")
    if provider == Kind.CRYPTOMB:
        return Proof(Signer.WORKER, provider, "CryptoMB's queues counted nothing meanwhile: its fallback signed")
    return Proof(
        Signer.UNKNOWN, provider, f"with fallback Envoy does not tell whether {provider} signed or software did"
    )


def _certificates(series: Series, dump: Dump, during: Stats) -> list[Certificate]:
    """Those of the listener that counted the handshakes; of all where its statistics have a prefix of their own."""
    chains = [chain for chain in dump.chains if chain.state == "active"]
    counted = {_plain(name) for name, ssl in during.ssl.items() if ssl.handshakes >= len(series.handshakes) > 0}
    own = [chain for chain in chains if _plain(chain.address) in counted]
    return [certificate for chain in own or (chains if counted else []) for certificate in _known(dump, chain, series)]


def _known(dump: Dump, chain: TlsChain, series: Series) -> list[Certificate]:
    """A chain's certificates with the key that the server showed, or with one the dump does not tell."""
    shown = series.certificate.key if series.certificate else None
    found = [certificate for _, certificate in dump.certificates(chain) if certificate]
    return [c for c in found if c.key is None or shown is None or str(c.key) == str(shown)]


def _plain(address: str) -> str:
    return re.sub(r"[^0-9A-Za-z]+", "_", address)


def judge(series: Series, signed: Proof | None, *, now: datetime | None = None) -> list[Finding]:
    """`signed`: what Envoy said of who signed, None when it was not asked."""
    found: list[Finding] = []
    where = str(series.target)
    if series.trouble:
        found.append(
            failed(
                "QP-ENVOY-016",
                f"{where}: handshake {series.failed} failed: {series.trouble}",
                evidence=(Evidence(where, series.trouble),),
                cause=next((cause for part, cause in _CAUSES.items() if part in series.trouble), ""),
            )
        )
    certificate = series.certificate
    if certificate is not None:
        if certificate.until < (now or datetime.now(UTC)):
            day = f"{certificate.until:%Y-%m-%d}"
            title = f"{where}: the certificate expired on {day}"
            found.append(warned("QP-ENVOY-016", title, evidence=(Evidence("notAfter", day),)))
        key = certificate.key
        takers = [kind for kind in (Kind.QAT, Kind.CRYPTOMB) if not trouble(key, kind)]
        if not takers:
            found.append(
                warned(
                    "QP-ENVOY-003",
                    f"{where}: no provider signs with a key of this type ({key})",
                    evidence=(Evidence("certificate", str(key)),),
                    cause=trouble(key, Kind.CRYPTOMB) + ".",
                    fix=("qatprep render envoy -p qat --generate DIR --key-type rsa2048",),
                )
            )
    if signed is not None and signed.signer is not Signer.PROVIDER:
        configured = f" by {signed.provider}" if signed.provider else ""
        title = {
            Signer.WORKER: f"{where}: the handshakes were not signed{configured or ' by a provider'}",
            Signer.UNKNOWN: f"{where}: unknown whether a provider signed",
        }[signed.signer]
        found.append(
            Finding(
                "QP-ENVOY-007" if signed.provider else "QP-ENVOY-001",
                Status.FAIL if signed.signer is Signer.WORKER else Status.UNKNOWN,
                title,
                evidence=(Evidence("admin", signed.why),),
                cause=signed.why[:1].upper() + signed.why[1:] + ".",
                fix=("qatprep inspect config-dump http://127.0.0.1:15000",),
            )
        )
    return found
