"""What has to be known of a compiled module before it goes into a package."""

from __future__ import annotations

import re


def glibc(data: bytes) -> tuple[int, int]:
    """The oldest glibc that has every symbol the file asks for: its highest version reference."""
    known = {(int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", data)}
    return max(known, default=(2, 17))
