"""Processes of the host as far as containers go: the daemons that start them, their shims, the kubelet."""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep.facts.base import Unknown, names, read_line, read_text, read_words, whole
from qatprep.host.base import Host
from qatprep.runtime.units import Daemon, Kind, Shim

_SERVICE = re.compile(r"/([^/]+\.service)(?:/|$)")
CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
SHIMS = ("containerd-shim", "conmon", "conmonrs")
_KUBELETS = ("kubelet", "kubelite", "k3s-server", "k3s-agent", "rke2")
_DAEMONS: dict[str, Kind] = {
    "containerd": "containerd", "crio": "crio", "dockerd": "docker", "k3s-server": "k3s", "k3s-agent": "k3s",
    "rke2": "rke2",
}  # fmt: skip


class Process(NamedTuple):
    pid: int
    command: str
    cgroup: str

    @property
    def service(self) -> str:
        match = _SERVICE.search(self.cgroup)
        return match[1] if match else ""

    @property
    def of_host(self) -> bool:
        """Neither in a container (Docker in Docker, kind) nor in a user's session (rootless)."""
        return not CONTAINER.search(self.cgroup) and "/user.slice/" not in self.cgroup


def processes(host: Host) -> list[Process] | Unknown:
    listed = names(host, "/proc")
    if isinstance(listed, Unknown):
        return listed
    found = []
    for pid in sorted(pid for name in listed if (pid := whole(name)) is not None):
        command = read_line(host, f"/proc/{pid}/comm")
        cgroup = read_text(host, f"/proc/{pid}/cgroup") if isinstance(command, str) else None
        if isinstance(command, str):
            found.append(Process(pid, command, cgroup if isinstance(cgroup, str) else ""))
    return found


def cmdline(host: Host, pid: int) -> str:
    return " ".join(read_words(host, f"/proc/{pid}/cmdline")).strip()


def flag(line: str, name: str) -> str:
    """The value of --name=VALUE or --name VALUE in a command line."""
    match = re.search(rf"(?:^|\s)--?{re.escape(name)}[= ](\S+)", line)
    return match[1] if match else ""


def daemons(host: Host, found: list[Process]) -> tuple[Daemon, ...]:
    """Daemons that start containers, each once: containerd inside k3s and RKE2 is theirs."""
    result: dict[tuple[str, Kind], Daemon] = {}
    inside = {p.service: _DAEMONS[p.command] for p in found if _DAEMONS.get(p.command) in ("k3s", "rke2")}
    for process in found:
        kind = _DAEMONS.get(process.command)
        if kind is None or not process.of_host:
            continue
        line = cmdline(host, process.pid)
        config = flag(line, "config") or flag(line, "c")
        if kind == "containerd":
            product = re.search(r"/rancher/(k3s|rke2)/", config)
            kind = "k3s" if product and product[1] == "k3s" else "rke2" if product else kind
            kind = inside.get(process.service, kind) if process.service else kind
        socket, directory = flag(line, "address") or flag(line, "a"), flag(line, "config-dir") or flag(line, "d")
        daemon = Daemon(kind, process.pid, process.service, config, socket, directory)
        result.setdefault((process.service or str(process.pid), kind), daemon)
    return tuple(result.values())


def shims(host: Host, found: list[Process]) -> tuple[Shim, ...]:
    """What holds the running containers. Podman's conmon (libpod) is not CRI-O's."""
    result = []
    for process in found:
        if not process.command.startswith(SHIMS) or "/user.slice/" in process.cgroup or "libpod" in process.cgroup:
            continue
        if process.command.startswith("conmon"):
            result.append(Shim("crio", process.service))
        else:
            docker = flag(cmdline(host, process.pid), "namespace") == "moby"
            result.append(Shim("containerd", process.service, docker))
    return tuple(dict.fromkeys(result))


def kubelet(host: Host, found: list[Process]) -> str | None:
    """The kubelet's command line, None when it does not run. MicroK8s keeps its flags in a file, with variables."""
    process = next((p for p in found if p.command in _KUBELETS and p.of_host), None)
    if process is None:
        return None
    line = cmdline(host, process.pid)
    arguments = read_text(host, path) if (path := flag(line, "kubelet-args-file")) else None
    if not isinstance(arguments, str):
        return line
    environment = read_words(host, f"/proc/{process.pid}/environ")
    values = dict(item.split("=", 1) for item in environment if "=" in item)
    kept = " ".join(arg for arg in arguments.splitlines() if not arg.lstrip().startswith("#"))
    return f"{line} " + re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), kept)
