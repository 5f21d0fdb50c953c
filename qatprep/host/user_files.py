"""Files of this machine that the user names: read up to a stated limit, written without destroying what they are."""

from __future__ import annotations

import errno
import os
import stat

from qatprep.errors import WRITE_HINTS, InputError, QatprepError
from qatprep.host.child import write_all
from qatprep.host.linux import LinuxHost


def read_file(path: str, limit: int, what: str) -> bytes:
    """The content of `what`, a file or pipe. InputError when it cannot be read or has more than `limit` bytes."""
    try:
        with open(path, "rb") as f:
            data = f.read(limit + 1)
            size = os.fstat(f.fileno()).st_size
    except OSError as e:
        raise InputError(
            f"cannot read {what} {path!r}: {e.strerror}", "give a file that is there and can be read"
        ) from e
    if len(data) > limit:
        has = f"has {size} bytes" if size > limit else "is larger"
        raise InputError(f"{what} {path!r} {has}, at most {limit} are read", f"is it really {what}?")
    return data


def write_file(path: str, data: bytes, *, mode: int = 0o644, only_regular: bool = False) -> None:
    """Write a result where the user wants it.

    A regular file is replaced as a whole, or left as it is when that fails. A character device, a FIFO or our own
    standard output is written into, unless `only_regular`. InputError for what neither can be done with: a directory,
    a disk, another user's link. QatprepError, saying what to do, when writing fails.
    """
    full = os.path.abspath(path)
    try:
        if not os.path.lexists(full):
            _replace(full, data, mode)
            return
        link, found = os.lstat(full), os.stat(full)
        kind = found.st_mode
        if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
            raise InputError(f"{path!r} is a symbolic link of user {link.st_uid}, which is not followed")
        if stat.S_ISREG(kind):
            ours = _standard_stream(found)
            if ours is not None and not only_regular:
                write_all(ours, data)
            else:
                _replace(os.path.realpath(full), data, mode)
        elif only_regular or not (stat.S_ISCHR(kind) or stat.S_ISFIFO(kind)):
            raise InputError(f"{path!r} is {_name(kind)}, which is not written to", "name a regular file")
        else:
            fd = os.open(full, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
    except OSError as e:
        number = e.errno or errno.EIO
        hint = WRITE_HINTS.get(number, "")
        if number in (errno.ENOENT, errno.ENOTDIR):
            hint = f"the directory {os.path.dirname(full)!r} is not there: make it, or name another file"
        raise QatprepError(f"cannot write {path!r}: {e.strerror or os.strerror(number)}", hint) from e


def _replace(real: str, data: bytes, mode: int) -> None:
    LinuxHost().replace(real, data, mode=mode, uid=os.geteuid(), gid=os.getegid())


def _standard_stream(found: os.stat_result) -> int | None:
    """Which of our streams a regular file is (> file, and /dev/stdout named): replacing it would cut the shell off."""
    for fd in (1, 2):
        try:
            if os.path.samestat(os.fstat(fd), found):
                return fd
        except OSError:
            continue
    return None


def _name(kind: int) -> str:
    names = {stat.S_IFDIR: "a directory", stat.S_IFBLK: "a block device", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(kind), "no regular file")
