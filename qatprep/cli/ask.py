"""Asking before something is changed."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qatprep.errors import Unconfirmed
from qatprep.text import printable

if TYPE_CHECKING:
    from qatprep.cli.session import Session
    from qatprep.engine.bootstrap import Result


def agreed(costs: Sequence[str], question: str) -> bool:
    """Whether the person at the terminal agrees.

    Where nobody can be asked, what costs nothing goes ahead; what costs something is Unconfirmed: it has to be asked
    for by --yes. KeyboardInterrupt when he ends the question instead of answering it.
    """
    if sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty():
        from qatprep.report.fold import fitted

        for cost in costs:
            sys.stderr.write(fitted(f"cost: {printable(cost)}", sys.stderr, os.environ, 6) + "\n")
        return _answer(question)
    if costs:
        raise Unconfirmed(
            f"this has a cost that must be confirmed, and stdin is not a terminal: {'; '.join(costs)}", "say --yes"
        )
    return True


def say_unconfirmed(session: Session, result: Result) -> None:
    """Why a run with a cost was not begun; nothing for one that ended in another way."""
    if result.status == "unconfirmed" and result.failure:
        session.error(result.failure.message, fix=result.failure.hint)


def _answer(question: str) -> bool:
    # Not typer.confirm, which reads with input() and so writes the end of its question to stdout, among the data.
    while True:
        sys.stderr.write(f"{printable(question)} [y/N]: ")
        sys.stderr.flush()
        with contextlib.suppress(io.UnsupportedOperation):
            _wait_for(sys.stdin.fileno())
        answer = sys.stdin.readline()
        if not answer:  # Ctrl-D
            raise KeyboardInterrupt
        if answer.strip().lower() in ("", "n", "no"):
            return False
        if answer.strip().lower() in ("y", "yes"):
            return True


def _wait_for(stdin: int) -> None:
    """Wait until something can be read, or a signal's handler raises.

    A signal that comes just before read(2) would leave that waiting: Python calls handlers only between bytecodes. It
    writes to the pipe as well, and so ends this.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(wake)
    try:
        while stdin not in select.select([stdin, woken], [], [])[0]:
            os.read(woken, 64)
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wake)
