"""The one reader of YAML: bounded in depth and size, each value with its line and column.

Refused everywhere: a key that is in one mapping twice, of which YAML would take the last in silence. Refused unless
asked for: aliases (*name) and merge keys (<<); what they multiply counts as if it were written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from qatprep.errors import InputError

DEEPEST = 60
"""Levels of nesting."""
MOST = 400_000
"""Parse events (values, beginnings and ends) of a whole text."""


class Place(NamedTuple):
    """Where a value comes from: a file, with line and column from 1 on, or (0, 0) for a place without lines."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Problem(NamedTuple):
    place: Place
    text: str


class Step(NamedTuple):
    """One key or item on the way to a value."""

    key: str | int
    """As the text spells it."""
    place: Place
    name: str
    """Of an item: its `name`, or that in its `metadata`; "" where it has none."""
    text: int
    """The line on which a block of text (|) begins, which keeps its lines; 0 for every other value."""


@dataclass(frozen=True)
class Document:
    """One document of a text. `problems` are keys that cannot be trusted (twice, or merged): see `parse`."""

    name: str
    value: Any
    problems: tuple[Problem, ...]
    _node: Any
    _keys: dict[tuple[int, Any], dict[str, tuple[Any, Any]]] = field(default_factory=dict, compare=False, repr=False)

    def place(self, path: Sequence[str | int]) -> Place:
        """Where the key or item is that `path` leads to, as far as it exists."""
        steps = self.steps(path)
        return steps[-1].place if steps else _place(self.name, self._node.start_mark if self._node else None)

    def steps(self, path: Sequence[str | int], spell: Callable[[str], str] = str) -> list[Step]:
        """The way to where `path` leads, as far as it exists. A key that is not there as such is the one that `spell`
        makes of another. An alias leads to what it names, a merged key to where it was merged from."""
        import yaml

        node, found = self._node, []
        for part in path:
            key: str | int = part
            if isinstance(node, yaml.MappingNode):
                keys = self._keys_of(node, str)
                pair = keys.get(str(part)) or self._keys_of(node, spell).get(str(part))
                if pair is None:
                    break
                key, mark, node = pair[0].value, pair[0].start_mark, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                mark = node.start_mark
            else:
                break
            block = node.start_mark.line + 2 if getattr(node, "style", None) == "|" else 0
            name = self._name(node) if isinstance(part, int) else ""
            found.append(Step(key, _place(self.name, mark), name, block))
        return found

    def _keys_of(self, node: Any, spell: Callable[[str], str]) -> dict[str, tuple[Any, Any]]:
        """Key and value of each key of a mapping; the last counts, as it does for YAML, where one was merged."""
        known = self._keys.setdefault((id(node), spell), {})
        if not known:
            known |= {spell(key.value): (key, value) for key, value in node.value if isinstance(key.value, str)}
        return known

    def _name(self, node: Any) -> str:
        import yaml

        for path in (("name",), ("metadata", "name")):
            value = node
            for key in path:
                value = (
                    self._keys_of(value, str).get(key, (None, None))[1] if isinstance(value, yaml.MappingNode) else None
                )
            if isinstance(value, yaml.ScalarNode):
                return str(value.value)
        return ""


def document(text: str, name: str) -> Document:
    """The one document of a text; its value is None for a text without one. InputError for what is not YAML."""
    found = list(_documents(text, name))
    if len(found) > 1:
        raise InputError(f"{_place(name, found[1]._node.start_mark)}: not YAML: a second document begins here")
    return found[0] if found else Document(name, None, (), None)


def documents(text: str, name: str, *, aliases: bool = False) -> list[Document]:
    """Every document of a text. InputError for what is not YAML, and for the first of the problems."""
    found = list(_documents(text, name, aliases=aliases))
    for place, problem in (problem for item in found for problem in item.problems):
        raise InputError(f"{place}: {problem}")
    return found


def _documents(text: str, name: str, *, aliases: bool = False) -> Iterator[Document]:
    import yaml

    try:
        _measure(text, name, aliases=aliases)
        loader = _loader()(text)
        while loader.check_node():
            node = loader.get_node()
            problems = tuple(_untrusted(node, name, merge=aliases))
            yield Document(name, None if problems else loader.construct_document(node), problems, node)
    except yaml.MarkedYAMLError as e:
        place = _place(name, e.problem_mark or e.context_mark)
        problem = str(e.problem or e.context)
        if "cannot start any token" in problem and _at(text, e.problem_mark) == "\t":
            problem = "a tab begins here, and YAML is indented by blanks"
        if "nesting depth" in problem:  # libyaml has a limit of its own, and looks ahead
            raise InputError(f"{place}: nested too deeply, at most {DEEPEST} levels are read") from e
        raise InputError(f"{place}: not YAML: {problem}") from e
    except (yaml.YAMLError, ValueError) as e:
        raise InputError(f"{name}: not YAML: {str(e).splitlines()[0]}") from e


def _at(text: str, mark: Any) -> str:
    """The character at a mark."""
    lines = text.splitlines()
    return lines[mark.line][mark.column : mark.column + 1] if mark and mark.line < len(lines) else ""


@cache
def _loader() -> Any:
    """The loader in C where there is one; what is no value of its kind (a date, a number) is reported with its
    place."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except ValueError as e:
                raise yaml.MarkedYAMLError(problem=str(e).splitlines()[0], problem_mark=node.start_mark) from e

    return Loader


class _Part(NamedTuple):
    """What an anchor names, written out."""

    events: int
    height: int
    """Levels of nesting in it."""


def _measure(text: str, name: str, *, aliases: bool) -> None:
    """Refuse what would grow beyond measure: nesting, and aliases that multiply. Nothing is built meanwhile."""
    import yaml

    total = 0
    known: dict[str, _Part | None] = {}
    open_: list[tuple[str | None, int, int]] = []  # anchor, events before it, levels found below it
    for event in yaml.parse(text, Loader=_loader()):
        here, height = 1, 0
        if isinstance(event, yaml.AliasEvent):
            here, height = _written_out(event, known, name, aliases=aliases)
        elif isinstance(event, yaml.DocumentStartEvent):
            known = {}
        elif isinstance(event, yaml.CollectionStartEvent):
            known |= {event.anchor: None} if event.anchor else {}
            open_.append((event.anchor, total, 0))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, below = open_.pop()
            height = below + 1
            known |= {anchor: _Part(total + 1 - before, height)} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent) and event.anchor:
            known[event.anchor] = _Part(1, 0)
        if open_ and height > open_[-1][2]:
            open_[-1] = (*open_[-1][:2], height)
        total += here
        if len(open_) + (height if isinstance(event, yaml.AliasEvent) else 0) > DEEPEST:
            raise InputError(f"{_place(name, event.start_mark)}: nested too deeply, at most {DEEPEST} levels are read")
        if total > MOST:
            raise InputError(f"{_place(name, event.start_mark)}: too large, at most {MOST} YAML events are read")


def _written_out(event: Any, known: dict[str, _Part | None], name: str, *, aliases: bool) -> _Part:
    """What an alias means. InputError for one that is not read; YAML itself refuses one without an anchor."""
    if not aliases:
        raise InputError(f"{_place(name, event.start_mark)}: aliases (*name) are not supported")
    part = known.get(event.anchor, _Part(1, 0))
    if part is None:
        raise InputError(f"{_place(name, event.start_mark)}: *{event.anchor} is part of what it names, without end")
    return part


def _untrusted(node: Any, name: str, *, merge: bool) -> Iterator[Problem]:
    import yaml

    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, yaml.SequenceNode):
            todo += reversed(node.value)
        if not isinstance(node, yaml.MappingNode):
            continue
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag == "tag:yaml.org,2002:merge" and not merge:
                yield Problem(_place(name, key.start_mark), "merge keys (<<) are not supported")
            if key.value in keys:
                yield Problem(_place(name, key.start_mark), f"the key {key.value!r} stands here twice")
            keys.add(key.value)
        todo += (value for _, value in reversed(node.value))


def _place(name: str, mark: Any) -> Place:
    return Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
