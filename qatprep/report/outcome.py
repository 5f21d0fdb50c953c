"""The last word on a host: verdicts, proof, what remains, what to do next. The same block wherever it is printed."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from qatprep.assess import State, Verdict
from qatprep.checks.base import Profile
from qatprep.outcome import Outcome, proof_lines

_NAMES = {Profile.QAT: "QAT", Profile.CRYPTOMB: "CryptoMB"}
_STYLES = {State.READY: "ok", State.CONFIGURED: "ok", State.NOT_READY: "fail", State.NOT_POSSIBLE: "fail"}
_LABEL = 16


def state_text(verdict: Verdict, *, simulated: bool) -> str:
    """CONFIGURED, or CONFIGURED (simulated): what a simulated host can never prove says so."""
    text = verdict.state.upper()
    return f"{text} (simulated)" if simulated and verdict.well else text


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Label, state and reason in columns; reasons wrap below themselves."""
    states = [state_text(verdict, simulated=outcome.simulated) for verdict in outcome.verdicts]
    width = max((len(state) for state in states), default=0) + 2
    for verdict, state in zip(outcome.verdicts, states, strict=True):
        text = Text(verdict.text)
        if verdict.state is State.CONFIGURED:
            text.append(": everything that can be read is right" if verdict.subject is Profile.QAT else "")
        if verdict.first:
            text = Text.assemble((verdict.first, "id"), ": ", text)
        head = Text.assemble(
            (f"{_NAMES[verdict.subject]:{_LABEL}}", "id"), (f"{state:{width}}", _STYLES.get(verdict.state, "warn"))
        )
        _hanging(console, head, text)
    if any(verdict.well for verdict in outcome.verdicts):
        _rows(console, "proof", [Text(line) for line in proof_lines(outcome)])
    _rows(console, "remaining", [Text(action, style="hint") for action in outcome.remaining])
    column = max((len(item.command) for item in outcome.next), default=0) + 2
    for n, (command, why) in enumerate(outcome.next):
        line = Text.assemble((f"{'next' if n == 0 else '':{_LABEL}}", "dim"), (command, "hint"))
        if why and _LABEL + column + len(why) <= console.width:  # a command is whole, whatever the width
            line.append(f"{'':{column - len(command)}}{why}", style="dim")
        console.print(line, soft_wrap=True)


def _rows(console: Console, label: str, lines: list[Text]) -> None:
    for n, line in enumerate(lines):
        _hanging(console, Text(f"{label if n == 0 else '':{_LABEL}}", style="dim"), line)


def _hanging(console: Console, head: Text, text: Text) -> None:
    room = max(20, min(console.width, 120) - head.cell_len)
    for n, line in enumerate(text.wrap(console, room) or [Text()]):
        line.rstrip()
        console.print(Text.assemble(head if n == 0 else " " * head.cell_len, line), soft_wrap=True)
