"""What has to be known, and put right, in a compiled module before it goes into a package."""

from __future__ import annotations

import re
import struct

_ENTRY = struct.Struct("<qQ")
_DYNAMIC = 2
_RPATH, _RUNPATH = 15, 29


def without_runpath(data: bytes) -> bytes:
    """A 64-bit little-endian ELF file without DT_RPATH and DT_RUNPATH: a Python built from source puts the directory of
    its own library there, which on another machine may be anybody's. elf(5)."""
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    out = bytearray(data)
    (first,) = struct.unpack_from("<Q", data, 32)
    size, number = struct.unpack_from("<HH", data, 54)
    for at in range(first, first + size * number, size):
        (kind,) = struct.unpack_from("<I", data, at)
        if kind != _DYNAMIC:
            continue
        (offset,) = struct.unpack_from("<Q", data, at + 8)
        (length,) = struct.unpack_from("<Q", data, at + 32)
        entries = list(_ENTRY.iter_unpack(data[offset : offset + length]))
        kept = [entry for entry in entries if entry[0] not in (_RPATH, _RUNPATH)]
        kept += [(0, 0)] * (len(entries) - len(kept))
        out[offset : offset + length] = b"".join(_ENTRY.pack(*entry) for entry in kept)
    return bytes(out)


def glibc(data: bytes) -> tuple[int, int]:
    """The oldest glibc that has every symbol the file asks for: its highest version reference."""
    known = {(int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", data)}
    return max(known, default=(2, 17))
