"""Files of the host, and telling systemd that they changed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import ABSENT
from qatprep.facts.persist import MARKER as MARKER
from qatprep.host.base import FileStat, Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed
from qatprep.steps.places import Place

Owner = tuple[int, int, int]
"""uid, gid, mode."""
LIMIT = 16 << 20
"""Bytes of a file that is replaced or removed. The journal keeps what was there, and holds 64 MiB itself."""
_SYSTEMCTL_DEADLINE = 60.0
"""Seconds: a reload runs every generator of the host."""


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
    """What the change is, in words; "" for the whole file."""

    @property
    def subject(self) -> str:
        return self.path

    @property
    def before(self) -> str:
        return "absent" if self.old is None else "as it is"

    @property
    def after(self) -> str:
        return self.note or (f"installed, {self.mode:04o}" if self.old is None else "replaced")

    def do(self, host: Host) -> None:
        _make_parent(host, self.path)
        data = base64.b64decode(self.new)
        uid, gid, mode = self.old_owner or _owner(host, self.path) or (0, 0, self.mode)
        host.replace(self.path, data, mode=self.mode if self.old_owner else mode, uid=uid, gid=gid)
        if host.read(self.path, limit=len(data) + 1) != data:
            raise ChangeFailed(f"{self.path} reads back as something else than was written")

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        put_back(host, self.path, self.old, self.new, self.old_owner)


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
    def subject(self) -> str:
        return self.path

    @property
    def before(self) -> str:
        return "there"

    @property
    def after(self) -> str:
        return "removed"

    def do(self, host: Host) -> None:
        if content(host, self.path) is not None:
            host.unlink(self.path)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        put_back(host, self.path, self.old, None, self.old_owner)


@dataclass(frozen=True)
class Systemctl(Change):
    """A call of systemctl that is undone by another one: enable and disable, or daemon-reload both ways."""

    kind: ClassVar[str] = "systemctl"
    what: ClassVar[str] = "unit"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {
        "action": r"daemon-reload",
        "undo_action": r"daemon-reload",
        "unit": place.UNIT,
        "words": place.TEXT,
        "price": place.TEXT,
    }

    action: tuple[str, ...]
    undo_action: tuple[str, ...]
    unit: str
    words: str
    price: str = ""

    @property
    def subject(self) -> str:
        return self.unit

    @property
    def before(self) -> str:
        return "as it is"

    @property
    def after(self) -> str:
        return self.words

    @property
    def cost(self) -> tuple[str, ...]:
        return (self.price,) if self.price else ()

    def do(self, host: Host) -> None:
        if self.action:
            systemctl(host, *self.action)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if self.undo_action:
            systemctl(host, *self.undo_action)


def systemctl(host: Host, *arguments: str) -> None:
    """Call it; ChangeFailed, with its words, when it does not end well."""
    result = host.run(["systemctl", *arguments], deadline=_SYSTEMCTL_DEADLINE)
    if result.rc != 0:
        said = result.stderr.strip() or "no message"
        raise ChangeFailed(f"systemctl {' '.join(arguments)} ended with status {result.rc}: {said}")


def put_back(host: Host, path: str, old: str | None, new: str | None, owner: Owner | None) -> None:
    """Undo a change of a file: `old` in place of `new` (base64, None for no file), with uid, gid and mode.

    Without `owner` the file keeps those it has.

    Nothing where content, owner and mode are so already. ChangeFailed for a file that is neither: somebody has changed
    it since.
    """
    now = content(host, path)
    before = base64.b64decode(old) if old is not None else None
    if now is not None and now != before and (new is None or encode(now) != new):
        raise ChangeFailed(f"{path} was changed by somebody since and stays as it is now")
    if before is None:
        if now is not None:
            host.unlink(path)
        return
    has = _owner(host, path)
    if now == before and owner in (None, has):
        return
    uid, gid, mode = owner or has or (0, 0, 0o644)
    host.replace(path, before, mode=mode, uid=uid, gid=gid)


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
    """The change that makes a file have this content; None when it has it already."""
    old = content(host, path)
    if old == data:
        return None
    owner: tuple[int, int, int] | None = None
    if old is not None:
        s: FileStat = host.stat(path)
        owner, mode = (s.uid, s.gid, s.mode), s.mode
    return InstallFile(path, encode(data), mode, None if old is None else encode(old), owner, note)


def _make_parent(host: Host, path: str) -> None:
    parent = path.rsplit("/", 1)[0]
    if parent:
        host.mkdir(parent)
