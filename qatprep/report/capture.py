"""What a capture holds, and what was taken out of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from qatprep.host.base import Host
from qatprep.version import VERSION

SCHEMA = "qatprep.capture/1"


def document(file: str, text: str, removed: Counter[str], seconds: float, host: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "host": host,
        "file": file,
        "bytes": len(text.encode()),
        "entries": entries(text),
        "seconds": round(seconds, 3),
        "redacted": {kind: number for kind, number in sorted(removed.items()) if number},
    }


def lines(file: str, text: str, removed: Counter[str], seconds: float, host: Host) -> list[str]:
    where = file or "stdout"
    out = [f"{where}: {entries(text)} files, {len(text.encode()) // 1024 + 1} KiB, recorded in {seconds:.1f} s"]
    taken = ", ".join(f"{number} {kind}" for kind, number in sorted(removed.items()) if number)
    if taken:
        out.append(f"taken out: {taken}")
    if host.simulated:
        out.append("this host is simulated, and the file says so")
    if host.euid:
        out.append("recorded as an ordinary user: what only root may see is not in it")
    if file:
        out.append(f"read it: qatprep doctor --root {file}")
    return out


def entries(text: str) -> int:
    """How many files, directories and links a host file names."""
    return sum(line.startswith("/") for line in text.splitlines())
