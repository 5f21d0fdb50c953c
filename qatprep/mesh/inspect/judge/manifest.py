"""Manifests judged by rules that schemas miss: Kubernetes pods, Istio's proxy config, static Envoy configurations.

Where they are does not matter (shapes.py finds them); documents with nothing of the kind are named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from qatprep.errors import InputError
from qatprep.facts.kubernetes import PREFIX, can_sign, resource_problem
from qatprep.findings import Evidence, Finding, Status
from qatprep.mesh import durations
from qatprep.mesh.inspect import shapes
from qatprep.mesh.inspect.judge import plugin
from qatprep.mesh.inspect.manifest import Manifest, dig, embedded, mapping, sequence, walk
from qatprep.mesh.provider import TYPE_URLS, Kind
from qatprep.text import did_you_mean, printable

_LARGEST_ANNOTATION = 65536


@dataclass
class _Found:
    """Findings as they come; each with its place in the manifest and what is there."""

    findings: list[Finding] = field(default_factory=list)

    def fail(self, id: str, where: str, value: object, title: str, *fix: str) -> None:
        """It will not work."""
        self._add(Status.FAIL, id, where, value, title, fix)

    def warn(self, id: str, where: str, value: object, title: str, *fix: str) -> None:
        """It works, and not as one may think."""
        self._add(Status.WARN, id, where, value, title, fix)

    def _add(self, status: Status, id: str, where: str, value: object, title: str, fix: tuple[str, ...]) -> None:
        evidence = (Evidence(printable(where), printable(str(value)[:200])),)
        self.findings.append(Finding(id, status, printable(title), evidence=evidence, fix=fix))


def judge(manifest: Manifest) -> tuple[list[Finding], list[str]]:
    """The findings, and the names of documents in which there was nothing to judge."""
    found = _Found()
    passed_over = []
    for content in shapes.contents(manifest):
        if not content.shapes:
            passed_over.append(content.name)
        for shape in content.shapes:
            _shape(found, shape)
    return found.findings, passed_over


def _shape(found: _Found, shape: shapes.Shape) -> None:
    match shape:
        case shapes.Pod(where, spec):
            _pod(found, where, spec)
        case shapes.Annotated(where, text, spec):
            _annotation(found, where, text, spec)
        case shapes.ProxyConfig(where, config, mesh_wide):
            (_mesh_wide if mesh_wide else _proxy_config)(found, where, config)
        case shapes.Resources(where, resources):
            _resources(found, where, resources)
        case shapes.Envoy(where, tree, whole):
            _envoy(found, where, tree, whole)
        case shapes.Plugin(where, spec):
            for problem in plugin.problems(spec):
                add = found.fail if problem.fatal else found.warn
                add("QP-K8S-013", f"{where} spec.{problem.field}", problem.value, problem.title, problem.fix)
        case shapes.Services(where, text):
            why, fatal = plugin.services(text)
            if why:
                add = found.fail if fatal else found.warn
                add("QP-K8S-013", where, f"ServicesEnabled={text}", f"ServicesEnabled={text}: {why}", "Set asym;sym.")


# -- Kubernetes -------------------------------------------------------------------------------------------------------


def _pod(found: _Found, where: str, spec: dict[str, Any]) -> None:
    context = mapping(spec.get("securityContext"))
    for container in (mapping(c) for key in shapes.CONTAINERS for c in sequence(spec.get(key))):
        place = f"{where} container {container.get('name', '')}"
        resources = mapping(container.get("resources"))
        _resources(found, place, resources)
        for key in container:
            below = mapping(container[key]) if key in ("requests", "limits") else {key: None}
            for name in below:
                if str(name).startswith(PREFIX):
                    title = f"{name} is not below resources"
                    found.fail("QP-K8S-008", place, key, title, "Indent it below resources.limits.")
        mine = {**context, **mapping(container.get("securityContext"))}
        _devices_of_the_host(found, place, spec, container, mine.get("privileged") is True)
        if not _asks_for_vfs(container):
            continue
        user, group = mine.get("runAsUser"), mine.get("runAsGroup")
        if user in (None, 0) or group in (None, 0):
            found.warn(
                "QP-K8S-008",
                place,
                f"runAsUser {_absent(user)}, runAsGroup {_absent(group)}",
                "runAsUser and runAsGroup are not both set and above 0: device ownership does nothing for it",
                "Set both, for Envoy's image to 101.",
            )
        added = sequence(mapping(mine.get("capabilities")).get("add"))
        if "IPC_LOCK" in added and user not in (None, 0):
            found.warn(
                "QP-MEM-006",
                place,
                "capabilities.add IPC_LOCK",
                f"IPC_LOCK does nothing for user {user}: the node's memlock limit is what counts",
                "qatprep explain QP-MEM-001",
            )
        names = {str(mapping(item).get("name")): mapping(item).get("value") for item in sequence(container.get("env"))}
        if str(names.get("QAT_POLICY", "")) != "1":
            found.warn(
                "QP-K8S-008",
                place,
                f"QAT_POLICY {_absent(names.get('QAT_POLICY'))}",
                "QAT_POLICY=1 is not set: the first process may take more VFs than are its own",
                'Set the environment variable QAT_POLICY to "1".',
            )


def _asks_for_vfs(container: dict[str, Any]) -> bool:
    return any(str(key).startswith(PREFIX) for key in dig(container, "resources", "limits"))


def _devices_of_the_host(
    found: _Found, place: str, spec: dict[str, Any], container: dict[str, Any], privileged: bool
) -> None:
    """Ways around the device plugin, where QAT is meant: the plugin itself has /dev/vfio by right."""
    names = {str(mapping(item).get("name")) for item in sequence(container.get("env"))}
    if not _asks_for_vfs(container) and "QAT_POLICY" not in names:
        return
    if privileged:
        found.warn(
            "QP-K8S-008",
            place,
            "privileged: true",
            "a privileged container can open every VF of the node, also those of other pods",
            "Take privileged out: a limit of qat.intel.com gives it its VFs.",
        )
    volumes = [mapping(volume) for volume in sequence(spec.get("volumes"))]
    paths = {str(volume.get("name")): mapping(volume.get("hostPath")).get("path") for volume in volumes}
    mounted = [paths.get(str(mapping(mount).get("name"))) for mount in sequence(container.get("volumeMounts"))]
    for path in (str(path) for path in mounted if re.fullmatch(r"/dev(/vfio(/.*)?)?/?", str(path))):
        lacks = "" if privileged else ", and does not let the container open them"
        found.warn(
            "QP-K8S-008",
            place,
            f"hostPath {path}",
            f"hostPath {path} shows the device nodes of all VFs{lacks}",
            "Take the volume out: a limit of qat.intel.com brings the device nodes of its VFs.",
        )


def _absent(value: object) -> object:
    return "not set" if value is None else value


def _resources(found: _Found, place: str, resources: dict[str, Any]) -> None:
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    for name in dict.fromkeys(str(key) for key in (*limits, *requests)):
        wrong = resource_problem(name)
        if wrong:
            found.fail("QP-K8S-008", place, name, f"{name}: {wrong}", "Write it as qat.intel.com/cy, or asym.")
    for name, amount in limits.items():
        if str(name).startswith(PREFIX) and not re.fullmatch(r"\d{1,9}", str(amount)):
            title = f"{name}: {amount} is no whole number, and the API server refuses it"
            found.fail("QP-K8S-008", place, amount, title, "Ask for whole VFs.")
    for name in dict.fromkeys(key for key in (*limits, *requests) if str(key).startswith(PREFIX)):
        said = f"limits {_absent(limits.get(name))}, requests {_absent(requests.get(name))}"
        if not can_sign(str(name)) and not resource_problem(str(name)):
            title = f"{name} cannot sign: it has no asymmetric crypto"
            found.fail("QP-K8S-003", place, name, title, "Ask for a resource with cy or asym.")
        if name not in limits:
            title = f"{name} is in requests only: the API server refuses it"
            found.fail("QP-K8S-008", place, said, title, "Put it into limits.")
        elif name in requests and str(requests[name]) != str(limits[name]):
            title = f"{name}: requests and limits differ"
            found.fail("QP-K8S-008", place, said, title, "Make them equal, or leave requests out.")
    for key in resources:
        if str(key).startswith(PREFIX):
            title = f"{key} is in resources itself"
            found.fail("QP-K8S-008", place, key, title, "Indent it below limits.")


# -- Istio ------------------------------------------------------------------------------------------------------------


def _annotation(found: _Found, where: str, text: object, spec: dict[str, Any] | None) -> None:
    """`spec`: the pod's, or the chart's values, where nodeSelector, affinity and resources are; None: not known."""
    name = shapes.PROXY_CONFIG
    if not isinstance(text, str) or len(text) > _LARGEST_ANNOTATION:
        return
    config = embedded(text)
    if config is None:
        found.fail("QP-ISTIO-001", where, name, f"{name} is not YAML", "qatprep render istio --as annotation")
    else:
        _proxy_config(found, f"{where} {name}", config)
        if spec is None:
            return
        if Kind.QAT in dig(config, "privateKeyProvider"):
            _wants_a_vf(found, where, spec)
        if Kind.CRYPTOMB in dig(config, "privateKeyProvider") and not _chooses_nodes(spec):
            found.warn(
                "QP-ISTIO-005",
                where,
                "nodeSelector without a label of the CPU, no required nodeAffinity",
                "cryptomb is set, and the pod may run on nodes whose CPU lacks the instructions",
                "Add a node selector: qatprep render istio -p cryptomb, or the label cryptomb of qatprep features.",
            )


def _wants_a_vf(found: _Found, where: str, spec: dict[str, Any]) -> None:
    """A proxy with the provider qat needs a VF. A sidecar that is injected has none of what the manifest says."""
    containers = [mapping(c) for key in shapes.CONTAINERS for c in sequence(spec.get(key))]
    of_a_chart = not containers
    if of_a_chart and set(spec) == {"podAnnotations"}:
        return  # a piece of values: resources are elsewhere
    wanted = [mapping(mapping(c.get("resources")).get("limits")) for c in (spec if of_a_chart else {}, *containers)]
    if any(str(name).startswith(PREFIX) for limits in wanted for name in limits):
        return
    proxy = of_a_chart or any(c.get("name") == "istio-proxy" for c in containers)
    title = "qat is set, and no container asks for a VF"
    add = found.fail if proxy else found.warn
    add("QP-K8S-008", where, "no limit of qat.intel.com", title, "Ask for one: qatprep render istio -p qat")


_NOT_OF_A_CPU = ("kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch")


def _chooses_nodes(spec: dict[str, Any]) -> bool:
    """Whether some label of nodes is asked for: which of them have the instructions, only the cluster knows."""
    required = dig(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return bool(spec.get("nodeName") or required or set(mapping(spec.get("nodeSelector"))) - set(_NOT_OF_A_CPU))


def _mesh_wide(found: _Found, where: str, config: dict[str, Any]) -> None:
    _proxy_config(found, where, config)
    for kind in dig(config, "privateKeyProvider"):
        if kind in (Kind.QAT, Kind.CRYPTOMB):
            lacking = "whose CPU lacks the instructions" if kind == Kind.CRYPTOMB else "without a QAT VF"
            found.warn(
                "QP-ISTIO-005",
                f"{where} defaultConfig.privateKeyProvider",
                kind,
                f"{kind} for the whole mesh: every proxy {lacking} is left without a certificate",
                "Set it for gateways alone, with a node selector: qatprep render istio --as gateway-values",
            )


_PROVIDER_FIELDS = ("pollDelay", "poll_delay", "fallback")


def _proxy_config(found: _Found, where: str, config: dict[str, Any]) -> None:
    providers = dig(config, "privateKeyProvider") or dig(config, "private_key_provider")
    if {Kind.QAT, Kind.CRYPTOMB} <= set(providers):
        title = "privateKeyProvider has qat and cryptomb: a proxy takes one"
        found.fail("QP-ISTIO-001", where, "cryptomb, qat", title, "Leave one out.")
    for kind, value in providers.items():
        value = mapping(value)
        if kind not in (Kind.QAT, Kind.CRYPTOMB):
            found.fail("QP-ISTIO-001", where, kind, f"privateKeyProvider has no {kind!r}", "Use qat or cryptomb.")
            continue
        for key in value:
            if key not in _PROVIDER_FIELDS:
                title = f"{kind} has no field {key!r}: Istio passes it over"
                found.warn("QP-ISTIO-001", where, key, title, did_you_mean(str(key), _PROVIDER_FIELDS, "Leave it out."))
        delay = value.get("pollDelay", value.get("poll_delay"))
        said = f"pollDelay {_absent(delay)}"
        if delay is None:
            title = f"{kind} has no pollDelay: Istio refuses it"
            found.fail("QP-ISTIO-001", where, said, title, "Set pollDelay: 5ms.")
        else:
            try:
                durations.for_istio(durations.parse(str(delay)))
            except InputError as e:
                found.fail("QP-ISTIO-001", where, said, f"pollDelay: {e.message}", "Use 1ms to 999ms.")
        if value.get("fallback") is True:
            found.warn(
                "QP-ISTIO-002",
                where,
                "fallback true",
                "fallback: true very probably does not fall back with Istio",
                "Leave it out, and keep gateways on nodes with the hardware.",
            )


# -- Envoy ------------------------------------------------------------------------------------------------------------


def _envoy(found: _Found, where: str, document: dict[str, Any], whole: bool) -> None:
    resources = mapping(document.get("static_resources"))
    if whole:
        _admin(found, document, resources)
    for inner, key, value in walk(document):
        path = f"{where} {inner}".strip()
        if key == "private_key_provider":
            _provider_block(found, path, mapping(value))
        elif key == "tls_certificates":
            for item in value if isinstance(value, list) else [value]:
                _certificate(found, path, mapping(item))
        elif key == "common_tls_context":
            for wrong, right in (
                ("filters", "next to transport_socket"),
                ("private_key_provider", "inside an item of tls_certificates"),
            ):
                if wrong in mapping(value):
                    found.fail("QP-ENVOY-004", path, wrong, f"{wrong} is in common_tls_context", f"Put it {right}.")
        elif key == "typed_config" and path.endswith("router.typed_config") and "@type" not in mapping(value):
            found.fail("QP-ENVOY-004", path, "no @type", "the router has no @type", "qatprep render envoy")


def _admin(found: _Found, document: dict[str, Any], resources: dict[str, Any]) -> None:
    if "admin" in resources:
        title = "admin is inside static_resources"
        found.fail("QP-ENVOY-004", "static_resources", "admin", title, "Put it at the top of the file.")
    admin = dig(document, "admin", "address", "socket_address") or dig(resources, "admin", "address", "socket_address")
    address = admin.get("address", "127.0.0.1")
    if str(address) not in ("127.0.0.1", "::1"):
        title = f"others can reach the admin interface on {address}"
        found.warn("QP-ENVOY-013", "admin", address, title, "Bind it to 127.0.0.1.")


def _certificate(found: _Found, path: str, item: dict[str, Any]) -> None:
    provider = mapping(item.get("private_key_provider"))
    if provider.get("fallback") is True and not item.get("private_key"):
        found.fail(
            "QP-ENVOY-004",
            path,
            "fallback true, private_key not set",
            "fallback: true without private_key next to the provider: Envoy refuses it",
            "Add private_key next to it: qatprep render envoy --fallback",
        )


def _provider_block(found: _Found, path: str, block: dict[str, Any]) -> None:
    config = mapping(block.get("typed_config"))
    name, kind = block.get("provider_name"), str(config.get("@type", ""))
    for key in ("poll_delay", "private_key"):
        if key in block:
            found.fail("QP-ENVOY-004", path, key, f"{key} is next to typed_config", "Put it inside typed_config.")
    if name not in (Kind.QAT, Kind.CRYPTOMB):
        title = f"provider_name is {str(name)[:40]!r}"
        found.fail("QP-ENVOY-004", path, f"provider_name {_absent(name)}", title, "Use qat or cryptomb.")
    elif kind != TYPE_URLS[Kind(name)]:
        right = TYPE_URLS[Kind(name)].rsplit(".", 1)[-1]
        title = f"the type is {kind.rsplit('.', 1)[-1][:80]}, not {right}"
        found.fail("QP-ENVOY-004", path, f"@type {kind}", title, f"Write it as {TYPE_URLS[Kind(name)]}")
    delay = config.get("poll_delay", block.get("poll_delay"))
    said = f"poll_delay {_absent(delay)}"
    if delay is None:
        title = "poll_delay is missing, and Envoy requires it"
        found.fail("QP-ENVOY-005", path, said, title, "Set poll_delay: 0.005s.")
        return
    try:
        nanoseconds = durations.parse(str(delay))
        right = durations.for_envoy(nanoseconds)
    except InputError as e:
        found.fail("QP-ENVOY-005", path, said, f"poll_delay: {e.message}", "Set poll_delay: 0.005s.")
        return
    if not str(delay).endswith("s") or str(delay).endswith("ms"):
        title = f"poll_delay: {delay} is not Envoy's form"
        found.fail("QP-ENVOY-005", path, said, title, f"Write it as poll_delay: {right}")
    elif nanoseconds > 100 * durations.MS:
        title = f"poll_delay: {delay} is added to each handshake at low load"
        found.warn("QP-ENVOY-005", path, said, title, "qatprep tune")
