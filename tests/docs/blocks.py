"""The commands of the documents: those in blocks, and those that a sentence names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import typer.main
from markdown_it import MarkdownIt

from qatprep.cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
_MARK = re.compile(r"<!-- not run by the tests: ([^>]+) -->\s*")
_COMMAND = re.compile(
    r"(\$ |sudo |cd |export |unset |echo |\./dev|qatprep |qat-emulator |pip |python3? |ansible-|kubectl |podman |jq "
    r"|QATPREP_\w+=)"
)


class Block(NamedTuple):
    document: str
    line: int
    commands: tuple[str, ...]
    """As typed, without prompt, sudo and the words that explain them."""
    why_not: str
    """Why the tests do not run it, "" when they do."""

    @property
    def name(self) -> str:
        return f"{self.document}:{self.line}"


def blocks() -> list[Block]:
    """Every block of commands."""
    return [block for document in DOCUMENTS for block in _blocks(document)]


def _blocks(document: Path) -> Iterator[Block]:
    before = ""
    for token in MarkdownIt("commonmark").parse(document.read_text()):
        if token.type in ("fence", "code_block") and token.info.strip() in ("", "sh"):
            lines = [line for line in token.content.splitlines() if line.strip()]
            if lines and _COMMAND.match(lines[0].strip()):
                assert token.map is not None
                mark = _MARK.fullmatch(before)
                name = str(document.relative_to(ROOT))
                yield Block(name, token.map[0] + 1, tuple(filter(None, map(command, lines))), mark[1] if mark else "")
        before = token.content if token.type == "html_block" else ""


def dead_marks() -> list[str]:
    """Marks that no block of commands follows."""
    used = sum(bool(block.why_not) for block in blocks())
    every = [f"{d.name}: {why}" for d in DOCUMENTS for why in _MARK.findall(d.read_text())]
    return every if len(every) != used else []


def named() -> Iterator[tuple[str, str]]:
    """Document and every command of qatprep that a sentence or a cell of a table names."""
    parser = MarkdownIt("commonmark").enable("table")
    for document in DOCUMENTS:
        for token in parser.parse(document.read_text()):
            for part in token.children or []:
                if part.type == "code_inline" and re.match(r"(sudo )?qatprep [a-z]", part.content):
                    yield document.name, command(part.content)


def command(line: str) -> str:
    """A line without its prompt, sudo, and the words that explain it; what it would write below /etc it writes here."""
    plain = re.split(r"\s{2,}|\s#\s", re.sub(r"^(\$ )?(sudo )?", "", line.strip()))[0]
    return plain.replace("> /etc/", "> ")


def mistakes(text: str) -> list[str]:
    """The verb and the options of a command of qatprep that do not exist."""
    found: list[str] = []
    for call in re.findall(r"(?<![\w/.-])qatprep ((?:(?![|;&<>]).)+)", text):
        words = [word.strip("'\"") for word in call.split()]
        at: Any = _tree()
        options = _options(at)
        for word in words:
            if hasattr(at, "list_commands") and not word.startswith("-"):
                choices = word.split("|") if "|" in word else [word]
                below = [at.get_command(_context(at), choice) for choice in choices]
                if None in below:
                    found.append(f"{text!r}: there is no {word!r}")
                    break
                at = below[0]
                options |= _options(at)
            elif word.startswith("-") and len(word) > 1 and word.partition("=")[0] not in options:
                found.append(f"{text!r}: there is no option {word!r}")
    return found


@cache
def _tree() -> Any:
    return typer.main.get_command(app)


def _context(command: Any) -> Any:
    return command.context_class(command, info_name="qatprep")


def _options(command: Any) -> set[str]:
    return {name for p in command.get_params(_context(command)) for name in (*p.opts, *p.secondary_opts)}
