"""Containers of the host: which of them have QAT devices, and what is seen of them where nothing is wrong."""

from __future__ import annotations

from qatprep.checks.base import Context
from qatprep.config import memlock_for, memlock_need
from qatprep.facts.base import Unknown
from qatprep.facts.runtime import Container, OwnLimit, ownership
from qatprep.facts.systemd import UnitLimit
from qatprep.runtime.memlock import Limit, spell
from qatprep.text import listed, plural


def applies(ctx: Context) -> bool:
    """Whether containers are run here; a runtime that is merely installed does not count."""
    facts = ctx.facts.runtime
    running = facts.runtime is not None and (facts.daemon_pid > 0 or ctx.facts.kubernetes.here)
    return running or isinstance(facts.processes, Unknown)


def wanted(ctx: Context) -> int:
    """Bytes a container should be allowed to lock: what the configuration says, else for one VF of each PF that can
    sign.
    """
    return memlock_for(ctx.facts, ctx.config)


def need(ctx: Context) -> str:
    """The same in words, and for what."""
    return memlock_need(ctx.facts, ctx.config)


def with_devices(ctx: Context) -> list[tuple[Container, int]]:
    """Running containers that have QAT VFs, and how many: by the kubelet's checkpoint, else by who holds VFs open."""
    by_pod: dict[str, int] = {}
    for given in ctx.facts.kubernetes.pods:
        by_pod[given.pod] = by_pod.get(given.pod, 0) + len(given.devices)
    held: dict[str, int] = {}
    for holder in ctx.facts.nodes.holders:
        held[holder.container] = held.get(holder.container, 0) + 1
    found = []
    for container in ctx.facts.runtime.containers:
        number = by_pod.get(container.pod, 0) if container.pod else 0
        number = number or held.get(container.holder, 0)
        if number:
            found.append((container, number))
    return found


def allowed(ctx: Context) -> str:
    facts = ctx.facts.runtime
    limits = (facts.own_limit.limit if isinstance(facts.own_limit, OwnLimit) else None, facts.daemon)
    limit = next((found for found in limits if isinstance(found, Limit)), None)
    if limit is None and isinstance(facts.unit, UnitLimit):
        limit = facts.unit.limit
    return f"containers may lock {spell(limit.soft) if limit else 'what is needed'}; {need(ctx)}"


def runtime_name(ctx: Context) -> str:
    return ctx.facts.runtime.runtime.name if ctx.facts.runtime.runtime else "nothing"


def runs_with(ctx: Context) -> str:
    facts = ctx.facts.runtime
    if facts.own_limit is not None:
        return f"containers of {runtime_name(ctx)} do not inherit its limit"
    if facts.daemon is None:
        return f"{runtime_name(ctx)} does not run"
    known = not isinstance(facts.daemon, Unknown)
    return f"{runtime_name(ctx)} runs" + (f" with {soft(facts.daemon)}" if known else "; its limit cannot be read")


def users(ctx: Context) -> str:
    found, every = with_devices(ctx), ctx.facts.runtime.containers
    if not every:
        return "no container runs"
    enough = ", each with enough memory" if found else ""
    return f"{len(found)} of {plural(len(every), 'container')} with QAT devices{enough}"


def files(ctx: Context) -> str:
    facts = ctx.facts.runtime
    if facts.containerd is not None and not isinstance(facts.containerd, Unknown):
        paths = [file.path for file in facts.containerd.files if file.text is not None]
    else:
        paths = [file.path for file in (() if isinstance(facts.crio, Unknown) else facts.crio)]
    return f"{runtime_name(ctx)}: {listed(paths) if paths else 'no configuration file, so its defaults'}"


def owner(ctx: Context) -> str:
    runtime = ctx.facts.runtime.runtime
    if runtime is None or runtime.kind == "docker":
        return f"{runtime_name(ctx)} gives devices by itself"
    owned = ownership(ctx.facts.runtime).on is True
    return f"{runtime_name(ctx)}: device nodes belong to the container's user" if owned else files(ctx)


def no_containers(ctx: Context) -> str:
    return f"{runtime_name(ctx)} is installed and does not run"


def soft(limit: Limit | Unknown) -> str:
    return limit.reason if isinstance(limit, Unknown) else spell(limit.soft)
