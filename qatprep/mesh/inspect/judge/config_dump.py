"""A config_dump judged: who signs, with which key, and what if the hardware is missing."""

from __future__ import annotations

import ipaddress

from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.findings.messages import Source, matching
from qatprep.mesh.inspect.config_dump import Certificate, Cluster, Dump, TlsChain
from qatprep.mesh.keys import trouble
from qatprep.mesh.provider import TYPE_URLS, Kind
from qatprep.text import listed, plural


def judge(dump: Dump, expect: Kind | None) -> list[Finding]:
    """`expect`: the provider that every TLS listener is to have; None: whichever is there."""
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
                cause="Every client that reaches it can stop Envoy and read its configuration. Intel's guide "
                "binds it so.",
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
    return f"{chain.listener} ({chain.address}){names}" if chain.address else f"{chain.listener}{names}"


def _refused(dump: Dump, chain: TlsChain) -> Finding:
    """Envoy's own text says why; whether the provider is built in, the dump knows better than the text."""
    provider = next((c.provider for c in chain.certificates if c.provider), "")
    known = next((row for row, _ in matching(chain.refusal, Source.ENVOY)), None)
    if provider and dump.key_providers is not None and provider not in dump.key_providers:
        id, cause = "QP-ENVOY-002", f"This Envoy has no provider {provider} built in."
    elif known is None or known.key == "provider-not-loaded":
        id, cause = "QP-ENVOY-006", "The provider is built in, and could not be started." if provider else ""
    else:
        id, cause = known.finding, known.cause
    return failed(
        id,
        f"listener {_at(chain)} was refused: {chain.refusal or 'Envoy does not say why'}",
        evidence=(Evidence("dynamic_listeners.error_state.details", chain.refusal),),
        cause=cause,
        fix=(f"qatprep explain {id}",),
    )


def _providers(dump: Dump, chains: list[TlsChain], expect: Kind | None) -> list[Finding]:
    found: list[Finding] = []
    if not chains:
        found.append(
            warned(
                "QP-ENVOY-001",
                f"no TLS listener in this dump ({plural(dump.listeners, 'listener')} in all)",
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
                    Finding(
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
                    Finding(
                        "QP-ENVOY-001",
                        Status.FAIL if expect is not None else Status.WARN,
                        f"listener {_at(chain)} does not sign through {expect or 'a provider'}",
                        evidence=(Evidence(f"secret {name}" if name else "tls_certificates", f"provider {told}"),),
                        cause="Its certificate has no private_key_provider."
                        if not certificate.provider
                        else f"Its certificate names the provider {certificate.provider}.",
                        fix=(
                            f"qatprep render envoy -p {expect or Kind.QAT}",
                            f"With Istio: qatprep render istio -p {expect or Kind.QAT}",
                        ),
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
    contexts: list[tuple[str, TlsChain | Cluster]] = [(f"listener {_at(chain)}", chain) for chain in chains]
    contexts += [(f"cluster {cluster.name}", cluster) for cluster in dump.clusters]
    for where, context in contexts:
        for name, certificate in dump.certificates(context):
            if certificate is not None:
                seen[(f"secret {name}" if name else where, certificate)] = None
    for where, certificate in seen:
        if certificate.exposed:
            found.append(
                warned(
                    "QP-ENVOY-015",
                    f"{where}: a private key is here in clear text",
                    cause="Envoy blanks keys in its dumps: this is from elsewhere. qatprep prints nothing of it.",
                    fix=("Treat the key as given away: make another.",),
                )
            )
        if not certificate.provider:
            continue
        found += _signing(dump, where, certificate)
    return found


def _signing(dump: Dump, where: str, certificate: Certificate) -> list[Finding]:
    found: list[Finding] = []
    kind = Kind(certificate.provider) if certificate.provider in (Kind.QAT, Kind.CRYPTOMB) else None
    if dump.key_providers is not None and certificate.provider not in dump.key_providers:
        found.append(
            failed(
                "QP-ENVOY-002",
                f"{where}: this Envoy has no provider {certificate.provider} built in",
                evidence=(
                    Evidence("node.extensions, envoy.tls.key_providers", ", ".join(dump.key_providers) or "none"),
                ),
                cause="The plain Envoy image has none; contrib and Istio's proxyv2 have.",
                fix=("qatprep explain QP-ENVOY-002",),
            )
        )
    if dump.fips:
        found.append(
            failed(
                "QP-ENVOY-002",
                f"{where}: this Envoy is a FIPS build, which takes no provider",
                evidence=(Evidence("user_agent_build_version.metadata ssl.version", "FIPS"),),
                cause=f"With BoringSSL's FIPS module Envoy refuses {certificate.provider}: \"Private key method "
                "doesn't support FIPS mode with current parameters\".",
                fix=("Use an Envoy without FIPS, or leave the provider out.",),
            )
        )
    wrong = trouble(certificate.key, kind) if kind and certificate.key else ""
    if wrong:
        found.append(
            failed(
                "QP-ENVOY-003",
                f"{where}: {wrong}",
                evidence=(Evidence("certificate_chain", str(certificate.key)),),
                cause="The provider refuses such a key.",
                fix=("Use an RSA-2048 key." if kind is Kind.QAT else "Use RSA of a size it takes, or P-256.",),
            )
        )
    message = TYPE_URLS[kind].rsplit("/", 1)[-1] if kind else ""
    if kind and certificate.provider_type not in ("", message, "xds.type.v3.TypedStruct"):
        found.append(
            failed(
                "QP-ENVOY-004",
                f"{where}: the provider's message is {certificate.provider_type}",
                evidence=(Evidence("private_key_provider.typed_config", certificate.provider_type),),
                cause=f"{kind} has {message}.",
                fix=(f"qatprep render envoy -p {kind}",),
            )
        )
    if certificate.fallback:
        if certificate.key_outside:
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
                warned(
                    "QP-ISTIO-002",
                    f"{where}: fallback is set, and cannot work: there is no key next to the provider",
                    evidence=(Evidence("private_key_provider", f"{certificate.provider}, fallback: true"),),
                    cause="Envoy's fallback uses private_key next to the provider, which Istio does not send.",
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
