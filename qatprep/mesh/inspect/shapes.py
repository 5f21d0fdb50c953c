"""What in a manifest is of interest, found by its shape: at any depth, in any kind, in snake_case or camelCase.

An operator's overlay, Istio's mesh ConfigMap, a Gateway's parameters and an EnvoyFilter put the same few things in
places of their own, and tomorrow's kinds will do so again. A kind matters only where it has fields of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from qatprep import yaml_text
from qatprep.errors import InputError
from qatprep.mesh.inspect.manifest import Object, Spot, dig, embedded, mapping
from qatprep.mesh.inspect.spelling import snake, snake_key

PROXY_CONFIG = "proxy.istio.io/config"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_LARGEST = 1 << 20
"""Bytes of a text inside a manifest that is read as YAML."""
_WORTH_READING = ("rivateKeyProvider", "rivate_key_provider", "qat.intel.com/", "ServicesEnabled")
_ENVOY = {"private_key_provider", "common_tls_context", "tls_certificates"}
_ORDINARY = re.compile(r"spec(\.(jobTemplate\.spec\.)?template\.spec)?")
"""Where a pod's spec is in the kinds that everybody knows: the kind and name are place enough."""


_WORKLOADS = ("Pod", "PodTemplate", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")
"""Kinds whose pods Kubernetes' own rules hold for; another kind's `containers` may be of any type."""


@dataclass(frozen=True)
class Pod:
    spot: Spot
    spec: dict[str, Any]
    strict: bool
    """Of a kind of Kubernetes' own, whose types are known."""


@dataclass(frozen=True)
class Annotated:
    """Annotations with Istio's proxy config, as text."""

    spot: Spot
    """Of the annotation, or of what is in its text."""
    config: dict[str, Any] | None
    """None where it is no mapping."""
    problem: str
    """Why it is none."""
    spec: dict[str, Any] | None
    """Of the pod, or the chart's values; None where they are not for one pod."""


@dataclass(frozen=True)
class ProxyConfig:
    """Istio's ProxyConfig with a privateKeyProvider."""

    spot: Spot
    config: dict[str, Any]
    mesh_wide: bool


@dataclass(frozen=True)
class Resources:
    """limits and requests outside a container: values of a chart, an operator's overlay."""

    spot: Spot
    resources: dict[str, Any]


@dataclass(frozen=True)
class Envoy:
    """A piece of Envoy's configuration, its keys in snake_case."""

    spot: Spot
    tree: dict[str, Any]
    whole: bool
    """A whole static configuration: with admin."""


@dataclass(frozen=True)
class Provider:
    """A private key provider by itself, as a patch has it; its keys in snake_case."""

    spot: Spot
    block: dict[str, Any]


@dataclass(frozen=True)
class Plugin:
    """A QatDevicePlugin of Intel's operator."""

    spot: Spot
    spec: dict[str, Any]


@dataclass(frozen=True)
class Services:
    """`ServicesEnabled=` for the init container of Intel's plugin."""

    spot: Spot
    text: str


Shape = Pod | Annotated | ProxyConfig | Resources | Envoy | Provider | Plugin | Services


def shapes(part: Object) -> Iterator[Shape]:
    """What of interest is in one object, in order."""
    document = part.value
    if {"static_resources", "staticResources"} & set(document):
        yield Envoy(part.spot, snake(document), True)
        return
    kind = document.get("kind")
    if kind == "QatDevicePlugin":
        yield Plugin(part.spot.at("spec"), mapping(document.get("spec")))
    yield from _below(part.spot, document, 0, kind in _WORKLOADS)


def _below(spot: Spot, value: Any, depth: int, strict: bool = False) -> Iterator[Shape]:
    """`depth` counts texts inside texts too."""
    if depth > yaml_text.DEEPEST:
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _below(spot.at(number), item, depth + 1)
    elif isinstance(value, str):
        yield from _text(spot, value, depth)
    elif isinstance(value, dict):
        envoy = _envoy(spot, value)
        if envoy is not None:
            yield envoy
            return
        own = strict and _ORDINARY.fullmatch(".".join(map(str, spot.path[spot.begin :]))) is not None
        pod = is_pod(value) or (own and "containers" in value)
        done = {"metadata", "status", "annotations", "podAnnotations"}
        done |= set(CONTAINERS) if pod else set()
        done |= {"limits", "requests"} if _has_resources(value) else set()
        if pod:
            yield Pod(spot, value, own)
        yield from _mapping(spot, value)
        for key, inner in value.items():
            if key not in done:
                yield from _below(spot.at(str(key)), inner, depth + 1, strict)


def _mapping(spot: Spot, value: dict[str, Any]) -> Iterator[Shape]:
    """What this mapping is by itself, unless it is a pod."""
    spec = mapping(value.get("spec"))
    for path, of in (
        (("metadata", "annotations"), spec if is_pod(spec) else None),
        (("annotations",), None),
        (("podAnnotations",), value),
    ):
        text = dig(value, *path).get(PROXY_CONFIG)
        if text is not None:
            yield from _annotation(spot.at(*path, PROXY_CONFIG), text, of)
    if {"privateKeyProvider", "private_key_provider"} & set(value):
        yield ProxyConfig(spot, value, spot.path[-1:] == ("defaultConfig",))
    if _has_resources(value):
        yield Resources(spot, value)


def _annotation(spot: Spot, text: object, spec: dict[str, Any] | None) -> Iterator[Annotated]:
    if not isinstance(text, str):
        kind = "a mapping" if isinstance(text, dict) else "a list" if isinstance(text, list) else f"the value {text}"
        yield Annotated(spot, None, f"is {kind}, not text", spec)
        return
    try:
        found = embedded(spot, text)
    except InputError as e:
        yield Annotated(spot, None, f"is not YAML ({e.message})", spec)
        return
    if len(found) > 1 or (text.strip() and not found):
        yield Annotated(spot, None, f"is {'several documents' if found else 'no mapping'}", spec)
    for inner, config in found[:1]:
        yield Annotated(inner, config, "", spec)


def _has_resources(value: dict[str, Any]) -> bool:
    """Whether limits and requests, or the mapping itself by mistake, ask for a QAT."""
    amounts = [str(key) for part in ("limits", "requests") for key in mapping(value.get(part))]
    return any("qat" in key for key in amounts) or any(str(key).startswith("qat.intel.com/") for key in value)


def is_pod(value: dict[str, Any]) -> bool:
    """Whether it has a list of containers."""
    lists = [value[key] for key in CONTAINERS if key in value]
    return any(isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in lists)


def _text(spot: Spot, text: str, depth: int) -> Iterator[Shape]:
    if len(text) > _LARGEST or not any(word in text for word in _WORTH_READING):
        return
    for match in re.finditer(r"^\s*ServicesEnabled=(.*)$", text, re.MULTILINE):
        yield Services(replace(spot, row=text.count("\n", 0, match.start(1))), match[1].strip())
    try:
        found = embedded(spot, text)
    except InputError:
        return
    for inner, value in found:
        if {"static_resources", "staticResources"} & set(value):
            yield Envoy(inner, snake(value), True)
        else:
            yield from _below(inner, value, depth + 1)


def _envoy(spot: Spot, value: dict[str, Any]) -> Envoy | Provider | None:
    """The mapping in snake_case where it is of Envoy's; Istio has another privateKeyProvider."""
    keys = {snake_key(str(key)) for key in value}
    if "provider_name" in keys:
        return Provider(spot, snake(value))
    if not keys & _ENVOY:
        return None
    tree: dict[str, Any] = snake(value)
    block = mapping(tree.get("private_key_provider"))
    if keys & _ENVOY == {"private_key_provider"} and not {"provider_name", "typed_config"} & set(block):
        return None
    return Envoy(spot, tree, False)
