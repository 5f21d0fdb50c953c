"""How the engines' reports look."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from qatprep.crypto.result import ProviderResult
from qatprep.crypto.smoke import SmokeReport
from qatprep.report.console import Console
from qatprep.report.marks import Mark, mark

_MARKS: dict[str, Mark] = {"passed": "ok", "failed": "fail", "unavailable": "skipped", "not run": "skipped"}


def smoke_document(report: SmokeReport) -> dict[str, Any]:
    return {
        "schema": "qatprep.smoke/1",
        "asked": report.asked,
        "host": report.host,
        "ok": report.ok,
        "verdict": report.verdict,
        "accelerated": list(report.accelerated),
        "providers": [_provider(result) for result in report.results],
    }


def _provider(result: ProviderResult) -> dict[str, Any]:
    return {
        "provider": result.provider,
        "state": result.state,
        "code": result.code,
        "summary": result.summary,
        "fix": result.fix,
        "library": result.library,
        "key": result.key,
        "signatures": result.signatures,
        "wrong": result.wrong,
        "checked_by": result.checked_by,
        "evidence": list(result.evidence),
    }


def print_smoke(console: Console, report: SmokeReport) -> None:
    wide = max((len(result.provider) for result in report.results), default=0)
    for result in report.results:
        words = Text(result.summary)
        for note in result.evidence:
            words.append(f"\n{note}", style="dim")
        if result.fix:
            words.append(f"\n{result.fix}", style="hint")
        head = Text.assemble(mark(console, _MARKS[result.state]), " ", (f"{result.provider:{wide}}", "id"), " ")
        console.say(words, head)
    console.print(Text(report.verdict, style="ok" if report.ok else "fail"))
