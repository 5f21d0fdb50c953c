"""The offline pages, one for each finding id, and docs/findings.md, which is made of them."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from qatprep.checks.base import Profile
from qatprep.checks.table import CHECKS, CRASH, CRASH_PAGE, CRASH_TITLE, same_stage
from qatprep.errors import InputError


@dataclass(frozen=True)
class Page:
    id: str
    stage: str
    title: str
    """What holds when all is well; of QP-CRASH, what happened."""
    profiles: tuple[str, ...]
    needs: tuple[str, ...]
    text: str

    def parts(self) -> list[tuple[str, str]]:
        """ "prose" with its lines joined, or "commands" as they stand."""
        found = []
        for part in self.text.split("\n\n"):
            if part.startswith("    "):
                found.append(("commands", part))
            else:
                found.append(("prose", " ".join(part.splitlines())))
        return found


def pages() -> tuple[Page, ...]:
    """Every page, in the order of the checks."""
    made = [
        Page(c.id, c.stage.value, c.title, tuple(p.value for p in Profile if p in c.profiles), c.needs, c.explain)
        for c in CHECKS
    ]
    return (*made, Page(CRASH, "any", CRASH_TITLE, (Profile.QAT.value, Profile.CRYPTOMB.value), (), CRASH_PAGE))


def find(name: str) -> list[Page]:
    """The pages an id, a glob or a stage names. InputError, with what comes close, for none."""
    every = pages()
    found = [page for page in every if fnmatch.fnmatchcase(page.id, name.upper()) or same_stage(page.stage, name)]
    if not found:
        names = {page.id for page in every} | {page.stage.upper() for page in every}
        close = difflib.get_close_matches(name.upper(), sorted(names), 3, 0.6)
        close = [word if word.startswith("QP-") else word.lower() for word in close]
        hint = f"did you mean {' or '.join(close)}?" if close else "qatprep explain lists them all"
        raise InputError(f"there is no finding or stage {name!r}", hint)
    return found


def markdown(every: Iterable[Page]) -> str:
    """docs/findings.md."""
    out = [
        "# Findings",
        "",
        "What `qatprep doctor` can find. Ids are API and never reused. `qatprep explain ID` prints these pages",
        "offline; this file is made of them by `python -m pytest tests/checks --golden-update`.",
        "",
        "A finding that something above it in the chain has broken is not judged: its status is *blocked*.",
    ]
    stage = ""
    for page in every:
        if page.stage != stage:
            stage = page.stage
            out += ["", f"## {stage}"]
        needs = f" Needs {', '.join(page.needs)}." if page.needs else ""
        out += [
            "",
            f"### {page.id}",
            "",
            f"*{page.title[0].upper()}{page.title[1:]}.* For {', '.join(page.profiles)}.{needs}",
        ]
        for kind, text in page.parts():
            out += ["", text if kind == "commands" else _escaped(text)]
    return "\n".join(out) + "\n"


def _escaped(text: str) -> str:
    """Placeholders such as <PF> would be taken for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
