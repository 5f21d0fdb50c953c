"""Kubernetes manifests: the QAT device plugin, a pod or Deployment that uses it, and labels for NFD.

Sources: intel-device-plugins-for-kubernetes 94a91bc (v0.36.0), its deployments/qat_plugin; Kubernetes' validation.go
("Limit must be set for non overcommitable resources"); node-feature-discovery 76e6cc8.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qatprep.errors import InputError
from qatprep.hardware import PLUGIN_VF_DRIVERS
from qatprep.instruction_sets import AVX512
from qatprep.mesh.provider import Kind, Provider
from qatprep.mesh.render import names

PLUGIN_IMAGE = "intel/intel-qat-plugin:0.36.0"
PLUGIN_MAX_DEVICES = 64
"""-max-num-devices since v0.27 (32 before). Never 16, as Intel's guide has it."""
PLUGIN_KUBERNETES = "1.36"
"""The Kubernetes release that plugin 0.36 is built and tested for (its README, "Supported Kubernetes Versions")."""
KUBERNETES_SINCE = "1.19"
"""securityContext.seccompProfile is a field since then; it was an annotation before."""
ENVOY_UID = 101
"""The user `envoy` of the official Envoy images."""
ISTIO_UID = 1337


class Policy(StrEnum):
    BALANCED = "balanced"
    """Spread a container's VFs over PFs: VFs of one PF share its engines, and bring nothing more (Intel's guide,
    3.1.3)."""
    PACKED = "packed"


@dataclass(frozen=True)
class Workload:
    """One Envoy, as Kubernetes is to run it."""

    provider: Provider
    name: str = "envoy-tls"
    namespace: str = "default"
    image: str = "envoyproxy/envoy:contrib-v1.38.3"
    resource: str = "qat.intel.com/cy"
    devices: int = 1
    cpus: int = 2
    memory: str = "1Gi"
    workers: int = 0
    """Envoy's worker threads; 0 means: as many as CPUs."""
    uid: int = ENVOY_UID
    gid: int = ENVOY_UID

    def check(self) -> Workload:
        """The same, names and numbers checked. InputError otherwise."""
        names.label(self.name, "--name")
        names.label(self.namespace, "--namespace")
        names.image(self.image)
        names.quantity(self.memory, "--memory")
        names.count(self.cpus, "--cpus", 512)
        if self.uid == 0:
            raise InputError(
                "runAsUser 0 with runAsNonRoot: the kubelet would refuse to start the container",
                "give --uid above 0 (101 is the user of Envoy's images)",
            )
        if self.provider.kind is Kind.QAT:
            names.resource(self.resource)
            names.count(self.devices, "--devices", 512)
            if self.gid == 0:
                raise InputError(
                    "device ownership works only for a non-zero runAsGroup",
                    "give --gid above 0: containerd leaves the group of devices as it is for 0",
                )
        return self

    def node_selector(self) -> dict[str, str]:
        """Labels of nodes that can do it.

        For CryptoMB every set of AVX-512 that crypto_mb executes, by NFD's own names; BMI1 and BMI2, which come with
        them, have no label: they are on NFD's default denylist. Nodes with AVX-IFMA alone (Sierra Forest) are left out,
        because older Envoys refuse to start there.
        """
        if self.provider.kind is Kind.QAT:
            return {"intel.feature.node.kubernetes.io/qat": "true"}
        if self.provider.kind is Kind.CRYPTOMB:
            bits = [bit.name for bit in AVX512.executes if bit.flag.startswith("avx512")]
            return {f"feature.node.kubernetes.io/cpu-cpuid.{bit}": "true" for bit in bits}
        return {}


def container_resources(workload: Workload) -> dict[str, Any]:
    """Limits and equal requests: what extended resources need, and what makes the pod Guaranteed for CPU pinning.

    Intel's `requests` alone is refused by the API server.
    """
    amounts = {"cpu": str(workload.cpus), "memory": workload.memory}
    if workload.provider.kind is Kind.QAT:
        amounts[names.resource(workload.resource)] = str(workload.devices)
    return {"limits": amounts, "requests": dict(amounts)}


def security_context(workload: Workload) -> dict[str, Any]:
    """What Pod Security "restricted" admits (k8s.io/docs/concepts/security/pod-security-standards).

    No IPC_LOCK, unlike Intel's manifests: restricted admits NET_BIND_SERVICE alone, and an added capability is not
    effective for a user other than root. The memlock limit of the runtime's unit is what counts.
    """
    return {
        "runAsUser": workload.uid,
        "runAsGroup": workload.gid,
        "runAsNonRoot": True,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def pod_spec(workload: Workload) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "envoy",
        "image": workload.image,
        "args": ["-c", "/etc/envoy/envoy.yaml", "--concurrency", str(workload.workers or workload.cpus)],
        "ports": [{"name": "https", "containerPort": 9000}],
    }
    if workload.provider.kind is Kind.QAT:
        container["env"] = [{"name": "QAT_POLICY", "value": "1"}]
    container["securityContext"] = security_context(workload)
    container["resources"] = container_resources(workload)
    container["volumeMounts"] = [
        {"name": "config", "mountPath": "/etc/envoy", "readOnly": True},
        {"name": "tls", "mountPath": "/etc/ssl/envoy", "readOnly": True},
    ]
    spec: dict[str, Any] = {
        "securityContext": {"fsGroup": workload.gid},
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{workload.name}-config"}},
            {"name": "tls", "secret": {"secretName": f"{workload.name}-cert", "defaultMode": names.Mode(0o440)}},
        ],
    }
    selector = workload.node_selector()
    return {"nodeSelector": selector, **spec} if selector else spec


def pod(workload: Workload) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(workload), "spec": pod_spec(workload.check())}


def deployment(workload: Workload, replicas: int = 1) -> dict[str, Any]:
    workload.check()
    labels = {"app": workload.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(workload),
        "spec": {
            "replicas": names.count(replicas, "--replicas", 1000),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(workload)},
        },
    }


def _metadata(workload: Workload) -> dict[str, Any]:
    return {"name": workload.name, "namespace": workload.namespace, "labels": {"app": workload.name}}


def device_plugin(
    *,
    image: str = PLUGIN_IMAGE,
    namespace: str = "kube-system",
    policy: Policy = Policy.BALANCED,
    max_devices: int = PLUGIN_MAX_DEVICES,
) -> dict[str, Any]:
    """The plugin's DaemonSet, without the init container: qatprep has made and bound the VFs.

    The plugin tolerates that: its init script writes sriov_numvfs only where it is 0. Hardened as the plugin's own
    manifest of 0.36 is. hostPath volumes and root keep it out of namespaces that enforce Pod Security above
    "privileged"; kube-system enforces none by default.
    """
    _check_plugin(image, max_devices)
    names.label(namespace, "--namespace")
    labels = {"app": "intel-qat-plugin"}
    mounts = (
        ("devdir", "/dev/vfio", True),
        ("debugfsdir", "/sys/kernel/debug", True),
        ("pcidir", "/sys/bus/pci", False),
        ("kubeletsockets", "/var/lib/kubelet/device-plugins", False),
    )
    container = {
        "name": "intel-qat-plugin",
        "image": image,
        "args": [
            f"-allocation-policy={policy}",
            f"-max-num-devices={max_devices}",
            f"-kernel-vf-drivers={','.join(PLUGIN_VF_DRIVERS)}",
        ],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "securityContext": {
            "seLinuxOptions": {"type": "container_device_plugin_t"},
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {"requests": {"cpu": "70m", "memory": "15Mi"}, "limits": {"cpu": "140m", "memory": "30Mi"}},
        "volumeMounts": [
            {"name": name, "mountPath": path, **({"readOnly": True} if only else {})} for name, path, only in mounts
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "intel-qat-plugin", "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "nodeSelector": _PLUGIN_NODES,
                    "containers": [container],
                    "volumes": [{"name": name, "hostPath": {"path": path}} for name, path, _ in mounts],
                },
            },
        },
    }


_PLUGIN_NODES = {"kubernetes.io/arch": "amd64", "intel.feature.node.kubernetes.io/qat": "true"}


def _check_plugin(image: str, max_devices: int) -> None:
    names.image(image)
    names.count(max_devices, "--max-devices", 4096)


def plugin_resource(
    *, image: str = PLUGIN_IMAGE, policy: Policy = Policy.BALANCED, max_devices: int = PLUGIN_MAX_DEVICES
) -> dict[str, Any]:
    """The same plugin as Intel's operator deploys it: a QatDevicePlugin, which is cluster-wide and has no namespace.

    Without initImage and provisioningConfig: qatprep has made, configured and bound the VFs. Fields: 94a91bc,
    pkg/apis/deviceplugin/v1/qatdeviceplugin_types.go.
    """
    _check_plugin(image, max_devices)
    return {
        "apiVersion": "deviceplugin.intel.com/v1",
        "kind": "QatDevicePlugin",
        "metadata": {"name": "intel-qat-plugin"},
        "spec": {
            "image": image,
            "preferredAllocationPolicy": str(policy),
            "dpdkDriver": "vfio-pci",
            "kernelVfDrivers": list(PLUGIN_VF_DRIVERS),
            "maxNumDevices": max_devices,
            "logLevel": 1,
            "nodeSelector": _PLUGIN_NODES,
        },
    }


NFD_LABELS = {
    Kind.QAT: {"intel.feature.node.kubernetes.io/qat": "true"},
    Kind.CRYPTOMB: {"qatprep.feature.node.kubernetes.io/cryptomb": "true"},
}
"""The first is what Intel's own NFD rule gives. The CPU's bits have labels of NFD's own; BMI2 alone has none."""


def nfd_features(labels: dict[str, str]) -> str:
    """A feature file for NFD's `local` source: one label a line; comments begin with #."""
    lines = ["# Written by qatprep for node-feature-discovery (source: local)"]
    for name, value in labels.items():
        prefix, slash, rest = name.rpartition("/")
        names.label_value(rest, "the label")
        if slash:
            for part in prefix.split("."):
                names.label(part, "the label's domain")
        lines.append(f"{name}={names.label_value(value, 'the value of ' + name)}")
    return "\n".join(lines) + "\n"
