"""What runs containers on the host, and how much they may lock: from /proc, systemd's files and the runtimes' own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qatprep.facts import containerd
from qatprep.facts.base import ABSENT, Unknown, names, read_line, unknown, whole
from qatprep.facts.systemd import UnitLimit, unit_file, unit_limit
from qatprep.host.base import Host
from qatprep.runtime import crio, memlock, rancher, toml, units
from qatprep.runtime.containerd import MAIN as CONTAINERD_MAIN
from qatprep.runtime.containerd import ConfigSet, File, Version, base_spec, parse_version
from qatprep.runtime.memlock import Limit

_SERVICE = re.compile(r"/([^/]+\.service)(?:/|$)")
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")
_SHIMS = ("containerd-shim", "conmon", "conmonrs")
CAP_IPC_LOCK = 14
"""include/uapi/linux/capability.h"""


@dataclass(frozen=True)
class Container:
    """One running container, as its oldest process shows it."""

    id: str
    pod: str
    """The pod's UID, "" outside Kubernetes."""
    pid: int
    command: str
    limit: Limit | Unknown
    uid: int | Unknown
    ipc_lock: bool | Unknown
    """Whether CAP_IPC_LOCK is in effect: for a process that is not root mostly not, whatever its pod asks for."""
    cpus: str
    """CPUs it may run on, as the kernel lists them: "0-3,8"."""
    envoy_workers: int | None
    """Threads named wrk:worker_N; None when it is no Envoy."""

    @property
    def label(self) -> str:
        """Short: the whole UID makes a line that nobody reads."""
        return f"pod {self.pod[:8]}" if self.pod else f"container {self.id[:12]}"

    @property
    def holder(self) -> str:
        """As facts/nodes.py calls who holds a VF."""
        return f"pod {self.pod}" if self.pod else f"container {self.id}"


@dataclass(frozen=True)
class OwnLimit:
    """A memlock limit that the runtime's own configuration gives to containers, whatever its unit has."""

    setting: str
    """As its configuration calls it."""
    path: str
    limit: Limit


@dataclass(frozen=True)
class RuntimeFacts:
    runtime: units.Runtime | None
    """None: nothing here runs containers."""
    version: Version | None
    """containerd's; None where it could not be asked."""
    unit: UnitLimit | Unknown | None
    daemon: Limit | Unknown | None
    """Of the running daemon; None when it does not run."""
    daemon_pid: int
    containers: tuple[Container, ...]
    processes: bool | Unknown
    """Whether /proc could be looked at."""
    containerd: ConfigSet | Unknown | None = None
    crio: tuple[File, ...] | Unknown = ()
    generated: File | Unknown | None = None
    """k3s and RKE2: the configuration they made."""
    templates: tuple[File, ...] = ()
    qatmgr: int = 0
    """Process id of qatlib's manager (qat.service), 0 when it does not run."""
    plugin: str | None = None
    """Command line of Intel's QAT device plugin, None when it does not run here."""
    ours: tuple[File, ...] = ()
    """Files that qatprep would write for this runtime, as they are now."""
    own_limit: OwnLimit | Unknown | None = None
    """None: containers inherit the daemon's."""
    kubelet: str | None = None
    """Command line of the kubelet (k3s and RKE2 have it inside), None when it does not run here."""


def hard_limit(facts: RuntimeFacts) -> float:
    """The largest hard limit (bytes) that the unit's files or the running daemon have: never to be lowered."""
    known = [facts.unit.limit if isinstance(facts.unit, UnitLimit) else None, facts.daemon]
    return max((limit.hard for limit in known if isinstance(limit, Limit)), default=0)


@dataclass(frozen=True)
class _Process:
    pid: int
    command: str
    cgroup: str


def gather(host: Host) -> RuntimeFacts:
    """Look once. Needs no root, except for the capabilities of other users' processes behind hidepid."""
    found = _processes(host)
    if isinstance(found, Unknown):
        return RuntimeFacts(None, None, None, None, 0, (), found)
    shims = {_service(p.cgroup) for p in found if p.command.startswith(_SHIMS)}
    by_unit: dict[str, int] = {}
    for process in found:
        unit = _service(process.cgroup)
        if unit in units.UNITS and not process.command.startswith(_SHIMS):
            by_unit.setdefault(unit, process.pid)
    kubelet = next((p for p in found if p.command in ("kubelet", "k3s-server", "k3s-agent", "rke2")), None)
    kubelet_line = _cmdline(host, kubelet.pid) if kubelet else None
    running = (*by_unit, "kubelet.service") if kubelet else tuple(by_unit)
    chosen = units.choose(
        shims=tuple(sorted(shims - {""})),
        endpoint=_endpoint(host, kubelet_line) if kubelet_line is not None else "",
        running=running,
        installed=tuple(unit for unit in units.UNITS if unit_file(host, unit)) if not running else (),
    )
    plugin = next((p for p in found if p.command.startswith(("intel_qat_devic", "qat_plugin"))), None)
    manager = next((p for p in found if p.command == "qatmgr"), None)
    if chosen is None:
        return RuntimeFacts(
            None, None, None, None, 0, _containers(host, found), True, qatmgr=manager.pid if manager else 0
        )
    pid = by_unit.get(chosen.unit, 0)
    place = rancher.Place(chosen.kind) if chosen.kind in ("k3s", "rke2") else None
    config: ConfigSet | Unknown | None = None
    if chosen.kind in ("containerd", "docker"):
        config = containerd.read(host, _containerd_config(host, pid))
    version = _containerd_version(host, place) if chosen.kind != "crio" else None
    crio_files = _crio_files(host) if chosen.kind == "crio" else ()
    return RuntimeFacts(
        runtime=chosen,
        version=version,
        unit=unit_limit(host, chosen.unit),
        daemon=_limit(host, pid) if pid else None,
        daemon_pid=pid,
        containers=_containers(host, found),
        processes=True,
        containerd=config,
        crio=crio_files,
        own_limit=_base_spec(host, config, version) if isinstance(config, ConfigSet) else _ulimits(crio_files),
        generated=_file(host, place.generated) if place else None,
        templates=tuple(
            f for f in (_file(host, t) for t in place.templates) if isinstance(f, File) and f.text is not None
        )
        if place
        else (),
        ours=_ours(host, chosen.unit, place),
        qatmgr=manager.pid if manager else 0,
        plugin=_cmdline(host, plugin.pid) if plugin else None,
        kubelet=kubelet_line,
    )


# -- processes --------------------------------------------------------------------------------------------------------


def _processes(host: Host) -> list[_Process] | Unknown:
    listed = names(host, "/proc")
    if isinstance(listed, Unknown):
        return listed
    found = []
    for pid in sorted(pid for name in listed if (pid := whole(name)) is not None):
        command = read_line(host, f"/proc/{pid}/comm")
        cgroup = _text(host, f"/proc/{pid}/cgroup") if isinstance(command, str) else None
        if isinstance(command, str):
            found.append(_Process(pid, command, cgroup if isinstance(cgroup, str) else ""))
    return found


def _text(host: Host, path: str, limit: int = 1 << 20) -> str | Unknown | None:
    try:
        return host.read_text(path, limit=limit)
    except OSError as e:
        # ESRCH: the process ended between the two looks.
        return None if e.errno in (*ABSENT, 3) else unknown(e)


def _service(cgroup: str) -> str:
    match = _SERVICE.search(cgroup)
    return match[1] if match else ""


def _cmdline(host: Host, pid: int) -> str:
    text = _text(host, f"/proc/{pid}/cmdline")
    return text.replace("\0", " ").strip() if isinstance(text, str) else ""


def _flag(line: str, name: str) -> str:
    """The value of --name=VALUE or --name VALUE in a command line."""
    match = re.search(rf"(?:^|\s)--?{re.escape(name)}[= ](\S+)", line)
    return match[1] if match else ""


flag = _flag


def _endpoint(host: Host, line: str) -> str:
    """Where the kubelet finds its runtime: by its flag, else by its configuration file."""
    given = _flag(line, "container-runtime-endpoint")
    text = "" if given else _text(host, _flag(line, "config") or "/var/lib/kubelet/config.yaml")
    match = (
        re.search(r"^containerRuntimeEndpoint:\s*[\"']?([^\s\"']+)", text, re.MULTILINE)
        if isinstance(text, str)
        else None
    )
    return given or (match[1] if match else "")


def _limit(host: Host, pid: int) -> Limit | Unknown:
    text = _text(host, f"/proc/{pid}/limits")
    if isinstance(text, Unknown):
        return text
    limit = memlock.from_proc_limits(text or "")
    return limit or Unknown(f"/proc/{pid}/limits: no line for locked memory")


def _containers(host: Host, found: list[_Process]) -> tuple[Container, ...]:
    oldest: dict[str, _Process] = {}
    for process in found:
        match = _CONTAINER.search(process.cgroup)
        if match is None or process.command.startswith(_SHIMS):
            continue
        known = oldest.get(match[1])
        # Istio's pilot-agent starts Envoy: Envoy is the one whose threads and limits count.
        if known is None or (process.command == "envoy" and known.command != "envoy"):
            oldest[match[1]] = process
    return tuple(_container(host, id, process) for id, process in oldest.items() if process.command != "pause")


def _container(host: Host, id: str, process: _Process) -> Container:
    status = _text(host, f"/proc/{process.pid}/status")
    why = status if isinstance(status, Unknown) else Unknown(f"/proc/{process.pid}/status: no such line")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line) if isinstance(status, str) else {}
    pod = _POD.search(process.cgroup)
    return Container(
        id=id,
        pod=pod[1].replace("_", "-") if pod else "",
        pid=process.pid,
        command=process.command,
        limit=_limit(host, process.pid),
        uid=_uid(fields.get("Uid"), why),
        ipc_lock=_ipc_lock(fields.get("CapEff"), why),
        cpus=fields.get("Cpus_allowed_list", "").strip(),
        envoy_workers=_workers(host, process.pid) if process.command == "envoy" else None,
    )


def _uid(line: str | None, why: Unknown) -> int | Unknown:
    """The effective one of real, effective, saved and file system user ids (proc_pid_status(5))."""
    if line is None:
        return why
    words = line.split()
    found = whole(words[1]) if len(words) > 1 else None
    return Unknown(f"Uid {line.strip()[:60]!r} in /proc/PID/status is not a user id") if found is None else found


def _ipc_lock(line: str | None, why: Unknown) -> bool | Unknown:
    if line is None:
        return why
    try:
        return bool(int(line, 16) >> CAP_IPC_LOCK & 1)
    except ValueError:
        return Unknown(f"CapEff {line.strip()[:60]!r} in /proc/PID/status is not a number")


def _workers(host: Host, pid: int) -> int | None:
    """Envoy names its worker threads wrk:worker_N (seen on 1.40)."""
    tasks = names(host, f"/proc/{pid}/task")
    if isinstance(tasks, Unknown):
        return None
    comms = [read_line(host, f"/proc/{pid}/task/{task}/comm") for task in tasks]
    return sum(isinstance(comm, str) and comm.startswith("wrk:worker_") for comm in comms) or None


# -- the runtimes' own files ------------------------------------------------------------------------------------------


def _containerd_config(host: Host, pid: int) -> str:
    """The main file of the running daemon: its --config, else containerd's default."""
    line = _cmdline(host, pid) if pid else ""
    return _flag(line, "config") or _flag(line, "c") or CONTAINERD_MAIN


def _containerd_version(host: Host, place: rancher.Place | None) -> Version | None:
    done = host.run([place.binary if place else "containerd", "--version"], deadline=10)
    return parse_version(done.stdout) if done.rc == 0 else None


def _base_spec(host: Host, config: ConfigSet, version: Version | None) -> OwnLimit | Unknown | None:
    path = base_spec(config, version)
    text = _text(host, path) if path else None
    if not isinstance(text, str):
        return text
    try:
        limit = memlock.from_base_spec(text)
    except ValueError as e:
        return Unknown(f"{path}: {e}")
    return OwnLimit("base_runtime_spec", path, limit) if limit else None


def _ulimits(files: tuple[File, ...] | Unknown) -> OwnLimit | None:
    judged = None if isinstance(files, Unknown) else crio.judge(files)
    limit = memlock.from_ulimits(judged.ulimits) if judged else None
    return OwnLimit("default_ulimits", judged.ulimits_where, limit) if judged and limit else None


def _file(host: Host, path: str) -> File | Unknown:
    text = _text(host, path, toml.LIMIT)
    if isinstance(text, str) and (why := toml.too_deep(text)):
        return Unknown(f"{path}: {why}")
    return text if isinstance(text, Unknown) else File(path, text)


def _ours(host: Host, unit: str, place: rancher.Place | None) -> tuple[File, ...]:
    paths = [units.drop_in_path(unit, name) for name in memlock.DROPIN_NAMES]
    if place:
        paths.append(place.flag_file)
    found = (_file(host, path) for path in paths)
    return tuple(file for file in found if isinstance(file, File))


def _crio_files(host: Host) -> tuple[File, ...] | Unknown:
    paths = [crio.MAIN]
    for directory in (crio.VENDOR, crio.CONF_D):
        listed = names(host, directory)
        if isinstance(listed, Unknown):
            return listed
        paths += [f"{directory}/{name}" for name in listed if name.endswith(".conf")]
    files = []
    for path in paths:
        file = _file(host, path)
        if isinstance(file, Unknown):
            return file
        if file.text is not None:
            files.append(file)
    return tuple(files)
