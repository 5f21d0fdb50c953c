"""The one form of a finding, for people and for programs: what doctor and inspect print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.text import Text

from qatprep.findings import CRASH, LOOKED, QUOTES, SEEN, Finding, Location, Status
from qatprep.findings.pages import pages, title
from qatprep.report.console import Console
from qatprep.report.marks import Mark, mark
from qatprep.text import listed

_SUBJECTS = 4
_EVIDENCE = 6
"""How many are shown to people; the JSON document has them all."""
_MARKS: dict[Status, Mark] = {
    Status.OK: "ok",
    Status.WARN: "warn",
    Status.FAIL: "fail",
    Status.UNKNOWN: "unknown",
    Status.BLOCKED: "blocked",
    Status.SKIPPED: "skipped",
}
RANK = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.BLOCKED, Status.OK, Status.SKIPPED)
_SUMMED = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.OK, Status.BLOCKED, Status.SKIPPED)
_TOLD = (Status.FAIL, Status.UNKNOWN, Status.WARN)
_INDENT = 6
_LABEL = 9
STAGE = 14


def _row(console: Console, label: str, text: str, *, shell: bool = False) -> None:
    """A label and a paragraph, or a command, next to it."""
    head = Text(f"{'':{_INDENT}}{label:{_LABEL}}", style="dim")
    console.say(Text(text, "hint" if shell else ""), head, shell=shell)


def stage_of(f: Finding) -> str:
    """The stage of its page; what a check that crashed was about is that of the check."""
    of = f.evidence[0].path if f.id == CRASH else f.id
    return pages()[of if of in pages() else f.id].stage


def print_stage(
    console: Console, stage: str, members: list[Finding], bootstrap: str, *, every: bool, verbose: bool
) -> None:
    """The checks of one stage: half a line, then what they found, and with `every` what is well."""
    _print_group(console, stage, members, summary(members))
    for f in members:
        if f.status in _TOLD:
            _print_finding(console, f, bootstrap, verbose=verbose)
        elif _explained(f):
            _print_finding(console, f, bootstrap, verbose=True)
        elif every or _quotes(f):
            _headline(console, f)
            if _quotes(f):
                _evidence(console, f)


def _explained(f: Finding) -> bool:
    """Whether it was asked for by its id, and is explained although nothing here judges it."""
    return f.status is Status.SKIPPED and bool(f.fix)


def _quotes(f: Finding) -> bool:
    """Whether its evidence is shown always: lines of the kernel log, which nobody is to miss."""
    return f.id == QUOTES and any(e.path not in (SEEN, LOOKED) for e in f.evidence)


def _print_group(console: Console, stage: str, members: list[Finding], told: Text) -> None:
    worst = min((f.status for f in members), key=RANK.index)
    head = Text.assemble(symbol(console, worst), (f" {stage:{STAGE}}", "id"))
    console.say(told, head)


def symbol(console: Console, status: Status) -> Text:
    return mark(console, _MARKS[status])


def summary(members: list[Finding]) -> Text:
    """A stage in half a line: what is wrong and what it waits for, then what the checks that passed have seen."""
    worst: dict[str, Status] = {}
    for f in members:
        # Well for some devices, blocked for others: it counts as well, and what blocks it is reported nevertheless.
        status = Status.OK if {f.status, worst.get(f.id)} == {Status.OK, Status.BLOCKED} else f.status
        worst[f.id] = min(worst.get(f.id, Status.SKIPPED), status, key=_SUMMED.index)
    count = Counter(worst.values())
    parts = _counts(count)
    own = {f.id for f in members}  # a stage is not blocked by itself: its failure is shown right below
    roots = (id for f in members if f.status is Status.BLOCKED for id in f.blocked_by)
    by = [id for id in dict.fromkeys(roots) if id not in own]
    if by:
        number = "" if count[Status.BLOCKED] else " in part"
        parts.append(Text(f"waits{number} for {listed(by)}", style="blocked"))
    told = [e.value for f in members if f.status is Status.OK for e in f.evidence if e.path == SEEN]
    parts += [Text(text) for text in told]
    if not parts and count[Status.OK]:
        parts.append(Text(f"{count[Status.OK]} ok"))
    if not parts:
        skipped = [f for f in members if f.status is Status.SKIPPED]
        why = dict.fromkeys("not visible on the node" if _explained(f) else f.cause for f in skipped)
        parts.append(Text(f"skipped: {'; '.join(why)}", style="skipped"))
    return Text("; ").join(parts)


def _counts(count: Counter[Status], *also: Status) -> list[Text]:
    names = {
        Status.FAIL: "failed",
        Status.UNKNOWN: "unknown",
        Status.WARN: "warning" if count[Status.WARN] == 1 else "warnings",
        **dict.fromkeys(also, "ok"),
    }
    return [Text(f"{count[status]} {name}", style=str(status)) for status, name in names.items() if count[status]]


def _headline(console: Console, f: Finding) -> None:
    word = {Status.OK: "ok", Status.BLOCKED: "blocked", Status.SKIPPED: "skipped"}.get(f.status, f.status.upper())
    head = Text.assemble("    ", (f.id, "id"), " ", (word, str(f.status)), "  ")
    text = Text(f.title)
    if f.blocked_by:
        text.append(f" (by {', '.join(f.blocked_by)})", style="blocked")
    elif f.status is Status.SKIPPED and not f.fix:
        text.append(f" ({f.cause})", style="skipped")
    elif f.status is Status.OK and (seen := [e.value for e in f.evidence if e.path in (SEEN, LOOKED)]):
        text.append(f" ({'; '.join(seen)})", style="dim")
    console.say(text, head, hang=_INDENT)


def _print_finding(console: Console, f: Finding, bootstrap: str, *, verbose: bool) -> None:
    _headline(console, f)
    if f.location:
        at = f.location
        place = f"{at.source}:{at.line}  {at.object}{of_file(at.document, at.item, at.template)}".rstrip()
        _row(console, "where", place)
    if f.subjects and not (len(f.subjects) == 1 and f.subjects[0] in f.title):
        _row(console, "where", some(f.subjects, len(f.subjects) if verbose else _SUBJECTS))
    if verbose or _quotes(f):
        _evidence(console, f)
    if f.cause:
        _row(console, "cause", f.cause)
    if f.step:
        _row(console, "fix", f"qatprep {f.step}{bootstrap}", shell=True)
    elif f.instead:
        _row(console, "fix", f.instead)
    label = fix_label(f)
    for step in f.fix:
        _row(console, label, step, shell=is_command(step))
        label = ""


def of_file(document: int, item: int | None, template: str) -> str:
    """Which part of a file an object is, " (document 2)"; "" for the one object of a file."""
    parts = [f"document {document}"] if document > 1 else []
    parts += [f"items[{item}]"] if item is not None else []
    parts += [f"rendered from {template}"] if template else []
    return f" ({', '.join(parts)})" if parts else ""


def fix_label(f: Finding) -> str:
    """What Finding.fix is called on the screen, in the report and in JUnit: "fix" is what qatprep does itself."""
    own = any(step.startswith("qatprep ") for step in f.fix)
    return "fix" if own and not f.step and not f.instead else "by hand"


def is_command(step: str) -> bool:
    """Whether a step of Finding.fix is to be pasted; text begins with a capital letter."""
    return step[:1] == "/" or step[:1].islower()


def _evidence(console: Console, f: Finding) -> None:
    read = [e for e in f.evidence if e.path != SEEN]  # which the line of the stage has said
    for n, e in enumerate(read[:_EVIDENCE]):
        _row(console, "" if n else "seen", f"{e.path}: {e.value}")
    if len(read) > _EVIDENCE:
        _row(console, "", f"and {len(read) - _EVIDENCE} more (--output json has all)")


def some(subjects: Sequence[str], limit: int) -> str:
    """BDFs; those of one bus in a row without saying it again."""
    rows: dict[str, list[str]] = {}
    for bdf in subjects[:limit]:
        bus, _, rest = bdf.rpartition(":")
        rows.setdefault(bus, []).append(rest)
    shown = ", ".join(f"{bus}:{' '.join(rest)}" for bus, rest in rows.items())
    return shown if len(subjects) <= limit else f"{shown} and {len(subjects) - limit} more"


def print_findings(console: Console, findings: Sequence[Finding], well: str) -> None:
    """Findings without a host around them, by stage; `well` where there are none."""
    if not findings:
        console.say(Text(well, style="ok"), symbol(console, Status.OK) + Text(" "))
        return
    order = {id: number for number, id in enumerate(pages())}
    ordered = sorted(findings, key=lambda f: order[f.id])
    for stage, members in groupby(ordered, key=stage_of):
        group = list(members)
        _print_group(console, stage, group, Text(", ").join(_counts(Counter(f.status for f in group), Status.OK)))
        for f in group:
            if f.status in _TOLD:
                _print_finding(console, f, "", verbose=True)
            else:
                _headline(console, f)
    told = next((f for status in _TOLD for f in findings if f.status is status), None)
    if told is not None:
        hint(console, "read on", f"qatprep explain {told.id}")


def hint(console: Console, label: str, command: str, rest: str = "") -> None:
    """A command by which to go on."""
    console.say(Text.assemble((command, "hint"), (rest, "dim")), Text(f"{label}: ", "dim"))


def document(f: Finding) -> dict[str, Any]:
    """The same in every document: doctor, inspect-*; `location` is there for what is in a file."""
    located = {"location": _location(f.location)} if f.location else {}
    return {
        "id": f.id,
        "stage": stage_of(f),
        "status": str(f.status),
        "title": f.title,
        "statement": title(f.id),
        "subjects": list(f.subjects),
        "evidence": [{"path": e.path, "value": e.value} for e in f.evidence],
        "cause": f.cause,
        "fix": [*([f.instead] if f.instead else []), *f.fix],
        "step": f.step,
        "blocked_by": list(f.blocked_by),
        **located,
    }


def _location(location: Location) -> dict[str, Any]:
    return {
        "line": location.line,
        "document": location.document,
        "item": location.item,
        "template": location.template or None,
        "object": location.object or None,
        "path": location.path,
    }
