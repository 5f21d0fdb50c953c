"""A file tree in memory: what captures are read into and what the simulated kernel lives on.

A file may have a `show` and a `store`, as a sysfs attribute has in the kernel: reading calls the one, writing
the other.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from qatprep.host.base import FileKind, FileStat, fail

MOST_ZEROS = 64 << 20
"""Bytes at most that replace content that was not recorded: the largest limit of any reader."""
MAX_LINKS = 40  # as the kernel: include/linux/namei.h MAXSYMLINKS


class Node:
    """One file, directory, link or device node."""

    __slots__ = (
        "ask",
        "children",
        "data",
        "error",
        "gid",
        "kind",
        "mode",
        "rdev",
        "show",
        "size",
        "store",
        "target",
        "uid",
    )

    def __init__(self, kind: FileKind, mode: int, data: bytes = b"", target: str = "") -> None:
        self.kind = kind
        self.mode = mode
        self.data = data
        self.target = target
        self.uid = 0
        self.gid = 0
        self.rdev = ""
        self.size: int | None = None
        """Set for files whose content was not recorded, only their length."""
        self.error = 0
        """errno that reading or listing gives, 0 for none."""
        self.children: dict[str, Node] = {}
        self.show: Callable[[], bytes] | None = None
        self.ask: Callable[[], bytes] | None = None
        """What a program that reads it sets off, where reading is more than looking; `content` is the last answer."""
        self.store: Callable[[bytes], None] | None = None

    def content(self) -> bytes:
        if self.show is not None:
            return self.show()
        if self.size is not None:
            return b"\0" * min(self.size, MOST_ZEROS)
        return self.data

    def stat(self) -> FileStat:
        size = self.size if self.size is not None else len(self.data)
        return FileStat(self.kind, self.mode, self.uid, self.gid, size)


def split(path: str) -> list[str]:
    """The components of a path. A relative one begins at the root, where systemd starts services (systemd.exec(5),
    WorkingDirectory=): it comes from their command lines."""
    return [part for part in path.split("/") if part and part != "."]


class Tree:
    """The root directory and how to find, add and remove things below it. Errors are OSErrors, as from a kernel."""

    def __init__(self) -> None:
        self.root = Node("dir", 0o755)

    # -- finding ------------------------------------------------------------------------------------------

    def walk_to(self, path: str, *, follow: bool = True, euid: int = 0) -> tuple[list[str], Node]:
        """The canonical components of `path` and its node. `euid` != 0 needs search permission on the way."""
        names: list[str] = []
        return names, self.get(path, follow=follow, euid=euid, names=names)

    def get(self, path: str, *, follow: bool = True, euid: int = 0, names: list[str] | None = None) -> Node:
        """The node of `path`; `names` is given its canonical components."""
        names = [] if names is None else names
        todo = split(path)[::-1]
        above: list[Node] = []
        links = 0
        here = self.root
        while todo:
            name = todo.pop()
            if name == "..":
                if above:
                    names.pop()
                    here = above.pop()
                continue
            if here.kind != "dir":
                fail(errno.ENOTDIR, path)
            if euid != 0 and not _may(here, euid, 0o1):
                fail(errno.EACCES, path)
            child = here.children.get(name)
            if child is None:
                fail(errno.ENOENT, path)
            if child.kind == "link" and (follow or todo):
                links += 1
                if links > MAX_LINKS:
                    fail(errno.ELOOP, path)
                if child.target.startswith("/"):
                    above.clear()
                    names.clear()
                    here = self.root
                todo += split(child.target)[::-1]
                continue
            above.append(here)
            names.append(name)
            here = child
        return here

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """The node, or None when there is none."""
        try:
            return self.get(path, follow=follow)
        except OSError:
            return None

    def realpath(self, path: str, *, euid: int = 0) -> str:
        return "/" + "/".join(self.walk_to(path, euid=euid)[0])

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Every node but the root, parents first, names in order."""
        stack = [("", self.root)]
        while stack:
            path, node = stack.pop()
            if path:
                yield path, node
            stack.extend((f"{path}/{name}", node.children[name]) for name in sorted(node.children, reverse=True))

    # -- changing -----------------------------------------------------------------------------------------

    def add(self, path: str, node: Node) -> Node:
        """Put a node in place, with directories above it as needed (links among them are followed)."""
        parts = split(path)
        if not parts:
            raise ValueError("the root itself cannot be replaced")
        parent = self.make_dirs("/" + "/".join(parts[:-1]))
        parent.children[parts[-1]] = node
        return node

    def make_dirs(self, path: str) -> Node:
        here = self.root
        parts = split(path)
        for index, name in enumerate(parts):
            child = here.children.get(name)
            if child is not None and child.kind == "link":
                child = self.get("/" + "/".join(parts[: index + 1]))
            if child is None:
                child = here.children[name] = Node("dir", 0o755)
            if child.kind != "dir":
                fail(errno.ENOTDIR, path)
            here = child
        return here

    def file(self, path: str, data: bytes = b"", mode: int = 0o644) -> Node:
        return self.add(path, Node("file", mode, data))

    def link(self, path: str, target: str) -> Node:
        return self.add(path, Node("link", 0o777, target=target))

    def dir(self, path: str, mode: int = 0o755) -> Node:
        node = self.make_dirs(path)
        node.mode = mode
        return node

    def char(self, path: str, rdev: str, mode: int = 0o600) -> Node:
        node = Node("char", mode)
        node.rdev = rdev
        return self.add(path, node)

    def remove(self, path: str) -> None:
        """Remove a file, a link or a whole directory; nothing happens when it is not there."""
        parts = split(path)
        try:
            parent = self.get("/" + "/".join(parts[:-1]))
        except OSError:
            return
        parent.children.pop(parts[-1], None)


def _may(node: Node, euid: int, want: int) -> bool:
    """Whether a user other than root may read (4), write (2) or search (1). Groups of the user are not modelled."""
    shift = 6 if node.uid == euid else 0
    return bool((node.mode >> shift) & want)


def readable(node: Node, euid: int) -> bool:
    return euid == 0 or _may(node, euid, 4)


def writable(node: Node, euid: int) -> bool:
    return euid == 0 or _may(node, euid, 2)
