"""The text form of a host: one line a file, so that a broken host can be read, diffed and mailed.

    # qatprep host 1
    @include spr-2s                          take another host's lines first: a shipped one, or a file below this
                                             file's folder
    - /sys/bus/pci/drivers/e1000e            then take away a file or a whole directory
    /proc/sys/kernel/osrelease = 6.12.0      a file: the text and a newline
    /sys/x/name == "no newline\\u0000"        a file: exactly this JSON string (one character a byte)
    /sys/kernel/debug/qat/dev_cfg [0400] <<  a file of several lines: those that follow with "| " before them
    | [GENERAL]
    | ServicesEnabled = dc
    /usr/lib/libqat.so.4 ~ 425984            a file of that many bytes, content not recorded
    /sys/bus/pci/devices/0000:6b:00.0 -> ../../../devices/pci0000:6b/0000:6b:00.0
    /dev/vfio/12 [0600 0:985] c 239:0        a character device, major:minor
    /sys/kernel/debug [0700] /               a directory (needed only for empty ones and unusual modes)
    /proc/7/fd [0500] !EACCES                reading or listing it gives that errno

`[mode uid:gid]` may be on every line; without it files are 0644 and directories 0755, owned by 0:0. White space and
percent signs in a path or target are written %20, %25 and so on. Things no file tells are kept below /.qatprep:
machine, cpuid (`leaf subleaf: eax ebx ecx edx`, hexadecimal), xcr0 (hexadecimal), euid, and dmesg: a message a line,
`<priority>text` as `dmesg --raw` prints it (<3> error, <4> warning, <6> information), or the text alone.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from typing import NamedTuple

from qatprep import json_input
from qatprep.errors import InputError
from qatprep.host.base import TooLarge
from qatprep.host.tree import Node, Tree
from qatprep.host.user_files import read_file

HEADER = "# qatprep host 1"
_LINE = re.compile(
    r"(?P<path>/\S*)(?:\s+\[(?P<mode>[0-7]{3,4})(?:\s+(?P<uid>[0-9]{1,10}):(?P<gid>[0-9]{1,10}))?\])?(?:\s+(?P<rest>.*))?$"
)
_INCLUDE_DEPTH = 8
LIMIT = 16 << 20
"""Bytes of one host file. The largest shipped host has 0.6 MB, a capture of 64 PFs with 1024 VFs 4 MB."""
TOTAL_LIMIT = 32 << 20
"""Bytes of a host file with all that it includes."""
_PATH_MAX = 4096
"""Of the kernel: include/uapi/linux/limits.h."""
_NO_NAME = ("", ".", "..")
_MOST_NODES = 250_000
"""Files and folders of a host: each costs 400 bytes of memory, and a path of two characters can ask for one."""
_SHIPPED = re.compile(r"(?P<part>_parts/[A-Za-z0-9_-]+\.txt)|[A-Za-z0-9_-]+")


class _Source(NamedTuple):
    """Where a text comes from, and so what it may include."""

    name: str
    folder: str | None
    """Files of the user's below this folder may be included; None: shipped hosts alone."""


class _Limits:
    """What one host may come to, its included files counted in: a host file is read before anybody has looked at it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.nodes = 0
        self.folders: dict[str, Node] = {}
        """Where the files of a folder go, by the folder's path as it was written: most lines share one with others."""

    def read(self, size: int, where: str) -> None:
        self.bytes += size
        if self.bytes > TOTAL_LIMIT:
            raise InputError(f"{where}: the host file and what it includes have more than {TOTAL_LIMIT >> 20} MiB")

    def place(self, tree: Tree, path: str, where: str) -> None:
        if len(path) > _PATH_MAX:
            raise InputError(f"{where}: a path of {len(path)} characters; a kernel takes {_PATH_MAX}")
        folder = path.rpartition("/")[0]
        self.nodes += 1 if folder and (folder in self.folders or tree.find(folder)) else path.count("/")
        if self.nodes > _MOST_NODES:
            raise InputError(f"{where}: this host has more than {_MOST_NODES} files and folders")


def parse(text: str, name: str) -> Tree:
    """Build the tree that `text` describes; it may include shipped hosts.

    InputError, with file and line, for whatever is malformed.
    """
    tree = Tree()
    _parse_into(tree, text, _Source(name, None), 0, _Limits())
    return tree


def load(path: str) -> Tree:
    """Read a manifest file of this machine, and what it includes. InputError when that cannot be."""
    tree = Tree()
    data = read_file(path, LIMIT, "the host file")
    folder = os.path.dirname(os.path.abspath(path))
    _parse_into(tree, _text(data, path), _Source(path, folder), 0, _Limits())
    return tree


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(
            f"{path!r} is not a qatprep host file: not UTF-8 text at byte {e.start}",
            "a host file is made by `qatprep capture`, or is one of fixtures/sysfs/*/host.txt",
        ) from e


def _included(target: str, source: _Source, where: str) -> tuple[str, _Source]:
    """Text and source of `@include target`: a shipped host, else a regular file below the including file's folder."""
    from qatprep.host.shipped import hosts_directory

    shipped = _SHIPPED.fullmatch(target)
    if shipped:
        path = os.path.join(hosts_directory(), target if shipped["part"] else f"{target}/host.txt")
        if os.path.isfile(path):
            return _text(read_file(path, LIMIT, "the host file"), path), _Source(path, None)
    if source.folder is None:
        raise InputError(f"{where}: there is no shipped host {target!r} to include", "`qatprep hosts` lists them")
    parts = target.split("/")
    if "\0" in target or not all(part and part not in (".", "..") for part in parts):
        raise InputError(
            f"{where}: {target!r} cannot be included: not a name below the folder of this file",
            "put the file next to this one and name it, or name a shipped host (`qatprep hosts`)",
        )
    path = os.path.join(source.folder, target)
    try:
        data = _read_below(source.folder, parts)
    except OSError as e:
        raise InputError(f"{where}: cannot read the host file {path!r}: {e.strerror}") from e
    return _text(data, path), _Source(path, os.path.dirname(path))


def _read_below(folder: str, parts: list[str]) -> bytes:
    """A regular file below a folder, no link on the way. OSError when it is anything else, or larger than LIMIT."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, part in enumerate(parts):
            kind = os.O_DIRECTORY if number < len(parts) - 1 else os.O_NONBLOCK
            fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=here)
            os.close(here)
            here = fd
        found = os.fstat(here)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if found.st_size > LIMIT:
            raise TooLarge("/".join(parts), LIMIT, found.st_size)
        with os.fdopen(os.dup(here), "rb") as f:
            return f.read(LIMIT)
    finally:
        os.close(here)


def _parse_into(tree: Tree, text: str, source: _Source, depth: int, limits: _Limits) -> None:
    name = source.name
    limits.read(len(text), name)
    lines = text.split("\n")
    if not lines[0].startswith(HEADER):
        raise InputError(
            f"{name}:1: not a qatprep host file: its first line is not {HEADER!r}",
            "a host file is made by `qatprep capture`, or is one of fixtures/sysfs/*/host.txt",
        )
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        where = f"{name}:{number}"
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@include "):
            if depth >= _INCLUDE_DEPTH:
                raise InputError(f"{where}: {line[:80]!r}: files include one another more than {_INCLUDE_DEPTH} deep")
            _parse_into(tree, *_included(line[len("@include ") :].strip(), source, where), depth + 1, limits)
        elif line.startswith("- /"):
            tree.remove(_unquote(line[2:].strip()))
            limits.folders.clear()
        elif line.startswith("/"):
            number = _entry(tree, lines, number, line, where, limits)
        else:
            raise InputError(f"{where}: a line starts with '/', '- /', '@include' or '#', this one is {line[:80]!r}")


def _entry(tree: Tree, lines: list[str], number: int, line: str, where: str, limits: _Limits) -> int:
    match = _LINE.match(line)
    if match is None:
        raise InputError(f"{where}: malformed line {line[:80]!r}")
    path, rest = _unquote(match["path"]), match["rest"]
    limits.place(tree, path, where)
    if rest is None and line.rstrip() != line:
        rest = ""
    if rest is None:
        raise InputError(
            f"{where}: nothing follows the path {path!r}", "write `= text`, `-> target`, `/` or another form"
        )
    operator, _, value = rest.partition(" ")
    node: Node
    if operator == "=":
        node = Node("file", 0o644, value.encode() + b"\n")
    elif operator == "==":
        node = Node("file", 0o644, _json_bytes(value, where))
    elif operator == "<<":
        body: list[str] = []
        while number < len(lines) and lines[number].startswith("|"):
            body.append(lines[number][2:] + "\n")
            number += 1
        node = Node("file", 0o644, "".join(body).encode())
    elif operator == "~":
        if not (value.isdecimal() and value.isascii() and len(value) < 16):
            raise InputError(f"{where}: {value[:80]!r} is not a number of bytes")
        if path.startswith("/.qatprep/"):
            raise InputError(f"{where}: {path!r} is not content that a file of a host can have: give its content")
        node = Node("file", 0o644)
        node.size = int(value)
    elif operator == "->":
        if not value:
            raise InputError(f"{where}: the link {path!r} has no target")
        node = Node("link", 0o777, target=_unquote(value))
    elif operator == "c":
        node = Node("char", 0o600)
        node.rdev = value
    elif operator == "/":
        node = _there(tree, path, limits) or Node("dir", 0o755)
    elif operator.startswith("!"):
        code = getattr(errno, operator[1:], None)
        if code is None:
            raise InputError(f"{where}: {operator[1:]!r} is not the name of an errno")
        node = _there(tree, path, limits) or Node("file", 0o644)
        node.error = code
    else:
        raise InputError(f"{where}: {operator!r} is none of =, ==, <<, ~, ->, c, /, !ERRNO")
    if match["mode"]:
        node.mode = int(match["mode"], 8)
    if match["uid"]:
        node.uid, node.gid = int(match["uid"]), int(match["gid"])
    try:
        if _there(tree, path, limits) is not node:
            _put(tree, path, node, limits)
    except OSError as e:
        raise InputError(f"{where}: {path!r} cannot be placed: {e.strerror}") from e
    except ValueError as e:
        raise InputError(f"{where}: {path!r} cannot be placed: {e}") from e
    return number


def _there(tree: Tree, path: str, limits: _Limits) -> Node | None:
    """What is at a path already."""
    folder, _, name = path.rpartition("/")
    known = limits.folders.get(folder)
    if known is not None and name not in _NO_NAME:
        found = known.children.get(name)
        if found is None or found.kind != "link":
            return found
    return tree.find(path)


def _put(tree: Tree, path: str, node: Node, limits: _Limits) -> None:
    """Place a node, and remember its folder for the lines that follow."""
    folder, _, name = path.rpartition("/")
    parent = limits.folders.get(folder)
    if parent is not None and name not in _NO_NAME:
        replaced = name in parent.children
        parent.children[name] = node
    else:
        replaced = tree.find(path, follow=False) is not None
        tree.add(path, node)
        parent = tree.find(folder)
    if replaced:
        limits.folders.clear()  # it may have been a folder, or a link to one
    elif parent is not None and parent.children.get(name) is node:
        limits.folders[folder] = parent


def dump(tree: Tree) -> str:
    """The manifest of a tree: what `parse` makes the same tree of."""
    out = [HEADER]
    for path, node in tree.walk():
        default = (
            0o755 if node.kind == "dir" else 0o777 if node.kind == "link" else 0o600 if node.kind == "char" else 0o644
        )
        owned = f" {node.uid}:{node.gid}" if node.uid or node.gid else ""
        attributes = f" [{node.mode:04o}{owned}]" if node.mode != default or owned else ""
        head = _quote(path) + attributes
        if node.error:
            if node.kind == "dir":
                out.append(f"{head} /")
            out.append(f"{head} !{errno.errorcode[node.error]}")
        elif node.kind == "dir":
            if not node.children or attributes:
                out.append(f"{head} /")
        elif node.kind == "link":
            out.append(f"{head} -> {_quote(node.target)}")
        elif node.kind == "char":
            out.append(f"{head} c {node.rdev}")
        elif node.size is not None:
            out.append(f"{head} ~ {node.size}")
        else:
            out.extend(_file_lines(head, node.content()))
    return "\n".join(out) + "\n"


def _file_lines(head: str, data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    plain = text.endswith("\n") and all(c == "\n" or c == "\t" or c.isprintable() for c in text)
    if not plain:
        return [f"{head} == {json.dumps(data.decode('latin-1'))}"]
    lines = text[:-1].split("\n")
    if len(lines) == 1:
        return [f"{head} = {lines[0]}" if lines[0] else f'{head} == "\\n"']
    return [f"{head} <<", *(f"| {line}" if line else "|" for line in lines)]


def _json_bytes(value: str, where: str) -> bytes:
    try:
        text = json_input.loads(value)
        if not isinstance(text, str):
            raise ValueError("not a string")
        return text.encode("latin-1")
    except ValueError as e:
        raise InputError(f"{where}: {value[:60]!r} is not a JSON string of single-byte characters: {e}") from e


def _quote(path: str) -> str:
    return "".join("".join(f"%{byte:02X}" for byte in c.encode()) if c == "%" or c.isspace() else c for c in path)


def _unquote(path: str) -> str:
    if "%" not in path:
        return path
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), path.encode())
    return data.decode("utf-8", "replace")
