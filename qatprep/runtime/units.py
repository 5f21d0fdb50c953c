"""Which systemd unit really runs the containers of a node: its drop-in is the one that counts.

A shim stays in the cgroup of the unit that started it, so a running container's shim answers for certain. Without
one, the kubelet's endpoint says; without a kubelet, whatever runtime runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["containerd", "crio", "k3s", "rke2", "docker"]


@dataclass(frozen=True)
class Runtime:
    """One container runtime of a node."""

    kind: Kind
    unit: str
    why: str
    """What told: for people."""


UNITS: dict[str, Kind] = {
    "k3s.service": "k3s",
    "k3s-agent.service": "k3s",
    "rke2-server.service": "rke2",
    "rke2-agent.service": "rke2",
    "crio.service": "crio",
    "cri-o.service": "crio",
    "containerd.service": "containerd",
    "docker.service": "docker",
}
"""Units known to run containers, the more particular first: k3s and RKE2 bring their own containerd along."""

_ENDPOINTS: tuple[tuple[str, Kind], ...] = (
    ("k3s/containerd", "k3s"),
    ("rke2/containerd", "rke2"),
    ("crio.sock", "crio"),
    ("cri-dockerd", "docker"),
    ("dockershim", "docker"),
    ("containerd.sock", "containerd"),
)


def choose(
    *,
    shims: tuple[str, ...] = (),
    endpoint: str = "",
    running: tuple[str, ...] = (),
    installed: tuple[str, ...] = (),
) -> Runtime | None:
    """The runtime that matters, or None where there is none.

    `shims`: the units in whose cgroups containerd-shim or conmon processes are; `endpoint`: the kubelet's
    container-runtime-endpoint; `running`: units whose main process runs; `installed`: units there are files for.
    """
    for unit, kind in UNITS.items():
        if unit in shims:
            return Runtime(kind, unit, f"a running container's shim is in the cgroup of {unit}")
    by_endpoint = next((kind for part, kind in _ENDPOINTS if part in endpoint), None)
    for found, verb in ((running, "runs"), (installed, "is installed")):
        units = [(unit, kind) for unit, kind in UNITS.items() if unit in found]
        if by_endpoint is not None:
            for unit, kind in units:
                if kind == by_endpoint:
                    return Runtime(kind, unit, f"{unit} {verb}, and the kubelet uses {endpoint}")
        if units:
            unit, kind = units[0]
            return Runtime(_under_docker(kind, found), unit, f"{unit} {verb}")
    return None


def _under_docker(kind: Kind, found: tuple[str, ...]) -> Kind:
    """Docker's containers are started by containerd.service: the limit belongs there, device ownership nowhere."""
    return "docker" if kind == "containerd" and "docker.service" in found and "kubelet.service" not in found else kind


def drop_in_path(unit: str, name: str) -> str:
    return f"/etc/systemd/system/{unit}.d/{name}"
