"""What a fact is made of. Absent is None; what could not be read is Unknown, and Unknown is never silently false."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qatprep.host.base import Host
from qatprep.text import Foreign, printable

READ_DEADLINE = 3.0
"""Seconds to wait for files of devices, all that one look reads together: a read may take the device lock
(drivers/pci/iov.c, sriov_numvfs_show), and wait there for whoever keeps it."""
_LEAST = 0.3
"""Seconds for more of them when that time is over: a file that answers does so in microseconds."""

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
    return Unknown(printable(f"{error.filename}: {reason}"), denied=number in (errno.EACCES, errno.EPERM))


def read_line(host: Host, path: str, *, deadline: float | None = None) -> str | Unknown | None:
    """The text of a one-line file without the line's end; None when the file is not there."""
    try:
        return line_of(host.read(path, deadline=deadline))
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)


def line_of(content: bytes) -> str:
    """What a one-line file says, without the line's end and the NUL that some attributes have behind it."""
    return str(Foreign(content.rstrip(b"\n\0")))


def read_text(host: Host, path: str, limit: int = 1 << 20) -> str | Unknown | None:
    """The lines of a file; None when it is not there, or its process has ended between two looks."""
    try:
        return host.read_text(path, limit=limit).text
    except OSError as e:
        return None if e.errno in (*ABSENT, errno.ESRCH) else unknown(e)


def read_words(host: Host, path: str, limit: int = 1 << 20) -> tuple[str, ...]:
    """What stands between the NULs of a file (/proc/PID/cmdline, environ); () when it cannot be read."""
    try:
        data = host.read(path, limit=limit)
    except OSError:
        return ()
    return tuple(str(Foreign(word)) for word in data.removesuffix(b"\0").split(b"\0")) if data else ()


class DeviceFiles:
    """Files of devices in sysfs and debugfs as one look found them: each is read once, and all within READ_DEADLINE.

    A read that does not return makes that file Unknown ("blocked in the kernel"), and no other.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._end = host.now() + READ_DEADLINE
        self._found: dict[str, bytes | OSError] = {}

    def fetch(self, paths: Iterable[str]) -> None:
        """Read those that were not read yet, together: one by one costs ten times as much."""
        new = [path for path in dict.fromkeys(paths) if path not in self._found]
        if new:
            wait = max(_LEAST, self._end - self._host.now())
            self._found.update(self._host.read_all(new, deadline=wait))

    def forget(self, paths: Iterable[str]) -> None:
        """Read them again the next time, but for those that did not return."""
        for path in paths:
            found = self._found.get(path)
            if not (isinstance(found, OSError) and found.errno == errno.ETIMEDOUT):
                self._found.pop(path, None)

    def text(self, path: str) -> str | Unknown | None:
        """The whole text; None when the file is not there."""
        self.fetch((path,))
        found = self._found[path]
        if isinstance(found, OSError):
            return None if found.errno in ABSENT else unknown(found)
        return Foreign(found).text

    def line(self, path: str) -> str | Unknown | None:
        """As `read_line`."""
        self.fetch((path,))
        found = self._found[path]
        if isinstance(found, OSError):
            return None if found.errno in ABSENT else unknown(found)
        return line_of(found)

    def number(self, path: str) -> int | Unknown | None:
        """As `read_int`."""
        return _number(path, self.line(path))


def read_int(host: Host, path: str, *, deadline: float | None = None) -> int | Unknown | None:
    """An integer attribute, decimal or 0x..; Unknown, quoting it, when it is not one."""
    return _number(path, read_line(host, path, deadline=deadline))


def _number(path: str, text: str | Unknown | None) -> int | Unknown | None:
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
        return printable(host.readlink(path).rsplit("/", 1)[-1])
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)


def names(host: Host, path: str) -> tuple[str, ...] | Unknown:
    """The names in a directory, () when it is not there. Without those that do not print: shown, such a name would be
    another one, and in the folders that are looked into only root could give it."""
    try:
        return tuple(name for name in host.listdir(path) if name.isprintable())
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
