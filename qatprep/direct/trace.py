"""What a proof does, in order, with its time; how it is undone; how long it may take."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Entry, Step, Stop


class Trace:
    """Hands each entry to `keep` as it happens: what was done before a hang is known too."""

    def __init__(self, kernel: Kernel, keep: Callable[[Entry], None] | None = None) -> None:
        self._kernel, self._keep = kernel, keep
        self._began = kernel.now()
        self._last: dict[str, int] = {}
        self.step = Step.FIND

    def begin(self, step: Step) -> None:
        self.step = step
        self.note("begin")

    def note(self, what: str, **values: Any) -> None:
        if self._keep:
            self._keep(Entry(self.seconds, self.step, what, values))

    def read(self, register: str, value: int) -> None:
        """A register's value, when it is another than last time: polling would fill the trace."""
        if self._last.get(register) != value:
            self._last[register] = value
            self.note("read", register=register, value=f"{value:#x}")

    def write(self, register: str, value: int) -> None:
        self._last.pop(register, None)
        self.note("write", register=register, value=f"{value:#x}")

    @property
    def seconds(self) -> float:
        return self._kernel.now() - self._began


class Undo:
    """A context manager: what must be put back, last first, each thing guarded for itself."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._actions: list[tuple[str, Callable[[], object]]] = []
        self.not_undone: list[str] = []

    def add(self, what: str, action: Callable[[], object]) -> None:
        self._actions.append((what, action))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        while self._actions:
            what, action = self._actions.pop()
            try:
                action()
            except (OSError, Stop) as problem:
                self.not_undone.append(f"{what} ({problem})")
                self._trace.note("not undone", thing=what, problem=str(problem))
            else:
                self._trace.note("undone", thing=what)


class Clock:
    """Waiting, within a limit each time and a total that `start` begins."""

    FIRST_PAUSE, LONGEST_PAUSE = 20e-6, 2e-3  # seconds

    def __init__(self, kernel: Kernel, total: float) -> None:
        self._kernel, self._total = kernel, total
        self._end: float | None = None

    def start(self) -> None:
        self._end = self._kernel.now() + self._total

    def stop(self) -> None:
        """No total any more: putting back must not fail for it."""
        self._end = None

    def until(self, limit: float, look: Callable[[], bool]) -> bool:
        """Whether `look()` becomes true within `limit` seconds. Stop(DEADLINE) when the total is over."""
        pause = 0.0
        end = self._kernel.now() + limit
        while not look():
            now = self._kernel.now()
            if self._end is not None and now > self._end:
                raise Stop(Cause.DEADLINE, seconds=self._total)
            if now > end:
                return False
            self._kernel.sleep(pause)
            pause = min(pause * 2 or self.FIRST_PAUSE, self.LONGEST_PAUSE)
        return True

    def now(self) -> float:
        return self._kernel.now()
