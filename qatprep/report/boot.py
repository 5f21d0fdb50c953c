"""The run at boot, as lines of a log and as a document."""

from __future__ import annotations

from typing import Any

from qatprep.engine.boot import Boot
from qatprep.outcome import Outcome
from qatprep.report.outcome import NAMES, state_text
from qatprep.report.plan import result_document
from qatprep.report.text import because, compact, grouped
from qatprep.text import plural


def lines(boot: Boot, outcome: Outcome) -> list[str]:
    """What was done, what was not, and the verdict on the node."""
    result = boot.result
    out = [f"{compact(subjects)} {change.what}: {change.summary.after}" for change, subjects in grouped(result.made)]
    if result.status == "applied":
        out.append(f"ready: {plural(len(result.made), 'change')}, run {result.run}")
    elif result.status == "unchanged":
        out.append("nothing to do")
    else:
        out.append(f"{result.status}: {result.failure.message if result.failure else 'nothing was prepared'}")
    out += [f"not undone: {line}" for line in result.not_undone]
    out += [f"skipped: {item.subject}, {because(item)}" for item in result.skipped]
    out += [f"given up: {bdf}, {failure.message}" for bdf, failure in boot.given_up.items()]
    for verdict in outcome.verdicts:
        first = f"{verdict.first}: " if verdict.first else ""
        out.append(
            f"{NAMES[verdict.subject]}: {state_text(verdict, simulated=outcome.simulated)}, {first}{verdict.text}"
        )
    out += [f"remaining: {action}" for action in outcome.remaining]
    return out


def document(boot: Boot, host: str, config: str) -> dict[str, Any]:
    """schema qatprep.bootstrap/1, with the devices that were given up."""
    given = [{"subject": bdf, "reason": failure.message} for bdf, failure in boot.given_up.items()]
    return {**result_document(boot.result, host, config), "given_up": given}
