"""The outcome of a low-level verb in plain lines. No rich here: binding a VF must not wait for a library to load."""

from __future__ import annotations

from typing import Protocol

from qatprep.engine.bootstrap import Result
from qatprep.report.text import compact, grouped


class Streams(Protocol):
    """Where lines go: data to stdout, talk to stderr."""

    def line(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...


def print_result(session: Streams, result: Result, undo: str) -> None:
    if result.status == "unchanged":
        session.line("Nothing to do: already as requested.")
        return
    if result.status in ("planned", "applied", "refused"):
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
    for refusal in result.plan.refused:
        session.say(f"refused for {refusal.subject}: {refusal.reason}")
        for holder in refusal.holders:
            session.say(f"  {holder.vf} is held by {holder}")
    if result.status == "applied":
        session.say(f"done; {undo}")
    if result.status == "declined":
        session.say("nothing was changed")
    if result.failure:
        session.say("interrupted" if result.status == "interrupted" else f"failed: {result.failure.message}")
        if result.failure.hint:
            session.say(f"  hint: {result.failure.hint}")
    if result.status in ("rolled back", "interrupted"):
        first = (
            "everything was undone, the host is as it was"
            if result.made
            else "nothing was changed, the host is as it was"
        )
        session.say(first)
    for line in result.not_undone:
        session.say(f"not undone: {line}")
