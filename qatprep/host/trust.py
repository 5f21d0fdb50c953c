"""Who could have changed a file: root believes, runs and loads only what nobody but root can change.

The question is asked of the whole path. Where every folder on it belongs to root and is writable by root alone, nobody
else can exchange anything on it between this look and the use that follows; where one is not, opening the file safely
would not help, because its content was never safe.
"""

from __future__ import annotations

import errno
import posixpath

from qatprep.errors import QatprepError
from qatprep.host.base import Host

_OTHERS = 0o022
_STICKY = 0o1000
_MAX_LINKS = 40


def doubt(
    host: Host, path: str, *, root_only: bool = False, to_be_made: bool = False, known: set[str] | None = None
) -> str:
    """Why root must not believe what is at `path`, "" when it may. A path that does not exist yet is judged by its
    folders.

    Every folder, link and file on the way must belong to root (or to the user who runs qatprep) and be writable by the
    owner alone. A folder with the sticky bit may be on the way, not at its end.

    `root_only`: the user who runs qatprep counts like any other, because root will use the path later. `to_be_made`:
    what is missing may be missing in a sticky folder, because whoever makes it looks at its owner then. `known`:
    folders already found good, for many paths of one call.
    """
    trusted = (0,) if root_only else (0, host.euid)
    known = set() if known is None else known
    todo = [part for part in path.split("/")[::-1] if part and part != "."]
    here, links, shared = "", 0, ""
    while True:
        if todo and (here or "/") in known:
            here = _down(here, todo.pop())
            continue
        try:
            found = host.stat(here or "/", follow=False)
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.ENOTDIR):
                return (
                    f"{shared} is writable by every user, who can make {here} there"
                    if shared and not to_be_made
                    else ""
                )
            return f"{here} cannot be checked: {e.strerror}"
        name = here or "/"
        if found.uid not in trusted:
            return f"{name} belongs to user {found.uid}"
        if found.kind == "link":
            links += 1
            if links > _MAX_LINKS:
                return f"{path} has too many symbolic links"
            target = posixpath.join(posixpath.dirname(here) or "/", host.readlink(here))
            todo.extend(part for part in target.split("/")[::-1] if part and part != ".")
            here, shared = "", ""
            continue
        shared = ""
        if found.mode & _OTHERS:
            if not (found.kind == "dir" and found.mode & _STICKY and todo):
                who = "every user" if found.mode & 0o002 else f"group {found.gid}"
                return f"{name} is writable by {who} (mode {found.mode:04o})"
            shared = name
        else:
            known.add(name)
        if not todo:
            return ""
        here = _down(here, todo.pop())


def _down(here: str, part: str) -> str:
    return posixpath.dirname(here).rstrip("/") if part == ".." else f"{here}/{part}"


def require(host: Host, path: str, what: str, *, to_be_made: bool = False) -> None:
    """QatprepError where root must not believe `what`, which is at `path`.

    `to_be_made`: see `doubt`.
    """
    if why := doubt(host, path, to_be_made=to_be_made):
        raise QatprepError(
            f"{what} {path} is refused: {why}",
            "check who wrote there, then give it back: chown root: and chmod go-w on what is named above",
        )
