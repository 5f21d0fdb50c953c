"""Hand-made dumps for what no Envoy here can give: providers that work."""

from __future__ import annotations

import base64
import datetime
import json
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from qatprep.mesh.provider import TYPE_URLS, Kind

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
ADMIN = "type.googleapis.com/envoy.admin.v3."


@cache
def certificate(kind: str = "rsa2048") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "p256" else rsa.generate_private_key(65537, int(kind[3:]))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def tls_certificate(
    provider: Kind | None, *, key: str = "rsa2048", fallback: bool = False, beside: bool = False, spelling: str = ""
) -> dict[str, Any]:
    """A TlsCertificate as a config_dump shows it."""
    made: dict[str, Any] = {"certificate_chain": {"inline_bytes": base64.b64encode(certificate(key)).decode()}}
    if beside or provider is None:
        made["private_key"] = {"inline_bytes": "W3JlZGFjdGVkXQ=="}
    if provider is not None:
        made["private_key_provider"] = {
            "provider_name": str(provider),
            "typed_config": {
                "@type": spelling or TYPE_URLS[provider],
                "poll_delay": "0s",
                "private_key": {"inline_bytes": "W3JlZGFjdGVkXQ=="},
            },
        }
        if fallback:
            made["private_key_provider"]["fallback"] = True
    return made


def chain(*certificates: dict[str, Any], secrets: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> dict[str, Any]:
    common: dict[str, Any] = {}
    if certificates:
        common["tls_certificates"] = list(certificates)
    if secrets:
        common["tls_certificate_sds_secret_configs"] = [{"name": name, "sds_config": {"ads": {}}} for name in secrets]
    made: dict[str, Any] = {"transport_socket": {"typed_config": {"@type": TLS, "common_tls_context": common}}}
    if names:
        made["filter_chain_match"] = {"server_names": list(names)}
    return made


def cluster(name: str, *certificates: dict[str, Any], secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    """A cluster that is a TLS client with certificates of its own, the way Istio writes it: beside plain text."""
    socket = chain(*certificates, secrets=secrets)["transport_socket"]
    socket["typed_config"]["@type"] = TLS.replace("Downstream", "Upstream")
    plain = {"name": "tlsMode-disabled", "transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}}
    return {"name": name, "transport_socket_matches": [{"name": "tlsMode-istio", "transport_socket": socket}, plain]}


def dump(
    *chains: dict[str, Any],
    secrets: dict[str, dict[str, Any]] | None = None,
    warming: tuple[str, ...] = (),
    providers: tuple[str, ...] | None = ("cryptomb", "qat"),
    admin: str = "127.0.0.1",
    build: str = "RELEASE",
    clusters: tuple[dict[str, Any], ...] = (),
    fips: bool = False,
) -> bytes:
    """A config_dump with one dynamic listener."""
    node: dict[str, Any] = {
        "user_agent_build_version": {
            "version": {"major_number": 1, "minor_number": 38},
            "metadata": {"build.type": build, "ssl.version": "BoringSSL-FIPS" if fips else "BoringSSL"},
        }
    }
    if providers is not None:
        node["extensions"] = [{"name": "x", "category": "y"}]
        node["extensions"] += [{"name": name, "category": "envoy.tls.key_providers"} for name in providers]
    address = {"socket_address": {"address": "0.0.0.0", "port_value": 8443}}
    listener = {"name": "0.0.0.0_8443", "address": address, "filter_chains": list(chains)}
    sections = [
        {
            "@type": ADMIN + "BootstrapConfigDump",
            "bootstrap": {
                "node": node,
                "admin": {"address": {"socket_address": {"address": admin, "port_value": 15000}}},
            },
        },
        {
            "@type": ADMIN + "ClustersConfigDump",
            "static_clusters": [{"cluster": {"name": "x" * 1000}}],
            "dynamic_active_clusters": [{"cluster": cluster} for cluster in clusters],
        },
        {"@type": ADMIN + "ListenersConfigDump", "dynamic_listeners": [{"active_state": {"listener": listener}}]},
        {
            "@type": ADMIN + "SecretsConfigDump",
            "dynamic_active_secrets": [
                {"name": name, "secret": {"name": name, "tls_certificate": value}}
                for name, value in (secrets or {}).items()
            ],
            "dynamic_warming_secrets": [{"name": name, "secret": {"name": name}} for name in warming],
        },
    ]
    return json.dumps({"configs": sections}).encode()
