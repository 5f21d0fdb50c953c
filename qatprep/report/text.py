"""Small pieces of text that several reports share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from qatprep.text import printable

if TYPE_CHECKING:  # device verbs share this file, and wait for no check
    from qatprep.assess import Skipped
    from qatprep.steps.base import Change


_TOGETHER = 8
"""BDFs on one line."""


def because(item: Skipped) -> str:
    """Why something is skipped, with the id of the finding where there is one."""
    return f"{item.reason} ({item.finding})" if item.finding else item.reason


def braces(bdfs: Sequence[str]) -> str:
    """BDFs as a shell would expand them: "0000:{6b,70}:00.0", "0000:6b:00.{1,2}"; several such where they differ in
    more than one part."""
    groups: dict[tuple[str, str], list[str]] = {}
    for bdf in bdfs:
        head, _, function = bdf.rpartition(":")
        domain, _, bus = head.rpartition(":")
        groups.setdefault((domain, function), []).append(bus)
    if len(groups) > 1 and len({bdf.rpartition(":")[0] for bdf in bdfs}) < len(groups):
        by_bus: dict[str, list[str]] = {}
        for bdf in bdfs:
            by_bus.setdefault(bdf.rpartition(":")[0], []).append(bdf.rpartition(":")[2])
        return " ".join(f"{bus}:{_functions(functions)}" for bus, functions in by_bus.items())
    return " ".join(f"{domain}:{_set(buses)}:{function}" for (domain, function), buses in groups.items())


def braced(bdfs: Sequence[str]) -> list[str]:
    """The same on lines of eight at most."""
    return [braces(bdfs[n : n + _TOGETHER]) for n in range(0, len(bdfs), _TOGETHER)]


def _functions(functions: list[str]) -> str:
    slots: dict[str, list[str]] = {}
    for function in functions:
        slot, _, number = function.partition(".")
        slots.setdefault(slot, []).append(number)
    if len({tuple(numbers) for numbers in slots.values()}) == 1:
        return f"{_set(list(slots))}.{_set(next(iter(slots.values())))}"
    return _set([f"{slot}.{_set(numbers)}" for slot, numbers in slots.items()])


def _set(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else "{" + ",".join(parts) + "}"


def compact(bdfs: Sequence[str]) -> str:
    """A list of BDFs as people say it: one, two, or first to last with the number."""
    if len(bdfs) <= 2:
        return ", ".join(bdfs)
    return f"{bdfs[0]} to {bdfs[-1]} ({len(bdfs)})"


def grouped(changes: Iterable[Change]) -> list[tuple[Change, list[str]]]:
    """Neighbouring changes that differ only in their subject, as one with all subjects."""
    out = []
    for _, same in groupby(changes, key=lambda c: (c.kind, c.what, c.summary.before, c.summary.after)):
        members = list(same)
        out.append((members[0], [change.subject for change in members]))
    return out


def valid(text: str) -> str:
    """A text of several lines as any document may hold it: XML has no control characters and no lone surrogates."""
    return printable(text, "\n\t")
