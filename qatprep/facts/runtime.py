"""What runs containers on the host, and how much they may lock: from /proc, systemd's files and the runtimes' own."""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep.facts import containerd, processes
from qatprep.facts.base import ABSENT, Unknown, files_below, names, read_line, read_text, unknown, whole
from qatprep.facts.nodes import PodNames
from qatprep.facts.processes import CONTAINER, SHIMS, Process, flag
from qatprep.facts.systemd import UnitLimit, enabled, unit_file, unit_limit
from qatprep.host.base import Host
from qatprep.runtime import crio, memlock, rancher, toml, units
from qatprep.runtime.containerd import CONF_D, ConfigSet, File, Version, base_spec, judge, parse_version
from qatprep.runtime.containerd import MAIN as CONTAINERD_MAIN
from qatprep.runtime.dump import Answer
from qatprep.runtime.memlock import Limit

_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")
BASE_SPEC = "base_runtime_spec"
CAP_IPC_LOCK = 14
"""include/uapi/linux/capability.h"""


class Container(NamedTuple):
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
    """Threads named wrk:worker_N; None when it is not an Envoy."""
    pod_name: str = ""
    """"namespace/name" of its pod, "" outside a pod or where the kubelet's log folders do not tell."""

    @property
    def label(self) -> str:
        """For people: its pod by name where that is known, else by the first part of its UID or of its own id."""
        if self.pod_name:
            return f"pod {self.pod_name}"
        return f"pod {self.pod[:8]}" if self.pod else f"container {self.id[:12]}"

    @property
    def holder(self) -> str:
        """As facts/nodes.py calls who holds a VF."""
        return f"pod {self.pod}" if self.pod else f"container {self.id}"


class OwnLimit(NamedTuple):
    """A memlock limit that the runtime's own configuration gives to containers, whatever its unit has."""

    setting: str
    """As its configuration calls it."""
    path: str
    limit: Limit
    text: str = ""
    """Of the file."""


class RuntimeFacts(NamedTuple):
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
    """Of k3s and RKE2: what they made."""
    program: str | Unknown = ""
    """containerd: of the running daemon, where it runs. Unknown where root must not run it."""
    answer: Answer | Unknown | None = None
    """What that program says of the files; None where it is not there."""
    crio: tuple[File, ...] | Unknown = ()
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


class Ownership(NamedTuple):
    """What a runtime's configuration comes to for device ownership."""

    on: bool | Unknown | None
    """None where the daemon refuses the files."""
    where: str = ""
    """The file that decides, else the main file."""
    said: str = ""
    """What that file says: for people."""


def ownership(facts: RuntimeFacts) -> Ownership:
    """Of a node with a runtime other than Docker: by containerd's own word where it was asked."""
    assert facts.runtime is not None
    if facts.runtime.kind == "crio":
        if isinstance(facts.crio, Unknown):
            return Ownership(facts.crio)
        judged = crio.judge(facts.crio)
        return Ownership(
            None if judged.broken else judged.ownership,
            judged.where or crio.MAIN,
            _said(judged.ownership, judged.where),
        )
    if facts.containerd is None or isinstance(facts.containerd, Unknown):
        missing = Unknown("containerd's configuration was not read")
        return Ownership(missing if facts.containerd is None else facts.containerd)
    verdict = judge(facts.containerd, facts.version)
    on = verdict.on
    if isinstance(facts.answer, Answer):
        on = None if facts.answer.refused else facts.answer.on
    return Ownership(on, verdict.where or facts.containerd.main.path, _said(verdict.on, verdict.where))


def _said(on: bool | None, where: str) -> str:
    return f"= {str(bool(on)).lower()}" if where else "is not set"


def gather(host: Host, pods: PodNames) -> RuntimeFacts:
    """Look once. Needs no root, except for the capabilities of other users' processes behind hidepid."""
    found = processes.processes(host)
    if isinstance(found, Unknown):
        return RuntimeFacts(None, None, None, None, 0, (), found)
    kubelet = processes.kubelet(host, found)
    daemons, shims = processes.daemons(host, found), processes.shims(host, found)
    chosen = units.choose(
        daemons,
        shims,
        kubelet=kubelet is not None,
        endpoint=_endpoint(host, kubelet) if kubelet is not None else "",
        installed=_installed(host) if not daemons and not shims else (),
    )
    plugin = next((p for p in found if p.command.startswith(("intel_qat_devic", "qat_plugin"))), None)
    facts = RuntimeFacts(
        None,
        None,
        None,
        None,
        0,
        _containers(host, found, pods),
        True,
        qatmgr=next((p.pid for p in found if p.command == "qatmgr"), 0),
        plugin=processes.cmdline(host, plugin.pid) if plugin else None,
        kubelet=kubelet,
    )
    return facts if chosen is None else _of_runtime(host, facts, chosen)


def _of_runtime(host: Host, facts: RuntimeFacts, chosen: units.Runtime) -> RuntimeFacts:
    """The facts with what there is to know of the runtime."""
    pid = chosen.daemon.pid if chosen.daemon else 0
    place = rancher.Place(chosen.kind) if chosen.kind in ("k3s", "rke2") else None
    config: ConfigSet | Unknown | None = None
    program: str | Unknown = ""
    version: Version | None = None
    if chosen.kind != "crio":
        program = containerd.program(host, pid, (place.binary,) if place else ())
        version = _containerd_version(host, program)
        given = chosen.daemon.config if chosen.daemon and not place else ""
        main = place.generated if place else given or units.CONFIGS.get(chosen.unit, CONTAINERD_MAIN)
        config = containerd.read(host, main, place.drop_ins if place else CONF_D, version)
    crio_files = _crio_files(host, chosen.daemon) if chosen.kind == "crio" else ()
    templates = [_file(host, template) for template in place.templates] if place else []
    return facts._replace(
        runtime=chosen,
        version=version,
        unit=unit_limit(host, chosen.unit) if chosen.unit else None,
        daemon=_limit(host, pid) if pid else None,
        daemon_pid=pid,
        containerd=config,
        program=program,
        answer=_answer(host, program, config, version),
        crio=crio_files,
        own_limit=_base_spec(host, config, version) if isinstance(config, ConfigSet) else _ulimits(crio_files),
        templates=tuple(file for file in templates if isinstance(file, File) and file.text is not None),
        ours=_ours(host, chosen.unit, place),
    )


def _installed(host: Host) -> tuple[str, ...]:
    """Known units there are files for, those that are enabled first: what would run after a boot."""
    there = [unit for unit in units.UNITS if unit_file(host, unit)]
    return tuple(sorted(there, key=lambda unit: not enabled(host, unit)))


# -- processes --------------------------------------------------------------------------------------------------------


def _endpoint(host: Host, line: str) -> str:
    """Where the kubelet finds its runtime: by its flag, else by its configuration file."""
    given = flag(line, "container-runtime-endpoint")
    text = "" if given else read_text(host, flag(line, "config") or "/var/lib/kubelet/config.yaml")
    match = (
        re.search(r"^containerRuntimeEndpoint:\s*[\"']?([^\s\"']+)", text, re.MULTILINE)
        if isinstance(text, str)
        else None
    )
    return given or (match[1] if match else "")


def _limit(host: Host, pid: int) -> Limit | Unknown:
    text = read_text(host, f"/proc/{pid}/limits")
    if isinstance(text, Unknown):
        return text
    limit = memlock.from_proc_limits(text or "")
    return limit or Unknown(f"/proc/{pid}/limits: no line for locked memory")


def _containers(host: Host, found: list[Process], pods: PodNames) -> tuple[Container, ...]:
    oldest: dict[str, Process] = {}
    for process in found:
        match = CONTAINER.search(process.cgroup)
        if match is None or process.command.startswith(SHIMS):
            continue
        known = oldest.get(match[1])
        # Istio's pilot-agent starts Envoy: Envoy is the one whose threads and limits count.
        if known is None or (process.command == "envoy" and known.command != "envoy"):
            oldest[match[1]] = process
    return tuple(_container(host, id, process, pods) for id, process in oldest.items() if process.command != "pause")


def _container(host: Host, id: str, process: Process, pods: PodNames) -> Container:
    fields, why = _status(host, process.pid)
    match = _POD.search(process.cgroup)
    pod = match[1].replace("_", "-") if match else ""
    return Container(
        id=id,
        pod=pod,
        pid=process.pid,
        command=process.command,
        limit=_limit(host, process.pid),
        uid=_uid(fields.get("Uid"), why),
        ipc_lock=_ipc_lock(fields.get("CapEff"), why),
        cpus=fields.get("Cpus_allowed_list", "").strip(),
        envoy_workers=_workers(host, process.pid) if process.command == "envoy" else None,
        pod_name=pods.of(pod) if pod else "",
    )


def _status(host: Host, pid: int) -> tuple[dict[str, str], Unknown]:
    """The lines of /proc/PID/status by name, and why one is not there."""
    status = read_text(host, f"/proc/{pid}/status")
    why = status if isinstance(status, Unknown) else Unknown(f"/proc/{pid}/status: no such line")
    return dict(line.split(":", 1) for line in status.splitlines() if ":" in line) if isinstance(
        status, str
    ) else {}, why


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


def _containerd_version(host: Host, program: str | Unknown) -> Version | None:
    done = None if isinstance(program, Unknown) else host.run([program, "--version"], deadline=10)
    return parse_version(done.stdout.text) if done and done.rc == 0 else None


def _answer(
    host: Host, program: str | Unknown, config: ConfigSet | Unknown | None, version: Version | None
) -> Answer | Unknown | None:
    if isinstance(program, Unknown) or not isinstance(config, ConfigSet):
        return program if isinstance(program, Unknown) else None
    return containerd.ask(host, program, config, version)


def _base_spec(host: Host, config: ConfigSet, version: Version | None) -> OwnLimit | Unknown | None:
    path = base_spec(config, version)
    file = _file(host, path) if path else None
    if not isinstance(file, File) or file.text is None:
        return file if isinstance(file, Unknown) else None
    try:
        limit = memlock.from_base_spec(file.text)
    except ValueError as e:
        return Unknown(f"{path}: {e}")
    return OwnLimit(BASE_SPEC, path, limit, file.text) if limit else None


def _ulimits(files: tuple[File, ...] | Unknown) -> OwnLimit | None:
    judged = None if isinstance(files, Unknown) else crio.judge(files)
    limit = memlock.from_ulimits(judged.ulimits) if judged else None
    return OwnLimit("default_ulimits", judged.ulimits_where, limit) if judged and limit else None


def _file(host: Host, path: str) -> File | Unknown:
    """Its text exactly as it is: it may be edited."""
    try:
        text: str | None = host.read_text(path, limit=toml.LIMIT).raw
    except OSError as e:
        if e.errno not in ABSENT:
            return unknown(e)
        text = None
    if text is not None and (why := toml.too_deep(text)):
        return Unknown(f"{path}: {why}")
    return File(path, text)


def _ours(host: Host, unit: str, place: rancher.Place | None) -> tuple[File, ...]:
    paths = [units.drop_in_path(unit, name) for name in memlock.DROPIN_NAMES]
    if place:
        paths.append(place.flag_file)
    found = (_file(host, path) for path in paths)
    return tuple(file for file in found if isinstance(file, File))


def _crio_files(host: Host, daemon: units.Daemon | None) -> tuple[File, ...] | Unknown:
    below = files_below(host, (daemon.config_dir if daemon else "") or crio.CONF_D)
    if isinstance(below, Unknown):
        return below
    files = []
    for path in ((daemon.config if daemon else "") or crio.MAIN, *below):
        file = _file(host, path)
        if isinstance(file, Unknown):
            return file
        if file.text is not None:
            files.append(file)
    return tuple(files)
