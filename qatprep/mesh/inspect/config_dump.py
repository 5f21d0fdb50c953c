"""What an Envoy's config_dump says of its TLS: who signs, with which key, what if the hardware is missing.

Shapes: envoy.admin.v3 ConfigDump (api/envoy/admin/v3/config_dump.proto), seen on Envoy 1.40 (tests/mesh/data). Envoy
writes "[redacted]" for strings and "0s" for durations below typed_config: the poll delay cannot be read back, and 0s is
no fault. Only what is named in these classes leaves this module; keys and certificates never do.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qatprep.errors import InputError
from qatprep.mesh.inspect.jsonwalk import Document
from qatprep.mesh.inspect.source import STDIN, Input
from qatprep.mesh.inspect.spelling import snake, snake_key
from qatprep.mesh.keys import KeyKind, certificate_kind
from qatprep.text import printable

_ADMIN = "type.googleapis.com/envoy.admin.v3."
_CERTIFICATE = b"ertificate"
"""Part of every key by which a TLS context has a certificate, in both spellings. Most clusters have none."""
_MOST_CHAINS = 20_000
_MOST_SECTIONS = 200_000


@dataclass(frozen=True)
class Certificate:
    """One TlsCertificate of a listener or a secret."""

    provider: str = ""
    """provider_name, "" when the key itself is used."""
    provider_type: str = ""
    """The message inside typed_config, without its prefix."""
    fallback: bool = False
    key_outside: bool = False
    """private_key is set outside of the provider: without it Envoy's fallback cannot work."""
    key: KeyKind | None = None
    """From the certificate, where the dump has it in full."""
    chain: str = ""
    """Where the certificate is: "inline", or a path in the container."""
    exposed: bool = False
    """The dump has a private key in clear text."""


@dataclass(frozen=True)
class TlsChain:
    """One filter chain of a listener that speaks TLS as a server."""

    listener: str
    address: str
    names: tuple[str, ...]
    """SNI names it is for; () for any."""
    certificates: tuple[Certificate, ...]
    secrets: tuple[str, ...]
    """Names of secrets it takes its certificates from."""
    state: str = "active"
    """active, warming, or refused."""
    refusal: str = ""
    """Envoy's words for why the listener was refused."""
    no_resumption: bool = False


@dataclass(frozen=True)
class Cluster:
    """One TLS context of a cluster that has a certificate of its own: as a client (mutual TLS) it signs too."""

    name: str
    certificates: tuple[Certificate, ...]
    secrets: tuple[str, ...]


@dataclass
class Dump:
    chains: list[TlsChain] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    secrets: dict[str, Certificate] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    """Secrets that are awaited: the listener is not ready."""
    version: tuple[int, int] | None = None
    build: str = ""
    """RELEASE, or what else the build is."""
    fips: bool = False
    """Built with BoringSSL's FIPS module, which takes no private key provider."""
    key_providers: tuple[str, ...] | None = None
    """Private key providers this Envoy was built with; None when the dump does not say."""
    admin: str = ""
    """Address of the admin interface."""
    listeners: int = 0
    """Listeners of every kind, TLS or not."""

    def certificates(self, chain: TlsChain | Cluster) -> list[tuple[str, Certificate | None]]:
        """Those of a TLS context, secrets looked up: ("", ...) for its own, (name, None) for a missing secret."""
        own: list[tuple[str, Certificate | None]] = [("", c) for c in chain.certificates]
        return own + [(name, self.secrets.get(name)) for name in chain.secrets]


def parse(source: Input) -> Dump:
    """Read a dump: whole, by ?resource=, or one of its sections alone. InputError when it is none."""
    document = Document(source.name, source.data)
    if not source.data.strip():
        raise InputError(f"{source.name} is empty")
    if document.kind(document.top) not in ("{", "["):
        raise InputError(
            f"{source.name} is no Envoy config_dump: it does not begin with {{",
            "curl http://127.0.0.1:15000/config_dump > dump.json\n"
            "or, with Istio: istioctl proxy-config all POD -o json > dump.json\n"
            "or, for a manifest or Envoy's own YAML: qatprep inspect manifest "
            f"{'-' if source.name == STDIN else shlex.quote(source.name)}",
        )
    dump = Dump()
    found = list(_sections(document, document.top, 0))
    if len({pod for pod, _ in found}) > 1:
        raise InputError(f"{source.name} has the dumps of several pods", "take that of one pod at a time")
    known = sum(_section(document, at, dump) for _, at in found)
    if not dump.listeners and dump.secrets:  # istioctl proxy-config secret: the certificates are all there is
        dump.chains.append(TlsChain("not in this dump", "", (), (), tuple(dump.secrets)))
    dump.clusters = list(dict.fromkeys(dump.clusters))
    dump.chains = list(dict.fromkeys(dump.chains))  # Envoy reports a refused listener once for each attempt
    end = document.skip(document.top)
    if source.data[end:].strip():
        raise document.fail(end, "something follows the dump")
    if not known:
        raise InputError(
            f"{source.name} is JSON, but no Envoy config_dump: no section of it is known",
            "curl http://127.0.0.1:15000/config_dump",
        )
    return dump


_PODS = 2
"""Levels above a dump in what egctl prints: the namespace, then the pod."""


def _sections(document: Document, at: int, level: int, pod: str = "") -> Iterator[tuple[str, int]]:
    """The pod ("" where there is no telling) and the place of each section: of /config_dump, of
    `istioctl proxy-config all|listener|secret -o json`, of `egctl config envoy-proxy`."""
    if document.kind(at) == "[":
        for number, element in enumerate(document.elements(at)):
            if number > _MOST_SECTIONS:
                raise document.fail(element, f"more than {_MOST_SECTIONS} sections")
            yield pod, element
        return
    members = dict(document.members(at)) if document.kind(at) == "{" else {}
    if "configs" in members and document.kind(members["configs"]) == "[":
        yield from _sections(document, members["configs"], level, pod)
    elif "@type" in members or level == _PODS or any(document.kind(place) != "{" for place in members.values()):
        yield pod, at
    else:
        for key, place in members.items():
            yield from _sections(document, place, level + 1, f"{pod}/{key}")


def _section(document: Document, at: int, dump: Dump) -> bool:
    place = document.get(at, "@type")
    kind = document.load(place) if place is not None else ""
    if not isinstance(kind, str):
        return False
    name = kind.removeprefix(_ADMIN) if kind.startswith(_ADMIN) else _of_istioctl(document, at, kind)
    if name == "ListenersConfigDump":
        for key, value in document.members(at):
            if snake_key(key) in ("static_listeners", "dynamic_listeners") and document.kind(value) == "[":
                for element in document.elements(value):
                    _listener_entry(_load(document, element), dump)
    elif name in ("ListenersConfigDump.DynamicListener", "ListenersConfigDump.StaticListener"):
        _listener_entry(_load(document, at), dump)
    elif name == "ClustersConfigDump":
        for key, value in document.members(at):
            if key.lower().endswith("clusters") and document.kind(value) == "[":
                for element in document.elements(value):
                    if document.has(element, _CERTIFICATE):
                        _cluster_entry(_load(document, element), dump)
    elif name in ("ClustersConfigDump.DynamicCluster", "ClustersConfigDump.StaticCluster"):
        _cluster_entry(_load(document, at), dump)
    elif name == "SecretsConfigDump":
        for key, value in document.members(at):
            if document.kind(value) == "[":
                for element in document.elements(value):
                    _secret_entry(_load(document, element), dump, warming="warming" in key.lower())
    elif name in ("SecretsConfigDump.DynamicSecret", "SecretsConfigDump.StaticSecret"):
        _secret_entry(_load(document, at), dump, warming=False)
    elif name == "Listener":
        _listener(_dict(_load(document, at)), dump, "active", "")
    elif name == "BootstrapConfigDump":
        bootstrap = document.get(at, "bootstrap")
        if bootstrap is not None and document.kind(bootstrap) == "{":
            for key, value in document.members(bootstrap):
                if key == "node":
                    _node(_load(document, value), dump)
                elif key == "admin":
                    dump.admin = _address(_dict(_dict(_load(document, value)).get("address")))
    return bool(name)


def _of_istioctl(document: Document, at: int, kind: str) -> str:
    """What a section without a type of the admin interface is, "" for none: istioctl prints bare messages."""
    if kind.endswith(".Listener"):
        return "Listener"
    keys = {snake_key(key) for key, _ in document.members(at)} if document.kind(at) == "{" and not kind else set()
    if keys & {"static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"}:
        return "SecretsConfigDump"
    return "Listener" if {"name", "address", "filter_chains"} <= keys else ""


def _load(document: Document, at: int) -> Any:
    """A value with its keys in snake_case: istioctl prints camelCase."""
    return snake(document.load(at))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, most: int = 200) -> str:
    return printable(value[:most]) if isinstance(value, str) else ""


def _node(node: Any, dump: Dump) -> None:
    node = _dict(node)
    build = _dict(node.get("user_agent_build_version"))
    version = _dict(build.get("version"))
    major, minor = version.get("major_number"), version.get("minor_number", 0)
    if isinstance(major, int) and isinstance(minor, int):
        dump.version = (major, minor)
    dump.fips = "FIPS" in _text(_dict(build.get("metadata")).get("ssl.version"), 60).upper()
    dump.build = _text(_dict(build.get("metadata")).get("build.type"), 40)
    extensions = _list(node.get("extensions"))
    if extensions:
        dump.key_providers = key_providers(extensions)


def key_providers(extensions: list[Any]) -> tuple[str, ...]:
    """Names in the category envoy.tls.key_providers of a node's extensions (also in /server_info)."""
    found = (_dict(item) for item in extensions)
    return tuple(_text(item.get("name"), 60) for item in found if item.get("category") == "envoy.tls.key_providers")


def _listener_entry(entry: Any, dump: Dump) -> None:
    entry = _dict(entry)
    if "listener" in entry:
        _listener(_dict(entry["listener"]), dump, "active", "")
    for key, state in (("active_state", "active"), ("warming_state", "warming")):
        if key in entry:
            _listener(_dict(_dict(entry[key]).get("listener")), dump, state, "")
    error = _dict(entry.get("error_state"))
    if error:
        failed = _dict(error.get("failed_configuration"))
        _listener(failed or {"name": entry.get("name")}, dump, "refused", _text(error.get("details"), 300))


def _listener(listener: dict[str, Any], dump: Dump, state: str, refusal: str) -> None:
    dump.listeners += 1
    name = _text(listener.get("name")) or "(without a name)"
    address = _address(_dict(listener.get("address")))
    chains = _list(listener.get("filter_chains"))
    if isinstance(listener.get("default_filter_chain"), dict):
        chains = [*chains, listener["default_filter_chain"]]
    for chain in chains:
        chain = _dict(chain)
        tls = _tls_context(_dict(chain.get("transport_socket")))
        if tls is None:
            continue
        if len(dump.chains) >= _MOST_CHAINS:
            raise InputError(f"the dump has more than {_MOST_CHAINS} TLS filter chains")
        own, secrets = _certificates(tls)
        match = _dict(chain.get("filter_chain_match"))
        dump.chains.append(
            TlsChain(
                listener=name,
                address=address,
                names=tuple(_text(item) for item in _list(match.get("server_names"))[:100]),
                certificates=own,
                secrets=secrets,
                state=state,
                refusal=refusal,
                no_resumption=tls.get("disable_stateless_session_resumption") is True
                and tls.get("disable_stateful_session_resumption") is True,
            )
        )


def _certificates(tls: dict[str, Any]) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Certificates of a TLS context, and the names of secrets it takes more from."""
    common = _dict(tls.get("common_tls_context"))
    sds = [_dict(item) for item in _list(common.get("tls_certificate_sds_secret_configs"))]
    own = tuple(certificate(item) for item in _list(common.get("tls_certificates"))[:100])
    return own, tuple(_text(item.get("name")) for item in sds[:100])


def _cluster_entry(entry: Any, dump: Dump) -> None:
    """A cluster may have several sockets: Istio's has mutual TLS and plain text in transport_socket_matches."""
    cluster = _dict(_dict(entry).get("cluster"))
    sockets = [_dict(item).get("transport_socket") for item in _list(cluster.get("transport_socket_matches"))[:100]]
    for socket in (cluster.get("transport_socket"), *sockets):
        config = _dict(_dict(socket).get("typed_config"))
        if _text(config.get("@type")).endswith(".QuicUpstreamTransport"):
            config = _dict(config.get("upstream_tls_context"))
        own, secrets = _certificates(config)
        if not own and not secrets:
            continue
        if len(dump.clusters) >= _MOST_CHAINS:
            raise InputError(f"the dump has more than {_MOST_CHAINS} TLS clusters")
        dump.clusters.append(Cluster(_text(cluster.get("name")) or "(without a name)", own, secrets))


def _tls_context(transport: dict[str, Any]) -> dict[str, Any] | None:
    config = _dict(transport.get("typed_config"))
    kind = _text(config.get("@type"))
    if kind.endswith(".DownstreamTlsContext"):
        return config
    if kind.endswith(".QuicDownstreamTransport"):
        return _dict(config.get("downstream_tls_context"))
    return None


def _secret_entry(entry: Any, dump: Dump, *, warming: bool) -> None:
    entry = _dict(entry)
    secret = _dict(entry.get("secret"))
    name = _text(entry.get("name")) or _text(secret.get("name"))
    tls = secret.get("tls_certificate")
    if warming and not isinstance(tls, dict):
        dump.pending.add(name)
    elif isinstance(tls, dict) and (not warming or name not in dump.secrets):
        dump.secrets[name] = certificate(tls)


def certificate(value: Any) -> Certificate:
    """A TlsCertificate as JSON or YAML gives it."""
    value = _dict(value)
    provider = _dict(value.get("private_key_provider"))
    config = _dict(provider.get("typed_config"))
    chain = _dict(value.get("certificate_chain"))
    outside = _dict(value.get("private_key"))
    return Certificate(
        provider=_text(provider.get("provider_name"), 60),
        provider_type=_text(config.get("@type")).rsplit("/", 1)[-1],
        fallback=provider.get("fallback") is True,
        key_outside=bool(outside),
        key=_key_kind(chain),
        chain="inline" if "inline_string" in chain or "inline_bytes" in chain else _text(chain.get("filename")),
        exposed=_in_clear(outside) or _in_clear(_dict(config.get("private_key"))),
    )


def _key_kind(chain: dict[str, Any]) -> KeyKind | None:
    text = chain.get("inline_string")
    if isinstance(text, str) and "BEGIN CERTIFICATE" in text:
        return certificate_kind(text[: 1 << 18].encode())
    encoded = chain.get("inline_bytes")
    if isinstance(encoded, str):
        try:
            return certificate_kind(base64.b64decode(encoded[: 1 << 18], validate=False))
        except (binascii.Error, ValueError):
            return None
    return None


def _in_clear(source: dict[str, Any]) -> bool:
    for key in ("inline_string", "inline_bytes"):
        value = source.get(key)
        if isinstance(value, str) and value and not value.startswith("[redacted") and value != "W3JlZGFjdGVkXQ==":
            return True
    return False


def _address(address: dict[str, Any]) -> str:
    socket = _dict(address.get("socket_address"))
    if socket:
        port = socket.get("port_value")
        return f"{_text(socket.get('address'), 60)}:{port if isinstance(port, int) else ''}"
    return _text(_dict(address.get("pipe")).get("path"))
