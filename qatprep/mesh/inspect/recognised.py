"""What in a manifest was recognised, in words: a file without mistakes is one in which there was something to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep.mesh.inspect import shapes
from qatprep.mesh.inspect.judge import istio
from qatprep.mesh.inspect.judge.found import absent
from qatprep.mesh.inspect.judge.pod import wanted_vfs
from qatprep.mesh.inspect.manifest import Spot, dig, mapping, sequence, shown, walk
from qatprep.runtime.memlock import needed, spell
from qatprep.text import listed, plural

_LABELS = ("intel.feature.node.kubernetes.io/qat", "feature.node.kubernetes.io/cpu-cpuid.AVX", "qatprep.feature.node.")
"""How labels begin that nodes with QAT, or with CryptoMB's instructions, have."""


@dataclass(frozen=True)
class Seen:
    spot: Spot
    text: str


def seen(shape: shapes.Shape) -> Iterator[Seen]:
    """What a shape has to do with QAT or CryptoMB; nothing for a pod that has nothing of them."""
    match shape:
        case shapes.Pod():
            yield from _pod(shape)
        case shapes.Annotated(spot, config, _, _):
            yield Seen(spot, _proxy(config or {}))
        case shapes.ProxyConfig(spot, config, _):
            yield Seen(spot, _proxy(config))
        case shapes.Resources(spot, resources):
            yield Seen(spot, _amounts(resources) or "names of QAT resources")
        case shapes.Envoy(spot, tree, whole):
            yield Seen(spot, _envoy(tree, whole))
        case shapes.Provider(spot, block):
            yield Seen(spot, f"Envoy's private key provider: {_provider(block)}")
        case shapes.Plugin(spot, spec):
            fields = [f"{key} {_said(spec[key])}" for key in ("image", "dpdkDriver", "maxNumDevices") if key in spec]
            yield Seen(spot, ", ".join(["QAT device plugin of Intel's operator", *fields]))
        case shapes.Services(spot, text):
            yield Seen(spot, f"services of the plugin's init container: {_said(text)}")


def _pod(pod: shapes.Pod) -> Iterator[Seen]:
    containers = 0
    found = []
    for key in shapes.CONTAINERS:
        for number, item in enumerate(sequence(pod.spec.get(key))):
            containers += 1
            if text := _container(pod, key, mapping(item)):
                found.append(Seen(pod.spot.at(key, number), text))
    labels = [str(label) for label in mapping(pod.spec.get("nodeSelector")) if str(label).startswith(_LABELS)]
    if found or labels:
        yield Seen(pod.spot, plural(containers, "container"))
        yield from found
    if labels:
        more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
        yield Seen(pod.spot.at("nodeSelector"), f"nodes with {', '.join(map(_said, labels[:2]))}{more}")


def _container(pod: shapes.Pod, key: str, container: dict[str, Any]) -> str:
    """ "" for one that has nothing to do with QAT."""
    amounts = _amounts(mapping(container.get("resources")))
    policy = [mapping(item).get("value") for item in sequence(container.get("env"))
              if mapping(item).get("name") == "QAT_POLICY"]  # fmt: skip
    plugin = "intel-qat-plugin" in str(container.get("image"))
    if not amounts and not policy and not plugin:
        return ""
    parts = ["Intel's QAT device plugin"] if plugin else []
    if key != "containers":
        sidecar = key == "initContainers" and container.get("restartPolicy") == "Always"
        parts.append("sidecar" if sidecar else f"{key.removesuffix('Containers')} container")
    parts += [amounts] if amounts else []
    both = {**mapping(pod.spec.get("securityContext")), **mapping(container.get("securityContext"))}
    parts += [f"{name} {_said(both[name])}" for name in ("runAsUser", "runAsGroup") if amounts and name in both]
    parts += [f"QAT_POLICY {_said(policy[0])}"] if policy else []
    vfs = [str(dig(container, "resources", "limits")[name]) for name in wanted_vfs(container)]
    if vfs and all(amount.isascii() and amount.isdigit() and len(amount) < 5 for amount in vfs):
        parts.append(f"needs a memlock limit of {spell(needed(sum(map(int, vfs))))} on the node")
    return ", ".join(parts)


def _amounts(resources: dict[str, Any]) -> str:
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    names = [name for name in dict.fromkeys((*limits, *requests)) if "qat" in str(name)]
    return ", ".join(f"{_said(name)}: {_said(limits.get(name, requests.get(name)))}" for name in names)


def _proxy(config: dict[str, Any]) -> str:
    _, providers = istio.block(config)
    named = [
        f"{_said(kind)} pollDelay {_said(mapping(value).get('pollDelay', mapping(value).get('poll_delay')))}"
        for kind, value in providers.items()
    ]
    return f"Istio's private key provider: {', '.join(named)}" if named else "Istio's proxy config, no provider in it"


def _envoy(tree: dict[str, Any], whole: bool) -> str:
    """Certificates by provider, and the admin interface."""
    blocks = [mapping(value) for _, key, value in walk(tree) if key == "private_key_provider"]
    count = Counter(map(_provider, blocks))
    named = [f"{text} ({n} times)" if n > 1 else text for text, n in count.items()]
    parts = [f"private key provider: {listed(named)}" if named else "no private key provider: it signs in software"]
    address = dig(tree, "admin", "address", "socket_address").get("address")
    parts += [f"admin on {_said(address)}"] if address else []
    return f"{'an Envoy configuration' if whole else 'part of one of Envoy'}, {', '.join(parts)}"


def _provider(block: dict[str, Any]) -> str:
    delay = mapping(block.get("typed_config")).get("poll_delay", block.get("poll_delay"))
    fallback = ", fallback" if block.get("fallback") is True else ""
    return f"{_said(block.get('provider_name'))} poll_delay {_said(delay)}{fallback}"


def _said(value: object) -> str:
    return shown(absent(value))
