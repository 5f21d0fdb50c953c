"""Memlock and device ownership: what keeps a container from using a VF that the host has made ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, unseen
from qatprep.config import memlock_for
from qatprep.facts.base import Unknown
from qatprep.facts.runtime import Container, OwnLimit, hard_limit
from qatprep.facts.systemd import UnitLimit
from qatprep.findings import Evidence, Finding, Status, failed, warned
from qatprep.runtime import containerd, crio
from qatprep.runtime.memlock import PER_VF, Limit, drop_in, drop_in_name, spell
from qatprep.runtime.units import drop_in_path
from qatprep.text import listed, plural

Run = Callable[[Context], Iterable[Finding]]

RECREATE = "Delete these pods (kubectl delete pod NAME), so that they are created again."


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
        yield _too_small(
            ctx,
            f"containers of {facts.runtime.name} may lock {spell(unit.limit.soft)} of memory; QAT needs {spell(size)}",
            Evidence(unit.source or "systemd's default", f"LimitMEMLOCK={spell(unit.limit.soft)}"),
            "A VF pins 16 MiB, which the kernel counts against the limit of the process. Kubernetes has no field "
            "for it: a container inherits the limit of the daemon that started it. Intel's 16777216 is one VF "
            "and nothing else.",
            _memlock_fix(facts.runtime.unit, unit.source, size, hard_limit(facts)),
            bootstrap=True,
        )
    elif unit is None and isinstance(facts.daemon, Limit):
        yield _too_small(
            ctx,
            f"containers of {facts.runtime.name} may lock {spell(facts.daemon.soft)} of memory; "
            f"QAT needs {spell(size)}",
            Evidence(f"/proc/{facts.daemon_pid}/limits", f"Max locked memory {spell(facts.daemon.soft)}"),
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
    asked = f"qatprep bootstrap --set containers.memlock={size}"
    by_hand = f"Set soft and hard of RLIMIT_MEMLOCK to {size} or more in {own.path}"
    return _too_small(
        ctx,
        f"{own.setting} in {own.path} lets containers lock {spell(own.limit.soft)} of memory; QAT needs {spell(size)}",
        Evidence(own.path, f"{own.setting}: memlock {spell(own.limit.soft)}"),
        f"{own.setting} overrules the limit of {runtime.name}: a drop-in for the unit changes nothing.",
        (
            asked if runtime.kind == "crio" else by_hand,
            f"systemctl restart {runtime.name}",
            "Then delete and recreate the pods that use QAT: those that run keep the limit they were started with.",
        ),
        bootstrap=False,
    )


def _too_small(
    ctx: Context, title: str, evidence: Evidence, cause: str, fix: tuple[str, ...], *, bootstrap: bool
) -> Finding:
    runtime = ctx.facts.runtime.runtime
    assert runtime is not None
    kubernetes = ctx.facts.kubernetes.here
    return Finding(
        "QP-MEM-001",
        Status.FAIL if kubernetes else Status.WARN,
        title,
        evidence=(evidence, Evidence(runtime.name, runtime.why)),
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
            f"{spell(facts.unit.limit.soft)}: its next start may lower it below the {spell(size)} that QAT needs",
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
            f"{plural(len(small), 'container')} with QAT devices may lock too little memory: "
            f"{listed(dict.fromkeys(c.label for c, _ in small))}",
            evidence=tuple(
                Evidence(
                    f"/proc/{c.pid}/limits", f"{c.holder} ({c.command}): {_soft(c.limit)}, for {plural(number, 'VF')}"
                )
                for c, number in small[:8]
            ),
            cause="A container keeps the limit that its pod's shim was started with, also over a restart of the "
            "container or of the runtime.",
            fix=(RECREATE, "Before that make sure that the limit is right: QP-MEM-001 and QP-MEM-002."),
            cleared_by=tuple(dict.fromkeys(f"recreate {c.label} ({c.command})" for c, _ in small)),
        )


def _soft(limit: Limit | Unknown) -> str:
    return limit.reason if isinstance(limit, Unknown) else spell(limit.soft)


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
                f"{container.label} runs as user {uid}: IPC_LOCK in its pod would do nothing for it",
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
    state, where, why = _state(ctx)
    if isinstance(state, Unknown):
        yield unseen("QP-RT-001", f"cannot read the configuration of {facts.runtime.name}", state)
    elif state is False:
        users = [c for c, _ in with_devices(ctx) if isinstance(c.uid, int) and c.uid != 0]
        yield Finding(
            "QP-RT-001",
            Status.FAIL if users and not _open_by_group(ctx) else Status.WARN,
            "device nodes in containers belong to root: pods that do not run as root cannot open their VFs",
            evidence=(Evidence(where, f"{containerd.KEY} {why}"),),
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


def _state(ctx: Context) -> tuple[bool | Unknown | None, str, str]:
    """(on, the file, what it says); None where the daemon would not start."""
    facts = ctx.facts.runtime
    assert facts.runtime is not None
    if facts.runtime.kind == "crio":
        if isinstance(facts.crio, Unknown):
            return facts.crio, "", ""
        judged = crio.judge(facts.crio)
        return (
            (None if judged.broken else judged.ownership),
            judged.where or crio.MAIN,
            _said(judged.ownership, judged.where),
        )
    if facts.runtime.kind in ("k3s", "rke2"):
        file = facts.generated
        if isinstance(file, Unknown):
            return file, "", ""
        text = (file.text if file else None) or ""
        on = f"{containerd.KEY} = true" in text
        return on, file.path if file else "", _said(on, containerd.KEY if containerd.KEY in text else "")
    if facts.containerd is None or isinstance(facts.containerd, Unknown):
        state = Unknown("containerd's configuration was not read") if facts.containerd is None else facts.containerd
        return state, "", ""
    verdict = containerd.judge(facts.containerd, facts.version)
    return verdict.on, verdict.where or facts.containerd.main.path, _said(bool(verdict.on), verdict.where)


def _said(on: bool, where: str) -> str:
    return f"= {str(on).lower()}" if where else "is not set"


_KINDS: dict[str, tuple[str, ...]] = {
    "QP-RT-002": ("not-toml", "version", "wrong-type", "ignored-v1"),
    "QP-RT-003": ("replaced",),
    "QP-RT-004": ("cri-disabled",),
    "QP-RT-005": ("wrong-table", "misspelt", "dropin-version", "imports-in-table", "not-imported"),
}


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
        for problem in containerd.judge(files, facts.version).problems:
            if problem.kind not in _KINDS[id] or (problem.kind == "cri-disabled" and docker):
                continue
            bad = id in ("QP-RT-003", "QP-RT-004") or problem.fatal
            yield Finding(
                id,
                Status.FAIL if bad else Status.WARN,
                f"{problem.path}: {problem.text}",
                evidence=(Evidence(problem.path, problem.kind),),
                cause=_CAUSES[id],
                fix=_FIXES[id],
            )

    return run


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
    "QP-RT-004": ("Take cri out of disabled_plugins, if Kubernetes shall use this containerd.",),
    "QP-RT-005": ("qatprep bootstrap --set containers.device_ownership=true", "containerd config dump"),
}


def _check(id: str, stage: Stage, run: Run) -> Check:
    return Check(id, stage, run, applies=applies)


CHECKS = (
    _check("QP-MEM-001", Stage.MEMLOCK, _unit),
    _check("QP-MEM-002", Stage.MEMLOCK, _daemon),
    _check("QP-MEM-003", Stage.MEMLOCK, _containers),
    _check("QP-MEM-004", Stage.MEMLOCK, _ignored),
    _check("QP-MEM-006", Stage.MEMLOCK, _ipc_lock),
    _check("QP-RT-002", Stage.RUNTIME, _problems("QP-RT-002")),
    _check("QP-RT-004", Stage.RUNTIME, _problems("QP-RT-004")),
    _check("QP-RT-003", Stage.RUNTIME, _problems("QP-RT-003")),
    _check("QP-RT-005", Stage.RUNTIME, _problems("QP-RT-005")),
    Check("QP-RT-001", Stage.RUNTIME, _ownership, applies=_asked),
)
