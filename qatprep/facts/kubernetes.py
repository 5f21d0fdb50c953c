"""What the node's own files say of Kubernetes: devices the kubelet knows, CPUs it has given away, how it is set up.

Read-only and without the API server. Shapes: kubernetes pkg/kubelet/cm/devicemanager/checkpoint and cpumanager/state;
never seen on a running kubelet here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from qatprep import json_input, yaml_text
from qatprep.errors import InputError
from qatprep.facts.base import ABSENT, Unknown, exists, files_below, read_line, shaped, unknown, whole
from qatprep.facts.pci import Pf, Services
from qatprep.facts.processes import flag
from qatprep.hardware import SERVICES
from qatprep.host.base import Host
from qatprep.text import gated

ROOT = "/var/lib/kubelet"
PREFIX = "qat.intel.com/"
_LIMIT = 16 << 20

_TEXT = {"type": "string"}
_IDS = {"type": "array", "items": _TEXT}
_CHECKPOINT = {
    "type": "object",
    "required": ["Data"],
    "properties": {
        "Data": {
            "type": "object",
            "properties": {
                "PodDeviceEntries": {
                    "type": ["array", "null"],
                    "items": {
                        "type": "object",
                        "required": ["PodUID", "ContainerName", "ResourceName", "DeviceIDs"],
                        "properties": {
                            "PodUID": _TEXT,
                            "ContainerName": _TEXT,
                            "ResourceName": _TEXT,
                            # A flat list up to Kubernetes 1.19, since then lists by NUMA node.
                            "DeviceIDs": {
                                "type": ["array", "object", "null"],
                                "items": _TEXT,
                                "additionalProperties": _IDS,
                            },
                        },
                    },
                },
                "RegisteredDevices": {"type": ["object", "null"], "additionalProperties": _IDS},
            },
        }
    },
}
"""kubelet_internal_checkpoint: kubernetes pkg/kubelet/cm/devicemanager/checkpoint. Go writes null for an empty list."""
_CPU_STATE = {
    "type": "object",
    "required": ["policyName"],
    "properties": {
        "policyName": _TEXT,
        "defaultCpuSet": _TEXT,
        # By container id in version 1, by pod and container since then.
        "entries": {
            "type": ["object", "null"],
            "additionalProperties": {"type": ["string", "object"], "additionalProperties": _TEXT},
        },
    },
}
"""cpu_manager_state: kubernetes pkg/kubelet/cm/cpumanager/state."""
_CONFIG = {
    "type": ["object", "null"],
    "properties": {
        name: {"type": ["string", "number", "null"]}
        for name in ("cpuManagerPolicy", "topologyManagerPolicy", "reservedSystemCPUs", "containerRuntimeEndpoint")
    },
}
"""What is read of a KubeletConfiguration; `reservedSystemCPUs: 3` is a number to YAML."""
_AMOUNTS = {"type": ["object", "null"], "additionalProperties": _TEXT}
_NODE = {
    "type": "object",
    "required": ["status", "metadata"],
    "properties": {
        "status": {"type": "object", "properties": {"allocatable": _AMOUNTS}},
        "metadata": {"type": "object", "properties": {"labels": _AMOUNTS}},
    },
}
"""A v1 Node of the Kubernetes API."""


class PodDevices(NamedTuple):
    """QAT VFs given to one container."""

    pod: str
    container: str
    resource: str
    devices: tuple[str, ...]


class CpuManager(NamedTuple):
    """cpu_manager_state: which CPUs belong to one container alone."""

    policy: str
    """static, none, or "" in a format this version does not know."""
    shared: str
    """defaultCpuSet."""
    entries: tuple[tuple[str, str, str], ...]
    """(pod UID or container id, container, CPUs)."""


class Kubelet(NamedTuple):
    """What of the kubelet's configuration matters here; "" for what it does not say."""

    cpu_manager: str = ""
    topology_manager: str = ""
    reserved_cpus: str = ""
    endpoint: str = ""
    source: str = ""


class Node(NamedTuple):
    """The node as the API server has it."""

    name: str
    allocatable: tuple[tuple[str, int], ...]
    """QAT resources that may be given to pods."""
    labels: tuple[tuple[str, str], ...]
    """Those that speak of QAT or of the CPU's instruction sets."""


class KubernetesFacts(NamedTuple):
    here: bool
    """Whether this is a Kubernetes node."""
    registered: dict[str, tuple[str, ...]] | Unknown | None = None
    """QAT resources and their device ids (BDFs) as registered with the kubelet; None without a checkpoint."""
    pods: tuple[PodDevices, ...] = ()
    cpus: CpuManager | Unknown | None = None
    kubelet: Kubelet | Unknown = Kubelet()
    node: Node | Unknown | None = None
    """None where there is no kubectl or no kubeconfig here to ask by."""

    @property
    def plugin_registered(self) -> bool:
        """Whether Intel's device plugin has registered here, as far as the kubelet tells; it polls the heartbeat."""
        return isinstance(self.registered, Unknown) or bool(self.registered)


@dataclass(frozen=True)
class Predicted:
    """What the device plugin will make of one PF."""

    resource: str
    count: int


def resource_name(services: str) -> str:
    """The resource a PF with this text in cfg_services (or ServicesEnabled) becomes.

    intel-device-plugins-for-kubernetes v0.36 cmd/qat_plugin/dpdkdrv: ; becomes -, both orders of sym and asym become
    cy; what cannot be read, generic. The words keep the order of sysfs.
    """
    words = [word.strip() for word in services.strip().split(";") if word.strip()]
    if not words:
        return PREFIX + "generic"
    if sorted(words) == ["asym", "sym"]:
        return PREFIX + "cy"
    return PREFIX + "-".join(words)


def can_sign(resource: str) -> bool:
    """Whether a resource of this name has asymmetric crypto; generic may or may not."""
    words = resource.removeprefix(PREFIX).split("-")
    return bool({"cy", "asym", "generic"} & set(words))


def resource_problem(resource: str) -> str:
    """Why Intel's device plugin never offers a resource of this name, "" where it may, or where it is nobody's QAT."""
    if not resource.startswith(PREFIX):
        return "no name of Intel's QAT device plugin" if "/" in resource and "qat" in resource else ""
    unknown = [word for word in resource.removeprefix(PREFIX).split("-") if word not in (*SERVICES, "cy", "generic")]
    return f"Intel's device plugin has no resource with {', '.join(unknown)}" if unknown else ""


def predict(pfs: tuple[Pf, ...]) -> dict[str, Predicted]:
    """What each PF's VFs will be called, by BDF. PFs without VFs, and those that are down, give none."""
    found = {}
    for pf in pfs:
        text = pf.services.text if isinstance(pf.services, Services) else ""
        if pf.vfs and pf.state in ("up", None):
            found[pf.bdf] = Predicted(resource_name(text), len(pf.vfs))
    return found


def gather(host: Host, kubelet_line: str | None = None) -> KubernetesFacts:
    """`kubelet_line`: the kubelet's command line, None when it does not run."""
    root = flag(kubelet_line or "", "root-dir") or ROOT
    kubelet = _kubelet(host, root, kubelet_line or "")
    checkpoint = _json(host, f"{root}/device-plugins/kubelet_internal_checkpoint", _CHECKPOINT)
    state = _json(host, f"{root}/cpu_manager_state", _CPU_STATE)
    here = kubelet_line is not None or checkpoint is not None or state is not None or kubelet != Kubelet()
    registered, pods = _devices(checkpoint)
    node = _node(host, flag(kubelet_line, "hostname-override")) if kubelet_line is not None else None
    return KubernetesFacts(here, registered, pods, _cpus(state), kubelet, node)


KUBECONFIGS = (
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/admin.conf",
    "/etc/rancher/k3s/k3s.yaml",
    "/etc/rancher/rke2/rke2.yaml",
)
"""The kubelet's own is enough to read its own node (Kubernetes' node authorizer)."""


def _node(host: Host, name: str) -> Node | Unknown | None:
    """Ask the API server for this node, briefly; nothing is asked of it but that."""
    if not name:
        own = read_line(host, "/proc/sys/kernel/hostname")
        name = own if isinstance(own, str) else ""
    name = name.strip().lower()
    config = next((path for path in KUBECONFIGS if exists(host, path) is True), "")
    if not config or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,252}", name):
        return None
    argv = ["kubectl", "--kubeconfig", config, "--request-timeout=3s", "get", "--raw", f"/api/v1/nodes/{name}"]
    done = host.run(argv, deadline=5)
    if done.rc == 127:
        return None
    if done.rc:
        said = (done.stderr.text.strip().splitlines() or [f"status {done.rc}"])[-1]
        return Unknown(f"kubectl --kubeconfig {config}: {said[:200]}")
    document = _loaded(f"kubectl --kubeconfig {config}", done.stdout.raw, _NODE)
    if isinstance(document, Unknown):
        return document
    amounts: dict[str, str] = document["status"].get("allocatable") or {}
    labels: dict[str, str] = document["metadata"].get("labels") or {}
    numbers = ((name, whole(text)) for name, text in sorted(amounts.items()) if name.startswith(PREFIX))
    return Node(
        name,
        tuple((name, number) for name, number in numbers if number is not None),
        tuple((k, v) for k, v in sorted(labels.items()) if "qat" in k or "AVX512" in k),
    )


def _loaded(path: str, text: str, schema: dict[str, Any]) -> dict[str, Any] | Unknown:
    try:
        document: dict[str, Any] = gated(json_input.loads(text))
    except ValueError as e:
        return Unknown(f"{path}: not JSON: {e}")
    wrong = shaped(path, document, schema)
    return document if wrong is None else wrong


def _json(host: Host, path: str, schema: dict[str, Any]) -> dict[str, Any] | Unknown | None:
    try:
        data = host.read(path, limit=_LIMIT)
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    try:
        return _loaded(path, data.decode("utf-8"), schema)
    except UnicodeDecodeError as e:
        return Unknown(f"{path}: not UTF-8 (byte {e.start})")


def _devices(
    document: dict[str, Any] | Unknown | None,
) -> tuple[dict[str, tuple[str, ...]] | Unknown | None, tuple[PodDevices, ...]]:
    if document is None or isinstance(document, Unknown):
        return document, ()
    listed: dict[str, list[str]] = document["Data"].get("RegisteredDevices") or {}
    registered = {name: tuple(sorted(ids)) for name, ids in listed.items() if name.startswith(PREFIX)}
    pods = []
    for entry in document["Data"].get("PodDeviceEntries") or []:
        if entry["ResourceName"].startswith(PREFIX):
            ids: list[str] | dict[str, list[str]] = entry["DeviceIDs"] or []
            flat = ids if isinstance(ids, list) else [id for part in ids.values() for id in part]
            pods.append(PodDevices(entry["PodUID"], entry["ContainerName"], entry["ResourceName"], tuple(sorted(flat))))
    return registered, tuple(pods)


def _cpus(document: dict[str, Any] | Unknown | None) -> CpuManager | Unknown | None:
    if document is None or isinstance(document, Unknown):
        return document
    entries: list[tuple[str, str, str]] = []
    for pod, value in (document.get("entries") or {}).items():
        parts = {"": value} if isinstance(value, str) else value
        entries += [(pod, container, cpus) for container, cpus in parts.items()]
    return CpuManager(document["policyName"], document.get("defaultCpuSet", ""), tuple(entries))


def _kubelet_file(host: Host, path: str) -> dict[str, Any] | Unknown | None:
    try:
        text = host.read_text(path, limit=1 << 20).raw
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    try:
        documents = yaml_text.documents(text, path)
    except InputError as e:
        return Unknown(e.message)
    document = gated(documents[0].value) if documents else {}
    wrong = shaped(path, document, _CONFIG)
    return wrong if wrong is not None else document or {}


def _kubelet(host: Host, root: str, line: str) -> Kubelet | Unknown:
    """The main file, then every *.conf in --config-dir and below it, later values win (cmd/kubelet/app/server.go,
    mergeKubeletConfigurations); flags overrule both.
    """
    main = flag(line, "config") or f"{root}/config.yaml"
    below = files_below(host, directory) if (directory := flag(line, "config-dir")) else ()
    if isinstance(below, Unknown):
        return below
    config: dict[str, Any] = {}
    source = ""
    for path in (main, *(path for path in below if path.endswith(".conf"))):
        document = _kubelet_file(host, path)
        if isinstance(document, Unknown):
            return document
        if document is not None:
            config |= document
            source = source or path

    def value(key: str, name: str) -> str:
        given = config.get(key)
        return flag(line, name) or ("" if given is None else str(given))

    return Kubelet(
        cpu_manager=value("cpuManagerPolicy", "cpu-manager-policy"),
        topology_manager=value("topologyManagerPolicy", "topology-manager-policy"),
        reserved_cpus=value("reservedSystemCPUs", "reserved-cpus"),
        endpoint=value("containerRuntimeEndpoint", "container-runtime-endpoint"),
        source=source,
    )
