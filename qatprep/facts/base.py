"""What a fact is made of. Absent is None; what could not be read is Unknown, and Unknown is never silently false."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from qatprep.host.base import Host

READ_DEADLINE = 3.0
"""Seconds to wait for an attribute whose read takes the device lock (drivers/pci/iov.c, sriov_numvfs_show)."""

ABSENT = (errno.ENOENT, errno.ENOTDIR)

_REASONS = {
    errno.EACCES: "no permission",
    errno.EPERM: "not permitted",
    errno.ETIMEDOUT: "blocked in the kernel",
}


@dataclass(frozen=True)
class Unknown:
    """A fact that could not be had, and why, naming the path."""

    reason: str
    denied: bool = False
    """True when more rights (root) would have helped."""

    def __bool__(self) -> bool:
        raise TypeError(f"an unknown fact has no truth value ({self.reason})")


def unknown(error: OSError) -> Unknown:
    """The Unknown for a failed read."""
    number = error.errno or errno.EIO
    reason = _REASONS.get(number, error.strerror or "unreadable")
    return Unknown(f"{error.filename}: {reason}", denied=number in (errno.EACCES, errno.EPERM))


def read_line(host: Host, path: str, *, deadline: float | None = None) -> str | Unknown | None:
    """The text of a one-line file without the line's end; None when the file is not there."""
    try:
        return host.read_text(path, deadline=deadline).rstrip("\n\0")
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)


def read_int(host: Host, path: str, *, deadline: float | None = None) -> int | Unknown | None:
    """An integer attribute, decimal or 0x..; Unknown, quoting it, when it is not one."""
    text = read_line(host, path, deadline=deadline)
    if text is None or isinstance(text, Unknown):
        return text
    try:
        return int(text, 0)
    except ValueError:
        return Unknown(f"{path}: {text[:60]!r} is not a number")


def whole(text: str) -> int | None:
    """The number a text of up to 18 decimal digits is; None for any other text.

    Stricter than str.isdigit() and int(): the one takes superscripts, the other refuses 4301 digits by an error.
    """
    return int(text) if len(text) <= 18 and text.isascii() and text.isdigit() else None


def shaped(path: str, document: object, schema: dict[str, Any]) -> Unknown | None:
    """Why a document that another program wrote does not have the form of a JSON schema; None when it has."""
    import fastjsonschema

    try:
        fastjsonschema.validate(schema, document)
    except fastjsonschema.JsonSchemaValueException as e:
        return Unknown(f"{path}: {e.message[:200]}")
    return None


def link_name(host: Host, path: str) -> str | Unknown | None:
    """The last component of a link's target (a driver's name, a group's number); None when there is no link."""
    try:
        return host.readlink(path).rsplit("/", 1)[-1]
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)


def names(host: Host, path: str) -> tuple[str, ...] | Unknown:
    """The names in a directory, () when it is not there."""
    try:
        return tuple(host.listdir(path))
    except OSError as e:
        return () if e.errno in ABSENT else unknown(e)


def files_below(host: Host, directory: str) -> tuple[str, ...] | Unknown:
    """The paths of all files in a directory and those below it, in the order of Go's filepath.Walk: each directory's
    entries by name. () when it is not there.
    """
    listed = names(host, directory)
    if isinstance(listed, Unknown):
        return listed
    found: list[str] = []
    for path in (f"{directory}/{name}" for name in sorted(listed)):
        try:
            kind = host.stat(path).kind
        except OSError as e:
            if e.errno in ABSENT:
                continue
            return unknown(e)
        below = files_below(host, path) if kind == "dir" else (path,)
        if isinstance(below, Unknown):
            return below
        found += below
    return tuple(found)


def exists(host: Host, path: str) -> bool | Unknown:
    try:
        return host.exists(path)
    except OSError as e:
        return unknown(e)
