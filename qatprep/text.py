"""Phrases that every room may use."""

from __future__ import annotations

from collections.abc import Iterable


def many(number: int, noun: str, plural: str = "") -> str:
    """1 PF, 2 PFs; the plural where it is not the noun and an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Iterable[str]) -> str:
    """a, b and c."""
    every = list(items)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}"
