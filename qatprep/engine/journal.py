"""The journal: what a run was about to do, and did. One file a run, one JSON object a line, on disk before it counts.

{"event": "start", "schema": "qatprep.journal/1", "run": ..., "time": ..., "boot": ..., "command": ...}
{"event": "intent", "n": 1, "lane": "0000:6b:00.0", "change": {...}}
{"event": "done", "n": 1, "outcome": {...}} | {"event": "failed", "n": 1, "error": ...}
{"event": "undone", "n": 1} | {"event": "stuck", "n": 1, "error": ...}
{"event": "end", "status": "applied" | "rolled back" | "partial"}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qatprep.errors import QatprepError
from qatprep.facts.base import ABSENT
from qatprep.host.base import Host
from qatprep.steps.base import Change, restore
from qatprep.version import VERSION

DIRECTORY = "/var/lib/qatprep/runs"
SCHEMA = "qatprep.journal/1"
APPLIED, ROLLED_BACK, PARTIAL = "applied", "rolled back", "partial"


@dataclass(frozen=True)
class Entry:
    """One change of a run and what became of it."""

    n: int
    lane: str
    change: Change
    done: bool
    undone: bool
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True)
class Run:
    """A run as its journal tells it."""

    id: str
    time: str
    boot: str
    command: str
    status: str
    """"" while it is under way, or when it was cut off."""
    entries: tuple[Entry, ...]

    @property
    def standing(self) -> tuple[Entry, ...]:
        """What may still be in effect, newest first: the order of undoing."""
        return tuple(entry for entry in reversed(self.entries) if not entry.undone)

    @property
    def cut_off(self) -> bool:
        return self.status == "" and bool(self.entries)


class Journal:
    """The journal of the run under way. Safe to use from several lanes."""

    def __init__(self, host: Host, command: str) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._number = 0
        host.mkdir(DIRECTORY, mode=0o700)
        stamp = host.wallclock().replace("-", "").replace(":", "")
        taken = set(host.listdir(DIRECTORY))
        serial = next(n for n in range(1, 10_000) if f"{stamp}-{n:04d}.jsonl" not in taken)
        self.id = f"{stamp}-{serial:04d}"
        self.path = f"{DIRECTORY}/{self.id}.jsonl"
        self._append(
            {
                "event": "start",
                "schema": SCHEMA,
                "run": self.id,
                "time": host.wallclock(),
                "boot": host.boot_id(),
                "version": VERSION,
                "command": command,
            }
        )

    def intend(self, lane: str, changes: list[Change]) -> list[int]:
        """Write down changes about to be made, in one write; the number of each."""
        with self._lock:
            numbers = list(range(self._number + 1, self._number + 1 + len(changes)))
            self._number += len(changes)
            self._append(
                *(
                    {"event": "intent", "n": n, "lane": lane, "change": change.record()}
                    for n, change in zip(numbers, changes, strict=True)
                )
            )
        return numbers

    def done(self, results: list[tuple[int, Mapping[str, Any] | None]]) -> None:
        with self._lock:
            self._append(*({"event": "done", "n": n, "outcome": outcome} for n, outcome in results))

    def note(self, event: str, n: int, error: str = "") -> None:
        """failed, undone or stuck."""
        with self._lock:
            self._append({"event": event, "n": n, **({"error": error} if error else {})})

    def end(self, status: str) -> None:
        with self._lock:
            self._append({"event": "end", "status": status})

    def _append(self, *events: Mapping[str, Any]) -> None:
        text = "".join(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n" for event in events)
        self._host.append(self.path, text.encode())


class Reopened(Journal):
    """The journal of an earlier run, to which its undoing is added."""

    def __init__(self, host: Host, run: Run) -> None:
        self._host = host
        self._lock = threading.Lock()
        self.id = run.id
        self.path = f"{DIRECTORY}/{run.id}.jsonl"
        self._number = max((entry.n for entry in run.entries), default=0)


def runs(host: Host) -> list[Run]:
    """All runs this host remembers, oldest first."""
    try:
        listed = host.listdir(DIRECTORY)
    except OSError as e:
        if e.errno in ABSENT:
            return []
        raise QatprepError(f"cannot read the journals in {DIRECTORY}: {e.strerror}", "run this as root") from e
    return [read(host, name.removesuffix(".jsonl")) for name in listed if name.endswith(".jsonl")]


def read(host: Host, run_id: str) -> Run:
    """One run. QatprepError when its journal is missing or says something this version does not understand."""
    path = f"{DIRECTORY}/{run_id}.jsonl"
    try:
        text = host.read_text(path, limit=1 << 26)
    except OSError as e:
        raise QatprepError(f"cannot read the journal {path}: {e.strerror}", "qatprep rollback --list") from e
    start: dict[str, Any] = {}
    status = ""
    entries: dict[int, Entry] = {}
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n") and number == len(lines):
            break  # cut off while it was written: whatever it announced had not begun
        try:
            event = json.loads(line)
            kind = event["event"]
            if kind == "start":
                if event["schema"] != SCHEMA:
                    raise ValueError(f"schema {event['schema']!r}, not {SCHEMA!r}")
                start = event
            elif kind == "end":
                status = event["status"]
            elif kind == "intent":
                entries[event["n"]] = Entry(event["n"], event["lane"], restore(event["change"]), False, False, None)
            else:
                old = entries[event["n"]]
                entries[event["n"]] = Entry(
                    old.n,
                    old.lane,
                    old.change,
                    old.done or kind == "done",
                    old.undone or kind == "undone",
                    event.get("outcome") if kind == "done" else old.outcome,
                )
        except (ValueError, KeyError, TypeError) as e:
            raise QatprepError(f"{path}:{number}: not a line of a qatprep journal: {e}") from e
    return Run(
        run_id, start.get("time", ""), start.get("boot", ""), start.get("command", ""), status, tuple(entries.values())
    )
