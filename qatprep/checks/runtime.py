"""Memlock and device ownership: what keeps a container from using a VF that the host has made ready."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.containers import (
    allowed,
    applies,
    files,
    need,
    no_containers,
    owner,
    runs_with,
    soft,
    users,
    wanted,
    with_devices,
)
from qatprep.checks.text import BOOTSTRAP, unseen
from qatprep.facts.base import Unknown
from qatprep.facts.runtime import Container, OwnLimit, RuntimeFacts, hard_limit, ownership
from qatprep.facts.systemd import UnitLimit
from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.runtime import containerd, crio
from qatprep.runtime.dump import Answer
from qatprep.runtime.memlock import PER_VF, Limit, drop_in, drop_in_name, spell
from qatprep.runtime.units import drop_in_path
from qatprep.text import listed, plural

Run = Callable[[Context], Iterable[Finding]]

RECREATE = "Once QP-MEM-001 and QP-MEM-002 are in order, delete these pods, so that they are created again"


def _unreadable(ctx: Context, id: str) -> Finding | None:
    state = ctx.facts.runtime.processes
    return unseen(id, "cannot see what runs containers here", state) if isinstance(state, Unknown) else None


# -- memlock ----------------------------------------------------------------------------------------------------------


def _unit(ctx: Context) -> Iterable[Finding]:
    if blind := _unreadable(ctx, "QP-MEM-001"):
        yield blind
        return
    facts, size = ctx.facts.runtime, wanted(ctx)
    assert facts.runtime is not None
    own, unit = facts.own_limit, facts.unit
    if isinstance(own, Unknown):
        yield unseen("QP-MEM-001", f"cannot read the limits that {facts.runtime.name} gives to containers", own)
    elif own is not None:
        if own.limit.soft < size:
            yield _by_own_limit(ctx, own, size)
    elif isinstance(unit, Unknown):
        yield unseen("QP-MEM-001", f"cannot read the limits of {facts.runtime.name}", unit)
    elif isinstance(facts.daemon, Limit) and facts.daemon.soft >= size:
        return  # what runs decides; QP-MEM-002 compares it with the files
    elif unit is not None and unit.limit.soft < size:
        evidence: tuple[Evidence, ...] = (
            Evidence(unit.source or "systemd's default", f"LimitMEMLOCK={spell(unit.limit.soft)}"),
        )
        now = unit.limit.soft
        if isinstance(facts.daemon, Limit):
            now = facts.daemon.soft
            evidence = (Evidence(f"/proc/{facts.daemon_pid}/limits", f"Max locked memory {spell(now)}"), *evidence)
        yield _too_small(
            ctx,
            f"containers of {facts.runtime.name} may lock {spell(now)} of memory; {need(ctx)}",
            evidence,
            "A VF pins 16 MiB, which the kernel counts against the limit of the process. Kubernetes has no field "
            "for it: a container inherits the limit of the daemon that started it. Intel's 16777216 is one VF "
            "and nothing else.",
            _memlock_fix(facts.runtime.unit, unit.source, size, hard_limit(facts)),
            bootstrap=True,
        )
    elif unit is None and isinstance(facts.daemon, Limit):
        yield _too_small(
            ctx,
            f"containers of {facts.runtime.name} may lock {spell(facts.daemon.soft)} of memory; {need(ctx)}",
            (Evidence(f"/proc/{facts.daemon_pid}/limits", f"Max locked memory {spell(facts.daemon.soft)}"),),
            "A container inherits the limit of the daemon that started it, and systemd has no unit file for this one.",
            (
                f"Raise the limit where the daemon is started (ulimit -l {-(-size // 1024)}), and start it again.",
                "Then delete and recreate the pods that use QAT: those that run keep the limit they were started with.",
            ),
            bootstrap=False,
        )


def _by_own_limit(ctx: Context, own: OwnLimit, size: int) -> Finding:
    runtime = ctx.facts.runtime.runtime
    assert runtime is not None
    return _too_small(
        ctx,
        f"{own.setting} in {own.path} lets containers lock {spell(own.limit.soft)} of memory; {need(ctx)}",
        (Evidence(own.path, f"{own.setting}: memlock {spell(own.limit.soft)}"),),
        f"{own.setting} overrules the limit of {runtime.name}: a drop-in for the unit changes nothing.",
        (
            f"qatprep bootstrap --set containers.memlock={size}",
            f"systemctl restart {runtime.name}",
            "Then delete and recreate the pods that use QAT: those that run keep the limit they were started with.",
        ),
        bootstrap=False,
    )


def _too_small(
    ctx: Context, title: str, evidence: tuple[Evidence, ...], cause: str, fix: tuple[str, ...], *, bootstrap: bool
) -> Finding:
    runtime = ctx.facts.runtime.runtime
    assert runtime is not None
    kubernetes = ctx.facts.kubernetes.here
    return Finding(
        "QP-MEM-001",
        Status.FAIL if kubernetes else Status.WARN,
        title,
        evidence=(*evidence, Evidence(runtime.name, runtime.why)),
        cause=cause,
        fix=fix,
        step=BOOTSTRAP if bootstrap and kubernetes else "",
    )


def _memlock_fix(unit: str, source: str, size: float, hard: float) -> tuple[str, ...]:
    path = drop_in_path(unit, drop_in_name(source) or source.rsplit("/", 1)[-1])
    last = drop_in(size, hard).splitlines()[-1]
    return (
        f"mkdir -p {path.rsplit('/', 1)[0]} && printf '[Service]\\n{last}\\n' > {path}",
        f"systemctl daemon-reload && systemctl restart {unit}",
        "Then delete and recreate the pods that use QAT: those that run keep the limit they were started with.",
    )


def _daemon(ctx: Context) -> Iterable[Finding]:
    facts, size = ctx.facts.runtime, wanted(ctx)
    if facts.runtime is None or facts.daemon is None or not isinstance(facts.unit, UnitLimit):
        return
    if facts.own_limit is not None:
        return  # containers do not inherit the daemon's limit
    if isinstance(facts.daemon, Unknown):
        yield unseen("QP-MEM-002", f"cannot read the limits of the running {facts.runtime.name}", facts.daemon)
    elif facts.daemon.soft < facts.unit.limit.soft:
        enough = facts.daemon.soft >= size
        yield Finding(
            "QP-MEM-002",
            Status.WARN if enough else Status.FAIL,
            f"{facts.runtime.name} still runs with {spell(facts.daemon.soft)}; its files say "
            f"{spell(facts.unit.limit.soft)}",
            evidence=(
                Evidence(f"/proc/{facts.daemon_pid}/limits", f"Max locked memory {spell(facts.daemon.soft)}"),
                Evidence(facts.unit.source or "systemd's default", f"LimitMEMLOCK={spell(facts.unit.limit.soft)}"),
            ),
            cause="A limit is given when the daemon starts: it has not been restarted since the file was written.",
            fix=(
                f"systemctl daemon-reload && systemctl restart {facts.runtime.name}",
                "Running pods go on meanwhile (their shims are not stopped), and keep their old limit.",
            ),
            cleared_by=(f"systemctl restart {facts.runtime.unit}",),
        )
    elif facts.unit.limit.soft < size <= facts.daemon.soft:
        yield warned(
            "QP-MEM-002",
            f"{facts.runtime.name} runs with {spell(facts.daemon.soft)}, but its files say "
            f"{spell(facts.unit.limit.soft)}: its next start may lower it; {need(ctx)}",
            evidence=(
                Evidence(f"/proc/{facts.daemon_pid}/limits", f"Max locked memory {spell(facts.daemon.soft)}"),
                Evidence(facts.unit.source or "systemd's default", f"LimitMEMLOCK={spell(facts.unit.limit.soft)}"),
            ),
            cause="The files were changed since the daemon started, or something that qatprep does not read sets the "
            "limit.",
            fix=(
                f"systemctl show -p LimitMEMLOCK -p LimitMEMLOCKSoft {facts.runtime.name}",
                *_memlock_fix(facts.runtime.unit, facts.unit.source, facts.daemon.soft, hard_limit(facts))[:1],
            ),
            step=BOOTSTRAP if ctx.facts.kubernetes.here else "",
        )


def _containers(ctx: Context) -> Iterable[Finding]:
    small: list[tuple[Container, int]] = []
    for container, number in with_devices(ctx):
        if isinstance(container.limit, Unknown):
            yield unseen("QP-MEM-003", f"cannot read the limit of {container.label}", container.limit)
        elif container.limit.soft < PER_VF * number and container.ipc_lock is not True:
            small.append((container, number))
    if small:
        yield failed(
            "QP-MEM-003",
            f"{listed(dict.fromkeys(c.label for c, _ in small), 2)} may lock too little memory for QAT",
            evidence=tuple(
                Evidence(f"/proc/{c.pid}/limits", f"{c.holder} ({c.command}): {soft(c.limit)}; {_pinned(number)}")
                for c, number in small[:8]
            ),
            cause="A container keeps the limit that its pod's shim was started with, also over a restart of the "
            "container or of the runtime.",
            fix=_recreate(c for c, _ in small),
            cleared_by=tuple(dict.fromkeys(f"recreate {c.label} ({c.command})" for c, _ in small)),
        )


def _recreate(containers: Iterable[Container]) -> tuple[str, ...]:
    names = dict.fromkeys(c.pod_name for c in containers if c.pod_name)
    commands = (f"kubectl delete pod -n {shlex.join(name.split('/', 1))}" for name in names)
    return (f"{RECREATE}:", *commands) if names else (f"{RECREATE} (kubectl delete pod NAME).",)


def _pinned(vfs: int) -> str:
    """What VFs take of the limit, without anything for the program that has them."""
    return f"{plural(vfs, 'VF')} {'pins' if vfs == 1 else 'pin'} {spell(PER_VF * vfs)}"


def _ignored(ctx: Context) -> Iterable[Finding]:
    unit = ctx.facts.runtime.unit
    for path, value, why in unit.ignored if isinstance(unit, UnitLimit) else ():
        yield warned(
            "QP-MEM-004",
            f"systemd ignores LimitMEMLOCK={value} in {path}",
            evidence=(Evidence(path, f"LimitMEMLOCK={value}"),),
            cause=f"{why[0].upper()}{why[1:]}. systemd says so in its log only, and goes on with the value before.",
            fix=(
                "Write it below [Service] of a file whose name ends in .conf, as a number of bytes or with one capital "
                "letter: LimitMEMLOCK=128M.",
            ),
        )


def _ipc_lock(ctx: Context) -> Iterable[Finding]:
    for container, number in with_devices(ctx):
        limit, uid = container.limit, container.uid
        if isinstance(limit, Unknown) or isinstance(uid, Unknown) or isinstance(container.ipc_lock, Unknown):
            continue
        if uid != 0 and not container.ipc_lock and limit.soft < PER_VF * number:
            yield warned(
                "QP-MEM-006",
                f"IPC_LOCK does nothing for user {uid} in {container.label}",
                evidence=(Evidence(f"/proc/{container.pid}/status", f"Uid {uid}, CAP_IPC_LOCK not in CapEff"),),
                cause="A process that is not root gets no capabilities from its container's list when it is started.",
                fix=("Raise the limit of the unit instead: QP-MEM-001.",),
            )


# -- device ownership -------------------------------------------------------------------------------------------------


def _ownership(ctx: Context) -> Iterable[Finding]:
    if blind := _unreadable(ctx, "QP-RT-001"):
        yield blind
        return
    facts = ctx.facts.runtime
    if facts.runtime is None:
        yield _nothing_runs(ctx)
        return
    if facts.runtime.kind == "docker":
        return
    state = ownership(facts)
    if isinstance(state.on, Unknown):
        yield unseen("QP-RT-001", f"cannot read the configuration of {facts.runtime.name}", state.on)
    elif state.on is False:
        users = [c for c, _ in with_devices(ctx) if isinstance(c.uid, int) and c.uid != 0]
        yield Finding(
            "QP-RT-001",
            Status.FAIL if users and not _open_by_group(ctx) else Status.WARN,
            "device nodes in containers belong to root: pods that do not run as root cannot open their VFs",
            evidence=(
                Evidence(state.where, f"{containerd.KEY} {state.said}"),
                *_asked_by(facts),
            ),
            cause=f"{containerd.KEY} is off, which is every runtime's default.",
            fix=(
                "qatprep bootstrap --set containers.device_ownership=true",
                "The pod then needs runAsUser and runAsGroup, both not 0.",
            ),
        )


def _nothing_runs(ctx: Context) -> Finding:
    return warned(
        "QP-RT-001",
        "nothing on this host runs containers, and the configuration asks for settings of a container runtime",
        evidence=(Evidence("/proc", "no containerd, CRI-O, k3s, rke2 or Docker among the processes"),),
        cause=f"The configuration ({ctx.config.source}) sets containers.device_ownership or containers.restart.",
        fix=("Start the container runtime, then run qatprep again.", "Or take both keys out of the configuration."),
    )


def _asked(ctx: Context) -> bool:
    """Whether device ownership can be judged, or is asked for where no runtime is."""
    asked = ctx.config.containers.device_ownership or ctx.config.containers.restart
    return applies(ctx) or (ctx.facts.has_qat and ctx.facts.runtime.runtime is None and bool(asked))


def _open_by_group(ctx: Context) -> bool:
    """Whether any user may open the nodes anyway."""
    return ctx.config.mode & 0o006 == 0o006


_KINDS: dict[str, tuple[str, ...]] = {
    "QP-RT-002": ("not-toml", "version", "wrong-type", "ignored-v1"),
    "QP-RT-003": ("replaced",),
    "QP-RT-004": ("cri-disabled",),
    "QP-RT-005": ("wrong-table", "misspelt", "dropin-version", "imports-in-table", "not-imported"),
}


def _asked_by(facts: RuntimeFacts) -> list[Evidence]:
    """What containerd itself said, or why it was not asked."""
    answer = facts.answer
    if isinstance(answer, Unknown):
        return [Evidence("containerd", answer.reason)]
    return [Evidence(answer.command, f"{containerd.KEY} = {str(answer.on).lower()}")] if answer else []


def _problems(id: str) -> Run:
    def run(ctx: Context) -> Iterable[Finding]:
        facts = ctx.facts.runtime
        files = facts.containerd
        if files is None or isinstance(files, Unknown):
            if id == "QP-RT-002" and not isinstance(facts.crio, Unknown):
                for path, why in crio.judge(facts.crio).broken:
                    yield failed(id, f"CRI-O does not start with {path}: {why}", evidence=(Evidence(path, why),))
            return
        docker = facts.runtime is not None and facts.runtime.kind == "docker"
        answer = facts.answer if isinstance(facts.answer, Answer) else None
        problems = containerd.judge(files, facts.version).problems
        for problem in problems:
            if problem.kind not in _KINDS[id] or (problem.kind == "cri-disabled" and docker):
                continue
            if problem.kind == "replaced" and answer and not (answer.refused or answer.lost):
                continue  # the later table says all that the former did
            bad = id in ("QP-RT-003", "QP-RT-004") or problem.fatal
            yield Finding(
                id,
                Status.FAIL if bad else Status.WARN,
                f"{problem.path}: {problem.text}",
                evidence=(Evidence(problem.path, problem.kind), *_lost(problem, answer)),
                cause=_CAUSES[id],
                fix=_FIXES[id],
            )
        if answer:
            yield from _said_by(answer, id, problems)

    return run


def _lost(problem: containerd.Problem, answer: Answer | None) -> list[Evidence]:
    lost = answer.lost if answer and problem.kind == "replaced" else ()
    return [Evidence(answer.command, f"lost: {listed(lost[:8])}")] if answer and lost else []


def _said_by(answer: Answer, id: str, problems: tuple[containerd.Problem, ...]) -> Iterable[Finding]:
    """What containerd minds that its files do not show."""
    if id == "QP-RT-002" and answer.refused and not any(problem.fatal for problem in problems):
        title = f"containerd refuses its configuration: {answer.refused}"
        yield failed(id, title, evidence=(Evidence(answer.command, answer.refused),), cause=_CAUSES[id], fix=_FIXES[id])
    ignored = [key for key in answer.ignored if key.split()[-1:] == [containerd.KEY]]
    if id == "QP-RT-005" and ignored and not any(problem.kind in _KINDS[id] for problem in problems):
        title = f"containerd ignores {containerd.KEY} where it is written: {'.'.join(ignored[0].split())}"
        yield warned(id, title, evidence=(Evidence(answer.command, ignored[0]),), cause=_CAUSES[id], fix=_FIXES[id])


_CAUSES = {
    "QP-RT-002": "containerd refuses such a file, or passes over it; at its next start all pods of the node lose their "
    "runtime.",
    "QP-RT-003": "containerd 1.x merges by whole tables: a drop-in with one key of the CRI table resets sandbox image, "
    "cgroup driver, registries and runtimes to their defaults, in silence.",
    "QP-RT-004": "Docker's package of containerd ships with this line.",
    "QP-RT-005": "containerd passes over it in silence, or with a warning in its log.",
}
_FIXES: dict[str, tuple[str, ...]] = {
    "QP-RT-002": ("Fix the file, then check it: containerd config dump",),
    "QP-RT-003": ("Put the keys into the main file and take the drop-in away.", "containerd config dump"),
    "QP-RT-004": ("Take cri out of disabled_plugins, if Kubernetes is to use this containerd.",),
    "QP-RT-005": ("qatprep bootstrap --set containers.device_ownership=true", "containerd config dump"),
}


def _check(
    id: str,
    stage: Stage,
    run: Run,
    *,
    saw: Callable[[Context], str] | None = None,
    looked: Callable[[Context], str] | None = None,
    applies: Callable[[Context], bool] = applies,
) -> Check:
    return Check(id, stage, run, applies=applies, saw=saw, looked=looked, absent=no_containers)


CHECKS = (
    _check("QP-MEM-001", Stage.MEMLOCK, _unit, saw=allowed),
    _check("QP-MEM-002", Stage.MEMLOCK, _daemon, looked=runs_with),
    _check("QP-MEM-003", Stage.MEMLOCK, _containers, saw=users),
    _check("QP-MEM-004", Stage.MEMLOCK, _ignored, looked=runs_with),
    _check("QP-MEM-006", Stage.MEMLOCK, _ipc_lock, looked=users),
    _check("QP-RT-002", Stage.RUNTIME, _problems("QP-RT-002"), looked=files),
    _check("QP-RT-004", Stage.RUNTIME, _problems("QP-RT-004"), looked=files),
    _check("QP-RT-003", Stage.RUNTIME, _problems("QP-RT-003"), looked=files),
    _check("QP-RT-005", Stage.RUNTIME, _problems("QP-RT-005"), looked=files),
    _check("QP-RT-001", Stage.RUNTIME, _ownership, saw=owner, applies=_asked),
)
