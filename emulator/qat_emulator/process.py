"""What the kernel knows of a process that talks to us."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import struct

LIBQAT = re.compile(r"/libqat\.so\.[0-9.]+$")
CREDENTIALS = struct.Struct("iII")


def describe(client: socket.socket) -> dict[str, object]:
    """The process at the other end: its number, name, user, and the libqat that it has mapped, by path and content."""
    pid, uid, _ = CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    found: dict[str, object] = {"process": pid, "uid": uid}
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            found["name"] = f.read().strip()
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as f:
            paths = {line.split(maxsplit=5)[-1].strip() for line in f}
        for path in sorted(path for path in paths if LIBQAT.search(path)):
            # Through the process's own root: it may be another than ours.
            with open(f"/proc/{pid}/root{path}", "rb") as f:
                found["libqat"] = {"path": path, "sha256": hashlib.sha256(f.read()).hexdigest()}
    except OSError as problem:
        found["unknown"] = f"{problem.filename}: {os.strerror(problem.errno or 0)}"
    return found
