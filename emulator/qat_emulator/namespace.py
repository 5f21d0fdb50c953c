"""A mount namespace in which some folders of /sys and /dev are our own. Nothing outside the process is changed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os

from qat_emulator.errors import EmulatorError

CLONE_NEWNS, CLONE_NEWUSER = 0x2_0000, 0x1000_0000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 1 << 12, 1 << 14, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). OSError."""
    arguments = (source.encode(), os.fsencode(target), kind.encode() or None, flags, options.encode() or None)
    _call(_libc.mount(*arguments), target)


def enter() -> None:
    """Go into a mount namespace of our own, with a user namespace where the user is not allowed one without.

    The user stays who he is. Call it before any thread is started. EmulatorError where this user may not have user
    namespaces.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call(_libc.unshare(CLONE_NEWNS), "unshare")
    except PermissionError:
        try:
            _call(_libc.unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
            for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
                    f.write(text)
        except OSError as problem:
            raise EmulatorError(
                f"no user namespace for uid {uid}: {problem.strerror}",
                "allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone,"
                " kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile), or run as root",
            ) from problem
    try:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
    except OSError as problem:
        raise EmulatorError(
            f"mounts cannot be made private: {problem.strerror}", "run it outside the sandbox"
        ) from problem


def cover(path: str) -> None:
    """Make `path` an empty folder on a file system of ours. Where it does not exist, its nearest parent is covered by a
    copy of itself, in which it can be made. OSError."""
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
        return
    parent = os.path.dirname(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    _mirror(parent)
    os.makedirs(path)
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")


def _mirror(folder: str) -> None:
    """Cover a folder by one of ours with everything in it that it had."""
    old = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    mount("tmpfs", folder, "tmpfs", MS_NOSUID, "mode=0755")
    try:
        for entry in os.scandir(f"/proc/self/fd/{old}"):
            place = f"{folder}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
                continue
            if entry.is_dir():
                os.mkdir(place)
            else:
                with open(place, "x", encoding="utf-8"):
                    pass
            with contextlib.suppress(OSError):  # what cannot be shown is empty
                mount(entry.path, place, flags=MS_BIND | MS_REC)
    finally:
        os.close(old)


def put_over(upper: str, lower: str) -> None:
    """Show the files of `upper` over those of `lower`, in the place of `lower`. EmulatorError."""
    try:
        mount("overlay", lower, "overlay", MS_RDONLY, f"lowerdir={upper}:{lower}")
    except OSError as problem:
        if problem.errno in (errno.ENODEV, errno.EPERM, errno.EINVAL):
            raise EmulatorError(
                f"overlayfs cannot be mounted on {lower}: {problem.strerror}",
                "it needs Linux 5.11 or newer with overlayfs (modprobe overlay), and outside a container or as root",
            ) from problem
        raise
