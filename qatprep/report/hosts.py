"""The simulated hosts: a list, or one story."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qatprep.report.console import Console
from qatprep.simulator.scenarios import Findings, Scenario
from qatprep.text import plural

SCHEMA = "qatprep.hosts/1"


def print_hosts(console: Console, scenarios: Sequence[Scenario]) -> None:
    """One line a host."""
    wide = max((len(s.name) for s in scenarios), default=0)
    for s in scenarios:
        console.say(s.title, Text(f"{s.name:{wide}}  ", style="id"))
    console.print()
    console.print(
        Text.assemble(
            (f"{plural(len(scenarios), 'host')}; ", "dim"),
            ("qatprep hosts NAME", "hint"),
            (" shows one's story, ", "dim"),
            ("qatprep doctor --simulate NAME", "hint"),
            (" shows it", "dim"),
        )
    )


def print_story(console: Console, s: Scenario) -> None:
    console.say(s.title, Text.assemble((s.name, "id"), "  "))
    console.print()
    rows = [("story", s.story), ("source", s.source), ("kernel", s.kernel), ("doctor", _found(s.findings, s.profile))]
    rows.append(("after", _found(s.after, s.profile) if s.after is not None else "bootstrap cannot fix it"))
    for label, words in rows:
        console.say(" ".join(words.split()), Text(f"{label:8}", style="dim"))


def _found(findings: Findings, profile: str) -> str:
    parts = [
        f"{word}: {', '.join(ids)}"
        for word, ids in (("failed", findings.fail), ("warning", findings.warn), ("unknown", findings.unknown))
        if ids
    ]
    return f"{'; '.join(parts) or 'nothing to complain about'} (profile {profile})"


def document(scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """schema/hosts.json."""
    return {
        "schema": SCHEMA,
        "hosts": [
            {
                "name": s.name,
                "title": s.title,
                "story": " ".join(s.story.split()),
                "source": " ".join(s.source.split()),
                "kernel": s.kernel,
                "profile": s.profile,
                "findings": _lists(s.findings),
                "after": _lists(s.after) if s.after is not None else None,
            }
            for s in scenarios
        ],
    }


def _lists(findings: Findings) -> dict[str, list[str]]:
    return {"fail": list(findings.fail), "warn": list(findings.warn), "unknown": list(findings.unknown)}
