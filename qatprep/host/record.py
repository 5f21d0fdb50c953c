"""Recording a host: whatever is read through a Recorder goes into a tree, as it was seen, errors and all.

So the list of what to record is the code that reads: facts, checks and verbs are let loose on a Recorder, and what they
looked at is what a capture needs for them to come to the same result again.
"""

from __future__ import annotations

import errno
import json

from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import CpuidResult, FileStat, Host, RunResult, TooLarge, fail
from qatprep.host.launcher import launcher, program_doubt
from qatprep.host.read_only import ReadOnly
from qatprep.host.tree import Node, Tree, readable, split
from qatprep.host.values import META
from qatprep.text import Foreign

_LINKS = 40
DEADLINE = 3.0
"""Seconds for PCI attributes that do not answer: most take microseconds, but some wait for a device's lock
(sriov_numvfs_show, driver_override_show: drivers/pci) that somebody may hold for ever."""
ATTRIBUTES = (
    "vendor", "device", "class", "revision", "subsystem_vendor", "subsystem_device", "numa_node", "driver_override",
    "sriov_numvfs", "sriov_totalvfs", "sriov_offset", "sriov_stride", "sriov_vf_device", "sriov_drivers_autoprobe",
    "qat/state", "qat/cfg_services", "qat/num_rps", "qat/pm_idle_enabled", "qat/auto_reset", "current_link_speed",
    "current_link_width", "max_link_speed", "max_link_width", "reset_method",
)  # fmt: skip
"""Read at once for every function, for speed: any other is read when somebody asks for it."""


COUNTED = "/heartbeat/"
"""In the path of files that are read again whenever somebody asks: the device's answer counts, and it may change
(debugfs, adf_heartbeat_dbgfs.c)."""


class Recorder(ReadOnly):
    """Reads from another host and remembers it. Nothing can be changed through it.

    Each file is read once (but for COUNTED): the second reader gets what the first one got, so that an attribute that
    blocks costs its deadline once.
    """

    def __init__(self, inner: Host) -> None:
        self.inner = inner
        self.label = inner.label
        self.simulated = inner.simulated
        self.tree = Tree()
        self.touched: set[str] = set()
        """Canonical paths that somebody asked for by name, rather than saw in a listing."""
        self._seen: dict[str, FileStat | None] = {}
        self._read: dict[str, bytes | OSError] = {}
        self._modified: dict[str, float] = {}
        self._programs: list[dict[str, object]] = []
        self._cpuid: dict[tuple[int, int], CpuidResult] = {}
        self._note("machine", inner.machine())
        self._note("euid", str(inner.euid))
        self._note("time", inner.wallclock())
        if inner.simulated:
            self._note("simulated", "yes")
        program = launcher(inner)
        self._note("program", json.dumps(program))
        if why := program_doubt(inner, program):
            self._note("program-doubt", why)

    def _note(self, name: str, text: str) -> None:
        self.tree.file(f"{META}/{name}", text.encode() + b"\n")

    # -- the tree -----------------------------------------------------------------------------------------

    def _look(self, path: str) -> FileStat | None:
        """Record what is at a canonical path, without following it. None when nothing can be seen there."""
        if path in self._seen:
            return self._seen[path]
        found: FileStat | None
        try:
            found = self.inner.stat(path, follow=False)
            node = Node(found.kind, found.mode)
            if found.kind == "link":
                node.target = self.inner.readlink(path)
        except OSError:
            found = None
        else:
            node.uid, node.gid = found.uid, found.gid
            if found.kind == "file":
                node.size = found.size
            elif found.kind == "char":
                node.rdev = "0:0"  # nobody asks for it
            if found.kind != "other":
                old = self.tree.find(path, follow=False)
                if old is not None:
                    node.children = old.children
                self.tree.add(path, node)
        self._seen[path] = found
        return found

    def _place(self, path: str, *, follow: bool = True) -> str:
        """The canonical path, everything on the way recorded; "" when it leads nowhere that can be seen."""
        todo = split(path)[::-1]
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                done = done[:-1]
                continue
            here = "/" + "/".join([*done, name])
            found = self._look(here)
            if found is None:
                return ""
            if found.kind == "link" and (follow or todo):
                links += 1
                if links > _LINKS:
                    return ""
                target = self.tree.get(here, follow=False).target
                done = [] if target.startswith("/") else done
                todo += [part for part in target.split("/")[::-1] if part and part != "."]
                continue
            done.append(name)
        place = "/" + "/".join(done)
        self.touched.add(place)
        return place

    def _node(self, path: str, *, follow: bool = True) -> Node | None:
        place = self._place(path, follow=follow)
        return self.tree.find(place, follow=False) if place else None

    def _failed(self, node: Node | None, error: OSError) -> None:
        """Remember an error that mode and owner do not explain already."""
        if node is not None and (error.errno not in (errno.EACCES, errno.EPERM) or readable(node, self.euid)):
            node.error = error.errno or errno.EIO

    def _keep(self, path: str, outcome: bytes | OSError) -> None:
        self._read[path] = outcome
        if isinstance(outcome, OSError) and outcome.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        node = self._node(path)
        if isinstance(outcome, OSError):
            self._failed(node, outcome)
        elif node is not None:
            node.data, node.size = outcome, None
            if not readable(node, self.euid):
                node.mode |= 0o004  # read by a right that a capture does not know: a group, a capability

    def prefetch(self) -> None:
        """Read the common attributes of all PCI functions in one go: one by one, each with a deadline, takes long."""
        try:
            functions = self.inner.listdir(PCI_DEVICES)
        except OSError:
            return
        paths = [f"{PCI_DEVICES}/{bdf}/{name}" for bdf in functions for name in ATTRIBUTES]
        self.read_all(paths, deadline=DEADLINE)

    # -- reading ------------------------------------------------------------------------------------------

    def read(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> bytes:
        if path not in self._read or COUNTED in path:
            wait = deadline if deadline is not None else DEADLINE if path.startswith(PCI_DEVICES) else None
            try:
                self._keep(path, self.inner.read(path, limit=max(limit, 1 << 20), deadline=wait))
            except OSError as e:
                self._keep(path, e)
        found = self._read[path]
        if isinstance(found, TooLarge):
            raise found
        if isinstance(found, OSError):
            fail(found.errno or errno.EIO, path)
        if len(found) > limit:
            raise TooLarge(path, limit, len(found))
        return found

    def read_all(self, paths: list[str], *, deadline: float) -> dict[str, bytes | OSError]:
        new = [path for path in paths if path not in self._read or COUNTED in path]
        for path, outcome in self.inner.read_all(new, deadline=deadline).items():
            self._keep(path, outcome)
        return {path: self._read[path] for path in paths}

    def listdir(self, path: str) -> list[str]:
        node = self._node(path)
        try:
            names = self.inner.listdir(path)
        except OSError as e:
            self._failed(node, e)
            raise
        place = self._place(path)
        for name in names if place else ():
            self._look(f"{place.rstrip('/')}/{name}")
        return names

    def readlink(self, path: str) -> str:
        self._node(path, follow=False)
        return self.inner.readlink(path)

    def realpath(self, path: str) -> str:
        self._node(path)
        return self.inner.realpath(path)

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        self._node(path, follow=follow)
        return self.inner.stat(path, follow=follow)

    def kernel_log(self) -> Foreign:
        try:
            text = self.inner.kernel_log()
        except OSError as e:
            if e.errno not in (errno.ENOENT,):
                self.tree.file(f"{META}/dmesg").error = e.errno or errno.EIO
            raise
        self.tree.file(f"{META}/dmesg", (text.raw.rstrip("\n") + "\n").encode() if text else b"")
        return text

    def machine(self) -> str:
        return self.inner.machine()

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        if (leaf, subleaf) not in self._cpuid:
            self._cpuid[leaf, subleaf] = self.inner.cpuid(leaf, subleaf)
            lines = [
                f"{key[0]:x} {key[1]:x}: {' '.join(f'{register:08x}' for register in registers)}"
                for key, registers in sorted(self._cpuid.items())
            ]
            self._note("cpuid", "\n".join(lines))
        return self._cpuid[leaf, subleaf]

    def xcr0(self) -> int:
        value = self.inner.xcr0()
        self._note("xcr0", f"{value:x}")
        return value

    @property
    def euid(self) -> int:
        return self.inner.euid

    def now(self) -> float:
        return self.inner.now()

    def wallclock(self) -> str:
        return self.inner.wallclock()

    def boot_id(self) -> str:
        try:
            return self.read_text("/proc/sys/kernel/random/boot_id").text.strip()
        except OSError:
            return ""

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        """Only for programs that facts ask: they change nothing."""
        done = self.inner.run(argv, deadline=deadline)
        if done.rc != 127:
            self._programs.append({"argv": argv, "rc": done.rc, "stdout": done.stdout.raw, "stderr": done.stderr.raw})
            self._note("programs", "\n".join(json.dumps(program) for program in self._programs))
        return done

    def modified(self, path: str) -> float | None:
        seconds = self.inner.modified(path)
        if seconds is not None:
            self._modified[path] = seconds
            self._note("modified", "\n".join(f"{when} {name}" for name, when in self._modified.items()))
        return seconds

    def hardware_name(self, path: str) -> Foreign:
        return self.inner.hardware_name(path)

    def sleep(self, seconds: float) -> None:
        self.inner.sleep(seconds)

    def settle(self, deadline: float = 10.0) -> bool:
        return self.inner.settle(deadline)
