"""The configuration for people and programs: its mistakes, its effective values and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qatprep.config import DEFAULTS, Mistake
from qatprep.config.writing import PfRow, Row
from qatprep.report.console import Console
from qatprep.report.rows import columns
from qatprep.report.text import braced
from qatprep.text import plural
from qatprep.yaml_text import Place


def fits(source: str, pfs: int, host: str, warnings: int) -> str:
    """What `config check` says of a configuration without mistakes, but perhaps with warnings."""
    fit = f", and the {plural(pfs, 'QAT PF')} of {host} can be set so" if pfs else ""
    return f"{source}: {plural(warnings, 'warning') if warnings else 'no mistakes'}{fit}"


def check_document(host: str, source: str, mistakes: Sequence[Mistake], warnings: Sequence[str]) -> dict[str, Any]:
    """schema qatprep.config-check/1"""
    return {
        "schema": "qatprep.config-check/1",
        "host": host,
        "config": source,
        "mistakes": [
            {"source": _source(one.place), "key": one.key, "text": one.text, "hint": one.hint} for one in mistakes
        ],
        "warnings": list(warnings),
    }


def show_document(host: str, source: str, keys: Sequence[Row], pfs: Sequence[PfRow]) -> dict[str, Any]:
    """schema qatprep.config-show/1"""
    return {
        "schema": "qatprep.config-show/1",
        "host": host,
        "config": source,
        "values": [{"key": row.key, "value": row.value, "source": _source(row.place)} for row in keys],
        "devices": [
            {
                "device": pf.bdf,
                "family": pf.family,
                "numa_node": pf.numa_node,
                "values": [{"key": row.key, "value": row.value, "source": _source(row.place)} for row in pf.values],
            }
            for pf in pfs
        ],
    }


def print_show(console: Console, keys: Sequence[Row], pfs: Sequence[PfRow]) -> None:
    """A line for each key, then one for each group of PFs that are alike."""
    rows = [(row.key, _value(row.value), _place(row.place)) for row in keys]
    groups: dict[tuple[tuple[str, Any, str], ...], list[PfRow]] = {}
    for pf in pfs:
        groups.setdefault(tuple((row.key, row.value, _place(row.place)) for row in pf.values), []).append(pf)
    _print(console, rows)
    for values, mine in groups.items():
        families = ", ".join(dict.fromkeys(pf.family for pf in mine))
        console.print()
        heading = Text(f"{plural(len(mine), 'PF')} ({families}): ", style="id")
        console.say(Text("\n".join(braced([pf.bdf for pf in mine])), style="id"), heading)
        _print(console, [(key, _value(value), place) for key, value, place in values], "  ")


def _print(console: Console, rows: Sequence[tuple[str, str, str]], indent: str = "") -> None:
    columns(console, ("", "", ""), [(f"{indent}{key}", value, Text(place, "dim")) for key, value, place in rows])


def _value(value: Any) -> str:
    if value is None:
        return "(unset)"
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _place(place: Place) -> str:
    return "default" if place.source == DEFAULTS else f"{place.source}:{place.line}" if place.line else place.source


def _source(place: Place) -> dict[str, Any]:
    """default, a line of a file, or a setting of the command line."""
    kind = "default" if place.source == DEFAULTS else "file" if place.line else "set"
    return {"kind": kind, "text": str(place), "line": place.line, "column": place.column}
