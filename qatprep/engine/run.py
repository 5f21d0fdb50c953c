"""One run of changes: the lock, the lanes side by side, the journal, and the way back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeVar

from qatprep.engine import interrupts
from qatprep.engine.journal import APPLIED, AS_BEFORE, PARTIAL, ROLLED_BACK, Entry, Journal, JournalError, Reopened, Run
from qatprep.errors import NeedsRoot, QatprepError
from qatprep.host.base import Host
from qatprep.host.trust import require
from qatprep.steps.base import Change, ChangeFailed

LOCK = "/run/qatprep.lock"
PROOF = "/run/qatprep/proof.json"
"""facts.proof.PATH, without importing it: binding one VF must not wait for that where there is no proof."""
_T = TypeVar("_T")


class Progress(Protocol):
    """Who watches. Called from the lanes' threads, one call at a time."""

    def started(self, change: Change) -> None: ...
    def done(self, change: Change, seconds: float) -> None: ...
    def failed(self, change: Change, error: str) -> None: ...
    def stopping(self) -> None: ...
    def undone(self, change: Change) -> None: ...
    def not_undone(self, change: Change, error: str) -> None: ...


class _Watch:
    """Tells a Progress, one call at a time. One that fails (its terminal has gone) is not called again: the run
    continues."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._mutex = threading.Lock()

    def tell(self, news: Callable[[Progress], None]) -> None:
        with self._mutex:
            if self._progress is not None:
                try:
                    news(self._progress)
                except Exception:
                    self._progress = None


class Failure(NamedTuple):
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
    """The writer's lock. errors.Locked, naming the holder, when another qatprep has it.

    In here an interrupt comes once, as KeyboardInterrupt, and between changes only (engine/interrupts.py).
    """
    need_writable(host)
    require(host, LOCK, "the lock", to_be_made=True)
    with interrupts.armed(), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(host.lock(LOCK))
        except OSError as e:
            raise QatprepError(f"cannot take the lock {LOCK}: {e.strerror}; nothing was changed") from e
        yield


class Runner:
    """Makes changes under one journal, which begins with the first change. To be used inside `locked`.

    After RunFailed or KeyboardInterrupt call `rollback`; the journal's last line says how it ended.
    """

    def __init__(self, host: Host, command: str, progress: Progress | None = None) -> None:
        self._host = host
        self._command = command
        self._watch = _Watch(progress)
        self._journal: Journal | None = None
        self._made: dict[int, Entry] = {}
        self._order: dict[int, tuple[int, int]] = {}
        """Of each number, the place of its lane among all lanes that were given, and its place in that lane."""
        self._given = 0
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self.tried: list[Change] = []
        """Optional changes that failed."""
        self.not_undone: list[str] = []
        """What rollback could not undo, and why."""

    @property
    def id(self) -> str:
        return self._journal.id if self._journal else ""

    @property
    def made(self) -> tuple[Change, ...]:
        """What was done, in the order of the plan: two runs of one plan say the same, whichever lane was quicker."""
        done = [entry for entry in self._made.values() if entry.done]
        return tuple(entry.change for entry in sorted(done, key=lambda entry: self._order[entry.n]))

    def execute(self, lanes: Mapping[str, Sequence[Change]]) -> None:
        """Make the changes of each lane in order, lanes side by side.

        RunFailed for the first that fails, KeyboardInterrupt when one was wanted meanwhile; either comes once every
        lane has come to rest: none is left in the middle of a change. JournalError before anything was changed.
        """
        lanes = {name: lane for name, lane in lanes.items() if lane}
        if not lanes:
            return
        if self._journal is None:
            self._journal = Journal(self._host, self._command)
        void_proof(self._host, lanes, f"changed by run {self._journal.id} ({self._command})")
        problems: list[BaseException] = []

        places = {name: place for place, name in enumerate(lanes, self._given)}
        self._given += len(lanes)

        def work(name: str, lane: Sequence[Change]) -> None:
            try:
                self._lane(name, places[name], lane)
            except BaseException as e:
                self._stop.set()
                with self._mutex:
                    problems.append(e)

        with interrupts.put_off(self._interrupted):
            if all(change.quick for lane in lanes.values() for change in lane):
                for name, lane in lanes.items():  # threads would only get in each other's way
                    work(name, lane)
            else:
                _side_by_side(work, lanes.items())
        if problems:
            # What is no Exception (a simulated power cut) outranks a change that failed.
            raise sorted(problems, key=lambda e: isinstance(e, Exception))[0]

    def _interrupted(self) -> None:
        self._stop.set()
        self._watch.tell(lambda progress: progress.stopping())

    def _lane(self, name: str, place: int, lane: Sequence[Change]) -> None:
        assert self._journal is not None
        for changes in _neighbours(lane, lambda change: change):
            if self._stop.is_set():
                return
            try:
                changes = [change.noted(self._host) for change in changes]
                numbers = self._journal.intend(name, changes)
                entries = [Entry(n, name, c, False, False, None) for n, c in zip(numbers, changes, strict=True)]
                with self._mutex:
                    self._made.update((entry.n, entry) for entry in entries)
                    self._order.update((entry.n, (place, entry.n)) for entry in entries)
                self._batch(entries)
            except JournalError as e:
                raise RunFailed(Failure(None, e.message, e.hint)) from e

    def _batch(self, entries: list[Entry]) -> None:
        assert self._journal is not None
        results: list[tuple[int, Mapping[str, Any] | None]] = []
        try:
            refused = entries[0].change.ahead(self._host, [entry.change for entry in entries])
        except (ChangeFailed, OSError):
            refused = {}  # `do` meets the same, and says whose it is
        try:
            for entry in entries:
                self._make(entry, results, refused.get(entry.change.subject))
        except BaseException:
            with contextlib.suppress(JournalError):  # what went wrong before is the news
                self._journal.done(results)
            raise
        self._journal.done(results)

    def _make(
        self, entry: Entry, results: list[tuple[int, Mapping[str, Any] | None]], refused: ChangeFailed | None
    ) -> None:
        assert self._journal is not None
        change = entry.change
        self._watch.tell(lambda progress: progress.started(change))
        begin = self._host.now()
        try:
            if refused:
                raise refused
            outcome = change.do(self._host)
        except (ChangeFailed, OSError) as e:
            message, hint = _explained(change, e)
            came = e.outcome if isinstance(e, ChangeFailed) else None
            with self._mutex:
                self._made[entry.n] = entry._replace(outcome=came)
            self._watch.tell(lambda progress: progress.failed(change, message))
            with contextlib.suppress(JournalError):
                self._journal.failed(entry.n, message, came)
            if not change.optional:
                raise RunFailed(Failure(change, message, hint)) from e
            self.tried.append(change)
            return
        results.append((entry.n, outcome))
        with self._mutex:
            self._made[entry.n] = entry._replace(done=True, outcome=outcome)
        seconds = self._host.now() - begin
        self._watch.tell(lambda progress: progress.done(change, seconds))

    def finish(self, *, restored: bool = False) -> None:
        """The run did what it was to do; `restored`: after it the host is as it was before."""
        if self._journal is not None:
            self._journal.end(AS_BEFORE if restored else APPLIED)

    def rollback(self) -> bool:
        """Undo everything made so far, newest first, lanes side by side. True when all of it could be undone."""
        if self._journal is None:
            return True
        entries = list(reversed(self._made.values()))
        self.not_undone = _undo(self._host, self._journal, entries, self._watch)
        return not self.not_undone


def undo_run(host: Host, run: Run, progress: Progress | None = None) -> list[str]:
    """Undo an earlier run; what could not be undone, and why. A reboot has undone what was not persistent."""
    void_proof(host, {entry.lane for entry in run.entries}, f"changed back: run {run.id} was undone")
    return _undo(host, Reopened(host, run), effective(host, run), _Watch(progress))


def void_proof(host: Host, devices: Iterable[str], why: str) -> None:
    """The signatures of these devices are void from now on."""
    with contextlib.suppress(OSError, QatprepError):
        if host.exists(PROOF):
            from qatprep.facts import proof

            proof.forget(host, dict.fromkeys(devices, why))


def effective(host: Host, run: Run) -> list[Entry]:
    """What of a run may still be in effect, newest first: a reboot has undone what was not persistent."""
    same_boot = run.boot == host.boot_id()
    return [entry for entry in run.standing if same_boot or entry.change.persistent]


def _undo(host: Host, journal: Journal, entries: list[Entry], watch: _Watch) -> list[str]:
    """Undo entries given newest first. Neighbours in time of different lanes are undone side by side.

    Nothing stops it but the end: not an interrupt, nor a change that cannot be undone, nor a journal that cannot be
    written (undoing a second time what is undone does no harm).
    """
    not_undone: list[str] = []
    stages: list[dict[str, list[Entry]]] = []
    for entry in entries:
        # A host-wide change separates what came after it from what came before it.
        if not stages or (entry.lane == "") != ("" in stages[-1]):
            stages.append({})
        stages[-1].setdefault(entry.lane, []).append(entry)
    fatal: list[BaseException] = []

    def lane(_: str, entries: list[Entry]) -> None:
        try:
            undo_lane(entries)
        except BaseException as e:  # a thread's own end would be taken for success
            fatal.append(e)

    def undo_lane(entries: list[Entry]) -> None:
        for same in _neighbours(entries, lambda entry: entry.change):
            results: list[tuple[int, str]] = []
            for entry in same:
                error = ""
                try:
                    entry.change.undo(host, entry.outcome)
                except Exception as e:
                    error, _hint = _explained(entry.change, e)
                    not_undone.append(f"{entry.change.subject} {entry.change.what}: {error}")
                results.append((entry.n, error))
                watch.tell(lambda p, c=entry.change, e=error: p.not_undone(c, e) if e else p.undone(c))  # type: ignore[misc]
            with contextlib.suppress(JournalError):
                journal.undone(results)

    with interrupts.put_aside():
        for stage in stages:
            _side_by_side(lane, stage.items())
            if fatal:
                raise fatal[0]
        with contextlib.suppress(JournalError):
            journal.end(PARTIAL if not_undone else ROLLED_BACK)
    return not_undone


def _neighbours(items: Iterable[_T], change: Callable[[_T], Change]) -> Iterator[list[_T]]:
    """Items of a lane in groups that share one write of the journal: neighbours of one kind that may, else single."""

    def kind(item: tuple[int, _T]) -> str:
        made = change(item[1])
        return made.kind if made.batch else str(item[0])

    for _, same in groupby(enumerate(items), key=kind):
        yield [item for _, item in same]


def _side_by_side(work: Callable[[str, Any], None], lanes: Iterable[tuple[str, Any]]) -> None:
    """One thread a lane, and the end of them all."""
    threads = [threading.Thread(target=work, args=item, name=item[0], daemon=True) for item in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _explained(change: Change, error: Exception) -> tuple[str, str]:
    if isinstance(error, ChangeFailed):
        return error.message, error.hint
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{change}: {error.strerror}{where}", ""
    return f"{change}: internal error, {type(error).__name__}: {error}", ""
