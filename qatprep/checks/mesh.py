"""Envoy as the node sees it: its workers and its CPUs. Dumps, statistics and logs are judged in mesh/inspect."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Profile, Stage
from qatprep.checks.containers import with_devices
from qatprep.facts.base import whole
from qatprep.findings import Evidence, Finding, Status, warned
from qatprep.text import listed, plural

_BOTH = frozenset({Profile.QAT, Profile.CRYPTOMB})


def count_cpus(text: str) -> int:
    """How many CPUs a kernel list such as 0-3,8 names; 0 for one that cannot be read."""
    total = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = whole(first), whole(last if dash else first)
        if low is None or high is None or high < low:
            return 0
        total += high - low + 1
    return total


def envoys(ctx: Context) -> bool:
    return any(container.envoy_workers for container in ctx.facts.runtime.containers)


def _workers(ctx: Context) -> Iterable[Finding]:
    for container in ctx.facts.runtime.containers:
        cpus = count_cpus(container.cpus)
        if not container.envoy_workers or not cpus or container.envoy_workers == cpus:
            continue
        more = container.envoy_workers > cpus
        yield Finding(
            "QP-ENVOY-010",
            Status.WARN,
            f"Envoy of {container.label} has {plural(container.envoy_workers, 'worker')} on {plural(cpus, 'CPU')}",
            evidence=(
                Evidence(f"/proc/{container.pid}/task", f"{container.envoy_workers} threads wrk:worker_N"),
                Evidence(f"/proc/{container.pid}/status", f"Cpus_allowed_list {container.cpus}"),
            ),
            cause="Workers take turns on a CPU."
            if more
            else "CPUs of its own stay idle; or it is not pinned, and shares all CPUs of the node.",
            fix=(
                "Start Envoy with --cpuset-threads, or --concurrency N for N CPUs; with Istio: concurrency in the "
                "proxy.istio.io/config annotation.",
            ),
        )


def _isolated(ctx: Context) -> Iterable[Finding]:
    used = {c.pid for c, _ in with_devices(ctx)}
    pools: dict[str, list[str]] = {}
    for container in ctx.facts.runtime.containers:
        pools.setdefault(container.cpus, []).append(container.label)
    for container in ctx.facts.runtime.containers:
        if container.command != "envoy" or not container.cpus or (used and container.pid not in used):
            continue
        others = len(pools[container.cpus]) - 1
        if others:
            yield warned(
                "QP-ENVOY-011",
                f"Envoy of {container.label} shares its CPUs with {plural(others, 'other container')}",
                evidence=(Evidence(f"/proc/{container.pid}/status", f"Cpus_allowed_list {container.cpus}"),),
                cause="Envoy's speed depends on warm caches: measurements vary.",
                fix=("Give the pod whole CPUs under the static CPU manager policy: QP-K8S-007.",),
            )


def _seen(ctx: Context) -> str:
    found = [c for c in ctx.facts.runtime.containers if c.envoy_workers]
    return listed(
        f"{plural(c.envoy_workers or 0, 'worker')} on {plural(count_cpus(c.cpus), 'CPU')} in {c.label}" for c in found
    )


def _no_envoy(ctx: Context) -> str:
    return "no Envoy in a container"


CHECKS = (
    Check("QP-ENVOY-010", Stage.MESH, _workers, profiles=_BOTH, applies=envoys, saw=_seen, absent=_no_envoy),
    Check("QP-ENVOY-011", Stage.MESH, _isolated, profiles=_BOTH, applies=envoys, looked=_seen, absent=_no_envoy),
)
