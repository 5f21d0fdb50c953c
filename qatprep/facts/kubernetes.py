"""What the node's own files say of Kubernetes: devices the kubelet knows, CPUs it has given away, how it is set up.

Read-only and without the API server. Shapes: kubernetes pkg/kubelet/cm/devicemanager/checkpoint and cpumanager/state;
never seen on a running kubelet here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from qatprep.facts.base import ABSENT, Unknown, exists, read_line, unknown
from qatprep.facts.pci import Pf, Services
from qatprep.facts.runtime import flag
from qatprep.host.base import Host

ROOT = "/var/lib/kubelet"
PREFIX = "qat.intel.com/"
_LIMIT = 16 << 20


@dataclass(frozen=True)
class PodDevices:
    """QAT VFs given to one container."""

    pod: str
    container: str
    resource: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class CpuManager:
    """cpu_manager_state: which CPUs belong to one container alone."""

    policy: str
    """static, none, or "" in a format this version does not know."""
    shared: str
    """defaultCpuSet."""
    entries: tuple[tuple[str, str, str], ...]
    """(pod UID or container id, container, CPUs)."""


@dataclass(frozen=True)
class Kubelet:
    """What of the kubelet's configuration matters here; "" for what it does not say."""

    cpu_manager: str = ""
    topology_manager: str = ""
    reserved_cpus: str = ""
    endpoint: str = ""
    source: str = ""


@dataclass(frozen=True)
class Node:
    """The node as the API server has it."""

    name: str
    allocatable: tuple[tuple[str, int], ...]
    """QAT resources that may be given to pods."""
    labels: tuple[tuple[str, str], ...]
    """Those that speak of QAT or of the CPU's instruction sets."""


@dataclass(frozen=True)
class KubernetesFacts:
    here: bool
    """Whether this is a Kubernetes node."""
    registered: dict[str, tuple[str, ...]] | Unknown | None = None
    """QAT resources and their device ids (BDFs) as registered with the kubelet; None without a checkpoint."""
    pods: tuple[PodDevices, ...] = ()
    cpus: CpuManager | Unknown | None = None
    kubelet: Kubelet | Unknown = Kubelet()
    node: Node | Unknown | None = None
    """None where there is no kubectl or no kubeconfig here to ask by."""


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
    checkpoint = _json(host, f"{root}/device-plugins/kubelet_internal_checkpoint")
    state = _json(host, f"{root}/cpu_manager_state")
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
    name = (name or str(read_line(host, "/proc/sys/kernel/hostname") or "")).strip().lower()
    config = next((path for path in KUBECONFIGS if exists(host, path) is True), "")
    if not config or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,252}", name):
        return None
    argv = ["kubectl", "--kubeconfig", config, "--request-timeout=3s", "get", "--raw", f"/api/v1/nodes/{name}"]
    done = host.run(argv, deadline=5)
    if done.rc == 127:
        return None
    if done.rc:
        said = (done.stderr.strip().splitlines() or [f"status {done.rc}"])[-1]
        return Unknown(f"kubectl --kubeconfig {config}: {said[:200]}")
    try:
        document = json.loads(done.stdout)
        status, metadata = document["status"], document["metadata"]
        amounts = {str(k): str(v) for k, v in (status.get("allocatable") or {}).items()}
        labels = {str(k): str(v) for k, v in (metadata.get("labels") or {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Unknown(f"kubectl --kubeconfig {config}: not a node in JSON")
    return Node(
        name,
        tuple((k, int(v)) for k, v in sorted(amounts.items()) if k.startswith(PREFIX) and v.isdigit()),
        tuple((k, v) for k, v in sorted(labels.items()) if "qat" in k or "AVX512" in k),
    )


def _json(host: Host, path: str) -> dict[str, Any] | Unknown | None:
    try:
        data = host.read(path, limit=_LIMIT)
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return Unknown(f"{path}: not JSON")
    return document if isinstance(document, dict) else Unknown(f"{path}: not what a kubelet writes")


def _devices(document: dict[str, Any] | Unknown | None) -> tuple[Any, tuple[PodDevices, ...]]:
    if document is None or isinstance(document, Unknown):
        return document, ()
    data = document.get("Data")
    if not isinstance(data, dict):
        return Unknown("the kubelet's device checkpoint has no Data"), ()
    listed = data.get("RegisteredDevices")
    registered = {
        str(name): tuple(sorted(str(item) for item in ids))
        for name, ids in (listed.items() if isinstance(listed, dict) else ())
        if str(name).startswith(PREFIX) and isinstance(ids, list)
    }
    pods = []
    for entry in data.get("PodDeviceEntries") or []:
        resource = str(entry.get("ResourceName", "")) if isinstance(entry, dict) else ""
        if resource.startswith(PREFIX):
            ids = entry.get("DeviceIDs")
            # A flat list up to Kubernetes 1.19, since then lists by NUMA node.
            flat = ids if isinstance(ids, list) else [i for part in (ids or {}).values() for i in part]
            pods.append(
                PodDevices(
                    str(entry.get("PodUID", "")),
                    str(entry.get("ContainerName", "")),
                    resource,
                    tuple(sorted(str(item) for item in flat)),
                )
            )
    return registered, tuple(pods)


def _cpus(document: dict[str, Any] | Unknown | None) -> CpuManager | Unknown | None:
    if document is None or isinstance(document, Unknown):
        return document
    if not isinstance(document.get("policyName"), str):
        return Unknown("cpu_manager_state: a format this version does not know")
    entries: list[tuple[str, str, str]] = []
    listed = document.get("entries")
    for pod, value in (listed if isinstance(listed, dict) else {}).items():
        if isinstance(value, str):  # version 1: by container id
            entries.append((str(pod), "", value))
        elif isinstance(value, dict):
            entries += [(str(pod), str(container), str(cpus)) for container, cpus in value.items()]
    return CpuManager(document["policyName"], str(document.get("defaultCpuSet", "")), tuple(entries))


def _kubelet(host: Host, root: str, line: str) -> Kubelet | Unknown:
    import yaml

    path = flag(line, "config") or f"{root}/config.yaml"
    try:
        text = host.read_text(path, limit=1 << 20)
    except OSError as e:
        if e.errno not in ABSENT:
            return unknown(e)
        text, path = "", ""
    try:
        document = yaml.safe_load(text) if text else {}
    except (yaml.YAMLError, RecursionError):
        return Unknown(f"{path}: not YAML")
    config = document if isinstance(document, dict) else {}

    def value(key: str, name: str) -> str:
        return flag(line, name) or str(config.get(key) or "")

    return Kubelet(
        cpu_manager=value("cpuManagerPolicy", "cpu-manager-policy"),
        topology_manager=value("topologyManagerPolicy", "topology-manager-policy"),
        reserved_cpus=value("reservedSystemCPUs", "reserved-cpus"),
        endpoint=value("containerRuntimeEndpoint", "container-runtime-endpoint"),
        source=path,
    )
