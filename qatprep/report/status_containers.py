"""What runs containers on a node, what Kubernetes gives to pods, and which pods have VFs: a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from qatprep.assess import Assessment
from qatprep.config import memlock_need
from qatprep.facts.base import Unknown
from qatprep.facts.kubernetes import predict
from qatprep.facts.nodes import POD_LOGS
from qatprep.facts.processes import flag
from qatprep.facts.runtime import Container
from qatprep.facts.systemd import UnitLimit
from qatprep.findings import Finding, Status
from qatprep.report.console import Console
from qatprep.report.marks import mark
from qatprep.runtime.memlock import Limit, spell
from qatprep.text import plural


def container_lines(console: Console, judged: Assessment) -> Iterator[Text | str]:
    """The runtime, and how much its containers may lock."""
    found = judged.facts.runtime
    if isinstance(found.processes, Unknown):
        yield f"unknown: {found.processes.reason}"
        return
    if found.runtime is None:
        yield "no container runtime"
        return
    version = f" {'.'.join(map(str, found.version))}" if found.version else ""
    pid = f", pid {found.daemon_pid}" if found.daemon_pid else ", not running"
    yield f"{found.runtime.name}{version}{pid}"
    limit = memlock(judged)
    text = Text.assemble("memlock ", limit, f"; {memlock_need(judged.facts, judged.config)}")
    yield _judged(console, judged, text, "QP-MEM-001", "QP-MEM-002")
    if of := _first(judged, "QP-RT-"):
        yield _judged(console, judged, Text(of.title), of.id)


def memlock(judged: Assessment) -> str:
    """The limit that a container started now would have."""
    found = judged.facts.runtime
    if found.own_limit is not None:
        own = found.own_limit
        return own.reason if isinstance(own, Unknown) else f"{spell(own.limit.soft)} ({own.setting})"
    if isinstance(found.daemon, Limit):
        return spell(found.daemon.soft)
    return spell(found.unit.limit.soft) if isinstance(found.unit, UnitLimit) else "unknown"


def kubernetes_lines(console: Console, judged: Assessment) -> Iterator[Text | str]:
    """The kubelet, the device plugin's resources, CPU manager, and the pods that have VFs. Nothing elsewhere."""
    facts, found = judged.facts, judged.facts.kubernetes
    if not found.here:
        return
    yield "kubelet runs here" if facts.runtime.kubelet is not None else "kubelet does not run"
    expected: dict[str, int] = {}
    for made in predict(facts.pci.pfs).values():
        expected[made.resource] = expected.get(made.resource, 0) + made.count
    registered = {} if isinstance(found.registered, Unknown) else found.registered or {}
    for name in dict.fromkeys([*registered, *expected]):
        count = f"{len(registered.get(name, ()))} of {plural(expected.get(name, 0), 'VF')}"
        text = Text(f"resource {name}: {count} registered")
        yield _judged(console, judged, text, "QP-K8S-001", "QP-K8S-002", "QP-K8S-003")
    if facts.runtime.plugin:
        most = flag(facts.runtime.plugin, "max-num-devices") or "64"
        yield f"device plugin runs, at most {most} devices"
    else:
        yield "no device plugin of Intel's runs here"
    if not isinstance(found.kubelet, Unknown) and found.kubelet.cpu_manager:
        text = Text(f"CPU manager {found.kubelet.cpu_manager}")
        yield _judged(console, judged, text, "QP-K8S-007")
    yield from _pods(console, judged)


def _pods(console: Console, judged: Assessment) -> Iterator[Text | str]:
    facts = judged.facts
    given: dict[str, list[str]] = {}
    for entry in facts.kubernetes.pods:
        given.setdefault(entry.pod, []).extend(entry.devices)
    for holder in facts.nodes.holders:
        uid = holder.container.removeprefix("pod ")
        if holder.container.startswith("pod ") and holder.vf not in given.setdefault(uid, []):
            given[uid].append(holder.vf)
    if not given:
        yield "no pod has VFs"
    for uid, vfs in given.items():
        name = facts.pod(uid)
        source = f" ({POD_LOGS})" if name != uid else ""
        text = Text(f"pod {name}{source}: {plural(len(vfs), 'VF')}")
        yield _judged(console, judged, text, "QP-K8S-009", about=vfs)
        for container in facts.runtime.containers:
            if container.pod == uid:
                yield _judged(console, judged, Text(f"  {_process(container)}"), "QP-MEM-003")


def _process(container: Container) -> str:
    uid = "?" if isinstance(container.uid, Unknown) else container.uid
    workers = f", {plural(container.envoy_workers, 'worker')}" if container.envoy_workers else ""
    limit = f", memlock {spell(container.limit.soft)}" if isinstance(container.limit, Limit) else ""
    cpus = f", CPUs {container.cpus}" if container.cpus else ""
    return f"{container.command}, pid {container.pid}, uid {uid}{workers}{cpus}{limit}"


def _first(judged: Assessment, prefix: str) -> Finding | None:
    told = (Status.FAIL, Status.WARN, Status.UNKNOWN)
    return next((f for f in judged.report.findings if f.id.startswith(prefix) and f.status in told), None)


def _judged(console: Console, judged: Assessment, text: Text, *ids: str, about: list[str] | None = None) -> Text:
    """The text with a mark and the id of the first of these findings that is not well."""
    for f in judged.report.findings:
        if f.id in ids and f.status in (Status.FAIL, Status.WARN) and (about is None or set(f.subjects) & set(about)):
            style = mark(console, "fail" if f.status is Status.FAIL else "warn")
            indent = len(text.plain) - len(text.plain.lstrip())
            return Text.assemble(" " * indent, style, " ", text[indent:], "  ", (f.id, "id"))
    return text
