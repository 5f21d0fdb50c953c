"""Small pieces of text that several reports share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from qatprep.assess import Skipped
from qatprep.steps.base import Change


def because(item: Skipped) -> str:
    """Why something is skipped, with the id of the finding where there is one."""
    return f"{item.reason} ({item.finding})" if item.finding else item.reason


def compact(bdfs: Sequence[str]) -> str:
    """A list of BDFs as people say it: one, two, or first to last with the number."""
    if len(bdfs) <= 2:
        return ", ".join(bdfs)
    return f"{bdfs[0]} .. {bdfs[-1]} ({len(bdfs)})"


def grouped(changes: Iterable[Change]) -> list[tuple[Change, list[str]]]:
    """Neighbouring changes that differ only in their subject, as one with all subjects."""
    out = []
    for _, same in groupby(changes, key=lambda c: (c.kind, c.what, c.summary.before, c.summary.after)):
        members = list(same)
        out.append((members[0], [change.subject for change in members]))
    return out
