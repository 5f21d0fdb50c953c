"""Disks that keep what a guest writes from one boot to the next."""

from __future__ import annotations

import os

from .packages import run


def make(directory: str, megabytes: int = 512) -> str:
    """A new, empty disk image."""
    path = os.path.join(directory, "disk")
    with open(path, "wb") as f:
        f.truncate(megabytes << 20)
    mkfs = next((m for m in ("/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4") if os.path.exists(m)), "mkfs.ext4")
    run([mkfs, "-q", "-F", path])
    return path
