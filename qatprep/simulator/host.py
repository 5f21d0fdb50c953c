"""SimulatedHost: the door to the simulated kernel."""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from qatprep.errors import Locked
from qatprep.host.base import FileStat, RunResult, fail
from qatprep.host.capture import TreeHost
from qatprep.host.tree import Node, Tree, writable
from qatprep.host.values import META
from qatprep.simulator import boot, clock, programs
from qatprep.simulator.disk import Disk, copy, persistent
from qatprep.simulator.faults import Ended, Fault, Faults, Killed, PowerLoss
from qatprep.simulator.machine import Machine
from qatprep.simulator.other_kernel import choose, recast, rename_kernel
from qatprep.simulator.waiting import BlockedForever, Held
from qatprep.text import Foreign

_PID = 4242
"""Of the process that works on the host, as far as it shows there."""
SETTLING = 0.05
"""Seconds of sleep after which udev has done its work."""


class Operation(NamedTuple):
    """Something that changed, or tried to change, the host."""

    op: str
    path: str
    data: bytes


class SimulatedHost(TreeHost):
    """A recorded host that reacts as a kernel of the given version would.

    `tree` is changed in place. `kernel` is X.Y or X.Y.Z; when the tree was recorded under another one it is first given
    the files it would have there. Safe to use from several threads. Simulated seconds pass at once unless `realtime`
    says how many real seconds each takes. InputError when `kernel` is not a version.
    """

    writable = True
    simulated = True

    def __init__(
        self,
        tree: Tree,
        kernel: str = "6.12",
        label: str = "",
        faults: Faults | None = None,
        *,
        realtime: float = 0.0,
    ) -> None:
        self.kernel = choose(tree, kernel)
        before = rename_kernel(tree, self.kernel)
        super().__init__(tree, label or f"simulated host, kernel {self.kernel.release}")
        self.faults = faults or Faults()
        self.clock = clock.Clock(realtime)
        self.model = Machine(tree, self.kernel, self.clock)
        if before is not None:
            recast(self.model, before)
        self.operations: list[Operation] = []
        """Every operation that was to change the host, in the order they came in, failed ones too."""
        self._guard = threading.RLock()
        self._disk = Disk(tree)
        self._ended: Ended | None = None
        self._locks: dict[str, str] = {}

    # -- reading ------------------------------------------------------------------------------------------

    def read(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> bytes:
        try:
            with self._entered():
                if fault := self.faults.pick("read", path):
                    self._strike(fault, path, deadline)
                return super().read(path, limit=limit)
        except Held as held:
            raise self._time_out(path, held, deadline) from None
        finally:
            self.clock.pay()

    def listdir(self, path: str) -> list[str]:
        with self._entered():
            return super().listdir(path)

    def readlink(self, path: str) -> str:
        with self._entered():
            return super().readlink(path)

    def realpath(self, path: str) -> str:
        with self._entered():
            return super().realpath(path)

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        with self._entered():
            return super().stat(path, follow=follow)

    def kernel_log(self) -> Foreign:
        with self._entered():
            return super().kernel_log()

    def now(self) -> float:
        return self.clock.now()

    def wallclock(self) -> str:
        started = self._values.time or "2026-01-01T00:00:00Z"
        seconds = calendar.timegm(time.strptime(started, "%Y-%m-%dT%H:%M:%SZ"))
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds + self.now()))

    # -- changing -----------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes, *, deadline: float | None = None) -> None:
        self._change("write", path, data, lambda: self._write(path, data), deadline)

    def _write(self, path: str, data: bytes) -> None:
        node = self._node(path)
        if node.kind == "dir":
            fail(errno.EISDIR, path)
        if not writable(node, self._euid):
            fail(errno.EACCES, path)
        if node.kind == "char":
            fail(errno.EINVAL, path)
        self.clock.spend(clock.ATTRIBUTE)
        if node.store is not None:
            if not data:
                return  # fs/kernfs/file.c kernfs_fop_write_iter: nothing to hand on
            store = node.store

            def go() -> None:
                store(data)

            try:
                go()
            except Held as held:
                self.model.wait(held, go)
                raise
            return
        if path.startswith("/sys/") or not node.mode & 0o222:
            fail(errno.EACCES, path)  # fs/kernfs/file.c kernfs_fop_open: no store, no writing
        self._disk.changing(path)
        old = node.content()
        node.size = None
        node.data = data + old[len(data) :]

    def replace(self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        self._change(
            "replace",
            path,
            data,
            lambda: self._replace(path, data, mode, uid, gid),
            torn=lambda: self._replace(f"{self._landing(path)}.qatprep.{_PID}", _half(data), 0o600, 0, 0),
        )

    def _replace(self, path: str, data: bytes, mode: int, uid: int, gid: int) -> None:
        real = self._landing(path)
        parent = self._parent(real)
        name = real.rsplit("/", 1)[-1]
        if name in parent.children and parent.children[name].kind == "dir":
            fail(errno.EISDIR, path)
        node = Node("file", mode, data)
        node.uid, node.gid = uid, gid
        parent.children[name] = node
        self._disk.synced(real)
        self.clock.spend(clock.FSYNC)

    def append(self, path: str, data: bytes) -> None:
        self._change(
            "append", path, data, lambda: self._append(path, data), torn=lambda: self._append(path, _half(data))
        )

    def _append(self, path: str, data: bytes) -> None:
        real = self._landing(path)
        node = self._parent(real).children.setdefault(real.rsplit("/", 1)[-1], Node("file", 0o600))
        if node.kind != "file":
            fail(errno.EISDIR if node.kind == "dir" else errno.EINVAL, path)
        node.data = node.content() + data
        node.size = None
        self._disk.synced(real)
        self.clock.spend(clock.FSYNC)

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        self._change("mkdir", path, b"", lambda: self._mkdir(path, mode))

    def _mkdir(self, path: str, mode: int) -> None:
        here = ""
        for name in path.strip("/").split("/"):
            here = f"{here}/{name}"
            node = self.tree.find(here)
            if node is None:
                parent = self._parent(here)
                self._disk.changing(here)
                parent.children[name] = Node("dir", mode if here == path else 0o755)
            elif node.kind != "dir":
                fail(errno.EEXIST if here == path else errno.ENOTDIR, path)

    def unlink(self, path: str) -> None:
        self._change("unlink", path, b"", lambda: self._unlink(path))

    def _unlink(self, path: str) -> None:
        node = self._node(path, follow=False)
        if node.kind == "dir":
            fail(errno.EISDIR, path)
        parent = self._parent(path)
        self._disk.changing(path)
        del parent.children[path.rsplit("/", 1)[-1]]

    def rmdir(self, path: str) -> None:
        self._change("rmdir", path, b"", lambda: self._rmdir(path))

    def _rmdir(self, path: str) -> None:
        node = self._node(path, follow=False)
        if node.kind != "dir":
            fail(errno.ENOTDIR, path)
        if node.children:
            fail(errno.ENOTEMPTY, path)
        parent = self._parent(path)
        self._disk.changing(path)
        del parent.children[path.rsplit("/", 1)[-1]]

    def chmod(self, path: str, mode: int) -> None:
        self._change("chmod", path, f"{mode:04o}".encode(), lambda: self._own(path, mode=mode))

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._change("chown", path, f"{uid}:{gid}".encode(), lambda: self._own(path, uid=uid, gid=gid))

    def _own(self, path: str, *, mode: int = -1, uid: int = -1, gid: int = -1) -> None:
        node = self._node(path)
        if self._euid not in (0, node.uid) or (self._euid and uid not in (-1, node.uid)):
            fail(errno.EPERM, path)
        self._disk.changing(path)
        if mode != -1:
            node.mode = mode & 0o7777
        if uid != -1:
            node.uid = uid
        if gid != -1:
            node.gid = gid
        self.clock.spend(clock.ATTRIBUTE)

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if argv[0].rsplit("/", 1)[-1] not in programs.CHANGING:
            with self._entered():
                return programs.run(self.model, argv)
        result: list[RunResult] = []
        name = " ".join(argv)

        def go() -> None:
            if self._euid != 0:
                result.append(RunResult(tuple(argv), 1, Foreign(""), Foreign(f"{argv[0]}: Operation not permitted\n")))
                return
            try:
                result.append(programs.run(self.model, argv))
            except Held as held:
                self.model.wait(held, go)
                raise

        try:
            self._change("run", name, " ".join(argv[1:]).encode(), go, deadline)
        except OSError as e:
            if e.errno == errno.ETIMEDOUT:
                text = f"{argv[0]}: not finished after {deadline:g} seconds, ended"
                return RunResult(tuple(argv), 124, Foreign(""), Foreign(text))
            return programs.failed(argv, e.errno or errno.EIO)
        return result[0]

    def sleep(self, seconds: float) -> None:
        with self._entered():
            self.clock.spend(seconds)
            if seconds >= SETTLING:
                self.model.udev.settle()
        self.clock.pay()

    def settle(self, deadline: float = 10.0) -> bool:
        with self._entered():
            if self.model.udev.settle():
                self.clock.spend(clock.UDEV)
        self.clock.pay()
        return True

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        me = threading.current_thread().name
        with self._entered():
            holder = self._locks.get(path)
            if holder is not None:
                raise Locked(
                    f"another qatprep is changing this host: {holder} holds {path}",
                    "wait for it to end, then run this again",
                )
            self._mkdir(path.rsplit("/", 1)[0], 0o755)
            if self.tree.find(path) is None:
                self._parent(path)
            self.tree.file(path, f"{_PID}\n".encode())
            self._locks[path] = f"process {_PID} (simulated, {me})"
        try:
            yield
        finally:
            self._locks.pop(path, None)

    def held(self, path: str) -> bool:
        return path in self._locks

    # -- for tests and demonstrations ---------------------------------------------------------------------

    def end_process(self, pid: int) -> None:
        """A process of the host ends; what waited for it in the kernel goes on."""
        with self._guard:
            self.tree.remove(f"/proc/{pid}")
            self.model.unstick()

    def next_process(self) -> None:
        """After Killed: another process works on the host from now on. Locks of the dead one are free."""
        if isinstance(self._ended, Killed):
            self._ended = None
        self._locks.clear()

    def reboot(self) -> SimulatedHost:
        """The host after its next boot, as a new object; this one is dead from here on.

        /sys, /dev, /run and /proc are those of a fresh boot. Files on disk stay; after a PowerLoss only what was
        synced.
        """
        with self._guard:
            if isinstance(self._ended, PowerLoss):
                self._disk.lose()
            self._ended = PowerLoss(f"{self.label} was booted since")
            tree = Tree()
            tree.root = copy(self.tree.root)
            off = Machine(tree, self.kernel, clock.Clock())
            boot.power_off(off)
            bare = Tree()
            bare.root = copy(tree.root)
            host = SimulatedHost(bare, self.kernel.release, self.label, realtime=self.clock.realtime)
            boot.power_on(host.model)
        return host

    # -- how every operation runs -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        with self._guard:
            if self._ended is not None:
                raise type(self._ended)(*self._ended.args)
            self.model.unstick()
            yield

    def _change(
        self,
        op: str,
        path: str,
        data: bytes,
        effect: Callable[[], None],
        deadline: float | None = None,
        *,
        torn: Callable[[], None] | None = None,
    ) -> None:
        try:
            with self._entered():
                self.operations.append(Operation(op, path, data))
                fault = self.faults.pick(op, path)
                if fault is None:
                    self._effect(path, effect)
                    return
                if fault.kind == "act":
                    self._meanwhile(fault, path, effect)
                    return
                if fault.when == "after":
                    self._effect(path, effect)
                elif fault.when == "half" and torn is not None and not (op == "replace" and fault.kind == "errno"):
                    torn()  # but LinuxHost.replace removes its temporary file when it fails
                self._strike(fault, path, deadline)
        except Held as held:
            raise self._time_out(path, held, deadline) from None
        finally:
            self.clock.pay()

    def _meanwhile(self, fault: Fault, path: str, effect: Callable[[], None]) -> None:
        """An operation next to which somebody else does something, whose own operations are nobody's fault."""
        assert fault.act is not None
        if fault.when == "after":
            self._effect(path, effect)
        mine, self.faults = self.faults, Faults()
        try:
            fault.act(self)
        finally:
            self.faults = mine
        if fault.when != "after":
            self._effect(path, effect)

    def _effect(self, path: str, effect: Callable[[], None]) -> None:
        try:
            effect()
        except OSError as e:
            fail(e.errno or errno.EIO, path)

    def _strike(self, fault: Fault, path: str, deadline: float | None) -> None:
        if fault.kind in ("power", "kill"):
            end = PowerLoss if fault.kind == "power" else Killed
            self._ended = end(f"{self.label}: {fault.kind} at {path}")
            raise self._ended
        if fault.kind == "errno":
            fail(fault.errno, path)
        if deadline is None:
            raise BlockedForever(f"{path}: blocked, and no deadline was given")
        self.clock.spend(deadline)
        fail(errno.ETIMEDOUT, path)

    def _time_out(self, path: str, held: Held, deadline: float | None) -> Exception:
        if deadline is None:
            return BlockedForever(f"{path}: blocked by the holder of {held.device.bdf}, and no deadline was given")
        self.clock.spend(deadline)
        return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)

    def _landing(self, path: str) -> str:
        """Where a file lands that is written as `path`: a link there is followed."""
        try:
            return self.tree.realpath(path, euid=self._euid)
        except OSError as e:
            if e.errno != errno.ENOENT:
                raise
        directory, _, name = path.rpartition("/")
        return f"{self.tree.realpath(directory or '/', euid=self._euid).rstrip('/')}/{name}"

    def _parent(self, path: str) -> Node:
        """The directory a file is made in or removed from, which must be writable and no attribute directory."""
        parent = self._node(path.rsplit("/", 1)[0] or "/")
        if parent.kind != "dir":
            fail(errno.ENOTDIR, path)
        if not persistent(path) and path.startswith(("/sys/", "/proc/")):
            fail(errno.EPERM, path)
        if not writable(parent, self._euid):
            fail(errno.EACCES, path)
        return parent


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


__all__ = ["META", "Operation", "SimulatedHost"]
