"""Progress of a run: a live line a device on a terminal, plain lines elsewhere. Goes to stderr."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TaskID as _Task

from qatprep.plan.model import Plan
from qatprep.report.console import Console
from qatprep.steps.base import Change
from qatprep.text import plural


class Watcher:
    """Shows what the engine does. `with watcher:` around the run; `expect` tells it the plan."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Progress | None = None
        self._tasks: dict[str, _Task] = {}
        self._lanes: dict[str, str] = {}
        self._totals: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._undoing = False

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def expect(self, plan: Plan) -> None:
        """Learn which change belongs to which device, and how many there are; from here on they are shown."""
        if self._console.is_terminal and not self._quiet:
            self._live = Progress(
                TextColumn("{task.fields[name]}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=False,
            )
            self._live.start()
        for lane, changes in (("host", plan.host), *plan.lanes.items()):
            for change in changes:
                self._lanes[change.subject] = lane
            if changes:
                self._totals[lane] = len(changes)
                if self._live is not None and lane not in self._tasks:
                    self._tasks[lane] = self._live.add_task("", total=len(changes), name=lane)

    def _lane(self, change: Change) -> str:
        return self._lanes.get(change.subject, "host")

    def started(self, change: Change) -> None:
        if self._live is not None and (task := self._tasks.get(self._lane(change))) is not None:
            self._live.update(task, description=f"{change.what} {change.summary.after}")

    def done(self, change: Change, seconds: float) -> None:
        lane = self._lane(change)
        self._counts[lane] = self._counts.get(lane, 0) + 1
        if self._live is not None:
            if (task := self._tasks.get(lane)) is not None:
                finished = self._counts[lane] >= self._totals.get(lane, 0)
                self._live.update(
                    task, advance=1, description="ready" if finished else f"{change.what} {change.summary.after}"
                )
        elif not self._quiet:
            if not change.batch:
                self._console.print(f"{change}  ({seconds:.1f} s)")
            elif self._counts[lane] == self._totals.get(lane):
                self._console.print(f"{lane} ready, {plural(self._totals[lane], 'change')}")

    def failed(self, change: Change, error: str) -> None:
        if not self._quiet:
            self._console.print(f"failed: {change}: {error}", style="fail")

    def stopping(self) -> None:
        if not self._quiet:
            text = "interrupted: the changes under way are finished, then everything is undone"
            self._console.print(text, style="warn")

    def undone(self, change: Change) -> None:
        if not self._undoing and not self._quiet:
            self._undoing = True
            self._console.print("undoing, newest first", style="warn")
        if self._live is None and not self._quiet and not change.batch:
            self._console.print(f"undone: {change.subject} {change.what} back to {change.summary.before}")

    def not_undone(self, change: Change, error: str) -> None:
        if not self._quiet:
            self._console.print(f"not undone: {change}: {error}", style="fail")
