"""Files and folders that are root's alone on this machine: exact modes whatever the umask, no links, owner checked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat


def make_directory(real: str, mode: int) -> None:
    """Make a folder with exactly this mode, and its missing parents 0755, whatever the umask; fine when it is there."""
    if os.path.isdir(real):
        return
    parent = os.path.dirname(real.rstrip("/"))
    if parent and parent != real:
        make_directory(parent, 0o755)
    try:
        os.mkdir(real, 0o700)
    except FileExistsError:
        if os.path.isdir(real):
            return  # somebody was quicker
        raise
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def sync_directory(real: str) -> None:
    """A name that was added to this folder, or moved in it, outlives a power cut."""
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_file(real: str, flags: int) -> int:
    """Open a file of root's alone, made 0600 when absent. OSError for a link, for anything but a regular file, and for
    one that another user owns or can write."""
    fd = os.open(real, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            raise PermissionError(
                errno.EPERM, f"user {found.st_uid} owns it, mode {stat.S_IMODE(found.st_mode):04o}: not root's alone"
            )
        if found.st_mode & 0o777 != 0o600:
            os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_file(real: str, flags: int) -> int:
    """An `opener` for open(): a new file, whatever was left under that name; a link there is not followed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(real)
    return os.open(real, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def take_lock(real: str) -> int:
    """The descriptor that holds the exclusive lock (flock) of this file. BlockingIOError while another process has it.

    Only root can open the file. One that others could read may be open in any process, which could lock it at any
    time: unless root holds it at this moment, a new file takes its place.
    """
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(real, follow_symlinks=False)
            holder = lock_holder(found)
            if found.st_mode & 0o077 and (holder is None or _owner(holder) not in (0, os.geteuid())):
                os.unlink(real)
        fd = open_file(real, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(real, follow_symlinks=False)):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody put a new file in its place meanwhile
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), real)


def lock_holder(file: os.stat_result) -> int | None:
    """The process that took the flock of a file, by the kernel's list (proc(5), /proc/locks: device numbers in
    hexadecimal, inode in decimal). None when nobody did, or nobody who is seen from here."""
    wanted = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    with open("/proc/locks", encoding="ascii", errors="replace") as f:
        for line in f:
            row = line.split()
            if row[1:2] == ["FLOCK"] and row[5] == wanted:
                return int(row[4])
    return None


def _owner(pid: int) -> int | None:
    """The user a process runs as, None when it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
