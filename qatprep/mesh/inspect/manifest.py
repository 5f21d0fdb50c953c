"""Reads manifests: the documents of a file, bounded in size and depth, and ways to go through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep.errors import InputError
from qatprep.mesh.inspect.source import Input

LARGEST = 4 << 20
_DEEPEST = 60
_MOST_NODES = 400_000


@dataclass(frozen=True)
class Manifest:
    name: str
    documents: tuple[dict[str, Any], ...]
    """The mappings in the file, lists of them (kubectl get -o yaml) taken apart."""


def parse(source: Input) -> Manifest:
    """Read a file of YAML (or JSON). InputError with line and column for what is neither."""
    found: list[dict[str, Any]] = []
    for document in _documents(source):
        if document.get("kind") == "List":
            found += (mapping(item) for item in sequence(document.get("items")))
        else:
            found.append(document)
    return Manifest(source.name, tuple(found))


def embedded(text: str) -> dict[str, Any] | None:
    """The mapping in a text that is itself YAML, as annotations have it; None for what is no YAML."""
    import yaml

    try:
        _measure("", text)
        return mapping(yaml.safe_load(text))
    except (yaml.YAMLError, InputError, ValueError, RecursionError):
        return None


def _documents(source: Input) -> list[dict[str, Any]]:
    import yaml

    text = source.data.decode("utf-8")
    try:
        _measure(source.name, text)
        found = [item for item in yaml.safe_load_all(text) if isinstance(item, dict)]
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{source.name}:{mark.line + 1}:{mark.column + 1}" if mark else source.name
        raise InputError(f"{where}: not YAML: {e.problem or e.context}") from e
    except (yaml.YAMLError, ValueError) as e:
        raise InputError(f"{source.name}: not YAML: {str(e).splitlines()[0]}") from e
    except RecursionError as e:
        raise InputError(f"{source.name}: nested too deeply") from e
    if not found:
        raise InputError(f"{source.name} has no mapping in it")
    return found


def _measure(name: str, text: str) -> None:
    """Refuse what would grow beyond measure: nesting, and aliases that multiply."""
    import yaml

    depth = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{name}:{line}: aliases (*name) are not read here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST or nodes > _MOST_NODES:
            raise InputError(f"{name}:{line}: too deep or too much for a manifest")


def mapping(value: Any) -> dict[str, Any]:
    """The value, or an empty one where it is of another kind."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dig(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = mapping(value).get(key)
    return mapping(value)


def walk(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """Every key below: its path, itself, its value."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        name = str(value.get("name", ""))[-40:]
        for key, inner in value.items():
            here = f"{path}.{name}.{key}" if key == "typed_config" and name else f"{path}.{key}"
            yield here.lstrip(".")[-70:], str(key), inner
            yield from walk(inner, here, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path, depth + 1)
