"""The language of every message and page: words that read like a translation, and what is written instead.

SHOWN holds for what users read: the strings of the program and all Markdown. EVERYWHERE holds for docstrings and
comments as well. A word that another program prints, or a name of ours in code, is in neither.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EVERYWHERE = {
    r"once more|anew": "again",
    r"mend(?:s|ed|ing)?": "fix",
    r"hangs? on": "depends on, is attached to",
    r"in vain": "without success",
    r"beside": "next to, with, in addition to",
    r"shall": "is to, must",
    r"altogether": "completely",
    r"half[ -]way": "partway",
    r"so already": "already as wanted",
    r"comes? upon": "meets",
    r"thereof|therein|whereupon|thrice|hitherto|henceforth": "plain words",
    r"(?:is|are|was|were) told": "say who reports what: is printed, is reported, is notified, is set",
    r"(?<!there )(?:is|are|was|were) no (?:BDF|file|table|class|duration|quantity|port|news|script|terminal|failure)": (
        "is not a ..."
    ),
    r"not to be (?:seen|had|read|trusted|tried)": "unknown, cannot be ..., must not be ...",
    r"(?:has|have|had) (?:it|them) not": "does not have it",
    r"wish(?:es|ed)?": "configuration",
    r"the paper(?:'s)?": "Intel's guide",
    r"(?:stands?|stood) (?:in|at|among|below|before|for|on)": "is in, is at, means, counts as",
    r"of old": "old",
}
SHOWN = {
    r"(?:some|no|any|every)body(?: else)?(?:'s)?": "name who: a process, a user, another program; or the passive",
    r"whoever": "the program that, every client that",
    r"tak(?:e|es|en|ing) (?:\w+ ){0,3}away|took (?:\w+ ){0,3}away": "remove",
    r"look(?:s|ed)? (?:at|into)": "check, read, see, inspect",
    r"tells? (?:why|which|whose|how|more)": "says why",
    r"may do(?=[:.,;])": "may work",
}


def _pattern(words: dict[str, str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)


def python(path: Path) -> Iterator[tuple[bool, int, str]]:
    """(whether users read it, line, text) of each string, docstring and comment."""
    source = path.read_text()
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield id(node) not in docstrings, node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield False, token.start[0], token.string


def markdown(path: Path) -> Iterator[tuple[bool, int, str]]:
    yield from ((True, number, line) for number, line in enumerate(path.read_text().splitlines(), 1))


FILES = [
    *(p for folder in ("qatprep", "emulator/qat_emulator") for p in sorted((ROOT / folder).rglob("*.py"))),
    *(p for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "emulator/README.md")),
    *(p for folder in ("docs", "qatprep/findings/pages", "playbooks", "tests") for p in (ROOT / folder).rglob("*.md")),
]


def wrong(path: Path) -> Iterator[str]:
    for shown, line, text in (python if path.suffix == ".py" else markdown)(path):
        flat = " ".join(text.split())
        for table in (EVERYWHERE, SHOWN) if shown else (EVERYWHERE,):
            for found in _pattern(table).finditer(flat):
                instead = next(right for word, right in table.items() if re.fullmatch(word, found[0], re.IGNORECASE))
                around = flat[max(0, found.start() - 30) : found.end() + 30]
                yield f"{path.relative_to(ROOT)}:{line}: {found[0]!r} in '{around}'; write: {instead}"


@pytest.mark.parametrize("folder", sorted({str(p.relative_to(ROOT).parent) for p in FILES}))
def test_the_language_is_plain(folder: str) -> None:
    found = [line for path in FILES if str(path.relative_to(ROOT).parent) == folder for line in wrong(path)]
    assert not found, "\n".join(found)


def test_the_words_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The node is told once more.\nNobody mends it.\nTake the ids away, they stand in the file.\n")
    lines = [text for _, _, text in markdown(page)]
    found = [m[0] for text in lines for table in (EVERYWHERE, SHOWN) for m in _pattern(table).finditer(text)]
    assert found == ["is told", "once more", "mends", "Nobody", "stand in", "Take the ids away"]
