"""Walking through a large JSON document piece by piece: only what is asked for is ever made into objects.

A config_dump may have a hundred megabytes, which json.loads turns into gigabytes. Here a value that nobody wants is
read by the standard library's scanner and dropped, or in parts where it is larger than WINDOW: memory is the text and a
few megabytes, and time is linear. docs/mesh.md has the ways that were measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from qatprep import json_input
from qatprep.errors import InputError

DEEPEST = 256
"""Levels of nesting. Envoy's own dumps have fewer than 40."""
LARGEST = 32 << 20
"""Bytes of one piece that is made into objects."""
WINDOW = 1 << 20
"""Bytes of text that are handed to the scanner at a time: what it makes of them has some times as many."""
MOST_VALUES = 25_000_000
"""Values looked at one by one in a document."""

_WORTH_KEEPING = 512
"""Bytes from which on the end of a value is remembered: it is asked for again when its parent is walked."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
# Possessive: a string that never ends must not be tried again and again.
_SCALAR = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][-+.0-9eE]*+|true|false|null', re.DOTALL)
_DECODER = json.JSONDecoder()


class Document:
    """One JSON text. Positions are byte offsets of values; InputError wherever it is not JSON."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self._values = 0
        self._begin, self._text = 0, ""
        self._ends: dict[int, int] = {}
        self.top = self._space(0)

    def fail(self, at: int, text: str) -> InputError:
        line = self.data.count(b"\n", 0, at) + 1
        if at >= len(self.data):
            return InputError(f"{self.name} ends in the middle, at line {line}: {text}", "it may have been cut short")
        return InputError(f"{self.name}: line {line}, byte {at}: {text}")

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
            key, at = self._key(at)
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

    def skip(self, at: int, depth: int = 0) -> int:
        """The end of the value at `at`."""
        if not self.kind(at):
            match = _SCALAR.match(self.data, at)
            if match is None:
                raise self._no_scalar(at, "a value")
            return match.end()
        known = self._ends.get(at)
        if known is not None:
            return known
        end = self._scan(at)
        if end is None:
            if depth > DEEPEST:
                raise self.fail(at, f"nested more than {DEEPEST} deep")
            end = self._in_parts(at, depth + 1)
        self._remember(at, end)
        return end

    def _scan(self, at: int) -> int | None:
        """The end of the value at `at`, None where it is longer than WINDOW, or no JSON."""
        for fresh in (False, True):
            if fresh or not self._begin <= at < self._begin + len(self._text):
                # One character a byte, so that places in the text are places in the data: what it says is not used.
                self._begin, self._text = at, self.data[at : at + WINDOW].decode("latin-1")
            try:
                return self._begin + int(_DECODER.raw_decode(self._text, at - self._begin)[1])
            except ValueError:
                continue
            except RecursionError as e:
                raise self.fail(at, f"nested more than {DEEPEST} deep") from e
        return None

    def _in_parts(self, at: int, depth: int) -> int:
        """The same by going through what is in it, which finds the place of a mistake as well."""
        is_object = self.kind(at) == "{"
        close = b"}" if is_object else b"]"
        at = self._space(at + 1)
        if self._peek(at) == close:
            return at + 1
        while True:
            self._count(1, at)
            at = self._key(at)[1] if is_object else at
            at = self._space(self.skip(at, depth))
            if self._peek(at) == close:
                return at + 1
            at = self._expect(at, b",")

    def _key(self, at: int) -> tuple[str, int]:
        """The key at `at` and the place of its value. A key of 4 KiB is nobody's: ""."""
        match = _SCALAR.match(self.data, at)
        if match is None or match[0][:1] != b'"':
            raise self._no_scalar(at, "a key")
        try:
            key = str(json_input.loads(match[0])) if len(match[0]) < 4096 else ""
        except ValueError as e:
            raise self.fail(at, f"not JSON: {getattr(e, 'msg', e)}") from e
        return key, self._expect(self._space(match.end()), b":")

    def _no_scalar(self, at: int, what: str) -> InputError:
        if self.data[at : at + 1] == b'"':  # a string that never ends
            return self.fail(len(self.data), f"{what} is cut short")
        return self.fail(at, f"{what} was expected")

    def _count(self, values: int, at: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
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
            return json_input.loads(self.data[at:end])
        except ValueError as e:
            raise self.fail(at + getattr(e, "pos", 0), f"not JSON: {getattr(e, 'msg', e)}") from e

    def has(self, at: int, word: bytes) -> bool:
        """Whether the text of a value has `word` anywhere: what has not need not be loaded."""
        return self.data.find(word, at, self.skip(at)) >= 0

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
