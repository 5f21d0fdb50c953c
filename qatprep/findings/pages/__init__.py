"""The pages of the findings, one for each id: Markdown next to this file, read by `qatprep explain` and on the web.

A file is a stage; README.md lists the stages in order. Below `## ID` a page has the statement that holds when all is
well, in bold, and the sections HEADINGS. Code holds ids alone.
"""

from __future__ import annotations

import fnmatch
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from qatprep.errors import InputError
from qatprep.text import did_you_mean

HEADINGS = ("What it means", "Why it matters", "How it is found", "How to fix")
_INDEX = "README.md"


class Page(NamedTuple):
    id: str
    stage: str
    title: str
    """What holds when all is well; of QP-CRASH, what happened."""
    text: str
    """Markdown: `### Heading`, paragraphs, and commands behind four blanks."""

    def section(self, heading: str) -> tuple[str, ...]:
        """Its paragraphs, each in one line, and its commands, as in Finding.fix; markup is taken out."""
        found: list[str] = []
        _, _, text = f"\n\n{self.text}".partition(f"\n\n### {heading}\n\n")
        for block in text.partition("\n\n### ")[0].split("\n\n"):
            lines = block.splitlines()
            if block.startswith("    "):
                found += [line.strip() for line in lines]
            else:
                found.append(re.sub(r"`([^`]+)`|\*([^*]+)\*|\[([^\]]+)\]\([^)]+\)", r"\1\2\3", " ".join(lines)))
        return tuple(filter(None, found))


@cache
def pages() -> dict[str, Page]:
    """Every page by its id, in the order of the chain."""
    folder = files(__name__)
    found = {}
    for name in re.findall(r"\]\(([\w-]+\.md)\)", folder.joinpath(_INDEX).read_text(encoding="utf-8")):
        head, *parts = re.split(r"^## ", folder.joinpath(name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        stage = head.removeprefix("# ").strip()
        for part in parts:
            id, title, text = part.split("\n\n", 2)
            found[id] = Page(id, stage, title.strip("*"), text.strip("\n"))
    return found


def title(id: str) -> str:
    """The statement that holds when all is well."""
    return pages()[id].title


def find(name: str) -> list[Page]:
    """The pages an id (QP- may be left out), a glob or a stage names. InputError, with what comes close, for none."""
    every = pages().values()
    found = [page for page in every if named(page.id, name)]
    found = found or [page for page in every if same_stage(page.stage, name)]
    if not found:
        raise InputError(f"there is no finding or stage {name!r}", close(name, "qatprep explain lists them all"))
    return found


def named(id: str, pattern: str) -> bool:
    """Whether a pattern is the id or a glob that it matches; case does not matter, and QP- may be left out."""
    glob = pattern.upper()
    return any(fnmatch.fnmatchcase(id, one) for one in (glob, f"QP-{glob}"))


def same_stage(stage: str, pattern: str) -> bool:
    """Whether a pattern is the name of the stage; case, dashes and underscores do not matter."""
    plain = pattern.lower().replace("_", " ").replace("-", " ")
    return plain == stage.replace("-", " ")


def close(name: str, otherwise: str) -> str:
    """A hint with the ids and stages that resemble a name, else `otherwise`."""
    every = pages().values()
    return did_you_mean(name, [*(page.id for page in every), *(page.stage for page in every)], otherwise, most=3)
