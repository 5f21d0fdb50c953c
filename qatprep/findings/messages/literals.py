"""What a regular expression cannot match without: plain texts that are looked for first, which is much faster."""

from __future__ import annotations

from collections.abc import Iterator


def literals(pattern: str) -> list[str]:
    """Texts in lower case of which every line that matches the pattern has one."""
    return [max(texts, key=len).lower() for texts in _alternatives(pattern)]


def _alternatives(pattern: str) -> Iterator[list[str]]:
    """The plain texts of each alternative at the top; groups, classes and repetitions end a text."""
    texts, depth, at = [""], 0, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "|" and not depth:
            yield texts
            texts = [""]
        elif char in "[{":
            if char == "{":
                texts[-1] = texts[-1][:-1]
            at = pattern.index("]" if char == "[" else "}", at + 2)
            texts.append("")
        elif char in "()":
            depth += 1 if char == "(" else -1
            texts.append("")
        elif char in "?*":
            texts[-1] = texts[-1][:-1]
            texts.append("")
        elif char in ".^$+" or (char == "\\" and pattern[at + 1].isalnum()):
            texts.append("")
            at += char == "\\"
        else:
            at += char == "\\"
            if not depth:
                texts[-1] += pattern[at]
        at += 1
    yield texts
