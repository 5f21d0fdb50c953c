"""One run of changes: the lock, the lanes side by side, the journal, and the way back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from qatprep.engine.journal import APPLIED, PARTIAL, ROLLED_BACK, Entry, Journal, Reopened, Run
from qatprep.errors import NeedsRoot, QatprepError
from qatprep.host.base import Host
from qatprep.steps.base import Change, ChangeFailed

LOCK = "/run/qatprep.lock"


class Progress(Protocol):
    """Who watches. Called from the lanes' threads, one call at a time."""

    def started(self, change: Change) -> None: ...
    def done(self, change: Change, seconds: float) -> None: ...
    def failed(self, change: Change, error: str) -> None: ...
    def undone(self, change: Change) -> None: ...
    def stuck(self, change: Change, error: str) -> None: ...


class Silent:
    def started(self, change: Change) -> None: ...
    def done(self, change: Change, seconds: float) -> None: ...
    def failed(self, change: Change, error: str) -> None: ...
    def undone(self, change: Change) -> None: ...
    def stuck(self, change: Change, error: str) -> None: ...


@dataclass(frozen=True)
class Failure:
    """Why a run stopped."""

    change: Change | None
    message: str
    hint: str


class RunFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def need_writable(host: Host) -> None:
    """NeedsRoot or QatprepError where nothing can be changed, before anything is tried."""
    if not host.writable:
        raise QatprepError(
            f"{host.label} is a picture of a host: nothing can be changed there",
            "try it on a simulated one: --simulate spr-2s",
        )
    if host.euid != 0:
        raise NeedsRoot("changing this host needs root", "run it with sudo; `qatprep plan` and `doctor` need no root")


@contextlib.contextmanager
def locked(host: Host) -> Iterator[None]:
    """The writer's lock. errors.Locked, naming the holder, when another qatprep has it."""
    need_writable(host)
    with host.lock(LOCK):
        yield


class Runner:
    """Makes changes under one journal, which begins with the first change. To be used inside `locked`.

    After RunFailed or KeyboardInterrupt call `rollback`; the journal's last line says how it ended.
    """

    def __init__(self, host: Host, command: str, progress: Progress | None = None) -> None:
        self._host = host
        self._command = command
        self._progress: Progress = progress or Silent()
        self._journal: Journal | None = None
        self._made: dict[int, Entry] = {}
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self.skipped: list[Change] = []
        """Optional changes that failed."""
        self.left: list[str] = []
        """What rollback could not undo, in words."""

    @property
    def id(self) -> str:
        return self._journal.id if self._journal else ""

    @property
    def made(self) -> tuple[Change, ...]:
        return tuple(entry.change for entry in self._made.values() if entry.done)

    def execute(self, lanes: Mapping[str, Sequence[Change]]) -> None:
        """Make the changes of each lane in order, lanes side by side.

        RunFailed for the first that fails, once every lane has come to rest.
        """
        lanes = {name: lane for name, lane in lanes.items() if lane}
        if not lanes:
            return
        if self._journal is None:
            self._journal = Journal(self._host, self._command)
        problems: list[BaseException] = []

        def work(name: str, lane: Sequence[Change]) -> None:
            try:
                self._lane(name, lane)
            except BaseException as e:
                self._stop.set()
                with self._mutex:
                    problems.append(e)

        if len(lanes) == 1:
            for name, lane in lanes.items():
                work(name, lane)
        else:
            threads = [threading.Thread(target=work, args=item, name=item[0], daemon=True) for item in lanes.items()]
            for thread in threads:
                thread.start()
            self._wait(threads)
        if problems:
            # What is no Exception (an interrupt, a simulated power cut) outranks a change that failed.
            raise sorted(problems, key=lambda e: isinstance(e, Exception))[0]

    def _wait(self, threads: list[threading.Thread]) -> None:
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._stop.set()  # each lane ends after the change it is at: none is left half made
            for thread in threads:
                thread.join()
            raise

    def _lane(self, name: str, lane: Sequence[Change]) -> None:
        assert self._journal is not None
        for _, same in groupby(enumerate(lane), key=lambda item: item[1].kind if item[1].batch else str(item[0])):
            changes = [change for _, change in same]
            if self._stop.is_set():
                return
            numbers = self._journal.intend(name, changes)
            entries = [Entry(n, name, c, False, False, None) for n, c in zip(numbers, changes, strict=True)]
            with self._mutex:
                self._made.update((entry.n, entry) for entry in entries)
            self._batch(entries)

    def _batch(self, entries: list[Entry]) -> None:
        assert self._journal is not None
        results = []
        try:
            for entry in entries:
                with self._mutex:
                    self._progress.started(entry.change)
                begin = self._host.now()
                try:
                    outcome = entry.change.do(self._host)
                except (ChangeFailed, OSError) as e:
                    message, hint = _words(entry.change, e)
                    self._journal.note("failed", entry.n, message)
                    with self._mutex:
                        self._progress.failed(entry.change, message)
                    if entry.change.optional:
                        self.skipped.append(entry.change)
                        continue
                    raise RunFailed(Failure(entry.change, message, hint)) from e
                results.append((entry.n, outcome))
                with self._mutex:
                    self._made[entry.n] = replace(entry, done=True, outcome=outcome)
                    self._progress.done(entry.change, self._host.now() - begin)
        finally:
            if results:
                self._journal.done(results)

    def finish(self) -> None:
        """The run did what it was to do."""
        if self._journal is not None:
            self._journal.end(APPLIED)

    def rollback(self) -> bool:
        """Undo everything made so far, newest first, lanes side by side. True when all of it could be undone."""
        if self._journal is None:
            return True
        self.left = undo(self._host, self._journal, list(reversed(self._made.values())), self._progress, self._mutex)
        self._journal.end(PARTIAL if self.left else ROLLED_BACK)
        return not self.left


def undo_run(host: Host, run: Run, progress: Progress | None = None) -> list[str]:
    """Undo an earlier run; what could not be undone, in words. A reboot has undone what was not persistent."""
    journal = Reopened(host, run)
    same_boot = run.boot == host.boot_id()
    entries = [entry for entry in run.standing if same_boot or entry.change.persistent]
    left = undo(host, journal, entries, progress or Silent(), threading.Lock())
    journal.end(PARTIAL if left else ROLLED_BACK)
    return left


def undo(host: Host, journal: Journal, entries: list[Entry], progress: Progress, mutex: threading.Lock) -> list[str]:
    """Undo entries given newest first. Neighbours in time of different lanes are undone side by side."""
    left: list[str] = []
    stages: list[dict[str, list[Entry]]] = []
    for entry in entries:
        # A host-wide change separates what came after it from what came before it.
        if not stages or (entry.lane == "") != ("" in stages[-1]):
            stages.append({})
        stages[-1].setdefault(entry.lane, []).append(entry)
    interrupts: list[BaseException] = []

    def lane(mine: list[Entry]) -> None:
        for entry in mine:
            try:
                entry.change.undo(host, entry.outcome)
            except (ChangeFailed, OSError) as e:
                message, _ = _words(entry.change, e)
                journal.note("stuck", entry.n, message)
                with mutex:
                    left.append(f"{entry.change.subject} {entry.change.what}: {message}")
                    progress.stuck(entry.change, message)
                continue
            except BaseException as e:
                interrupts.append(e)
                return
            journal.note("undone", entry.n)
            with mutex:
                progress.undone(entry.change)

    for stage in stages:
        threads = [threading.Thread(target=lane, args=(mine,), daemon=True) for mine in stage.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if interrupts:
            raise interrupts[0]
    return left


def _words(change: Change, error: Exception) -> tuple[str, str]:
    if isinstance(error, ChangeFailed):
        return error.message, error.hint
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{change}: {error.strerror}{where}", ""
    return f"{change}: {error}", ""
