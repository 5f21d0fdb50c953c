"""What is done on a host while things go wrong: the host, the command line, and how it ends when nothing does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from fixtures import acts
from fixtures import hardware as hw
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap, undoable
from qatprep.engine.run import undo_run
from qatprep.errors import QatprepError
from qatprep.hardware import PCI_DEVICES
from qatprep.host import manifest
from qatprep.host.base import RunResult
from qatprep.host.tree import Tree
from qatprep.simulator.disk import copy
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.scenarios import scenario
from qatprep.simulator.testing.fingerprint import Fingerprint as State
from qatprep.text import Foreign
from tests.conftest import Called, qatprep
from tests.engine.state import snapshot
from tests.runtime.test_node import OWNED, process

PF = "0000:6b:00.0"
VFS = ("0000:6b:00.1", "0000:6b:00.2")
DAEMON = "/proc/900"
"""containerd. What it was started with is not given back by putting its files back."""
DROP_IN = "/etc/systemd/system/containerd.service.d/90-qatprep-memlock.conf"


class NodeHost(SimulatedHost):
    """A simulated host that has containerd 1.7, as far as `config dump` goes: the main file as it is understood.

    A restart of its unit gives the daemon the limit of our drop-in.
    """

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if argv[0].rsplit("/", 1)[-1] != "containerd":
            done = super().run(argv, deadline=deadline)
            if argv[1:2] == ["restart"] and done.rc == 0:
                self._restarted()
            return done
        if argv[1:] == ["--version"]:
            return _ended(argv, out="containerd github.com/containerd/containerd v1.7.24 abc\n")
        try:
            text = self.read(argv[2]).decode()
            tomllib.loads(text)
        except (OSError, ValueError) as e:
            return _ended(argv, err=f"containerd: failed to load TOML: {e}\n")
        return _ended(argv, out=text)

    def _restarted(self) -> None:
        drop_in, limits = self.tree.find(DROP_IN), self.tree.find(f"{DAEMON}/limits")
        found = re.search(rb"LimitMEMLOCK=(\d+)", drop_in.data) if drop_in else None
        if found and limits:
            limits.data = re.sub(rb"(?<=Max locked memory ).*", b"   %s  %s  bytes" % (found[1], found[1]), limits.data)


def _ended(argv: list[str], out: str = "", err: str = "") -> RunResult:
    return RunResult(tuple(argv), int(bool(err)), Foreign(out), Foreign(err))


class Fell(Exception):
    """Something did not hold; says what."""


class End(NamedTuple):
    """How a command ended."""

    status: str
    """Of its document; "error" where there is none but words on stderr."""
    not_undone: tuple[str, ...]
    told: str


EXITS = {"applied": (0, 3, 6), "unchanged": (0, 3, 6), "rolled back": (0, 4), "partial": (5,), "refused": (1,)}


def said(called: Called) -> End:
    """Fell for a mistake of its own, and for an exit status that is not the document's."""
    if "Traceback" in called.err or "mistake in qatprep" in called.out + called.err:
        raise Fell(f"a mistake of its own: {called.err[-300:]}{called.out[-300:]}")
    if not called.out:
        if called.code in (0, 3) or not called.err.strip():
            raise Fell(f"nothing was said, status {called.code}: {called.err[-200:]}")
        return End("error", (), called.err)
    document = called.json
    status = document["status"]
    if called.code not in EXITS.get(status, ()):
        raise Fell(f"status {status!r} with exit status {called.code}")
    return End(status, tuple(document["not_undone"]), f"{document.get('failure')}")


class Journey(NamedTuple):
    """One command on one host."""

    name: str
    start: Callable[[str], Tree]
    """The host under a kernel, before the command."""
    argv: tuple[str, ...]
    undoes: bool = False
    """Whether the command is itself the way back (rollback)."""
    after_boot: bool = False
    """Whether the command makes sense on the host after a reboot, which has forgotten its VFs."""
    lasts: bool = False
    """Whether it makes files that the next boot acts on: only the boot after rollback has forgotten what they did."""

    def host(self, kernel: str, *faults: Fault) -> SimulatedHost:
        tree = Tree()
        tree.root = copy(_start(self, kernel).root)
        return NodeHost(tree, kernel, faults=Faults(*faults))

    def call(self, host: SimulatedHost) -> End:
        """Through the command line; without one, as the command line would call the engine, which is faster."""
        if self.argv:
            return said(qatprep(*self.argv, "--yes", "-o", "json", host=host))
        try:
            result = bootstrap(host, NodeConfig(smoke=False))
        except QatprepError as e:
            return End("error", (), e.message)
        return End(result.status, result.not_undone, str(result.failure))

    def back(self, host: SimulatedHost) -> End:
        """One rollback."""
        if self.argv:
            return said(qatprep("rollback", "--yes", "-o", "json", host=host))
        chain = undoable(host)
        failed = [line for run in chain for line in undo_run(host, run)]
        return End("partial" if failed else "rolled back" if chain else "unchanged", tuple(failed), "")


@cache
def _start(journey: Journey, kernel: str) -> Tree:
    return journey.start(kernel)


class Clean(NamedTuple):
    """A journey on which nothing goes wrong."""

    operations: tuple[tuple[str, str, bytes], ...]
    before: State
    after: State


@cache
def clean(journey: Journey, kernel: str, *, booted: bool = False) -> Clean:
    """The journey without faults; `booted`: on the host after its next boot."""
    host = journey.host(kernel)
    if booted:
        host = reboot(host)
    before = snapshot(host)
    end = journey.call(host)
    assert end.status == ("rolled back" if journey.undoes else "applied"), (journey.name, kernel, end)
    return Clean(tuple(host.operations), before, snapshot(host))


def reboot(host: SimulatedHost) -> SimulatedHost:
    """The host after its next boot, its containerd with it."""
    booted = host.reboot()
    return NodeHost(booted.tree, booted.kernel.release)


# -- hosts ------------------------------------------------------------------------------------------------------------


def small(kernel: str, *, ready: bool = False) -> SimulatedHost:
    """One PF with two VFs, after its boot."""
    tree = hw.server([(PF, 0)], total_vfs=2)
    host = acts.started(acts.prepare(tree) if ready else tree, kernel)
    return acts.set_up(host) if ready else host


def _fresh(kernel: str) -> Tree:
    return small(kernel).tree


def _ready(kernel: str) -> Tree:
    return small(kernel, ready=True).tree


def _module_not_loaded(kernel: str) -> Tree:
    host = small(kernel)
    for module in ("qat_4xxx", "intel_qat"):
        assert host.run(["rmmod", module]).rc == 0
    return host.tree


def _installed(kernel: str) -> Tree:
    """systemd runs it, and a package has brought qatprep."""
    tree = _fresh(kernel)
    tree.dir("/run/systemd/system")
    tree.file("/usr/bin/qatprep", b"#!/usr/bin/python3\n", 0o755)
    for directory in ("/etc/systemd/system", "/etc/sysusers.d", "/etc/modules-load.d", "/etc/udev/rules.d"):
        tree.make_dirs(directory)
    return tree


def _node(kernel: str) -> Tree:
    """A Kubernetes node whose containers get too little memlock and no device of theirs."""
    tree = small(kernel, ready=True).tree
    tree.dir("/run/systemd/system")
    more = (
        process(900, "containerd", "/system.slice/containerd.service", argv="/usr/bin/containerd")
        + process(950, "containerd-shim", "/system.slice/containerd.service")
        + process(960, "kubelet", "/system.slice/kubelet.service", argv="/usr/bin/kubelet --config=/k.yaml")
        + "/k.yaml = cpuManagerPolicy: static\n"
        + "/usr/lib/systemd/system/containerd.service <<\n| [Service]\n| ExecStart=/usr/bin/containerd\n"
        + "/etc/containerd/config.toml <<\n"
        + "".join(f"| {line}\n" for line in OWNED.replace("true", "false").splitlines())
    )
    return manifest.parse(f"{manifest.dump(tree)}{more}", "a node")


def _unbound(kernel: str) -> Tree:
    host = small(kernel)
    acts.make_vfs(host)
    return host.tree


def _down(kernel: str) -> Tree:
    host = small(kernel)
    host.write(f"{PCI_DEVICES}/{PF}/qat/state", b"down")
    return host.tree


def _driverctl(kernel: str) -> Tree:
    tree = _fresh(kernel)
    tree.file(f"/etc/driverctl.d/pci-{PF}", b"vfio-pci\n")
    return tree


def _shipped(name: str) -> Callable[[str], Tree]:
    def start(kernel: str) -> Tree:
        return SimulatedHost(manifest.load(scenario(name).host_file), kernel).tree

    return start


def _done(name: str) -> Callable[[str], Tree]:
    """The host at the end of another journey."""

    def start(kernel: str) -> Tree:
        journey = BY_NAME[name]
        host = journey.host(kernel)
        assert journey.call(host).status == "applied"
        return host.tree

    return start


# -- journeys ---------------------------------------------------------------------------------------------------------

_BOOTSTRAP = ("bootstrap", "--no-smoke")
_CONTAINERS = (
    *_BOOTSTRAP, "--set", "containers.device_ownership=true", "--set", "containers.restart=containerd.service",
)  # fmt: skip
_MAKING = [
    Journey("bootstrap", _fresh, _BOOTSTRAP, after_boot=True),
    Journey("bootstrap, module not loaded", _module_not_loaded, _BOOTSTRAP),
    Journey("bootstrap, persistence", _installed, _BOOTSTRAP, after_boot=True, lasts=True),
    Journey("bootstrap, containers", _node, _CONTAINERS),
    Journey("bootstrap, other services", _ready, (*_BOOTSTRAP, "--set", "devices.services=dc")),
    Journey("run at boot", _fresh, (*_BOOTSTRAP, "--boot"), after_boot=True),
    Journey("device bind", _unbound, ("device", "bind", *VFS)),
    Journey("device unbind", _ready, ("device", "unbind", *VFS)),
    Journey("device services", _ready, ("device", "services", "dc", PF)),
    Journey("device vfs create", _fresh, ("device", "vfs", "create", PF), after_boot=True),
    Journey("device vfs remove", _ready, ("device", "vfs", "remove", PF)),
    Journey("device take-over", _driverctl, ("device", "take-over", PF), after_boot=True),
    Journey("device reset", _ready, ("device", "reset", PF)),
    Journey("device up", _down, ("device", "up", PF)),
    Journey("device down", _ready, ("device", "down", PF)),
]
BY_NAME = {journey.name: journey for journey in _MAKING}
JOURNEYS: Sequence[Journey] = [
    *_MAKING,
    *(
        Journey(f"rollback of {name}", _done(name), ("rollback",), undoes=True, lasts=BY_NAME[name].lasts)
        for name in (
            "bootstrap", "bootstrap, module not loaded", "bootstrap, persistence", "bootstrap, containers",
            "bootstrap, other services", "device unbind",
        )
    ),
]  # fmt: skip
BY_NAME |= {journey.name: journey for journey in JOURNEYS}
SPR = Journey("spr-2s bootstrap", _shipped("spr-2s"), (), after_boot=True)


def without(kernel: str, journey: Journey) -> bool:
    """Whether a kernel knows too little for the journey: PFs have no services and no state before 6.0."""
    made = BY_NAME.get(journey.name.removeprefix("rollback of "), journey)
    return kernel == "5.17" and (made.start in (_ready, _node, _down) or "device" in made.argv)
