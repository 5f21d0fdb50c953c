"""Asking before something is changed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from qatprep.errors import InputError


def agreed(costs: Sequence[str], question: str) -> bool:
    """Whether the person at the terminal agrees.

    Where nobody can be asked, what costs nothing goes ahead; what costs something is an InputError: it has to be asked
    for by --yes.
    """
    if sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty():
        import typer

        for cost in costs:
            typer.echo(f"cost: {cost}", err=True)
        return typer.confirm(question, default=False, err=True)
    if costs:
        raise InputError(f"this would cost something, and nobody is here to be asked: {'; '.join(costs)}", "say --yes")
    return True
