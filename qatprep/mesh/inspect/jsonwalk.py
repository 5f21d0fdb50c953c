"""Walking through a large JSON document piece by piece: only what is asked for is ever made into objects.

A config_dump may have a hundred megabytes, which json.loads turns into gigabytes. Here values that nobody wants are
skipped by counting brackets, so memory is the text plus one piece, and time is linear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from qatprep.errors import InputError

DEEPEST = 256
"""Levels of nesting. Envoy's own dumps have fewer than 40."""
LARGEST = 32 << 20
"""Bytes of one piece that is made into objects."""
MOST_TOKENS = 25_000_000
"""Strings and brackets passed over in one document."""

_WORTH_KEEPING = 512
"""Bytes from which on the end of a value is remembered: it is asked for again when its parent is walked."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
# Possessive: a string that never ends must not be tried again and again.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][-+.0-9eE]*+|true|false|null', re.DOTALL)


class Document:
    """One JSON text. Positions are byte offsets of values; InputError wherever it is not JSON."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self._tokens = 0
        self._ends: dict[int, int] = {}
        self.top = self._space(0)

    def fail(self, at: int, words: str) -> InputError:
        line = self.data.count(b"\n", 0, at) + 1
        if at >= len(self.data):
            return InputError(f"{self.name} ends in the middle, at line {line}: {words}", "it may have been cut short")
        return InputError(f"{self.name}: line {line}, byte {at}: {words}")

    def kind(self, at: int) -> str:
        """ "{", "[", or "" for what is neither."""
        return chr(self.data[at]) if at < len(self.data) and self.data[at] in b"{[" else ""

    def members(self, at: int) -> Iterator[tuple[str, int]]:
        """Key and position of each member of the object at `at`."""
        begin = at
        at = self._expect(at, b"{")
        if self._peek(at) == b"}":
            return
        while True:
            match = _SCALAR.match(self.data, at)
            if match is None or match[0][:1] != b'"':
                raise self._no_scalar(at, "a key")
            key = json.loads(match[0]) if len(match[0]) < 4096 else ""
            at = self._expect(self._space(match.end()), b":")
            yield key, at
            at = self._space(self.skip(at))
            if self._peek(at) == b"}":
                self._remember(begin, at + 1)
                return
            at = self._expect(at, b",")

    def elements(self, at: int) -> Iterator[int]:
        """Position of each element of the array at `at`."""
        begin = at
        at = self._expect(at, b"[")
        if self._peek(at) == b"]":
            return
        while True:
            self._count(1, at)
            yield at
            at = self._space(self.skip(at))
            if self._peek(at) == b"]":
                self._remember(begin, at + 1)
                return
            at = self._expect(at, b",")

    def skip(self, at: int) -> int:
        """The end of the value at `at`."""
        if not self.kind(at):
            match = _SCALAR.match(self.data, at)
            if match is None:
                raise self._no_scalar(at, "a value")
            return match.end()
        known = self._ends.get(at)
        if known is not None:
            return known
        depth = tokens = 0
        for match in _TOKEN.finditer(self.data, at):
            tokens += 1
            token = match[0]
            if token in (b"{", b"["):
                depth += 1
                if depth > DEEPEST:
                    raise self.fail(match.start(), f"nested more than {DEEPEST} deep")
            elif token in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    self._count(tokens, at)
                    self._remember(at, match.end())
                    return match.end()
            if tokens & 0xFFFF == 0:
                self._count(0x10000, at)
                tokens = 0
        raise self.fail(len(self.data), "a bracket is not closed")

    def _no_scalar(self, at: int, what: str) -> InputError:
        if self.data[at : at + 1] == b'"':  # a string that never ends
            return self.fail(len(self.data), f"{what} is cut short")
        return self.fail(at, f"{what} was expected")

    def _count(self, tokens: int, at: int) -> None:
        self._tokens += tokens
        if self._tokens > MOST_TOKENS:
            raise self.fail(at, "too many values to look through")

    def _remember(self, begin: int, end: int) -> None:
        if end - begin > _WORTH_KEEPING:
            self._ends[begin] = end

    def load(self, at: int) -> Any:
        """The value at `at` as objects. InputError when it is no JSON or larger than LARGEST."""
        end = self.skip(at)
        if end - at > LARGEST:
            raise self.fail(at, f"one value has more than {LARGEST >> 20} MiB")
        try:
            return json.loads(self.data[at:end])
        except (ValueError, RecursionError) as e:
            position = getattr(e, "pos", 0)
            raise self.fail(at + position, f"not JSON: {getattr(e, 'msg', 'nested too deeply')}") from e

    def get(self, at: int, key: str) -> int | None:
        """The position of one member of the object at `at`."""
        if self.kind(at) != "{":
            return None
        return next((place for name, place in self.members(at) if name == key), None)

    def _space(self, at: int) -> int:
        match = _SPACE.match(self.data, at)
        return match.end() if match else at

    def _peek(self, at: int) -> bytes:
        if at >= len(self.data):
            raise self.fail(at, "more was expected")
        return self.data[at : at + 1]

    def _expect(self, at: int, what: bytes) -> int:
        if self.data[at : at + 1] != what:
            raise self.fail(at, f"{what.decode()!r} was expected")
        return self._space(at + 1)
