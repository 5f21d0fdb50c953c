"""Attributes: files whose reading and writing is answered by the model."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from qatprep.host.tree import Node, Tree

Show = Callable[[], bytes]
Store = Callable[[bytes], None]


def oops(number: int) -> OSError:
    """What the kernel answers; the host puts the path in."""
    return OSError(number, os.strerror(number))


def attribute(directory: Node, name: str, show: Show | None, store: Store | None = None, mode: int = 0o644) -> Node:
    """Give `directory` an attribute, or an existing file its behaviour (its mode, owner and errno stay).

    Without `show` it cannot be opened for reading, even by root: fs/kernfs/file.c kernfs_fop_open.
    """
    node = directory.children.get(name)
    if node is None or node.kind != "file":
        node = directory.children[name] = Node("file", mode)
    if show is None:
        node.error = errno.EACCES
    node.show = show
    node.store = store
    return node


def plain(directory: Node, name: str, text: str, mode: int = 0o444) -> Node:
    """A file that always says the same."""
    node = directory.children[name] = Node("file", mode, text.encode())
    return node


def link(directory: Node, name: str, target: str) -> None:
    directory.children[name] = Node("link", 0o777, target=target)


def relative(start: str, target: str) -> str:
    """How a link in the directory `start` says `target`, both absolute, as sysfs_create_link does."""
    here, there = start.split("/")[1:], target.split("/")[1:]
    shared = 0
    while shared < min(len(here), len(there)) and here[shared] == there[shared]:
        shared += 1
    return "/".join([".."] * (len(here) - shared) + there[shared:])


def line(value: object) -> bytes:
    """What an attribute shows: the value and a newline."""
    return f"{value}\n".encode()


def word(data: bytes) -> str:
    """What was written, without the one newline that sysfs_streq and strstrip forgive."""
    text = data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    return text[:-1] if text.endswith("\n") else text


def boolean(data: bytes) -> bool:
    """lib/kstrtox.c kstrtobool. EINVAL for what it does not know."""
    text = word(data)
    if text[:1] in ("y", "Y", "t", "T", "1") or text[:2].lower() == "on":
        return True
    if text[:1] in ("n", "N", "f", "F", "0") or text[:2].lower() == "of":
        return False
    raise oops(errno.EINVAL)


def unsigned(data: bytes, bits: int, base: int = 0) -> int:
    """lib/kstrtox.c kstrtou16 and kin: ERANGE is reported by the callers as EINVAL. EINVAL for anything odd."""
    text = word(data)
    digits = text[1:] if text.startswith("+") else text
    if base == 0:
        if digits[:2].lower() == "0x":
            base, digits = 16, digits[2:]
        elif len(digits) > 1 and digits[0] == "0":
            base, digits = 8, digits[1:]
        else:
            base = 10
    try:
        if not digits.isalnum():
            raise ValueError
        value = int(digits, base)
    except ValueError:
        raise oops(errno.EINVAL) from None
    if value >= 1 << bits:
        raise oops(errno.EINVAL)
    return value


def directory(tree: Tree, path: str) -> Node:
    """The directory node at `path`, made when it is not there."""
    return tree.make_dirs(path)
