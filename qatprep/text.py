"""Small pieces of text for people that every room shares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_SUSPECT = re.compile(r"[^\x20-\x7e]")
"""Characters that are looked at one by one: plain ASCII never has to be."""


def printable(text: str, keep: str = "") -> str:
    """The text with every character that is not printable, or is in `keep`, as Python writes it: \\x1b, \\u202e, \\n.

    Not printable is what str.isprintable() says of Unicode's classes: control characters (C0, DEL, C1), formats (marks
    of direction, invisible ones), line and paragraph separators, lone surrogates, blanks other than the space.
    """
    if text.isprintable():
        return text

    def shown(match: re.Match[str]) -> str:
        c = match[0]
        return c if c in keep or c.isprintable() else c.encode("unicode_escape").decode("ascii")

    return _SUSPECT.sub(shown, text)


def in_ascii(text: str) -> str:
    """The text with every character beyond ASCII as Python writes it."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


class Foreign:
    """Text that somebody else wrote: a file of the host, its kernel log, what a program printed.

    It is not a str, so that a type checker refuses it wherever text goes on to people or files, and it is printable
    in an f-string. Out of it leads `str()`, for a message; `text`, for a format that is made of lines; `raw`, for a
    parser whose result goes through `gated`, for what is written back, and for nothing else (tests/test_gate.py has
    the list).
    """

    __slots__ = ("raw",)

    def __init__(self, content: str | bytes) -> None:
        self.raw = content if isinstance(content, str) else content.decode("utf-8", "backslashreplace")
        """As it was read; undecodable bytes are escaped."""

    @property
    def text(self) -> str:
        """Printable lines, tabs kept. Only a line feed ends a line, as it does for the kernel; CR LF counts as one."""
        return printable(self.raw.replace("\r\n", "\n"), "\n\t")

    def __str__(self) -> str:
        """On one line."""
        return printable(self.raw)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return f"Foreign({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self.raw == (other.raw if isinstance(other, Foreign) else other)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __contains__(self, part: str) -> bool:
        return part in self.raw

    def __bool__(self) -> bool:
        return bool(self.raw)


def gated(document: Any) -> Any:
    """What a parser made of JSON, YAML or TOML, with every text in it printable and on one line, keys too."""
    if isinstance(document, str):
        return printable(document)
    if isinstance(document, dict):
        return {gated(key): gated(value) for key, value in document.items()}
    return [gated(item) for item in document] if isinstance(document, list) else document


def json_text(document: Any, indent: int | None = 2, *, ascii: bool = False) -> str:
    """A document as JSON, ended by a line feed; what does not print (`ascii`: is not ASCII) is escaped as JSON does
    it, so nothing is lost."""
    import json

    def escaped(match: re.Match[str]) -> str:
        c = match[0]
        return c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] if ord(c) != 0x7F else "\\u007f"

    return _SUSPECT.sub(escaped, json.dumps(document, indent=indent, ensure_ascii=ascii)) + "\n"


def plural(count: int, noun: str, more: str = "") -> str:
    """ "1 VF", "16 VFs"; `more` is the noun's plural where that is not noun + s."""
    return f"{count} {noun if count == 1 else more or noun + 's'}"


def listed(items: Iterable[str], most: int | None = None) -> str:
    """ "a", "a and b", "a, b and c"; of more than `most` the first ones, "a, b and 3 more"."""
    parts = list(items)
    if most is not None and len(parts) > most:
        parts[most:] = [f"{len(parts) - most} more"]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def close(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one, "" for none."""
    import difflib

    found = difflib.get_close_matches(name, list(known), 1)
    return found[0] if found else ""


def did_you_mean(name: str, known: Iterable[str], otherwise: str, *, most: int = 1, alike: float = 0.6) -> str:
    """A hint for a name that is not known: up to `most` of the known ones, whatever their case, else `otherwise`.

    `alike` is how similar they must be, from 0 to 1 (difflib.SequenceMatcher.ratio).
    """
    import difflib  # 8 ms, and only for mistakes

    folded = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), folded, most, alike)
    return f"did you mean {' or '.join(folded[item] for item in close)}?" if close else otherwise
