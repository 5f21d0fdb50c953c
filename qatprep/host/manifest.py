"""The text form of a host: one line a file, so that a broken host can be read, diffed and mailed.

    # qatprep host 1
    @include ../spr-2s/host.txt              take another host's lines first (relative to this file)
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

`[mode uid:gid]` may stand on every line; without it files are 0644 and directories 0755, owned by 0:0. White space and
percent signs in a path or target are written %20, %25 and so on. Things no file tells are kept below /.qatprep:
machine, cpuid (`leaf subleaf: eax ebx ecx edx`, hexadecimal), xcr0 (hexadecimal), dmesg, euid.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable

from qatprep.errors import InputError
from qatprep.host.tree import Node, Tree

HEADER = "# qatprep host 1"
_LINE = re.compile(
    r"(?P<path>/\S*)(?:\s+\[(?P<mode>[0-7]{3,4})(?:\s+(?P<uid>\d+):(?P<gid>\d+))?\])?(?:\s+(?P<rest>.*))?$"
)
_INCLUDE_DEPTH = 8


def parse(text: str, name: str, include: Callable[[str], tuple[str, str]] | None = None) -> Tree:
    """Build the tree that `text` describes.

    `include(target)` gives (text, name) of an included file. InputError, with file and line, for whatever is malformed.
    """
    tree = Tree()
    _parse_into(tree, text, name, include, 0)
    return tree


def load(path: str) -> Tree:
    """Read a manifest file of this machine, and what it includes. InputError when that cannot be."""
    return _load(path)


def _load(path: str) -> Tree:
    def read(target: str) -> str:
        try:
            with open(target, encoding="utf-8") as f:
                return f.read()
        except OSError as e:
            raise InputError(f"cannot read the host file {target!r}: {e.strerror}") from e
        except UnicodeDecodeError as e:
            raise InputError(
                f"{target!r} is not a qatprep host file: not UTF-8 text at byte {e.start}",
                "a host file is made by `qatprep capture`, or is one of fixtures/sysfs/*/host.txt",
            ) from e

    def nested(base: str) -> Callable[[str], tuple[str, str]]:
        def include(target: str) -> tuple[str, str]:
            full = os.path.normpath(os.path.join(os.path.dirname(base), target))
            return read(full), full

        return include

    tree = Tree()
    _parse_into(tree, read(path), path, nested(path), 0, nested)
    return tree


def _parse_into(
    tree: Tree,
    text: str,
    name: str,
    include: Callable[[str], tuple[str, str]] | None,
    depth: int,
    nested: Callable[[str], Callable[[str], tuple[str, str]]] | None = None,
) -> None:
    lines = text.split("\n")
    if not lines[0].startswith(HEADER):
        raise InputError(
            f"{name}:1: not a qatprep host file: the first line is {lines[0][:60]!r}, not {HEADER!r}",
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
            if include is None or depth >= _INCLUDE_DEPTH:
                raise InputError(f"{where}: {line!r} cannot be followed here")
            sub_text, sub_name = include(line[len("@include ") :].strip())
            sub_include = nested(sub_name) if nested else include
            _parse_into(tree, sub_text, sub_name, sub_include, depth + 1, nested)
        elif line.startswith("- /"):
            tree.remove(_unquote(line[2:].strip()))
        elif line.startswith("/"):
            number = _entry(tree, lines, number, line, where)
        else:
            raise InputError(f"{where}: a line starts with '/', '- /', '@include' or '#', this one is {line[:80]!r}")


def _entry(tree: Tree, lines: list[str], number: int, line: str, where: str) -> int:
    match = _LINE.match(line)
    if match is None:
        raise InputError(f"{where}: malformed line {line[:80]!r}")
    path, rest = _unquote(match["path"]), match["rest"]
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
        if not value.isdigit():
            raise InputError(f"{where}: {value!r} is not a number of bytes")
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
        node = tree.find(path) or Node("dir", 0o755)
    elif operator.startswith("!"):
        code = getattr(errno, operator[1:], None)
        if code is None:
            raise InputError(f"{where}: {operator[1:]!r} is not the name of an errno")
        node = tree.find(path) or Node("file", 0o644)
        node.error = code
    else:
        raise InputError(f"{where}: {operator!r} is none of =, ==, <<, ~, ->, c, /, !ERRNO")
    if match["mode"]:
        node.mode = int(match["mode"], 8)
    if match["uid"]:
        node.uid, node.gid = int(match["uid"]), int(match["gid"])
    try:
        if tree.find(path) is not node:
            tree.add(path, node)
    except OSError as e:
        raise InputError(f"{where}: {path!r} cannot be placed: {e.strerror}") from e
    except ValueError as e:
        raise InputError(f"{where}: {path!r} cannot be placed: {e}") from e
    return number


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
        text = json.loads(value)
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
