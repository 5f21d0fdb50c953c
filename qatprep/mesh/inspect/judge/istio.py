"""Istio's proxy config judged: the annotation, and what is for a whole mesh."""

from __future__ import annotations

from typing import Any

from qatprep.errors import InputError
from qatprep.facts.kubernetes import PREFIX
from qatprep.mesh import durations
from qatprep.mesh.inspect import shapes
from qatprep.mesh.inspect.judge.found import Found, absent
from qatprep.mesh.inspect.judge.pod import wanted_vfs
from qatprep.mesh.inspect.manifest import Spot, dig, mapping, sequence
from qatprep.mesh.provider import Kind
from qatprep.text import did_you_mean

_PROVIDER_FIELDS = ("pollDelay", "poll_delay", "fallback")
_NOT_OF_A_CPU = ("kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch")


def block(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The provider's key, as the configuration spells it, and what is in it."""
    key = next(
        (key for key in ("privateKeyProvider", "private_key_provider") if dig(config, key)), "privateKeyProvider"
    )
    return key, dig(config, key)


def annotation(found: Found, annotated: shapes.Annotated) -> None:
    name, spot = shapes.PROXY_CONFIG, annotated.spot
    if annotated.config is None:
        cause = (
            'The API server refuses the object: values of annotations are text ("cannot unmarshal ... of type string").'
            if annotated.problem.endswith("not text")
            else "Istio reads it as one ProxyConfig in YAML: nothing in it takes effect."
        )
        found.fail(
            "QP-ISTIO-001",
            spot,
            name,
            f"{name} {annotated.problem}",
            cause,
            "Write it as a block of text, with | behind the colon.",
            "qatprep render istio -p qat --as annotation",
        )
        return
    _fields(found, spot, annotated.config)
    key, providers = block(annotated.config)
    if annotated.spec is None:
        return
    if Kind.QAT in providers:
        _wants_a_vf(found, spot.at(key, "qat"), annotated.spec)
    if Kind.CRYPTOMB in providers and not chooses_nodes(annotated.spec):
        found.warn(
            "QP-ISTIO-005",
            spot.at(key, "cryptomb"),
            "nodeSelector without a label of the CPU, no required nodeAffinity",
            "cryptomb is set, and the pod may run on nodes whose CPU lacks the instructions",
            'Envoy refuses the certificate there ("Multi-buffer CPU instructions not available."), and the pod serves '
            "no TLS.",
            "Add a node selector; `qatprep features` has a label cryptomb.",
            "qatprep render istio -p cryptomb",
        )


def _wants_a_vf(found: Found, spot: Spot, spec: dict[str, Any]) -> None:
    """A proxy with the provider qat needs a VF. A sidecar that is injected has none of what the manifest says."""
    containers = [mapping(c) for key in shapes.CONTAINERS for c in sequence(spec.get(key))]
    of_a_chart = not containers
    if of_a_chart and set(spec) == {"podAnnotations"}:
        return  # a piece of values: resources are elsewhere
    proxies = [c for c in containers if c.get("name") == "istio-proxy"]
    asking = [{"resources": spec.get("resources")}] if of_a_chart else proxies or containers
    if any(map(wanted_vfs, asking)):
        return
    proxy = of_a_chart or bool(proxies)
    title = (
        f"qat is set, and {'istio-proxy asks' if proxies else 'no container asks'} for {'no' if proxies else 'a'} VF"
    )
    add = found.fail if proxy else found.warn
    add(
        "QP-K8S-008",
        spot,
        f"no limit of {PREFIX.rstrip('/')}",
        title,
        'Envoy opens a VF when it loads the certificate. Without one it says "Failed to start QAT device.", and '
        "refuses the certificate."
        + ("" if proxy else " A proxy that is injected gets none of what these containers ask for."),
        "Ask for one.",
        "qatprep render istio -p qat",
    )


def chooses_nodes(spec: dict[str, Any]) -> bool:
    """Whether some label of nodes is asked for: which of them have the instructions, only the cluster knows."""
    required = dig(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return bool(spec.get("nodeName") or required or set(mapping(spec.get("nodeSelector"))) - set(_NOT_OF_A_CPU))


def proxy_config(found: Found, shape: shapes.ProxyConfig) -> None:
    _fields(found, shape.spot, shape.config)
    key, providers = block(shape.config)
    for kind in providers if shape.mesh_wide else ():
        if kind in (Kind.QAT, Kind.CRYPTOMB):
            lacking = "whose CPU lacks the instructions" if kind == Kind.CRYPTOMB else "without a QAT VF"
            found.warn(
                "QP-ISTIO-005",
                shape.spot.at(key, kind),
                kind,
                f"{kind} for the whole mesh: every proxy {lacking} is left without a certificate",
                "defaultConfig is for every sidecar and gateway. A proxy that cannot start the provider refuses its "
                "certificate, and mutual TLS stops for its pod.",
                "Set it for gateways alone, with a node selector.",
                f"qatprep render istio -p {kind} --as gateway-values",
            )


def _fields(found: Found, spot: Spot, config: dict[str, Any]) -> None:
    key, providers = block(config)
    spot = spot.at(key)
    if {Kind.QAT, Kind.CRYPTOMB} <= set(providers):
        title = "privateKeyProvider has qat and cryptomb: a proxy takes one"
        cause = "It is one field with a choice (oneof): Istio cannot read a configuration with both."
        found.fail("QP-ISTIO-001", spot, "cryptomb, qat", title, cause, "Leave one out.")
    for kind, value in providers.items():
        if kind not in (Kind.QAT, Kind.CRYPTOMB):
            title = f"privateKeyProvider has no {kind!r}"
            cause = "Istio knows qat and cryptomb, and sets no provider for anything else."
            found.fail("QP-ISTIO-001", spot.at(str(kind)), kind, title, cause, "Use qat or cryptomb.")
            continue
        _provider(found, spot.at(kind), kind, mapping(value))


def _provider(found: Found, spot: Spot, kind: str, value: dict[str, Any]) -> None:
    for key in value:
        if key not in _PROVIDER_FIELDS:
            title = f"{kind} has no field {key!r}: Istio passes it over"
            fix = did_you_mean(str(key), _PROVIDER_FIELDS, "Leave it out.")
            found.warn("QP-ISTIO-001", spot.at(str(key)), key, title, "What it was to set is not set.", fix)
    name = "poll_delay" if "pollDelay" not in value and "poll_delay" in value else "pollDelay"
    delay = value.get(name)
    said = f"pollDelay {absent(delay)}"
    if delay is None:
        title = f"{kind} has no pollDelay: Istio refuses it"
        cause = "Envoy requires a delay of 1 ms or more, and has no default."
        found.fail("QP-ISTIO-001", spot, said, title, cause, "Set pollDelay: 5ms.")
    else:
        try:
            durations.for_istio(durations.parse(str(delay)))
        except InputError as e:
            cause = "Envoy gets the part below a second, and refuses a certificate whose provider polls below 1 ms."
            found.fail("QP-ISTIO-001", spot.at(name), said, f"pollDelay: {e.message}", cause, "Use 1ms to 999ms.")
    if value.get("fallback") is True:
        found.warn(
            "QP-ISTIO-002",
            spot.at("fallback"),
            "fallback true",
            "fallback: true very probably does not fall back with Istio",
            "Istio puts the key inside the provider's message only, and Envoy's fallback uses the key next to it (read "
            "in both sources, not run).",
            "Leave it out, and keep gateways on nodes with the hardware.",
        )
