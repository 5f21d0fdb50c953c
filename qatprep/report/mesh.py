"""What is said next to a rendered file: where it differs from Intel's guide, and what it still needs.

A note's first line is prose; what follows are commands to paste, each broken at options where it is long.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from qatprep.mesh import durations
from qatprep.mesh.keys import KeyKind
from qatprep.mesh.provider import Kind, Provider
from qatprep.mesh.render.istio import GATEWAY_API_SINCE, NO_FALLBACK
from qatprep.mesh.render.kubernetes import KUBERNETES_SINCE, PLUGIN_KUBERNETES, PLUGIN_MAX_DEVICES, Workload
from qatprep.runtime.memlock import PAPER, needed, spell

_WIDTH = 76


def pasted(*commands: str) -> str:
    """Commands as further lines of a note."""
    return "".join(f"\n{line}" for command in commands for line in _continued(command))


def _continued(command: str) -> Iterator[str]:
    """A command in lines of at most _WIDTH columns, if its options are short enough: \\ ends all but the last."""
    line = ""
    for part in re.split(r" (?=-|\||>)", command):
        if line and len(line) + len(part) >= _WIDTH:
            yield f"  {line} \\"
            line = f"  {part}"
        else:
            line += f" {part}" if line else part
    yield f"  {line}"


def delay_note(provider: Provider) -> list[str]:
    if provider.kind is Kind.PLAIN:
        return []
    return [f"poll delay {durations.spell(provider.delay)}: {provider.source}"]


def envoy_notes(provider: Provider, key: KeyKind | None) -> list[str]:
    """In the order a person would want to know."""
    notes = delay_note(provider)
    if key is not None:
        notes.append(f"the key is {key}: {provider.kind} takes it")
    if provider.kind is Kind.PLAIN:
        return notes
    notes.append(
        f"the {provider.kind} extension is in Envoy's contrib image and in Istio's proxyv2, not in the plain Envoy: "
        "`qatprep explain QP-ENVOY-002`"
    )
    notes.append(
        'a FIPS build of Envoy (BoringSSL-FIPS) takes no provider: "Private key method doesn\'t support FIPS mode"'
    )
    if provider.fallback:
        notes.append(
            "with fallback a node without the hardware serves in software, and nothing says so: "
            "`qatprep inspect stats` shows whether the provider works"
        )
    notes.append(
        "differs from Intel's guide: "
        + ("the type is Qat..., not QAT...; " if provider.kind is Kind.QAT else "")
        + "poll_delay and private_key are inside typed_config, filters next to transport_socket, admin on loopback"
    )
    return notes


def docker_command(provider: Provider, directory: str, port: int, cert: str, key: str) -> list[str]:
    """How to start Envoy by hand, with what Intel's line lacks (`-device` with one dash is `-d -e vice=...`)."""
    flags = [f"-p {port}:{port}"]
    if provider.kind is Kind.QAT:
        size = needed(1)
        flags += [
            "--device /dev/vfio/vfio --device /dev/vfio/GROUP",
            f"--ulimit memlock={size}:{size}",
            '--group-add "$(stat -c %g /dev/vfio/GROUP)"',
            "-e QAT_POLICY=1",
        ]
    folder = os.path.join("$PWD", directory) if directory != "." else "$PWD"
    mounts = {f"{folder}/key.pem": key, f"{folder}/cert.pem": cert, "$PWD/envoy.yaml": "/envoy.yaml"}
    flags += [f'-v "{path}:{inside}:ro"' for path, inside in mounts.items()]
    return [
        "to try it, with this configuration in envoy.yaml:"
        + pasted(f"docker run --rm {' '.join(flags)} envoyproxy/envoy:contrib-v1.38.3 -c /envoy.yaml"),
        "the image's user is 101: `chown 101 key.pem` lets it read the key, which stays 0600",
    ]


def istio_notes(provider: Provider, form: str) -> list[str]:
    notes = delay_note(provider)
    if form == "envoy-filter":
        return [
            "BOOTSTRAP patches take effect when a proxy starts: restart the gateway's pods",
            "differs from Intel's file: bounds between the sizes, which mean the same before and after Envoy 1.38",
        ]
    if form in ("mesh-config", "istio-operator"):
        notes.append(_mesh_wide(provider))
    if provider.kind is not Kind.PLAIN:
        notes.append(NO_FALLBACK)
        notes.append("a FIPS build of the proxy takes no provider, and is left without a certificate")
        notes.append("the stock proxyv2 image has the provider: Intel's own distribution of Istio is archived")
    if form in ("gateway-values", "gateway-api"):
        notes.append(restricted_note())
        if provider.kind is Kind.QAT:
            notes.append("limits and requests are equal: the API server refuses requests alone, as in Intel's guide")
            notes.append(ipc_lock_note())
    if form == "gateway-api":
        since = ".".join(map(str, GATEWAY_API_SINCE))
        notes.append(f"needs Istio {since} and the Gateway API's resources; read in Istio's sources, not run")
        notes.append("the Gateway expects a TLS Secret NAME-cert in its namespace")
    return notes


def _mesh_wide(provider: Provider) -> str:
    """meshConfig.defaultConfig is for every proxy: istiod puts the provider into the workload certificate of each."""
    lacking = "whose CPU lacks the instructions" if provider.kind is Kind.CRYPTOMB else "without a QAT VF in its pod"
    return (
        f"WARNING: mesh-wide. Every sidecar and gateway {lacking} refuses its certificate, and with it mutual TLS "
        "stops for that pod; sidecars gain little. Prefer --as annotation or --as gateway-values with a node selector: "
        "`qatprep explain QP-ISTIO-005`"
    )


def ipc_lock_note() -> str:
    return (
        "no IPC_LOCK, unlike Intel's manifests: it does nothing for a process that is not root, and Pod Security "
        "restricted refuses it; the node's memlock limit is what counts "
        f"({spell(needed(1))} or more, the {PAPER} bytes of Intel's guide is one VF and nothing else)"
    )


def restricted_note() -> str:
    return f"Pod Security restricted admits it; needs Kubernetes {KUBERNETES_SINCE} or newer (seccompProfile)"


def kubernetes_notes(form: str, workload: Workload | None) -> list[str]:
    if form in ("device-plugin", "device-plugin-operator"):
        where = (
            [
                "needs Intel's device plugins operator of the same release, and its CustomResourceDefinitions",
                "no initImage: qatprep prepares the VFs, and the init container would do it again",
            ]
            if form == "device-plugin-operator"
            else [
                "hostPath volumes and root: a namespace must be of Pod Security level privileged, as kube-system is",
                f"needs Kubernetes {KUBERNETES_SINCE} or newer (seccompProfile)",
            ]
        )
        return [
            *where,
            f"plugin 0.36 is built for Kubernetes {PLUGIN_KUBERNETES}; older ones have the same device API",
            f"-max-num-devices is {PLUGIN_MAX_DEVICES} by default since v0.27 and was 32 before: it was never 16",
            "no AppArmor overlay is needed: plugins since 0.30 write no new_id any more",
            "the labels it selects by come from node-feature-discovery with Intel's rules, or "
            "`qatprep render kubernetes --as nfd`",
        ]
    notes = []
    if workload is not None and form in ("pod", "deployment"):
        notes = [*delay_note(workload.provider), restricted_note()]
        if workload.provider.kind is Kind.QAT:
            notes.append("limits and requests are equal: the API server refuses requests alone, as in Intel's guide")
            notes.append(ipc_lock_note())
            if workload.devices > 1:
                notes.append("several VFs only pay when they come from several PFs: run the plugin with balanced")
        notes.append(
            f"it expects a ConfigMap {workload.name}-config (envoy.yaml) and a TLS Secret {workload.name}-cert:"
            + pasted(
                f"qatprep render envoy -p {workload.provider.kind} --cert /etc/ssl/envoy/tls.crt "
                "--key /etc/ssl/envoy/tls.key > envoy.yaml",
                f"kubectl create configmap {workload.name}-config -n {workload.namespace} --from-file envoy.yaml",
                f"kubectl create secret tls {workload.name}-cert -n {workload.namespace} --cert cert.pem --key key.pem",
            )
        )
        notes.append("for CPUs of its own the kubelet needs cpuManagerPolicy: static (`qatprep explain QP-K8S-007`)")
    return notes
