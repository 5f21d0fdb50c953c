"""A recorded host: everything can be read, as the recording user saw it, and nothing can be changed."""

from __future__ import annotations

import errno

from qatprep.host import values
from qatprep.host.base import CpuidResult, FileStat, Host, RunResult, TooLarge, fail
from qatprep.host.read_only import ReadOnly
from qatprep.host.tree import Node, Tree, readable
from qatprep.host.values import META
from qatprep.text import Foreign


class TreeHost(Host):
    """The reading half of a host kept in a Tree; Capture and SimulatedHost add how it changes.

    InputError for a tree whose values below META are none.
    """

    def __init__(self, tree: Tree, label: str) -> None:
        self.tree = tree
        self.label = label
        self._values = values.read(tree, label)
        self._euid = self._values.euid

    def _node(self, path: str, *, follow: bool = True) -> Node:
        return self.tree.get(path, follow=follow, euid=self._euid)

    def read(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> bytes:
        node = self._node(path)
        if node.kind == "dir":
            fail(errno.EISDIR, path)
        if not readable(node, self._euid):
            fail(errno.EACCES, path)
        if node.error:
            fail(node.error, path)
        if node.kind == "char":
            fail(errno.ENXIO, path)
        if node.size is not None and node.size > limit:
            raise TooLarge(path, limit, node.size)
        try:
            data = node.ask() if node.ask is not None else node.content()
        except OSError as e:
            fail(e.errno or errno.EIO, path)
        if len(data) > limit:
            raise TooLarge(path, limit, len(data))
        return data

    def listdir(self, path: str) -> list[str]:
        node = self._node(path)
        if node.kind != "dir":
            fail(errno.ENOTDIR, path)
        if not readable(node, self._euid):
            fail(errno.EACCES, path)
        if node.error:
            fail(node.error, path)
        return sorted(node.children)

    def readlink(self, path: str) -> str:
        node = self._node(path, follow=False)
        if node.kind != "link":
            fail(errno.EINVAL, path)
        if node.error:
            fail(node.error, path)
        return node.target

    def realpath(self, path: str) -> str:
        return self.tree.realpath(path, euid=self._euid)

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        return self._node(path, follow=follow).stat()

    def kernel_log(self) -> Foreign:
        node = self.tree.find(f"{META}/dmesg")
        if node is None:
            fail(errno.ENOENT, f"{META}/dmesg")
        if node.error or self._euid != 0:
            fail(node.error or errno.EPERM, f"{META}/dmesg")
        return Foreign(node.content())

    def machine(self) -> str:
        return self._values.machine

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        found = self._values.cpuid.get((leaf, subleaf))
        return found if found is not None else fail(errno.ENOTSUP, f"{META}/cpuid")

    def xcr0(self) -> int:
        found = self._values.xcr0
        return found if found is not None else fail(errno.ENOTSUP, f"{META}/xcr0")

    @property
    def euid(self) -> int:
        return self._euid

    def now(self) -> float:
        return 0.0

    def wallclock(self) -> str:
        return self._values.time or "1970-01-01T00:00:00Z"

    def boot_id(self) -> str:
        node = self.tree.find("/proc/sys/kernel/random/boot_id")
        return Foreign(node.content()[:64]).text.strip() if node else ""

    def modified(self, path: str) -> float | None:
        return self._values.modified.get(path)


class Capture(ReadOnly, TreeHost):
    """A host file (see manifest.py), read-only."""

    def __init__(self, tree: Tree, label: str) -> None:
        super().__init__(tree, label)
        self.simulated = self._values.simulated

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        """What the program answered when the host was recorded; 127 where nobody asked it then."""
        said = self._values.programs.get(tuple(argv))
        if said is None:
            return RunResult(tuple(argv), 127, Foreign(""), Foreign(f"{argv[0]}: a capture runs no programs"))
        return said

    def sleep(self, seconds: float) -> None:
        return

    def settle(self, deadline: float = 10.0) -> bool:
        return True
