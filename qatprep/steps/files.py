"""Files of the host."""

from __future__ import annotations

import base64
import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from qatprep.facts.base import ABSENT, Unknown, exists, names
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Summary
from qatprep.steps.places import Place

Owner = tuple[int, int, int]
"""uid, gid, mode."""
LIMIT = 16 << 20
"""Bytes of a file that is replaced or removed. The journal keeps what was there, and holds 64 MiB itself."""


@dataclass(frozen=True)
class InstallFile(Change):
    """Create or replace a file atomically. Contents are base64: the journal is text, files need not be."""

    kind: ClassVar[str] = "install-file"
    what: ClassVar[str] = "file"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {
        "path": place.own_files,
        "new": place.BASE64,
        "old": place.BASE64,
        "note": place.TEXT,
    }

    path: str
    new: str
    mode: int
    old: str | None
    """None: there was no file."""
    old_owner: tuple[int, int, int] | None
    """uid, gid, mode; None where there was no file, and where owner and mode are kept as they are."""
    note: str = ""
    """What changes in it; "" for the whole file."""
    folders: int = 0
    """How many of the folders above it are made for it."""

    @classmethod
    def of(
        cls,
        path: str,
        new: bytes,
        old: bytes | None,
        *,
        mode: int = 0o644,
        owner: Owner | None = None,
        note: str = "",
    ) -> InstallFile:
        """The change for a file whose content is `old` (None: there is none) and whose uid, gid and mode are `owner`.

        Without `owner` an existing file keeps those it has.
        """
        before = None if old is None else encode(old)
        return cls(path, encode(new), mode, before, None if old is None else owner, note)

    @property
    def summary(self) -> Summary:
        if self.old is None:
            return Summary(self.path, "absent", self.note or f"installed, {self.mode:04o}")
        return Summary(self.path, "as it is", self.note or "replaced")

    def noted(self, host: Host) -> InstallFile:
        return replace(self, folders=absent_folders(host, self.path))

    def do(self, host: Host) -> None:
        _make_parent(host, self.path)
        remove_half(host, self.path)
        data = base64.b64decode(self.new)
        uid, gid, mode = self.old_owner or _owner(host, self.path) or (0, 0, self.mode)
        host.replace(self.path, data, mode=self.mode if self.old_owner else mode, uid=uid, gid=gid)
        if host.read(self.path, limit=len(data) + 1) != data:
            raise ChangeFailed(f"{self.path} reads back as something else than was written")

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        put_back(host, self.path, self.old, self.new, self.old_owner)
        remove_folders(host, self.path, self.folders)


@dataclass(frozen=True)
class RemoveFile(Change):
    kind: ClassVar[str] = "remove-file"
    what: ClassVar[str] = "file"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {"path": place.own_files, "old": place.BASE64}

    path: str
    old: str
    old_owner: tuple[int, int, int]

    @property
    def summary(self) -> Summary:
        return Summary(self.path, "there", "removed")

    def do(self, host: Host) -> None:
        if content(host, self.path) is not None:
            host.unlink(self.path)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        put_back(host, self.path, self.old, None, self.old_owner)


def put_back(host: Host, path: str, old: str | None, new: str | None, owner: Owner | None) -> None:
    """Undo a change of a file: `old` in place of `new` (base64, None for no file), with uid, gid and mode.

    Without `owner` the file keeps those it has.

    Nothing where content, owner and mode are already as wanted. ChangeFailed for a file that is neither: somebody has
    changed it since.
    """
    remove_half(host, path)
    now = content(host, path)
    before = base64.b64decode(old) if old is not None else None
    if now is not None and now != before and (new is None or encode(now) != new):
        raise ChangeFailed(f"{path} was changed since by another program and stays as it is")
    if before is None:
        if now is not None:
            host.unlink(path)
        return
    has = _owner(host, path)
    if now == before and owner in (None, has):
        return
    uid, gid, mode = owner or has or (0, 0, 0o644)
    host.replace(path, before, mode=mode, uid=uid, gid=gid)


def absent_folders(host: Host, path: str) -> int:
    """How many of the folders above a path are not there."""
    parts = path.split("/")[1:-1]
    return sum(exists(host, "/" + "/".join(parts[: n + 1])) is False for n in range(len(parts)))


def remove_folders(host: Host, path: str, count: int) -> None:
    """Remove the `count` innermost folders above a path, as far as nothing is in them."""
    for _ in range(count):
        path = path.rsplit("/", 1)[0]
        try:
            host.rmdir(path)
        except OSError as e:
            if e.errno == errno.ENOTEMPTY:
                return
            if e.errno not in ABSENT:
                raise


def remove_half(host: Host, path: str) -> None:
    """Remove what a process that was killed has half written next to a file (LinuxHost.replace names it so)."""
    folder, name = path.rsplit("/", 1)
    listed = names(host, folder)
    for entry in () if isinstance(listed, Unknown) else listed:
        if re.fullmatch(rf"{re.escape(name)}\.qatprep\.\d+", entry):
            host.unlink(f"{folder}/{entry}")


def _owner(host: Host, path: str) -> Owner | None:
    """Of a file, None when there is none."""
    try:
        found = host.stat(path)
    except OSError as e:
        if e.errno in ABSENT:
            return None
        raise
    return found.uid, found.gid, found.mode


def encode(data: bytes) -> str:
    """Base64, as changes keep contents."""
    return base64.b64encode(data).decode()


def content(host: Host, path: str) -> bytes | None:
    """The whole content, None when there is no such file. TooLarge above LIMIT: what was there could not be kept."""
    try:
        return host.read(path, limit=LIMIT)
    except OSError as e:
        if e.errno in ABSENT:
            return None
        raise


def install(host: Host, path: str, data: bytes, *, mode: int = 0o644, note: str = "") -> InstallFile | None:
    """The change that makes a file have this content, its owner and mode kept; None when it has it already."""
    old = content(host, path)
    if old is None:
        return InstallFile.of(path, data, None, mode=mode, note=note)
    stat = host.stat(path)
    owner = (stat.uid, stat.gid, stat.mode)
    return None if old == data else InstallFile.of(path, data, old, mode=stat.mode, owner=owner, note=note)


def _make_parent(host: Host, path: str) -> None:
    parent = path.rsplit("/", 1)[0]
    if parent:
        host.mkdir(parent)
