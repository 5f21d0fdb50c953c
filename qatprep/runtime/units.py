"""Which daemon really runs the containers of a node: its unit's drop-in and its configuration are those that count.

A shim stays in the cgroup of the unit that started it, so the shim of a running pod answers for certain. Without one,
the kubelet's endpoint says; without a kubelet, whatever daemon runs; with nothing running, the unit files that are
there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["containerd", "crio", "k3s", "rke2", "docker"]


class Daemon(NamedTuple):
    """A running daemon that starts containers."""

    kind: Kind
    pid: int
    unit: str = ""
    """By its cgroup, "" where it is in no service."""
    config: str = ""
    """Its --config."""
    socket: str = ""
    """Its --address."""
    config_dir: str = ""
    """CRI-O's --config-dir."""


class Shim(NamedTuple):
    """What holds a running container: containerd's shim or CRI-O's conmon."""

    kind: Literal["containerd", "crio"]
    unit: str = ""
    """By its cgroup; conmon is in a scope of its own as a rule."""
    docker: bool = False
    """In containerd's namespace "moby": Docker's."""


class Runtime(NamedTuple):
    """The container runtime of a node that matters."""

    kind: Kind
    unit: str
    """"" where it runs in no service."""
    why: str
    """What told: for people."""
    daemon: Daemon | None = None
    """None when it does not run."""

    @property
    def name(self) -> str:
        """For messages."""
        return self.unit or f"{self.kind} (no systemd unit)"


UNITS: dict[str, Kind] = {
    "k3s.service": "k3s",
    "k3s-agent.service": "k3s",
    "rke2-server.service": "rke2",
    "rke2-agent.service": "rke2",
    "k0sworker.service": "containerd",
    "k0scontroller.service": "containerd",
    "snap.microk8s.daemon-containerd.service": "containerd",
    "snap.k8s.containerd.service": "containerd",
    "crio.service": "crio",
    "cri-o.service": "crio",
    "containerd.service": "containerd",
    "docker.service": "docker",
}
"""Units known to run containers, the more particular first. They are asked for only where nothing runs; and ours is
before them at boot."""
KUBELETS = ("kubelet.service", "snap.microk8s.daemon-kubelite.service", "snap.k8s.kubelet.service")
"""Units of a kubelet alone."""

CONFIGS = {
    "k0sworker.service": "/etc/k0s/containerd.toml",
    "k0scontroller.service": "/etc/k0s/containerd.toml",
    "snap.microk8s.daemon-containerd.service": "/var/snap/microk8s/current/args/containerd.toml",
}
"""containerd's main file where it is not containerd's default: for units that do not run."""

_ENDPOINTS: tuple[tuple[str, Kind], ...] = (
    ("k3s/containerd", "k3s"),
    ("rke2/containerd", "rke2"),
    ("crio.sock", "crio"),
    ("cri-dockerd", "docker"),
    ("dockershim", "docker"),
    ("containerd.sock", "containerd"),
)


def choose(
    daemons: tuple[Daemon, ...] = (),
    shims: tuple[Shim, ...] = (),
    *,
    kubelet: bool = False,
    endpoint: str = "",
    installed: tuple[str, ...] = (),
) -> Runtime | None:
    """The runtime that matters, or None where there is none.

    `endpoint`: the kubelet's container-runtime-endpoint; `installed`: units there are files for, the enabled first.
    """
    by_endpoint = next((kind for part, kind in _ENDPOINTS if part in endpoint), None)
    order = list(dict.fromkeys(UNITS.values()))
    # A daemon in a service first: next to it, one started by hand is somebody's experiment.
    daemons = tuple(sorted(daemons, key=lambda d: (not d.unit, order.index(d.kind))))
    for shim in sorted(shims, key=lambda shim: (shim.docker, _rank(shim.unit))):
        docker = shim.docker and kubelet
        other = by_endpoint is not None and (shim.kind == "crio") != (by_endpoint == "crio")
        found = None if docker or other else _of_shim(shim, daemons)
        if found is not None:
            why = f"a running container's shim belongs to {found.unit or found.kind}"
            return _runtime(found, why, daemons, kubelet)
    if by_endpoint is not None:
        same = [d for d in daemons if d.kind == by_endpoint or (by_endpoint == "docker" and d.kind == "containerd")]
        same.sort(key=lambda d: not (d.socket and endpoint.endswith(d.socket)))
        if same:
            why = f"{same[0].unit or same[0].kind} runs, and the kubelet uses {endpoint}"
            return _runtime(same[0], why, daemons, kubelet)
    if daemons:
        return _runtime(daemons[0], f"{daemons[0].unit or daemons[0].kind} runs", daemons, kubelet)
    for unit in installed:
        if by_endpoint in (None, UNITS[unit]):
            kind = _under_docker(UNITS[unit], "docker.service" in installed, kubelet)
            return Runtime(kind, unit, f"{unit} is installed and does not run")
    return None


def _rank(unit: str) -> int:
    """Of a unit in UNITS, those that nobody knows last."""
    return list(UNITS).index(unit) if unit in UNITS else len(UNITS)


def _of_shim(shim: Shim, daemons: tuple[Daemon, ...]) -> Daemon | None:
    if shim.kind == "crio":
        return next((d for d in daemons if d.kind == "crio"), None)
    if not shim.unit:
        return None
    kind = UNITS.get(shim.unit, "containerd")
    return next((d for d in daemons if d.unit == shim.unit and d.kind != "docker"), Daemon(kind, 0, shim.unit))


def _runtime(daemon: Daemon, why: str, daemons: tuple[Daemon, ...], kubelet: bool) -> Runtime:
    kind = _under_docker(daemon.kind, any(d.kind == "docker" for d in daemons), kubelet)
    return Runtime(kind, daemon.unit, why, daemon if daemon.pid else None)


def _under_docker(kind: Kind, docker: bool, kubelet: bool) -> Kind:
    """Docker's containers are started by containerd.service: the limit belongs there, device ownership nowhere."""
    return "docker" if kind == "containerd" and docker and not kubelet else kind


def drop_in_path(unit: str, name: str) -> str:
    return f"/etc/systemd/system/{unit}.d/{name}"
