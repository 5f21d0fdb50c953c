"""What in a manifest is of interest, found by its shape: at any depth, in any kind, in snake_case or camelCase.

An operator's overlay, Istio's mesh ConfigMap, a Gateway's parameters and an EnvoyFilter put the same few things in
places of their own, and tomorrow's kinds will do so again. A kind matters only where it has fields of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep import yaml_text
from qatprep.mesh.inspect.manifest import Manifest, embedded, mapping
from qatprep.mesh.inspect.spelling import snake, snake_key

PROXY_CONFIG = "proxy.istio.io/config"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_LARGEST = 1 << 20
"""Bytes of a text inside a manifest that is read as YAML."""
_WORTH_READING = ("rivateKeyProvider", "rivate_key_provider", "qat.intel.com/", "ServicesEnabled")
_ENVOY = {"private_key_provider", "common_tls_context", "tls_certificates"}
_ORDINARY = re.compile(r"spec(\.(jobTemplate\.spec\.)?template\.spec)?")
"""Where a pod's spec is in the kinds that everybody knows: the kind and name are place enough."""


@dataclass(frozen=True)
class Pod:
    where: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Annotated:
    """Annotations with Istio's proxy config, as text."""

    where: str
    text: object
    spec: dict[str, Any] | None
    """Of the pod, or the chart's values; None where they are not for one pod."""


@dataclass(frozen=True)
class ProxyConfig:
    """Istio's ProxyConfig with a privateKeyProvider."""

    where: str
    config: dict[str, Any]
    mesh_wide: bool


@dataclass(frozen=True)
class Resources:
    """limits and requests outside a container: values of a chart, an operator's overlay."""

    where: str
    resources: dict[str, Any]


@dataclass(frozen=True)
class Envoy:
    """A piece of Envoy's configuration, its keys in snake_case."""

    where: str
    tree: dict[str, Any]
    whole: bool
    """A whole static configuration: with admin."""


@dataclass(frozen=True)
class Plugin:
    """A QatDevicePlugin of Intel's operator."""

    where: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Services:
    """`ServicesEnabled=` for the init container of Intel's plugin."""

    where: str
    text: str


Shape = Pod | Annotated | ProxyConfig | Resources | Envoy | Plugin | Services


@dataclass(frozen=True)
class Contents:
    """One document: what it is called, and what of interest is in it."""

    name: str
    shapes: tuple[Shape, ...]


def contents(manifest: Manifest) -> list[Contents]:
    """Of each document, in order."""
    names = [_name(document) for document in manifest.documents]
    documents = zip(names, manifest.documents, strict=True)
    return [Contents(name, tuple(_document(name, document))) for name, document in documents]


def _name(document: dict[str, Any]) -> str:
    kind = document.get("kind")
    if isinstance(kind, str):
        name = mapping(document.get("metadata")).get("name")
        return f"{kind}/{name}" if isinstance(name, str) and name else kind
    keys = [str(key) for key in document]
    return ", ".join(keys[:3]) + (" ..." if len(keys) > 3 else "")


def _document(name: str, document: dict[str, Any]) -> Iterator[Shape]:
    if {"static_resources", "staticResources"} & set(document):
        yield Envoy("", snake(document), True)
        return
    if document.get("kind") == "QatDevicePlugin":
        yield Plugin(name, mapping(document.get("spec")))
    yield from _below(name if "kind" in document else "", "", document, 0)


def _below(name: str, path: str, value: Any, depth: int) -> Iterator[Shape]:
    """`depth` counts texts inside texts too."""
    if depth > yaml_text.DEEPEST:
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _below(name, f"{path}[{number}]", item, depth + 1)
    elif isinstance(value, str):
        yield from _text(name, path, value, depth)
    elif isinstance(value, dict):
        envoy = _envoy(value)
        if envoy is not None:
            yield Envoy(_where(name, path), envoy, False)
            return
        done = {"metadata", "status", "annotations", "podAnnotations"}
        done |= set(CONTAINERS) if is_pod(value) else set()
        done |= {"limits", "requests"} if _has_resources(value) else set()
        yield from _mapping(name, path, value)
        for key, inner in value.items():
            if key not in done:
                yield from _below(name, f"{path}.{key}" if path else str(key), inner, depth + 1)


def _mapping(name: str, path: str, value: dict[str, Any]) -> Iterator[Shape]:
    """What this mapping is by itself."""
    if is_pod(value):
        yield Pod(_pod_place(name, path), value)
    text = mapping(mapping(value.get("metadata")).get("annotations")).get(PROXY_CONFIG)
    if text is not None:
        spec = mapping(value.get("spec"))
        place = _pod_place(name, f"{path}.spec" if path else "spec") if is_pod(spec) else _where(name, path)
        yield Annotated(place, text, spec if is_pod(spec) else None)
    for key, of_a_pod in (("annotations", False), ("podAnnotations", True)):
        text = mapping(value.get(key)).get(PROXY_CONFIG)
        if text is not None:
            yield Annotated(_where(name, f"{path}.{key}" if path else key), text, value if of_a_pod else None)
    if {"privateKeyProvider", "private_key_provider"} & set(value):
        yield ProxyConfig(_where(name, path), value, path.endswith("defaultConfig"))
    if _has_resources(value):
        yield Resources(_where(name, path), value)


def _has_resources(value: dict[str, Any]) -> bool:
    """Whether limits and requests, or the mapping itself by mistake, ask for a QAT."""
    amounts = [str(key) for part in ("limits", "requests") for key in mapping(value.get(part))]
    return any("qat" in key for key in amounts) or any(str(key).startswith("qat.intel.com/") for key in value)


def is_pod(value: dict[str, Any]) -> bool:
    """Whether it has a list of containers."""
    lists = [value[key] for key in CONTAINERS if key in value]
    return any(isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in lists)


def _text(name: str, path: str, text: str, depth: int) -> Iterator[Shape]:
    if len(text) > _LARGEST or not any(word in text for word in _WORTH_READING):
        return
    for match in re.finditer(r"^\s*ServicesEnabled=(.*)$", text, re.MULTILINE):
        yield Services(_where(name, path), match[1].strip())
    inner = embedded(text)
    if inner and {"static_resources", "staticResources"} & set(inner):
        yield Envoy(_where(name, path), snake(inner), True)
    elif inner:
        yield from _below(name, path, inner, depth + 1)


def _envoy(value: dict[str, Any]) -> dict[str, Any] | None:
    """The mapping in snake_case where it is of Envoy's; Istio has another privateKeyProvider."""
    keys = {snake_key(str(key)) for key in value}
    if "provider_name" in keys:
        return {"private_key_provider": snake(value)}
    if not keys & _ENVOY:
        return None
    tree: dict[str, Any] = snake(value)
    block = mapping(tree.get("private_key_provider"))
    if keys & _ENVOY == {"private_key_provider"} and not {"provider_name", "typed_config"} & set(block):
        return None
    return tree


def _pod_place(name: str, path: str) -> str:
    return name if name and _ORDINARY.fullmatch(path) else _where(name, path)


def _where(name: str, path: str) -> str:
    return f"{name} {path}" if name and path else name or path
