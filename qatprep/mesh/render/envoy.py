"""A static Envoy configuration: one TLS listener that answers 200, and an admin interface on loopback.

What it fixes in Intel's two samples, each tried on Envoy 1.40: the misspelt type of the QAT message, poll_delay and
private_key outside typed_config, filters inside common_tls_context, admin inside static_resources, the router without
its type, and admin open to everybody.
"""

from __future__ import annotations

from typing import Any

from qatprep.mesh import durations
from qatprep.mesh.provider import TYPE_URLS, Kind, Provider
from qatprep.mesh.render import names

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

QUEUE_SIZES = r"cryptomb[._](rsa|ecdsa)_queue_sizes$"
QUEUE_BUCKETS = [size + 0.5 for size in range(1, 9)]
"""Between the sizes. Whether a bucket holds what is below its bound, or below or equal, changed in Envoy 1.38: here
neither reading matters (run on 1.37 and 1.40)."""


def certificate(provider: Provider, cert: str, key: str) -> dict[str, Any]:
    """A TlsCertificate. The provider carries the key inside its own message; for fallback the key is also next to it.

    Envoy's fallback uses TlsCertificate.private_key and nothing else (envoy issue 37285, its own unit test
    PrivateKeyMethodFallback): without it the listener is refused, "Failed to load incomplete private key".
    """
    chain = {"filename": cert}
    if provider.kind is Kind.PLAIN:
        return {"certificate_chain": chain, "private_key": {"filename": key}}
    block: dict[str, Any] = {"provider_name": str(provider.kind)}
    if provider.fallback:
        block["fallback"] = True
    block["typed_config"] = {
        "@type": TYPE_URLS[provider.kind],
        "poll_delay": durations.for_envoy(provider.delay),
        "private_key": {"filename": key},
    }
    outside = {"private_key": {"filename": key}} if provider.fallback else {}
    return {"certificate_chain": chain, **outside, "private_key_provider": block}


def static_config(
    provider: Provider,
    *,
    cert: str = "/etc/ssl/cert.pem",
    key: str = "/etc/ssl/key.pem",
    address: str = "0.0.0.0",
    port: int = 9000,
    admin_address: str = "127.0.0.1",
    admin_port: int = 9001,
    resumption: bool = True,
) -> dict[str, Any]:
    """The whole configuration. `resumption` False makes every handshake a full one: for load tests."""
    tls: dict[str, Any] = {"@type": _TLS}
    if not resumption:
        tls["disable_stateless_session_resumption"] = True
        tls["disable_stateful_session_resumption"] = True
    tls["common_tls_context"] = {
        "tls_certificates": [certificate(provider, names.path(cert, "--cert"), names.path(key, "--key"))]
    }
    listener = {
        "name": "https",
        "address": _socket(names.address(address, "--address"), names.port(port, "--port")),
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [_answer_200()],
            }
        ],
    }
    config: dict[str, Any] = {"static_resources": {"listeners": [listener]}}
    if provider.kind is Kind.CRYPTOMB:
        config["stats_config"] = {"histogram_bucket_settings": bucket_settings()}
    config["admin"] = {
        "address": _socket(names.address(admin_address, "--admin-address"), names.port(admin_port, "--admin-port"))
    }
    return config


def bucket_settings() -> list[dict[str, Any]]:
    """stats_config.histogram_bucket_settings under which every queue size has a bucket of its own."""
    return [{"match": {"safe_regex": {"regex": f".*{QUEUE_SIZES}"}}, "buckets": list(QUEUE_BUCKETS)}]


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _answer_200() -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _HCM,
            "codec_type": "AUTO",
            "stat_prefix": "ingress_http",
            "route_config": {
                "name": "local_route",
                "virtual_hosts": [
                    {
                        "name": "backend",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                    }
                ],
            },
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
        },
    }
