"""What Kubernetes makes of the node's VFs: the device plugin's resources, CPUs, and what prevents it."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import pfs, unseen, vfs
from qatprep.facts.base import Unknown, whole
from qatprep.facts.kubernetes import Predicted, can_sign, predict
from qatprep.facts.pci import Pf
from qatprep.facts.processes import flag
from qatprep.findings import Evidence, Finding, failed, warned
from qatprep.text import listed, plural

CHECKPOINT = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"
QAT_LABEL = "intel.feature.node.kubernetes.io/qat"


def node(ctx: Context) -> bool:
    return ctx.facts.kubernetes.here


def _served(ctx: Context) -> bool:
    """Whether the plugin runs here, or has registered something."""
    registered = ctx.facts.kubernetes.registered
    return node(ctx) and bool(ctx.facts.runtime.plugin or isinstance(registered, Unknown) or registered)


def _asked(ctx: Context) -> bool:
    return ctx.facts.kubernetes.node is not None


def _expected(ctx: Context) -> dict[str, int]:
    """Resource and number of devices, as the plugin will make them of this node's PFs."""
    found: dict[str, int] = {}
    for made in predict(ctx.pfs).values():
        found[made.resource] = found.get(made.resource, 0) + made.count
    return found


def _most(ctx: Context) -> int:
    """The plugin's -max-num-devices; 64 by default since v0.27."""
    given = whole(flag(ctx.facts.runtime.plugin or "", "max-num-devices"))
    return 64 if given is None else given


def _cut(ctx: Context, registered: dict[str, tuple[str, ...]] | None) -> bool:
    """Whether the plugin's limit is below what there is: not so where the kubelet knows more devices than the limit."""
    have = sum(len(ids) for ids in (registered or {}).values())
    return sum(_expected(ctx).values()) > _most(ctx) >= have


def _registered(ctx: Context) -> Iterable[Finding]:
    registered = ctx.facts.kubernetes.registered
    expected = _expected(ctx)
    if isinstance(registered, Unknown):
        yield unseen("QP-K8S-001", "cannot see which devices the kubelet knows", registered)
        return
    known = {name: set(ids) for name, ids in (registered or {}).items()}
    api = ctx.facts.kubernetes.node
    allocatable = dict(api.allocatable) if api is not None and not isinstance(api, Unknown) else {}
    cut = _cut(ctx, registered)
    for resource, count in expected.items():
        have = len(known.get(resource, ()))
        if have < count and not (cut and have):
            yield failed(
                "QP-K8S-001",
                f"the kubelet knows {have} of {plural(count, 'device')} {resource}",
                evidence=(
                    Evidence(CHECKPOINT, f"{resource}: {have}"),
                    Evidence("cfg_services of the PFs", f"{resource}: {count}"),
                    *_said_by_api(allocatable, resource),
                ),
                cause=_why_missing(ctx, known, resource),
                fix=(
                    "kubectl -n kube-system logs -l app=intel-qat-plugin",
                    "qatprep inspect log explains its lines.",
                ),
            )
    for name in sorted(set(known) - set(expected)):
        yield warned(
            "QP-K8S-001",
            f"the kubelet still knows {name}, which no PF of this node gives any more",
            evidence=(Evidence(CHECKPOINT, f"{name}: {len(known[name])}"),),
            cause="Services were changed after the plugin had registered, or it is gone: the checkpoint outlives it.",
            fix=("kubectl -n kube-system rollout restart daemonset intel-qat-plugin",),
        )


def _said_by_api(allocatable: dict[str, int], resource: str) -> tuple[Evidence, ...]:
    if not allocatable:
        return ()
    return (Evidence("node.status.allocatable of the API server", f"{resource}: {allocatable.get(resource, 0)}"),)


def _labelled(ctx: Context) -> Iterable[Finding]:
    api = ctx.facts.kubernetes.node
    if api is None:
        return
    if isinstance(api, Unknown):
        yield unseen("QP-K8S-012", "the API server could not be asked for this node", api)
    elif dict(api.labels).get(QAT_LABEL) != "true" and ctx.pfs:
        yield warned(
            "QP-K8S-012",
            f"the node has no label {QAT_LABEL}=true: manifests that select by it leave it out",
            evidence=(Evidence(f"node {api.name}", ", ".join(name for name, _ in api.labels) or "no label of QAT"),),
            cause="node-feature-discovery gives it, with Intel's rules: it wants a QAT device, intel_qat and vfio_pci.",
            fix=(
                "Deploy node-feature-discovery with Intel's rules, or publish the label from here:",
                "qatprep render kubernetes --as nfd > /etc/kubernetes/node-feature-discovery/features.d/qatprep",
            ),
        )


def _why_missing(ctx: Context, known: dict[str, set[str]], resource: str) -> str:
    plugin = ctx.facts.runtime.plugin
    if plugin is None:
        return "No device plugin runs on this node; what the kubelet knows is from earlier."
    told = flag(plugin, "kernel-vf-drivers").split(",")
    for family in dict.fromkeys(pf.family for pf in ctx.pfs):
        if not (family.plugin_default if told == [""] else family.vf_driver in told):
            name = family.vf_driver
            return f"The plugin knows VFs of the {family.name} family only with -kernel-vf-drivers=...,{name}."
    if known.keys() - {resource}:
        return f"Its VFs may be known by an older name: {listed(sorted(known))}. Services were changed afterwards."
    return "The plugin passes over VFs that another driver than vfio-pci holds, and PFs whose services it cannot read."


def _truncated(ctx: Context) -> Iterable[Finding]:
    registered = ctx.facts.kubernetes.registered
    expected, most = sum(_expected(ctx).values()), _most(ctx)
    if isinstance(registered, Unknown) or not _cut(ctx, registered):
        return
    have = sum(len(ids) for ids in (registered or {}).values())
    yield failed(
        "QP-K8S-002",
        f"the device plugin stops at {most} of this node's {expected} VFs",
        evidence=(
            Evidence("the plugin's command line", ctx.facts.runtime.plugin or "not seen: 64 by default"),
            Evidence(CHECKPOINT, f"{have} devices"),
        ),
        cause="-max-num-devices takes the first VFs it finds, so that all VFs of a PF can be missing. The default is "
        "64 since v0.27 and was 32 before; it was never 16, as Intel's guide says.",
        fix=(f"In the plugin's DaemonSet: -max-num-devices={expected}", "qatprep render kubernetes --as device-plugin"),
    )


def _signs(ctx: Context) -> Iterable[Finding]:
    expected = _expected(ctx)
    if expected and not any(can_sign(name) for name in expected):
        names = listed(sorted(expected))
        yield failed(
            "QP-K8S-003",
            f"no PF of this node gives a resource that can sign: there is {names} alone",
            evidence=tuple(Evidence(f"{pf.bdf} cfg_services", made.resource) for pf, made in _named(ctx)),
            cause="TLS handshakes are asymmetric crypto: a PF has to offer asym. dc is compression.",
            fix=("qatprep bootstrap --set devices.services='sym;asym'",),
            step="bootstrap",
        )


def _named(ctx: Context) -> list[tuple[Pf, Predicted]]:
    made = predict(ctx.pfs)
    return [(pf, made[pf.bdf]) for pf in ctx.pfs if pf.bdf in made]


def _qatlib_service(ctx: Context) -> Iterable[Finding]:
    pid = ctx.facts.runtime.qatmgr
    if pid:
        yield failed(
            "QP-K8S-004",
            "qatlib's own service runs next to the device plugin: both give the same VFs away",
            evidence=(Evidence(f"/proc/{pid}/comm", "qatmgr"),),
            cause="qat.service binds VFs and hands them to processes of the host; the plugin hands them to containers.",
            fix=("systemctl disable --now qat.service",),
        )


def _cpu_manager(ctx: Context) -> Iterable[Finding]:
    kubelet, cpus = ctx.facts.kubernetes.kubelet, ctx.facts.kubernetes.cpus
    if isinstance(kubelet, Unknown):
        yield unseen("QP-K8S-007", "cannot read the kubelet's configuration", kubelet)
        return
    policy = (
        kubelet.cpu_manager or (cpus.policy if cpus is not None and not isinstance(cpus, Unknown) else "") or "none"
    )
    if policy != "static":
        yield warned(
            "QP-K8S-007",
            f"the kubelet's CPU manager policy is {policy}: no pod gets CPUs of its own",
            evidence=(Evidence(kubelet.source or "/var/lib/kubelet/cpu_manager_state", f"cpuManagerPolicy {policy}"),),
            cause="Envoy's workers share caches and CPUs with everything else on the node; results vary with it.",
            fix=(
                "In the kubelet's configuration: cpuManagerPolicy: static, and reservedSystemCPUs. Then, for its state "
                "file names the old policy:",
                "kubectl drain NODE --ignore-daemonsets",
                "systemctl stop kubelet && rm /var/lib/kubelet/cpu_manager_state && systemctl start kubelet",
                "kubectl uncordon NODE",
                "The pod then needs whole CPUs, requests equal to limits (qatprep render kubernetes does so).",
            ),
        )


def _same_pf(ctx: Context) -> Iterable[Finding]:
    owner = {vf.bdf: vf.pf for vf in ctx.facts.pci.all_vfs if vf.pf}
    signing = {name for name in _expected(ctx) if can_sign(name)}
    if len([1 for _, made in _named(ctx) if made.resource in signing]) < 2:
        return
    for given in ctx.facts.kubernetes.pods:
        pfs = {owner[device] for device in given.devices if device in owner}
        if len(given.devices) > 1 and len(pfs) == 1:
            policy = flag(ctx.facts.runtime.plugin or "", "allocation-policy") or "not given"
            yield warned(
                "QP-K8S-009",
                f"pod {ctx.facts.pod(given.pod)} has {len(given.devices)} VFs, all of PF {pfs.pop()}",
                subjects=given.devices,
                evidence=(
                    Evidence(CHECKPOINT, f"{given.container}, {given.resource}: {', '.join(given.devices)}"),
                    Evidence("the plugin's -allocation-policy", policy),
                ),
                cause="VFs of one PF share its engines: the second brings nothing.",
                fix=("In the plugin's DaemonSet: -allocation-policy=balanced, then recreate the pod.",),
            )


# -- what is seen where nothing is wrong -------------------------------------------------------------------------------


def _resources(ctx: Context) -> str:
    return listed(f"{count} {name}" for name, count in _expected(ctx).items()) or "no PF that gives a resource"


def _known_devices(ctx: Context) -> str:
    registered = ctx.facts.kubernetes.registered
    have = 0 if isinstance(registered, Unknown) else sum(len(ids) for ids in (registered or {}).values())
    return f"the kubelet knows {have} of {plural(sum(_expected(ctx).values()), 'device')}"


def _policy(ctx: Context) -> str:
    kubelet = ctx.facts.kubernetes.kubelet
    return f"cpuManagerPolicy {'' if isinstance(kubelet, Unknown) else kubelet.cpu_manager or 'static'}"


def _given(ctx: Context) -> str:
    several = [given for given in ctx.facts.kubernetes.pods if len(given.devices) > 1]
    return f"{plural(len(ctx.facts.kubernetes.pods), 'container')} with VFs, {len(several)} with several"


def _label(ctx: Context) -> str:
    api = ctx.facts.kubernetes.node
    return f"node {api.name}" if api is not None and not isinstance(api, Unknown) else "the API server"


def _no_plugin(ctx: Context) -> str:
    return "no QAT device plugin on this node"


CHECKS = (
    Check("QP-K8S-003", Stage.KUBERNETES, _signs, ("QP-SRIOV-001",), applies=node, about=pfs, looked=_resources),
    Check(
        "QP-K8S-002",
        Stage.KUBERNETES,
        _truncated,
        applies=_served,
        looked=lambda ctx: f"{sum(_expected(ctx).values())} devices; the plugin's limit is {_most(ctx)}",
        absent=_no_plugin,
    ),
    Check(
        "QP-K8S-001",
        Stage.KUBERNETES,
        _registered,
        ("QP-VFIO-001",),
        applies=_served,
        about=vfs,
        saw=_known_devices,
        absent=_no_plugin,
    ),
    Check(
        "QP-K8S-004",
        Stage.KUBERNETES,
        _qatlib_service,
        applies=_served,
        looked=lambda ctx: "no process qatmgr",
        absent=_no_plugin,
    ),
    Check("QP-K8S-007", Stage.KUBERNETES, _cpu_manager, applies=node, saw=_policy),
    Check("QP-K8S-009", Stage.KUBERNETES, _same_pf, applies=_served, looked=_given, absent=_no_plugin),
    Check(
        "QP-K8S-012",
        Stage.KUBERNETES,
        _labelled,
        applies=_asked,
        saw=lambda ctx: f"label {QAT_LABEL}=true on {_label(ctx)}",
        absent=lambda ctx: "no kubectl or kubeconfig for asking the API server",
    ),
)
