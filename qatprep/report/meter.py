"""How far a measurement is: one line that changes on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qatprep.report.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_EVERY = 10.0
"""Seconds between two lines where the stream is not a terminal."""


class Meter:
    """Called with the steps done, all steps and what comes next. A context manager, so that the line goes away."""

    def __init__(self, console: Console, what: str) -> None:
        self.console = console
        self.what = what
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.fields[what]}"),
                BarColumn(24),
                TextColumn("{task.fields[steps]}"),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=self.console,
                transient=True,
            )
            self._task = self._progress.add_task("", total=None, what=self.what, steps="")
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, done: int, of: int, what: str) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=of, description=what, steps=f"{done}/{of}")
        elif time.monotonic() - self._said > PLAIN_EVERY:
            self._said = time.monotonic()
            self.console.print(f"{self.what}: {done} of {of}, {what}")
