"""What a power loss leaves of the files on disk: only what was synced, the rest as it was before."""

from __future__ import annotations

import errno

from qatprep.host.tree import Node, Tree, split

VOLATILE = ("/sys", "/proc", "/dev", "/run", "/tmp", "/.qatprep")


def persistent(path: str) -> bool:
    return not any(path == top or path.startswith(f"{top}/") for top in VOLATILE)


def copy(node: Node) -> Node:
    """A node and all below it, attributes turned into what they show now."""
    other = Node(node.kind, node.mode, target=node.target)
    other.uid, other.gid, other.rdev, other.size, other.error = node.uid, node.gid, node.rdev, node.size, node.error
    other.data = node.data
    if node.show is not None:
        try:
            other.data = node.show()
        except Exception:  # it would block: see Machine.must_not_be_stuck
            other.error = errno.ETIMEDOUT
    other.children = {name: copy(child) for name, child in node.children.items()}
    return other


class Disk:
    """Remembers how persistent files were before changes that nobody has synced yet."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._before: dict[str, Node | None] = {}

    def changing(self, path: str) -> None:
        """Call before a change that is not synced."""
        if persistent(path) and path not in self._before:
            node = self.tree.find(path, follow=False)
            self._before[path] = copy(node) if node is not None else None

    def synced(self, path: str) -> None:
        """A file was synced, and with it the entries of its directory and the directories above."""
        parent = path.rsplit("/", 1)[0]
        for other in list(self._before):
            if other == path or other.rsplit("/", 1)[0] == parent or path.startswith(f"{other}/"):
                del self._before[other]

    def lose(self) -> None:
        """The power went: put back what was never synced."""
        for path, node in sorted(self._before.items(), reverse=True):
            if node is None:
                self.tree.remove(path)
            else:
                parts = split(path)
                parent = self.tree.make_dirs("/" + "/".join(parts[:-1]))
                parent.children[parts[-1]] = node
        self._before.clear()
