"""The page of a finding, and the list of them all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.text import Text

from qatprep.findings.pages import Page

SCHEMA = "qatprep.explain/1"
_MAX_WIDTH = 100


def print_list(console: Console, pages: Iterable[Page]) -> None:
    """Every id with the statement that holds when all is well, by stage."""
    for stage, members in groupby(pages, key=lambda page: page.stage):
        console.print(Text(stage, style="id"), soft_wrap=True)
        for page in members:
            console.print(Text.assemble("  ", (f"{page.id:14}", "id"), page.title), soft_wrap=True)


def print_page(console: Console, page: Page) -> None:
    """One page: paragraphs wrapped, commands as they are."""
    width = min(console.width, _MAX_WIDTH)
    console.print(Text.assemble((page.id, "id"), f"  {page.title}"), soft_wrap=True)
    facts = [f"stage: {page.stage}", f"for: {', '.join(page.profiles)}"]
    if page.needs:
        facts.append(f"needs: {', '.join(page.needs)}")
    _wrapped(console, Text("; ".join(facts), style="dim"), width)
    for kind, text in page.parts():
        console.print()
        if kind == "commands":
            console.print(Text(text, style="hint"), soft_wrap=True)
        else:
            head, colon, rest = text.partition(":")
            bold = colon and head in ("Why it matters", "How it is found out", "How to mend it")
            _wrapped(console, Text.assemble((f"{head}:", "id"), rest) if bold else Text(text), width)


def _wrapped(console: Console, text: Text, width: int) -> None:
    for line in text.wrap(console, width):
        line.rstrip()
        console.print(line, soft_wrap=True)


def document(pages: Iterable[Page]) -> dict[str, Any]:
    """schema/explain.json."""
    return {
        "schema": SCHEMA,
        "findings": [
            {
                "id": page.id,
                "stage": page.stage,
                "title": page.title,
                "profiles": list(page.profiles),
                "needs": list(page.needs),
                "text": page.text,
            }
            for page in pages
        ],
    }
