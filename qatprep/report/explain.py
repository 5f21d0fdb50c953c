"""The page of a finding, and the list of them all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rich.text import Text

from qatprep.checks.base import Profile
from qatprep.checks.table import BY_ID
from qatprep.findings.pages import Page
from qatprep.report.console import Console

SCHEMA = "qatprep.explain/1"
_MARK = re.compile(r"`([^`]+)`|\[([^\]]+)\]\(([^)]+)\)")
"""Code, and links: of those to other pages the id is enough."""


def print_list(console: Console, pages: Iterable[Page]) -> None:
    """Every id with the statement that holds when all is well, by stage."""
    for stage, members in groupby(pages, key=lambda page: page.stage):
        console.say(Text(stage, style="id"))
        for page in members:
            console.say(page.title, Text.assemble("  ", (f"{page.id:14}", "id")))


def print_page(console: Console, page: Page) -> None:
    """One page: paragraphs wrapped, commands as they are."""
    console.say(page.title, Text.assemble((page.id, "id"), "  "))
    facts = [f"stage: {page.stage}"]
    if _profiles(page):
        facts.append(f"for: {', '.join(_profiles(page))}")
    if _needs(page):
        facts.append(f"needs: {', '.join(_needs(page))}")
    console.say(Text("; ".join(facts), style="dim"))
    heading = False
    for block in page.text.split("\n\n"):
        if not heading:
            console.print()
        heading = block.startswith("### ")
        if heading:
            console.print(Text(block.removeprefix("### "), style="id"))
        elif block.startswith("    "):
            for command in block.splitlines():
                console.say(Text(command, style="hint"), hang=2, shell=True)
        else:
            for item in _items(block):
                console.say(_prose(item), hang=2 if item.startswith("- ") else 0)


def _items(block: str) -> list[str]:
    """A paragraph as one line; a list as one for each item."""
    parts = re.split(r"\n(?=- |\d+\. )", block)
    return [" ".join(line.strip() for line in part.splitlines()) for part in parts]


def _prose(markdown: str) -> Text:
    text = Text()
    last = 0
    for match in _MARK.finditer(markdown):
        text.append(markdown[last : match.start()])
        text.append(match[1] or match[2], style="hint" if match[1] else "id")
        last = match.end()
    return text.append(markdown[last:])


def _profiles(page: Page) -> list[str]:
    """What a node is for when this is judged on it; none for what only `qatprep inspect` finds."""
    check = BY_ID.get(page.id)
    return [profile.value for profile in Profile if check is not None and profile in check.profiles]


def _needs(page: Page) -> list[str]:
    return list(BY_ID[page.id].needs) if page.id in BY_ID else []


def document(pages: Iterable[Page]) -> dict[str, Any]:
    """schema/explain.json."""
    return {
        "schema": SCHEMA,
        "findings": [
            {
                "id": page.id,
                "stage": page.stage,
                "title": page.title,
                "profiles": _profiles(page),
                "needs": _needs(page),
                "text": page.text,
            }
            for page in pages
        ],
    }
