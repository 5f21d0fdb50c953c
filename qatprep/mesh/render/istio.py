"""What Istio is given: mesh config, pod annotation, values of the gateway chart, and an EnvoyFilter for queue sizes.

Sources: istio/istio 86c9f01 (pilot's private key provider, manifests/charts/gateway), istio/api b8f8791. The stock
proxyv2 image has both providers (cryptomb since 1.14, qat since 1.17); Intel's own distribution is archived.
"""

from __future__ import annotations

from typing import Any

from qatprep.errors import InputError
from qatprep.mesh import durations
from qatprep.mesh.provider import Kind, Provider
from qatprep.mesh.render import names
from qatprep.mesh.render.envoy import bucket_settings
from qatprep.mesh.render.kubernetes import Workload, container_resources, security_context

SINCE = {Kind.CRYPTOMB: (1, 14), Kind.QAT: (1, 17)}
"""The first Istio release with privateKeyProvider.<kind>.pollDelay."""

NO_FALLBACK = (
    "Istio's own fallback field very probably does not fall back: Istio puts the key inside the provider's message "
    "only, and Envoy's fallback needs it as well (read in the sources, not run)"
)

PROXY_CONFIG = "proxy.istio.io/config"


def version(text: str) -> tuple[int, int]:
    """Major and minor of "1.24" or "1.24.3". InputError otherwise."""
    parts = text.strip().lstrip("v").split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        raise InputError(f"{text!r} is no Istio version", "for example 1.24")
    return int(parts[0]), int(parts[1])


def proxy_config(provider: Provider, release: tuple[int, int] | None = None, workers: int = 0) -> dict[str, Any]:
    """A ProxyConfig: what goes below meshConfig.defaultConfig or into the annotation.

    InputError where Istio (of that release) does not know the provider, or for plain, which is to leave it out.
    """
    if provider.kind is Kind.PLAIN:
        raise InputError("plain is what Istio does by itself: nothing is to be set")
    if release is not None and release < SINCE[provider.kind]:
        needed = ".".join(map(str, SINCE[provider.kind]))
        raise InputError(
            f"Istio {release[0]}.{release[1]} does not know privateKeyProvider.{provider.kind}",
            f"it needs {needed}: qatprep explain QP-ISTIO-004",
        )
    if provider.fallback:
        raise InputError(
            "with Istio, --fallback would promise what it does not do: " + NO_FALLBACK,
            "leave it out; a node without the hardware then refuses the listener instead of serving in software unseen",
        )
    config: dict[str, Any] = {
        "privateKeyProvider": {str(provider.kind): {"pollDelay": durations.for_istio(provider.delay)}}
    }
    if workers:
        config["concurrency"] = workers
    return config


def mesh_config(provider: Provider, release: tuple[int, int] | None = None) -> dict[str, Any]:
    """meshConfig for every proxy of the mesh: values of the istiod chart, and spec of an IstioOperator file."""
    return {"meshConfig": {"defaultConfig": proxy_config(provider, release)}}


def operator_file(provider: Provider, release: tuple[int, int] | None = None) -> dict[str, Any]:
    """Input of `istioctl install -f`. No such object exists in a cluster any more (operator removed in Istio 1.24)."""
    return {
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "spec": mesh_config(provider, release),
    }


def annotation(provider: Provider, release: tuple[int, int] | None = None, workers: int = 0) -> dict[str, str]:
    """The pod annotation for one workload: goes on the pod template."""
    text = names.yaml_text([proxy_config(provider, release, workers)], [])
    return {PROXY_CONFIG: text}


def gateway_values(workload: Workload, release: tuple[int, int] | None = None) -> dict[str, Any]:
    """Values of the `gateway` chart.

    The chart replaces its whole default container security context by ours, so its own restrictions are repeated
    (manifests/charts/gateway/templates/deployment.yaml).
    """
    provider = workload.provider
    values: dict[str, Any] = {"podAnnotations": annotation(provider, release, workload.workers)}
    if provider.kind is Kind.QAT:
        values["env"] = {"QAT_POLICY": "1"}
    values["containerSecurityContext"] = security_context(workload)
    values["resources"] = container_resources(workload)
    values["nodeSelector"] = workload.node_selector()
    values["autoscaling"] = {"enabled": False}
    return values


GATEWAY_API_SINCE = (1, 26)
"""Gateways take a Deployment overlay through infrastructure.parametersRef since then (istio pull request 55283)."""


def gateway_api(
    workload: Workload, name: str, namespace: str, release: tuple[int, int] | None = None
) -> list[dict[str, Any]]:
    """A Gateway of the Kubernetes Gateway API, and the ConfigMap by which Istio alters the Deployment it makes for it.

    The overlay is merged into the Deployment by the rules of a strategic merge patch: containers by their name.
    """
    if release is not None and release < GATEWAY_API_SINCE:
        needed = ".".join(map(str, GATEWAY_API_SINCE))
        raise InputError(
            f"Istio {release[0]}.{release[1]} takes no Deployment overlay from a Gateway's parametersRef",
            f"it needs {needed}; before, deploy the gateway chart: "
            f"qatprep render istio -p {workload.provider.kind} --as gateway-values",
        )
    provider = workload.provider
    container: dict[str, Any] = {"name": "istio-proxy"}
    if provider.kind is Kind.QAT:
        container["env"] = [{"name": "QAT_POLICY", "value": "1"}]
    container["securityContext"] = security_context(workload)
    container["resources"] = container_resources(workload)
    spec: dict[str, Any] = {"containers": [container]}
    selector = workload.node_selector()
    overlay = {
        "spec": {
            "template": {
                "metadata": {"annotations": annotation(provider, release, workload.workers)},
                "spec": {"nodeSelector": selector, **spec} if selector else spec,
            }
        }
    }
    place = {"name": names.label(name, "--name"), "namespace": names.label(namespace, "--namespace")}
    options = {"name": f"{name}-options", "namespace": namespace}
    listener = {
        "name": "https",
        "port": 443,
        "protocol": "HTTPS",
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": f"{name}-cert"}]},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": options,
            "data": {"deployment": names.yaml_text([overlay], [])},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": place,
            "spec": {
                "gatewayClassName": "istio",
                "infrastructure": {"parametersRef": {"group": "", "kind": "ConfigMap", "name": options["name"]}},
                "listeners": [listener],
            },
        },
    ]


def queue_size_filter(name: str, namespace: str, selector: dict[str, str]) -> dict[str, Any]:
    """An EnvoyFilter that gives every CryptoMB queue size a bucket of its own, by half-integer bounds.

    BOOTSTRAP patches are read when a proxy starts: the pods are to be restarted. Intel's own file has the bounds 2..9,
    which since Envoy 1.38 put sizes 1 and 2 together and leave nothing for 9.
    """
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": names.label(name, "--name"), "namespace": names.label(namespace, "--namespace")},
        "spec": {
            "workloadSelector": {"labels": selector},
            "configPatches": [
                {
                    "applyTo": "BOOTSTRAP",
                    "patch": {
                        "operation": "MERGE",
                        "value": {"stats_config": {"histogram_bucket_settings": bucket_settings()}},
                    },
                }
            ],
        },
    }
