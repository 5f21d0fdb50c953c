"""Findings from what `qatprep inspect` is given: a config_dump and statistics. The same ids as on the node."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from qatprep.checks.base import Evidence, Finding, Status
from qatprep.checks.text import finding, listed, many, warned
from qatprep.mesh.inspect.config_dump import Certificate, Dump, TlsChain
from qatprep.mesh.inspect.histogram import Histogram, Sizes
from qatprep.mesh.inspect.stats import Stats
from qatprep.mesh.keys import trouble
from qatprep.mesh.provider import TYPE_URLS, Kind

REUSE = 0.05
"""Share of resumed handshakes from which on a test reuses sessions: a few happen in every real load."""
FEW = 100
"""Handshakes or batches below which nothing is concluded."""
RATE = (500.0, 1500.0)
"""Full RSA-2048 handshakes a second and CPU without acceleration: the paper's, "very roughly"."""


def judge_dump(dump: Dump, expect: Kind | None) -> list[Finding]:
    """`expect`: the provider that every TLS listener shall have; None: whichever is there."""
    found: list[Finding] = []
    chains = [chain for chain in dump.chains if chain.state != "refused"]
    found += [_refused(dump, chain) for chain in dump.chains if chain.state == "refused"]
    found += _providers(dump, chains, expect)
    found += _certificates(dump, chains)
    if dump.admin and _reachable(dump.admin):
        found.append(
            warned(
                "QP-ENVOY-013",
                f"the admin interface listens on {dump.admin}, where others can reach it",
                evidence=(Evidence("bootstrap.admin.address", dump.admin),),
                cause="Whoever reaches it can stop Envoy and read its configuration. The paper's samples bind it so.",
                fix=("Bind it to 127.0.0.1, and reach it by kubectl port-forward.",),
            )
        )
    if dump.build and dump.build != "RELEASE":
        found.append(
            warned(
                "QP-ENVOY-012",
                f"this Envoy is a {dump.build} build: its speed says nothing",
                evidence=(Evidence("user_agent_build_version", dump.build),),
                cause="Debug builds are several times slower.",
                fix=("Use a release build of the newest point release.",),
            )
        )
    return found


def _at(chain: TlsChain) -> str:
    names = f" for {', '.join(chain.names[:3])}" if chain.names else ""
    return f"{chain.listener} ({chain.address}){names}"


def _refused(dump: Dump, chain: TlsChain) -> Finding:
    provider = next((c.provider for c in chain.certificates if c.provider), "")
    missing = provider and dump.key_providers is not None and provider not in dump.key_providers
    incomplete = "incomplete private key" in chain.refusal
    id = "QP-ENVOY-002" if missing else "QP-ENVOY-004" if incomplete else "QP-ENVOY-006"
    return finding(
        id,
        Status.FAIL,
        f"listener {_at(chain)} was refused: {chain.refusal or 'Envoy does not say why'}",
        evidence=(Evidence("dynamic_listeners.error_state.details", chain.refusal),),
        cause=f"This Envoy has no provider {provider} built in."
        if missing
        else "fallback needs the key beside the provider."
        if incomplete
        else "The provider is built in, and could not be started."
        if provider
        else "",
        fix=(f"qatprep explain {id}",),
    )


def _providers(dump: Dump, chains: list[TlsChain], expect: Kind | None) -> list[Finding]:
    found: list[Finding] = []
    if not chains:
        found.append(
            warned(
                "QP-ENVOY-001",
                f"no TLS listener in this dump ({many(dump.listeners, 'listener')} in all)",
                cause="It may be of another Envoy, or of one section only." if dump.listeners else "",
                fix=("curl http://127.0.0.1:15000/config_dump",),
            )
        )
    with_it: set[str] = set()
    without: set[str] = set()
    for chain in chains:
        for name, certificate in dump.certificates(chain):
            if certificate is None:
                waits = name in dump.pending
                found.append(
                    finding(
                        "QP-ENVOY-001",
                        Status.FAIL if waits else Status.UNKNOWN,
                        f"listener {_at(chain)}: the secret {name!r} "
                        + ("has not arrived" if waits else "is not in this dump"),
                        cause="The listener does not serve before it has it." if waits else "",
                        fix=("Take the whole config_dump, with its SecretsConfigDump.",) if not waits else (),
                    )
                )
                continue
            (with_it if certificate.provider else without).add(name)
            right = bool(certificate.provider) if expect is None else certificate.provider == expect
            if not right:
                told = certificate.provider or "none: BoringSSL signs on the worker"
                found.append(
                    finding(
                        "QP-ENVOY-001",
                        Status.FAIL if expect is not None else Status.WARN,
                        f"listener {_at(chain)} does not sign through {expect or 'a provider'}",
                        evidence=(Evidence(f"secret {name}" if name else "tls_certificates", f"provider {told}"),),
                        cause="Its certificate has no private_key_provider."
                        if not certificate.provider
                        else f"Its certificate names the provider {certificate.provider}.",
                        fix=("Set it: qatprep render envoy, or with Istio qatprep render istio.",),
                    )
                )
    have, lack = sorted(with_it - {""}), sorted(without - {"", "default", "ROOTCA"})
    if have and lack:
        found.append(
            warned(
                "QP-ISTIO-003",
                f"the provider is set for {listed(have)}, and not for {listed(lack)}",
                cause="In some releases Istio gave it only to its own certificate, not to those a Gateway names by "
                "credentialName (istio issue 43350).",
                fix=("Use a newer Istio, then look again.",),
            )
        )
    return found


def _certificates(dump: Dump, chains: list[TlsChain]) -> list[Finding]:
    found: list[Finding] = []
    seen: dict[tuple[str, Certificate], None] = {}
    for chain in chains:
        for name, certificate in dump.certificates(chain):
            if certificate is not None:
                seen[(f"secret {name}" if name else f"listener {_at(chain)}", certificate)] = None
    for where, certificate in seen:
        if certificate.exposed:
            found.append(
                warned(
                    "QP-ENVOY-015",
                    f"{where}: a private key stands here in clear text",
                    cause="Envoy blanks keys in its dumps: this is from elsewhere. qatprep prints nothing of it.",
                    fix=("Treat the key as given away: make another.",),
                )
            )
        if not certificate.provider:
            continue
        found += _one(dump, where, certificate)
    return found


def _one(dump: Dump, where: str, certificate: Certificate) -> list[Finding]:
    found: list[Finding] = []
    kind = Kind(certificate.provider) if certificate.provider in (Kind.QAT, Kind.CRYPTOMB) else None
    if dump.key_providers is not None and certificate.provider not in dump.key_providers:
        found.append(
            finding(
                "QP-ENVOY-002",
                Status.FAIL,
                f"{where}: this Envoy has no provider {certificate.provider} built in",
                evidence=(
                    Evidence("node.extensions, envoy.tls.key_providers", ", ".join(dump.key_providers) or "none"),
                ),
                cause="The plain Envoy image has none; contrib and Istio's proxyv2 have.",
                fix=("qatprep explain QP-ENVOY-002",),
            )
        )
    wrong = trouble(certificate.key, kind) if kind and certificate.key else ""
    if wrong:
        found.append(
            finding(
                "QP-ENVOY-003",
                Status.FAIL,
                f"{where}: {wrong}",
                evidence=(Evidence("certificate_chain", str(certificate.key)),),
                cause="The provider refuses such a key.",
                fix=("Use an RSA-2048 key." if kind is Kind.QAT else "Use RSA of a size it takes, or P-256.",),
            )
        )
    message = TYPE_URLS[kind].rsplit("/", 1)[-1] if kind else ""
    if kind and certificate.provider_type not in ("", message, "xds.type.v3.TypedStruct"):
        found.append(
            finding(
                "QP-ENVOY-004",
                Status.FAIL,
                f"{where}: the provider's message is {certificate.provider_type}",
                evidence=(Evidence("private_key_provider.typed_config", certificate.provider_type),),
                cause=f"{kind} has {message}.",
                fix=("qatprep render envoy",),
            )
        )
    if certificate.fallback:
        if certificate.key_beside:
            found.append(
                warned(
                    "QP-ENVOY-007",
                    f"{where}: with fallback, this dump does not tell whether {certificate.provider} is used",
                    evidence=(Evidence("private_key_provider", f"{certificate.provider}, fallback: true"),),
                    cause="Without the hardware Envoy signs in software and says nothing.",
                    fix=(
                        "Queue sizes that grow are the proof: qatprep inspect stats."
                        if certificate.provider == Kind.CRYPTOMB
                        else "Envoy's line 'initialized QAT private key provider' is the proof: qatprep inspect log.",
                    ),
                )
            )
        else:
            found.append(
                finding(
                    "QP-ISTIO-002",
                    Status.WARN,
                    f"{where}: fallback is set, and cannot work: there is no key beside the provider",
                    evidence=(Evidence("private_key_provider", f"{certificate.provider}, fallback: true"),),
                    cause="Envoy's fallback uses private_key beside the provider, which Istio does not send.",
                    fix=("Leave fallback out, and keep such pods on nodes that have the hardware.",),
                )
            )
    return found


def _reachable(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- statistics -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """One listener's queue sizes, or why they cannot be had."""

    histogram: Histogram
    sizes: Sizes | None
    why: str = ""


@dataclass(frozen=True)
class Rate:
    """What happened between two readings."""

    seconds: float
    workers: int
    """0 where the statistics do not say."""
    signs: float
    """RSA signatures a second and CPU of this node, 0 when not given."""


def judge_stats(stats: Stats, queues: list[Queue], rate: Rate | None) -> list[Finding]:
    found: list[Finding] = []
    batches = 0
    for queue in queues:
        if queue.sizes is not None:
            batches += queue.sizes.total
            found += _queue(queue.histogram, queue.sizes)
        else:
            found.append(
                finding(
                    "QP-ENVOY-014",
                    Status.UNKNOWN,
                    f"{queue.histogram.name}: queue sizes cannot be read",
                    cause=queue.why,
                )
            )
    if queues and not batches and all(queue.sizes is not None for queue in queues):
        full = sum(ssl.handshakes - ssl.reused for ssl in stats.ssl.values())
        found.append(
            finding(
                "QP-ENVOY-007",
                Status.FAIL if full >= FEW else Status.WARN,
                "CryptoMB has signed nothing",
                evidence=(Evidence("queue sizes", "no batch was counted"), Evidence("full handshakes", str(full))),
                cause="Full handshakes were made: fallback signs in software, or the key is not one it takes."
                if full >= FEW
                else "There was no load yet, or Envoy has not written its statistics (it does so every 5 seconds).",
                fix=("Look at the configuration and the log: qatprep inspect config-dump, qatprep inspect log.",),
            )
        )
    found += _sessions(stats)
    if rate is not None:
        found += _rate(stats, rate, bool(batches))
    if rate is None and not queues and not stats.ssl:
        found.append(
            finding(
                "QP-ENVOY-014",
                Status.UNKNOWN,
                "no queue sizes and no TLS counters in these statistics",
                cause="A filter left them out, nothing has used TLS yet, or this Envoy has no CryptoMB.",
                fix=("curl 'http://127.0.0.1:15000/stats?histogram_buckets=detailed'",),
            )
        )
    return found


def _queue(histogram: Histogram, sizes: Sizes) -> list[Finding]:
    found = []
    where = histogram.listener or "this Envoy"
    if sizes.doubt and sizes.total:
        found.append(
            warned(
                "QP-ENVOY-014",
                f"{where}: queue sizes may be misread",
                cause=f"{sizes.doubt[0].upper()}{sizes.doubt[1:]}.",
            )
        )
    single = sizes.single
    if sizes.total >= FEW and not sizes.doubt and single is not None and single > 0.5:
        found.append(
            warned(
                "QP-ENVOY-014",
                f"{where}: {single:.0%} of {histogram.algorithm.upper()} batches had one signature",
                evidence=(Evidence("queue sizes", f"{sizes.total} batches, {sizes.how}"),),
                cause="Each worker has its own queue; with this load and so many workers it does not fill before the "
                "poll delay is over. A lone signature takes about as long as eight.",
                fix=(
                    "Fewer workers (concurrency), or a longer poll delay: qatprep tune.",
                    "If the load is always so low: leave CryptoMB out.",
                ),
            )
        )
    return found


def _sessions(stats: Stats) -> list[Finding]:
    found = []
    for listener, ssl in stats.ssl.items():
        if ssl.handshakes >= FEW and ssl.reused / ssl.handshakes > REUSE:
            found.append(
                warned(
                    "QP-ENVOY-009",
                    f"listener {listener}: {ssl.reused / ssl.handshakes:.0%} of the handshakes resumed a session",
                    evidence=(
                        Evidence(f"listener.{listener}.ssl.session_reused", str(ssl.reused)),
                        Evidence(f"listener.{listener}.ssl.handshake", str(ssl.handshakes)),
                    ),
                    cause="A resumed handshake needs no signature: there is nothing to accelerate. If this is a load "
                    "test, your load test reuses sessions.",
                    fix=(
                        "Use a client that makes new sessions: h2load, hey -disable-keepalive, openssl s_time -new",
                        "Or a server that offers none: qatprep render envoy --no-resumption.",
                    ),
                )
            )
        signed = ssl.algorithms()
        if signed.get("ECDSA", 0) > 9 * signed.get("RSA", 0) and ssl.handshakes >= FEW:
            found.append(
                warned(
                    "QP-ENVOY-003",
                    f"listener {listener}: handshakes are signed with ECDSA, which QAT's provider does not take",
                    evidence=(Evidence("signature algorithms", ", ".join(ssl.sigalgs or ssl.ciphers)),),
                    cause="CryptoMB takes ECDSA on P-256; QAT takes RSA alone.",
                    fix=("For QAT use an RSA certificate.",),
                )
            )
    return found


def _rate(stats: Stats, rate: Rate, accelerated: bool) -> list[Finding]:
    full = sum(ssl.handshakes - ssl.reused for ssl in stats.ssl.values())
    if not full or rate.seconds <= 0 or not rate.workers:
        return []
    each = full / rate.seconds / rate.workers
    low, high = (0.5 * rate.signs, rate.signs) if rate.signs else RATE
    against = f"this node signs {rate.signs:.0f} a second and CPU" if rate.signs else "the paper's rough 500 to 1500"
    evidence = (
        Evidence("full handshakes a second and worker", f"{each:.0f}"),
        Evidence("workers", str(rate.workers)),
        Evidence("compared with", against),
    )
    if each < 0.3 * low:
        return [
            warned(
                "QP-ENVOY-008",
                f"{each:.0f} full handshakes a second and worker: less than this node can do",
                evidence=evidence,
                cause="If this was a test at full load, its bottleneck is elsewhere, mostly in the client.",
                fix=("More clients, on other CPUs; then compare again.",),
            )
        ]
    if each > 1.5 * high and not accelerated:
        return [
            warned(
                "QP-ENVOY-008",
                f"{each:.0f} full handshakes a second and worker: more than one CPU signs without acceleration",
                evidence=evidence,
                cause="A provider may be at work, keys may be small, or sessions are reused in a way no counter shows.",
                fix=("Look at key and provider: qatprep inspect config-dump.",),
            )
        ]
    return []
