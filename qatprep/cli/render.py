"""qatprep render: configuration for Envoy, Istio and Kubernetes. YAML on stdout, what is to be known on stderr."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.session import Session
from qatprep.errors import InputError
from qatprep.exits import ExitCode
from qatprep.mesh.provider import Kind

if TYPE_CHECKING:
    from qatprep.mesh.keys import KeyKind

app = App(no_args_is_help=True, help="Print configuration for Envoy, Istio and Kubernetes.")


class IstioForm(StrEnum):
    mesh_config = "mesh-config"
    operator = "istio-operator"
    annotation = "annotation"
    gateway_values = "gateway-values"
    gateway_api = "gateway-api"
    envoy_filter = "envoy-filter"


class KubernetesForm(StrEnum):
    device_plugin = "device-plugin"
    device_plugin_operator = "device-plugin-operator"
    pod = "pod"
    deployment = "deployment"
    nfd = "nfd"


ProviderOption = Annotated[Kind, typer.Option("--provider", "-p", help="Who signs: a QAT VF, crypto_mb, or neither.")]
DelayOption = Annotated[
    str,
    typer.Option("--poll-delay", metavar="TIME", help="For example 5ms; Intel's guide has 5 ms or 10 ms, the default."),
]
TuneOption = Annotated[
    str, typer.Option("--tune", metavar="FILE", help="Take it from what `qatprep tune --save FILE` wrote.")
]
FallbackOption = Annotated[bool, typer.Option("--fallback", help="Serve in software where the hardware is missing.")]
ResourceOption = Annotated[str, typer.Option("--resource", metavar="NAME", help="cy, asym ... or the full name.")]
DevicesOption = Annotated[int, typer.Option("--devices", metavar="N", help="VFs for each container.")]
CpusOption = Annotated[int, typer.Option("--cpus", metavar="CPUS", help="Whole CPUs: what pinning needs.")]
MemoryOption = Annotated[str, typer.Option("--memory", metavar="SIZE", help="Memory for each container.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="The Kubernetes namespace.")]


@app.command()
def envoy(
    ctx: typer.Context,
    provider: ProviderOption,
    poll_delay: DelayOption = "",
    tune: TuneOption = "",
    fallback: FallbackOption = False,
    cert: Annotated[str, typer.Option("--cert", metavar="PATH", help="As Envoy sees it.")] = "/etc/ssl/cert.pem",
    key: Annotated[str, typer.Option("--key", metavar="PATH", help="As Envoy sees it.")] = "/etc/ssl/key.pem",
    address: Annotated[str, typer.Option("--address", metavar="IP", help="Listen here.")] = "0.0.0.0",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Listen here.")] = 9000,
    admin_address: Annotated[str, typer.Option("--admin-address", metavar="IP", help="Of /stats.")] = "127.0.0.1",
    admin_port: Annotated[int, typer.Option("--admin-port", metavar="N", help="Of /stats and the rest.")] = 9001,
    no_resumption: Annotated[
        bool, typer.Option("--no-resumption", help="Every handshake a full one: for load tests.")
    ] = False,
    check_key: Annotated[
        str, typer.Option("--check-key", metavar="FILE", help="Refuse unless the provider takes this key.")
    ] = "",
    generate: Annotated[
        str, typer.Option("--generate", metavar="DIR", help="Make key.pem (0600) and cert.pem in DIR.")
    ] = "",
    key_type: Annotated[str, typer.Option("--key-type", help="rsa2048, rsa3072, rsa4096 or p256.")] = "rsa2048",
    host: Annotated[list[str] | None, typer.Option("--host", metavar="NAME", help="For the certificate.")] = None,
) -> ExitCode:
    """A static Envoy configuration: a TLS listener that answers 200, admin on loopback."""
    from qatprep.mesh import keys
    from qatprep.mesh.provider import choose
    from qatprep.mesh.render import envoy as render
    from qatprep.mesh.render import names
    from qatprep.report import mesh as report

    session: Session = ctx.obj
    chosen = choose(provider, delay=poll_delay, tune=tune, fallback=fallback)
    config = render.static_config(
        chosen,
        cert=cert,
        key=key,
        address=address,
        port=port,
        admin_address=admin_address,
        admin_port=admin_port,
        resumption=not no_resumption,
    )
    found = keys.check_key_file(check_key, provider) if check_key else None
    notes = report.envoy_notes(chosen, found)
    if generate:
        hosts = [names.host(name) for name in host or ["localhost"]]
        wrong = keys.trouble(_kind(key_type), provider)
        if wrong:
            raise InputError(f"--key-type {key_type}: {wrong}", "choose another key type")
        key_path, cert_path = keys.generate(generate, key_type, hosts)
        notes.append(f"made {key_path} (0600) and {cert_path}, for {', '.join(hosts)}")
        notes += report.docker_command(chosen, generate, port, cert, key)
    session.out.write(names.yaml_text([config], []))
    _say(session, notes)
    return ExitCode.OK


def _kind(key_type: str) -> KeyKind:
    from qatprep.mesh.keys import TYPES, KeyKind

    if key_type not in TYPES:
        raise InputError(f"{key_type!r} is no key type", f"one of {', '.join(TYPES)}")
    return KeyKind("RSA", TYPES[key_type], exponent=65537) if TYPES[key_type] else KeyKind("EC", 256, "P-256")


@app.command()
def istio(
    ctx: typer.Context,
    provider: ProviderOption,
    form: Annotated[IstioForm, typer.Option("--as", help="What to print.")] = IstioForm.gateway_values,
    poll_delay: DelayOption = "",
    tune: TuneOption = "",
    fallback: FallbackOption = False,
    release: Annotated[
        str, typer.Option("--istio", metavar="VERSION", help="Refuse what this release does not know.")
    ] = "",
    resource: ResourceOption = "cy",
    devices: DevicesOption = 1,
    cpus: CpusOption = 2,
    memory: MemoryOption = "1Gi",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the EnvoyFilter or the Gateway.")] = "",
    namespace: NamespaceOption = "istio-system",
    gateway: Annotated[
        str, typer.Option("--gateway", metavar="LABEL", help="The EnvoyFilter's pods: the value of their istio label.")
    ] = "ingressgateway",
) -> ExitCode:
    """Istio: mesh config, a gateway (annotation, Helm values, Gateway API), or an EnvoyFilter for exact queue sizes."""
    from qatprep.mesh.provider import choose
    from qatprep.mesh.render import istio as render
    from qatprep.mesh.render import names
    from qatprep.mesh.render.kubernetes import ISTIO_UID, Workload
    from qatprep.report import mesh as report

    session: Session = ctx.obj
    chosen = choose(provider, delay=poll_delay, tune=tune, fallback=fallback)
    known = render.version(release) if release else None
    if form is IstioForm.mesh_config:
        documents = [render.mesh_config(chosen, known)]
    elif form is IstioForm.operator:
        documents = [render.operator_file(chosen, known)]
    elif form is IstioForm.annotation:
        documents = [{"podAnnotations": render.annotation(chosen, known, cpus)}]
    elif form is IstioForm.envoy_filter:
        if provider is not Kind.CRYPTOMB:
            raise InputError(f"only cryptomb has queues: --as envoy-filter means nothing for {provider}")
        labels = {"istio": names.label_value(gateway, "--gateway")}
        documents = [render.queue_size_filter(name or "qatprep-queue-sizes", namespace, labels)]
    else:
        workload = Workload(
            chosen,
            resource=names.resource(resource),
            devices=devices,
            cpus=cpus,
            memory=memory,
            workers=cpus,
            uid=ISTIO_UID,
            gid=ISTIO_UID,
        )
        workload.check()
        if form is IstioForm.gateway_api:
            documents = render.gateway_api(workload, name or "tls-gateway", namespace, known)
        else:
            documents = [render.gateway_values(workload, known)]
    session.out.write(names.yaml_text(documents, []))
    _say(session, report.istio_notes(chosen, form))
    return ExitCode.OK


@app.command()
def kubernetes(
    ctx: typer.Context,
    form: Annotated[KubernetesForm, typer.Option("--as", help="What to print.")] = KubernetesForm.deployment,
    provider: ProviderOption = Kind.QAT,
    resource: ResourceOption = "cy",
    devices: DevicesOption = 1,
    cpus: CpusOption = 2,
    memory: MemoryOption = "1Gi",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the pod or Deployment.")] = "envoy-tls",
    namespace: NamespaceOption = "default",
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="Instead of the one known to fit.")] = "",
    uid: Annotated[int, typer.Option("--uid", metavar="N", help="runAsUser: device nodes become its own.")] = 101,
    gid: Annotated[int, typer.Option("--gid", metavar="N", help="runAsGroup, and the pod's fsGroup.")] = 101,
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", help="Of the Deployment.")] = 1,
    policy: Annotated[
        str,
        typer.Option(
            "--allocation-policy", metavar="POLICY", help="Of the plugin: balanced spreads VFs over PFs; or packed."
        ),
    ] = "balanced",
    max_devices: Annotated[int, typer.Option("--max-devices", metavar="N", help="The plugin's limit.")] = 512,
) -> ExitCode:
    """Kubernetes: the QAT device plugin, a pod or Deployment that uses it, or labels for NFD."""
    from qatprep.mesh.provider import choose
    from qatprep.mesh.render import kubernetes as render
    from qatprep.mesh.render import names
    from qatprep.report import mesh as report

    session: Session = ctx.obj
    workload = None
    if form in (KubernetesForm.device_plugin, KubernetesForm.device_plugin_operator):
        if provider is not Kind.QAT:
            raise InputError(f"{provider} needs no device plugin: there is no device to hand out", "leave out -p")
        if policy not in list(render.Policy):
            raise InputError(f"{policy!r} is no allocation policy", "balanced or packed")
        image = image or render.PLUGIN_IMAGE
        chosen = render.Policy(policy)
        if form is KubernetesForm.device_plugin_operator:
            document = render.plugin_resource(image=image, policy=chosen, max_devices=max_devices)
        else:
            namespace = "kube-system" if namespace == "default" else namespace
            document = render.device_plugin(image=image, namespace=namespace, policy=chosen, max_devices=max_devices)
        session.out.write(names.yaml_text([document], []))
    elif form is KubernetesForm.nfd:
        if provider is Kind.PLAIN:
            raise InputError("plain needs nothing of a node: there is no label for it")
        session.out.write(render.nfd_features(render.NFD_LABELS[provider]))
    else:
        workload = render.Workload(
            choose(provider),
            name=name,
            namespace=namespace,
            image=image or render.Workload.image,
            resource=names.resource(resource),
            devices=devices,
            cpus=cpus,
            memory=memory,
            uid=uid,
            gid=gid,
        )
        one = render.pod(workload) if form is KubernetesForm.pod else render.deployment(workload, replicas)
        session.out.write(names.yaml_text([one], []))
    _say(session, report.kubernetes_notes(form, workload))
    return ExitCode.OK


def _say(session: Session, notes: list[str]) -> None:
    for note in notes:
        text, *commands = note.split("\n")
        session.say(f"note: {text}", 6)
        for line in commands:
            session.say(line)
