"""The journal: what a run was about to do, and did. One file a run, one JSON object a line, on disk before it counts.

{"event": "start", "schema": "qatprep.journal/1", "run": ..., "time": ..., "boot": ..., "command": ...}
{"event": "intent", "n": 1, "lane": "0000:6b:00.0", "change": {...}}
{"event": "done", "n": 1, "outcome": {...}} | {"event": "failed", "n": 1, "error": ..., "outcome": {...}}
{"event": "undone", "n": 1} | {"event": "not undone", "n": 1, "error": ...}
{"event": "torn"}  the line before was cut off while it was written (full disk, power loss): nobody acted on it
{"event": "end", "status": "applied" | "rolled back" | "partial" | "as before"}

The names of the files are in the order of the runs, also when the clock went back in between.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import posixpath
import re
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from qatprep import json_input
from qatprep.errors import WRITE_HINTS, NeedsRoot, QatprepError
from qatprep.facts.base import ABSENT
from qatprep.host.base import Host
from qatprep.host.trust import doubt, require
from qatprep.steps.base import Change, accept_outcome, restore
from qatprep.text import printable
from qatprep.version import VERSION

DIRECTORY = "/var/lib/qatprep/runs"
SCHEMA = "qatprep.journal/1"
APPLIED, ROLLED_BACK, PARTIAL, AS_BEFORE = "applied", "rolled back", "partial", "as before"
_OVER = (ROLLED_BACK, AS_BEFORE)
"""How a run ends of which nothing is in effect."""
DAMAGED = "damaged"
LIMIT = 64 << 20
"""Bytes of one journal. The largest run seen, 64 PFs with 1024 VFs, writes 2 MB."""
KEPT = 20
"""Journals that stay when nothing of their runs is in effect, for people to look at."""
_LINE_BEGINS = '{"event":'
_NAME = r"(\d{8}T\d{6}Z-\d{4,})\.jsonl"


class JournalError(QatprepError):
    """The journal cannot be written. Without one nothing may be changed: it could not be undone after a crash."""

    def __init__(self, path: str, error: OSError) -> None:
        number = error.errno or errno.EIO
        super().__init__(f"cannot write the journal {path}: {error.strerror}", WRITE_HINTS.get(number, ""))


class Entry(NamedTuple):
    """One change of a run and what became of it."""

    n: int
    lane: str
    change: Change
    done: bool
    undone: bool
    outcome: Mapping[str, Any] | None


class Run(NamedTuple):
    """A run as its journal tells it."""

    id: str
    time: str
    boot: str
    command: str
    status: str
    """"" while it is under way, or when it was cut off."""
    entries: tuple[Entry, ...]
    problem: str = ""
    """Why it cannot be read (status DAMAGED)."""
    torn: bool = False
    """Whether its last line was cut off."""

    @property
    def standing(self) -> tuple[Entry, ...]:
        """What may still be in effect, newest first: the order of undoing.

        Where a change of a device could not be undone, what came before it in its lane is undone again after it:
        undoing VFs takes the PF down, and only undoing its services brings it up again.
        """
        if self.status in _OVER:
            return ()
        found = []
        not_undone = set()
        for entry in reversed(self.entries):
            if not entry.undone and entry.lane:
                not_undone.add(entry.lane)
            if not entry.undone or entry.lane in not_undone:
                found.append(entry)
        return tuple(found)

    @property
    def cut_off(self) -> bool:
        return self.status == "" and bool(self.entries)


class Journal:
    """The journal of the run under way. Safe to use from several lanes."""

    def __init__(self, host: Host, command: str) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._number = 0
        self._torn = False
        try:
            require(host, DIRECTORY, "the journal folder", to_be_made=True)
            host.mkdir(posixpath.dirname(DIRECTORY), mode=0o700)
            host.mkdir(DIRECTORY, mode=0o700)
            require(host, DIRECTORY, "the journal folder")
            taken = host.listdir(DIRECTORY)
            self.id = _next_id(host.wallclock(), taken)
        except OSError as e:
            raise JournalError(DIRECTORY, e) from e
        self.path = f"{DIRECTORY}/{self.id}.jsonl"
        _prune(host, _ids_in(taken))
        self._append(
            {
                "event": "start",
                "schema": SCHEMA,
                "run": self.id,
                "time": host.wallclock(),
                "boot": host.boot_id(),
                "version": VERSION,
                "command": printable(command),
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

    def failed(self, n: int, error: str, outcome: Mapping[str, Any] | None) -> None:
        with self._lock:
            self._append(
                {"event": "failed", "n": n, "error": printable(error), **({"outcome": outcome} if outcome else {})}
            )

    def undone(self, results: list[tuple[int, str]]) -> None:
        """Write down what became of undoing each change, in one write: "" or why it could not be undone."""
        with self._lock:
            self._append(
                *(
                    {"event": "not undone", "n": n, "error": printable(error)} if error else {"event": "undone", "n": n}
                    for n, error in results
                )
            )

    def end(self, status: str) -> None:
        with self._lock:
            self._append({"event": "end", "status": status})

    def _append(self, *events: Mapping[str, Any]) -> None:
        if not events:
            return
        lines = [_line(event) for event in events]
        if self._torn:
            lines.insert(0, "\n" + _line({"event": "torn"}))
        try:
            self._host.append(self.path, "".join(lines).encode())
        except OSError as e:
            self._torn = True
            raise JournalError(self.path, e) from e
        self._torn = False


class Reopened(Journal):
    """The journal of an earlier run, to which its undoing is added."""

    def __init__(self, host: Host, run: Run) -> None:
        require(host, DIRECTORY, "the journal folder")
        self._host = host
        self._lock = threading.Lock()
        self.id = run.id
        self.path = f"{DIRECTORY}/{run.id}.jsonl"
        self._number = max((entry.n for entry in run.entries), default=0)
        self._torn = run.torn


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":")) + "\n"


_END = [_line({"event": "end", "status": status}).rstrip("\n").encode() for status in _OVER]


def _next_id(wallclock: str, taken: list[str]) -> str:
    """The id of a new run: the time, but never before that of an earlier run, whatever the clock did since."""
    stamp = wallclock.replace("-", "").replace(":", "")
    last, _, number = max(_ids_in(taken), key=_order, default="").partition("-")
    return f"{last}-{int(number) + 1:04d}" if last >= stamp else f"{stamp}-0001"


def runs(host: Host) -> list[Run]:
    """All runs this host remembers, oldest first; one whose journal cannot be read is DAMAGED and says why."""
    return [_read(host, run_id) for run_id in _ids(host)]


def last_run(host: Host) -> Run | None:
    """The newest run; without its entries when it came to its end, which its last line tells."""
    ids = _ids(host)
    if not ids:
        return None
    try:
        text = host.read_text(f"{DIRECTORY}/{ids[-1]}.jsonl", limit=LIMIT).raw
        end = json_input.loads(text.rstrip("\n").rsplit("\n", 1)[-1])
        if end["event"] == "end":
            return Run(ids[-1], "", "", "", end["status"], ())
    except (OSError, ValueError, KeyError, TypeError):
        pass  # _read tells what is wrong
    return _read(host, ids[-1])


def _ids(host: Host) -> list[str]:
    """Of all runs, oldest first."""
    try:
        listed = host.listdir(DIRECTORY)
    except OSError as e:
        if e.errno in ABSENT:
            return []
        message = f"cannot read the journals in {DIRECTORY}: {e.strerror}"
        if e.errno in (errno.EACCES, errno.EPERM):
            raise NeedsRoot(message, "run this as root") from e
        raise QatprepError(message) from e
    require(host, DIRECTORY, "the journal folder")
    return _ids_in(listed)


def _ids_in(names: list[str]) -> list[str]:
    return sorted((match[1] for name in names if (match := re.fullmatch(_NAME, name))), key=_order)


def _order(run_id: str) -> tuple[str, int]:
    """Ids in the order of the runs: the number has more than four digits where it has to."""
    stamp, _, number = run_id.partition("-")
    return stamp, int(number)


def _valid(event: Any) -> None:
    """ValueError for what is no event of a journal."""
    from qatprep.schema_check import compiled

    compiled("journal")(event)


def _prune(host: Host, ids: list[str]) -> None:
    """Remove journals of runs of which nothing is in effect, but for the newest: nobody has a use for them any more."""
    if len(ids) < 2 * KEPT:
        return
    for run_id in ids[:-KEPT]:
        path = f"{DIRECTORY}/{run_id}.jsonl"
        with contextlib.suppress(OSError):
            if host.read(path, limit=LIMIT).rstrip(b"\n").rsplit(b"\n", 1)[-1] in _END:
                host.unlink(path)


def _read(host: Host, run_id: str) -> Run:
    path = f"{DIRECTORY}/{run_id}.jsonl"
    if why := doubt(host, path):
        return _damaged(run_id, f"the journal {path} is refused: {why}")
    try:
        text = host.read_text(path, limit=LIMIT).raw
    except OSError as e:
        return _damaged(run_id, f"cannot read the journal {path}: {e.strerror}")
    return _parse(run_id, path, text)


@functools.lru_cache(maxsize=32)
def _parse(run_id: str, path: str, text: str) -> Run:
    """The run that a journal tells. Kept: a rollback reads each again once it has the lock, and most are the same."""
    start: dict[str, Any] = {}
    status = ""
    entries: dict[int, Entry] = {}
    *lines, cut = text.split("\n")
    if (cut and not _LINE_BEGINS.startswith(cut[: len(_LINE_BEGINS)])) or "\0" in cut:
        return _damaged(run_id, f"{path}: ends with {len(cut)} bytes that are no line of a journal: {cut[:20]!r}")
    broken = ""
    for number, line in enumerate(lines, 1):
        try:
            event: Any = json_input.loads(line) if line else {"event": "torn"}
            kind = event["event"]
        except (ValueError, KeyError, TypeError) as e:
            broken = broken or f"{path}:{number}: not a line of a qatprep journal: {e}"
            continue
        if kind == "torn":
            broken = broken if not line else ""
            continue
        if broken:
            return _damaged(run_id, broken)
        try:
            if kind != "start":
                _valid(event)
            if kind == "start":
                start = event
                if event["schema"] != SCHEMA:
                    raise ValueError(f"schema {event['schema']!r}, not {SCHEMA!r}")
                _valid(event)
                if event["run"] != run_id:
                    raise ValueError(f"it is the journal of run {event['run']!r}")
            elif not start:
                raise ValueError("a journal begins with the event start")
            elif kind == "end":
                status = event["status"]
            elif kind == "intent":
                entries[event["n"]] = Entry(event["n"], event["lane"], restore(event["change"]), False, False, None)
            else:
                old = entries[event["n"]]
                entries[event["n"]] = old._replace(
                    done=old.done or kind == "done",
                    undone=old.undone or kind == "undone",
                    outcome=accept_outcome(old.change, event.get("outcome"))
                    if kind in ("done", "failed")
                    else old.outcome,
                )
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            by = f", written by qatprep {start['version']}," if start.get("version", VERSION) != VERSION else ""
            return _damaged(run_id, f"{path}:{number}:{by} is not what qatprep {VERSION} understands: {e}")
    if broken and not cut:
        return _damaged(run_id, broken)
    return Run(
        run_id,
        start.get("time", ""),
        start.get("boot", ""),
        start.get("command", ""),
        status,
        tuple(entries.values()),
        torn=bool(cut),
    )


def _damaged(run_id: str, problem: str) -> Run:
    return Run(run_id, "", "", "", DAMAGED, (), printable(problem))
