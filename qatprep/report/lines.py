"""The outcome of a low-level verb in plain lines. No rich here: binding a VF must not wait for a library to load."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from qatprep.engine.bootstrap import Result
from qatprep.report.text import compact, grouped


class Streams(Protocol):
    """Where lines go: data to stdout, talk to stderr."""

    def line(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def say_row(self, text: str) -> None: ...

    def error(self, what: str, cause: str = "", fix: str = "") -> None: ...


def print_result(session: Streams, result: Result, undo: str, refused: Iterable[str] = ()) -> None:
    """`refused`: what is said of each refusal (report/refusal.py)."""
    if result.resumed:
        session.say(f"run {result.resumed} had been cut off; what it had changed was undone first, or is still there")
    if result.status == "unchanged":
        session.line("Nothing to do: already as requested.")
        return
    if result.status in ("planned", "applied"):
        changes = result.plan.changes if result.status != "applied" else result.made
        would = "would be: " if result.status != "applied" else ""
        for change, subjects in grouped(changes):
            _, before, after, costs = change.summary
            session.line(f"{would}{compact(subjects)} {change.what}: {before} -> {after}")
            for cost in costs:
                session.line(f"  cost: {cost}")
    if result.status == "planned":
        for doubt in result.plan.doubts:
            session.line(f"  doubtful: {doubt}")
    for line in refused:
        session.say_row(line)
    if result.plan.refused and result.status == "refused":
        session.say("nothing was changed")
    if result.status == "applied":
        done = "all is as it was, and nothing is left to undo" if result.plan.restores else undo_words(undo)
        session.say(f"done; {done}")
    if result.status == "declined":
        session.say("nothing was changed")
    if result.status == "interrupted":
        session.say("interrupted")
    elif result.failure:
        session.error(result.failure.message, fix=result.failure.hint)
    if result.status in ("rolled back", "interrupted"):
        first = "everything was undone; what this run changed is as it was" if result.made else "nothing was changed"
        session.say(first)
    for line in result.not_undone:
        session.say(f"not undone: {line}")


def undo_words(undo: str) -> str:
    """How a run is undone (cli/select.py, to_undo) within a line: a command has to be introduced."""
    return f"to undo: {undo}" if undo.startswith("qatprep ") else undo
