"""Rules for manifests that schemas miss: Kubernetes pods, Istio's proxy config, static Envoy configurations.

A file may hold several documents, and lists of them (kubectl get -o yaml). What is none of the three is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep.errors import InputError
from qatprep.mesh import durations
from qatprep.mesh.inspect.source import Input
from qatprep.mesh.provider import TYPE_URLS, Kind

LARGEST = 4 << 20
_DEEPEST = 60
_MOST_NODES = 400_000
_PREFIX = "qat.intel.com/"


@dataclass(frozen=True)
class Mistake:
    id: str
    where: str
    """Deployment/envoy-tls container envoy, or a path in the file."""
    text: str
    fix: str
    serious: bool = True
    """It will not work; False: it works, and not as one may think."""


def documents(source: Input) -> list[dict[str, Any]]:
    """The mappings in a file of YAML (or JSON). InputError with line and column for what is neither."""
    import yaml

    text = source.data.decode("utf-8")
    try:
        _measure(source.name, text)
        found = [item for item in yaml.safe_load_all(text) if isinstance(item, dict)]
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{source.name}:{mark.line + 1}:{mark.column + 1}" if mark else source.name
        raise InputError(f"{where}: not YAML: {e.problem or e.context}") from e
    except (yaml.YAMLError, ValueError) as e:
        raise InputError(f"{source.name}: not YAML: {str(e).splitlines()[0]}") from e
    except RecursionError as e:
        raise InputError(f"{source.name}: nested too deeply") from e
    if not found:
        raise InputError(f"{source.name} has no mapping in it")
    return found


def _measure(name: str, text: str) -> None:
    """Refuse what would grow beyond measure: nesting, and aliases that multiply."""
    import yaml

    depth = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{name}:{line}: aliases (*name) are not read here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST or nodes > _MOST_NODES:
            raise InputError(f"{name}:{line}: too deep or too much for a manifest")


def check(source: Input) -> tuple[list[Mistake], int]:
    """The mistakes, and how many documents were of a kind that is known."""
    found: list[Mistake] = []
    known = 0
    for document in _flat(documents(source)):
        kind = document.get("kind")
        if isinstance(kind, str) and "apiVersion" in document:
            pods = list(_pods(document, kind))
            for where, spec, annotations in pods:
                found += _pod(where, spec)
                found += _annotation(where, annotations)
            if kind == "IstioOperator":
                found += _proxy_config(kind, _dig(document, "spec", "meshConfig", "defaultConfig"))
            known += bool(pods) or kind in ("IstioOperator", "EnvoyFilter")
        elif "static_resources" in document:
            known += 1
            found += _envoy(document)
        elif "meshConfig" in document or "podAnnotations" in document:
            known += 1
            found += _proxy_config("meshConfig", _dig(document, "meshConfig", "defaultConfig"))
            found += _annotation("podAnnotations", _mapping(document.get("podAnnotations")))
            found += _resources("the chart's values", _mapping(document.get("resources")))
    return found, known


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dig(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = _mapping(value).get(key)
    return _mapping(value)


def _flat(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for document in found:
        if document.get("kind") == "List":
            yield from (_mapping(item) for item in _sequence(document.get("items")))
        else:
            yield document


# -- Kubernetes -------------------------------------------------------------------------------------------------------


def _pods(document: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    name = f"{kind}/{_dig(document, 'metadata').get('name', '')}"
    if kind == "Pod":
        yield name, _dig(document, "spec"), _dig(document, "metadata", "annotations")
    elif kind in ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"):
        template = _dig(document, "spec", "template")
        yield name, _dig(template, "spec"), _dig(template, "metadata", "annotations")


def _pod(where: str, spec: dict[str, Any]) -> list[Mistake]:
    found: list[Mistake] = []
    context = _mapping(spec.get("securityContext"))
    for container in (_mapping(c) for c in _sequence(spec.get("containers"))):
        place = f"{where} container {container.get('name', '')}"
        resources = _mapping(container.get("resources"))
        found += _resources(place, resources)
        for key in container:
            below = _mapping(container[key]) if key in ("requests", "limits") else {key: None}
            for name in below:
                if str(name).startswith(_PREFIX):
                    found.append(Mistake("QP-K8S-008", place, f"{name} is not below resources", "indent it there"))
        if not any(str(key).startswith(_PREFIX) for key in _mapping(resources.get("limits"))):
            continue
        mine = {**context, **_mapping(container.get("securityContext"))}
        user, group = mine.get("runAsUser"), mine.get("runAsGroup")
        if user in (None, 0) or group in (None, 0):
            found.append(
                Mistake(
                    "QP-K8S-008",
                    place,
                    "runAsUser and runAsGroup are not both set and above 0: device ownership does nothing for it",
                    "set both, for Envoy's image to 101",
                    serious=False,
                )
            )
        added = _mapping(mine.get("capabilities")).get("add")
        if "IPC_LOCK" in _sequence(added) and user not in (None, 0):
            found.append(
                Mistake(
                    "QP-MEM-006",
                    place,
                    f"IPC_LOCK does nothing for user {user}: the node's memlock limit is what counts",
                    "qatprep explain QP-MEM-001",
                    serious=False,
                )
            )
        names = {_mapping(item).get("name"): _mapping(item).get("value") for item in _sequence(container.get("env"))}
        if str(names.get("QAT_POLICY", "")) != "1":
            found.append(
                Mistake(
                    "QP-K8S-008",
                    place,
                    "QAT_POLICY=1 is not set: the first process may take more VFs than are its own",
                    'env: QAT_POLICY with the value "1"',
                    serious=False,
                )
            )
    return found


def _resources(place: str, resources: dict[str, Any]) -> list[Mistake]:
    found: list[Mistake] = []
    limits, requests = _mapping(resources.get("limits")), _mapping(resources.get("requests"))
    for name in {key for key in (*limits, *requests) if str(key).startswith(_PREFIX)}:
        words = str(name).removeprefix(_PREFIX).split("-")
        if not {"cy", "asym", "generic"} & set(words):
            found.append(Mistake("QP-K8S-003", place, f"{name} cannot sign: it has no asymmetric crypto", "cy or asym"))
        if name not in limits:
            found.append(
                Mistake(
                    "QP-K8S-008", place, f"{name} is in requests only: the API server refuses it", "put it into limits"
                )
            )
        elif name in requests and str(requests[name]) != str(limits[name]):
            found.append(
                Mistake(
                    "QP-K8S-008", place, f"{name}: requests and limits differ", "make them equal, or leave requests out"
                )
            )
    for key in resources:
        if str(key).startswith(_PREFIX):
            found.append(Mistake("QP-K8S-008", place, f"{key} stands in resources itself", "indent it below limits"))
    return found


# -- Istio ------------------------------------------------------------------------------------------------------------


def _annotation(where: str, annotations: dict[str, Any]) -> list[Mistake]:
    import yaml

    text = annotations.get("proxy.istio.io/config")
    if not isinstance(text, str) or len(text) > 65536:
        return []
    try:
        _measure(where, text)
        config = yaml.safe_load(text)
    except (yaml.YAMLError, InputError, ValueError, RecursionError):
        return [
            Mistake("QP-ISTIO-001", where, "proxy.istio.io/config is not YAML", "qatprep render istio --as annotation")
        ]
    return _proxy_config(f"{where} proxy.istio.io/config", _mapping(config))


def _proxy_config(where: str, config: dict[str, Any]) -> list[Mistake]:
    found: list[Mistake] = []
    for kind, value in _dig(config, "privateKeyProvider").items():
        value = _mapping(value)
        if kind not in (Kind.QAT, Kind.CRYPTOMB):
            found.append(Mistake("QP-ISTIO-001", where, f"privateKeyProvider has no {kind!r}", "qat or cryptomb"))
            continue
        delay = value.get("pollDelay")
        if delay is None:
            found.append(Mistake("QP-ISTIO-001", where, f"{kind} has no pollDelay: Istio refuses it", "pollDelay: 5ms"))
        else:
            try:
                durations.for_istio(durations.parse(str(delay)))
            except InputError as e:
                found.append(Mistake("QP-ISTIO-001", where, f"pollDelay: {e.message}", "1ms to 999ms"))
        if value.get("fallback") is True:
            found.append(
                Mistake(
                    "QP-ISTIO-002",
                    where,
                    "fallback: true very probably does not fall back with Istio",
                    "leave it out, and keep gateways on nodes with the hardware",
                    serious=False,
                )
            )
    return found


# -- Envoy ------------------------------------------------------------------------------------------------------------


def _envoy(document: dict[str, Any]) -> list[Mistake]:
    found: list[Mistake] = []
    resources = _mapping(document["static_resources"])
    if "admin" in resources:
        found.append(
            Mistake("QP-ENVOY-004", "static_resources", "admin stands inside static_resources", "put it at the top")
        )
    admin = _dig(document, "admin", "address", "socket_address") or _dig(
        resources, "admin", "address", "socket_address"
    )
    if str(admin.get("address", "127.0.0.1")) not in ("127.0.0.1", "::1"):
        found.append(
            Mistake(
                "QP-ENVOY-013", "admin", f"others can reach it on {admin.get('address')}", "127.0.0.1", serious=False
            )
        )
    for path, key, value in _walk(document, "", 0):
        if key == "private_key_provider":
            found += _provider_block(path, _mapping(value))
        elif key == "tls_certificates":
            items = value if isinstance(value, list) else [value]
            found += [m for item in items for m in _certificate(path, _mapping(item))]
        elif key == "common_tls_context":
            inner = _mapping(value)
            for wrong in ("filters", "private_key_provider"):
                if wrong in inner:
                    fix = "beside transport_socket" if wrong == "filters" else "inside an item of tls_certificates"
                    found.append(
                        Mistake("QP-ENVOY-004", path, f"{wrong} stands in common_tls_context", f"it belongs {fix}")
                    )
        elif key == "typed_config" and path.endswith("router.typed_config") and "@type" not in _mapping(value):
            found.append(Mistake("QP-ENVOY-004", path, "the router has no @type", "qatprep render envoy prints one"))
    return found


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, str, Any]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        name = str(value.get("name", ""))[-40:]
        for key, inner in value.items():
            here = f"{path}.{name}.{key}" if key == "typed_config" and name else f"{path}.{key}"
            yield here.lstrip(".")[-70:], str(key), inner
            yield from _walk(inner, here, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, path, depth + 1)


def _certificate(path: str, item: dict[str, Any]) -> list[Mistake]:
    provider = _mapping(item.get("private_key_provider"))
    if provider.get("fallback") is True and not item.get("private_key"):
        text = "fallback: true without private_key beside the provider: Envoy refuses it"
        return [Mistake("QP-ENVOY-004", path, text, "add private_key there too: qatprep render envoy --fallback")]
    return []


def _provider_block(path: str, block: dict[str, Any]) -> list[Mistake]:
    found: list[Mistake] = []
    config = _mapping(block.get("typed_config"))
    name, kind = block.get("provider_name"), str(config.get("@type", ""))
    for field in ("poll_delay", "private_key"):
        if field in block:
            found.append(Mistake("QP-ENVOY-004", path, f"{field} stands beside typed_config", "put it inside"))
    if name not in (Kind.QAT, Kind.CRYPTOMB):
        found.append(Mistake("QP-ENVOY-004", path, f"provider_name is {str(name)[:40]!r}", "qat or cryptomb"))
    elif kind != TYPE_URLS[Kind(name)]:
        wanted = TYPE_URLS[Kind(name)].rsplit(".", 1)[-1]
        found.append(
            Mistake("QP-ENVOY-004", path, f"the type is {kind.rsplit('.', 1)[-1][:80]}, not {wanted}", "spell it so")
        )
    delay = config.get("poll_delay", block.get("poll_delay"))
    if delay is None:
        found.append(Mistake("QP-ENVOY-005", path, "poll_delay is missing, and has to be there", "poll_delay: 0.005s"))
        return found
    try:
        nanoseconds = durations.parse(str(delay))
        right = durations.for_envoy(nanoseconds)
    except InputError as e:
        found.append(Mistake("QP-ENVOY-005", path, f"poll_delay: {e.message}", "poll_delay: 0.005s"))
        return found
    if not str(delay).endswith("s") or str(delay).endswith("ms"):
        found.append(Mistake("QP-ENVOY-005", path, f"poll_delay: {delay} is not Envoy's form", f"poll_delay: {right}"))
    elif nanoseconds > 100 * durations.MS:
        text = f"poll_delay: {delay} is added to each handshake at low load"
        found.append(Mistake("QP-ENVOY-005", path, text, "qatprep tune", serious=False))
    return found
