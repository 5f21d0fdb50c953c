"""The last word on a host: verdicts, proof, what remains, what to do next. The same block wherever it is printed."""

from __future__ import annotations

from rich.text import Text

from qatprep.assess import State, Verdict
from qatprep.checks.base import Profile
from qatprep.outcome import Outcome, proof_lines
from qatprep.report.console import Console
from qatprep.report.rows import LABEL, row, rows

NAMES = {Profile.QAT: "QAT", Profile.CRYPTOMB: "CryptoMB"}
_STYLES = {State.READY: "ok", State.CONFIGURED: "ok", State.NOT_READY: "fail", State.NOT_POSSIBLE: "fail"}

_REASON = 40
"""Columns of a verdict's reason; where they are not left next to its state, it is below."""


def state_text(verdict: Verdict, *, simulated: bool) -> str:
    """CONFIGURED, or CONFIGURED (simulated): what a simulated host can never prove says so."""
    text = verdict.state.upper()
    return f"{text} (simulated)" if simulated and verdict.well else text


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Label, state and reason in columns; reasons wrap below themselves."""
    print_verdicts(console, outcome)
    print_next(console, outcome)


def print_verdicts(console: Console, outcome: Outcome) -> None:
    """What the node is, and the proof of it."""
    states = [state_text(verdict, simulated=outcome.simulated) for verdict in outcome.verdicts]
    width = max((len(state) for state in states), default=0) + 2
    for verdict, state in zip(outcome.verdicts, states, strict=True):
        text = Text(verdict.text)
        if verdict.state is State.CONFIGURED:
            text.append(": everything that can be read is right" if verdict.subject is Profile.QAT else "")
        if verdict.first:
            text = Text.assemble((verdict.first, "id"), ": ", text)
        head = Text.assemble(
            (f"{NAMES[verdict.subject]:{LABEL}}", "id"), (f"{state:{width}}", _STYLES.get(verdict.state, "warn"))
        )
        if console.width - head.cell_len >= _REASON:
            console.say(text, head)
        else:
            console.say("", head)
            console.say(text, " " * LABEL)
    if any(verdict.well for verdict in outcome.verdicts):
        rows(console, "proof", proof_lines(outcome))


def print_next(console: Console, outcome: Outcome) -> None:
    """What is left to a person, and what to do next: why is behind each command, or below it where one has no room."""
    rows(console, "remaining", [Text(action, style="hint") for action in outcome.remaining])
    column = max((len(item.command) for item in outcome.next), default=0) + 2
    beside = all(LABEL + column + len(item.why) <= console.width for item in outcome.next if item.why)
    for n, (command, why) in enumerate(outcome.next):
        text = Text(command, "hint")
        if beside and why:
            text = Text.assemble(text, (f"{'':{column - len(command)}}{why}", "dim"))
        row(console, "" if n else "next", text, shell=command.startswith(("qatprep ", "sudo ")))
        if why and not beside:
            row(console, "", Text(f"  {why}", "dim"))
