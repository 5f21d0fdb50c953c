"""A small node (one PF with two VFs, containers, Kubernetes) whose files an input replaces before it is looked at."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from qatprep.config import NodeConfig
from qatprep.host import manifest
from qatprep.host.base import Host
from qatprep.host.capture import Capture
from qatprep.host.tree import Node, Tree
from qatprep.report.console import Console, console

NEXT = b"\n%%\n"
"""Stands between the files of one input: the first is that of the first path, and so on."""
JUDGED = 8
"""One input in so many is judged by every check as well, chosen by what is in it; judging takes most of the time."""

_PROCESSES = (
    (1201, "containerd", "/system.slice/containerd.service", "/usr/bin/containerd"),
    (1402, "kubelet", "/system.slice/kubelet.service", "/usr/bin/kubelet"),
    (1490, "containerd-shim", "/system.slice/containerd.service", "/usr/bin/containerd-shim-runc-v2"),
    (2210, "intel_qat_devic", "/kubepods.slice/x", "intel_qat_device_plugin"),
    (3031, "envoy", f"/kubepods.slice/kubepods-pod{'1' * 32}.slice/cri-containerd-{'4f' * 32}.scope", "envoy"),
)


@cache
def node() -> str:
    """The manifest of the node."""
    from fixtures.hardware import server
    from qatprep.engine.bootstrap import bootstrap
    from qatprep.simulator.host import SimulatedHost

    host = SimulatedHost(server([("0000:6b:00.0", 0)], total_vfs=2), "6.12")
    assert bootstrap(host, NodeConfig(smoke=False)).status == "applied"
    for pid, comm, cgroup, command in _PROCESSES:
        host.tree.file(f"/proc/{pid}/comm", f"{comm}\n".encode())
        host.tree.file(f"/proc/{pid}/cgroup", f"0::{cgroup}\n".encode())
        host.tree.file(f"/proc/{pid}/cmdline", command.encode() + b"\0")
    host.tree.file("/usr/lib/systemd/system/containerd.service", b"[Service]\nExecStart=/usr/bin/containerd\n")
    host.tree.dir("/run/systemd/system")
    host.tree.file("/usr/bin/qatprep", b"", 0o755)
    return manifest.dump(host.tree)


def fresh() -> Tree:
    return manifest.parse(node(), "node")


def shown(document: Any, *prints: Callable[[Console], Any]) -> None:
    """What a verb would print of it, for programs and for people: JSON that is JSON, and lines that are printable."""
    json.dumps(document, allow_nan=False)
    for each in prints:
        out = io.StringIO()
        each(console(out, {}))
        assert all(line.isprintable() for line in out.getvalue().split("\n")), out.getvalue()


def judged(host: Host) -> None:
    """All that `doctor` does: no check may crash."""
    from qatprep.cli.look import look
    from qatprep.findings import CRASH
    from qatprep.report.doctor import document

    seen = look(host, NodeConfig())
    for finding in seen.judged.report.every:
        assert finding.id != CRASH, finding.evidence
    shown(document(seen.judged, seen.outcome, seen.outcome.exit_status()))


def judges(data: bytes) -> bool:
    """Whether this input is one that every check judges."""
    return zlib.crc32(data) % JUDGED == 0


class Files:
    """An input as files of the node: one for each of `paths`, absent where the input has no more."""

    def __init__(self, gather: Callable[[Host], object], *paths: str) -> None:
        self.gather, self.paths = gather, paths
        self._host: Capture | None = None

    def __call__(self, data: bytes) -> None:
        host = self._host = self._host or Capture(fresh(), "node")
        for path, content in zip(self.paths, [*data.split(NEXT), *[None] * len(self.paths)], strict=False):
            if content is None:
                host.tree.remove(path)
            else:
                host.tree.add(path, Node("file", 0o755, content))
        self.gather(host)
        if judges(data):
            judged(host)

    def seeds(self) -> list[bytes]:
        """The files as a shipped host has them, for the hosts that differ in them."""
        found = []
        for tree in shipped():
            nodes = [tree.find(path) for path in self.paths]
            parts = [node.content() if node and node.kind == "file" and node.size is None else b"" for node in nodes]
            found.append(NEXT.join(part[:4096] for part in parts))
        return list(dict.fromkeys(seed for seed in found if seed.replace(NEXT, b"").strip()))[:40]


@cache
def shipped() -> Sequence[Tree]:
    """Every third of the simulated hosts, and the node itself: as they were recorded."""
    from qatprep.simulator.scenarios import scenarios

    return [fresh(), *(manifest.load(each.host_file) for each in scenarios()[::3])]
