"""Reads manifests: the documents of a file, bounded in size and depth, and ways to go through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep import yaml_text
from qatprep.errors import InputError
from qatprep.mesh.inspect.source import Input

LARGEST = 4 << 20


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
    """The mapping in a text that is itself YAML, as annotations have it; None for what is not YAML."""
    try:
        found = yaml_text.documents(text, "", aliases=True)
        return mapping(found[0].value) if len(found) == 1 else {}
    except InputError:
        return None


def _documents(source: Input) -> list[dict[str, Any]]:
    text = source.data.decode("utf-8")
    try:
        documents = yaml_text.documents(text, source.name, aliases=True)
    except InputError as e:
        if re.search(r"\{\{[^{}\n]*[.$][^{}\n]*\}\}", text):
            raise InputError(
                f"{source.name} is a template of Helm's, not YAML", "helm template CHART | qatprep inspect manifest -"
            ) from e
        raise
    found = [item.value for item in documents if isinstance(item.value, dict)]
    if not found:
        raise InputError(f"{source.name} has no mapping in it")
    return found


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
    if depth > yaml_text.DEEPEST:
        return
    if isinstance(value, dict):
        name = str(value.get("name", ""))
        for key, inner in value.items():
            here = f"{path}.{name}.{key}" if key == "typed_config" and name else f"{path}.{key}"
            yield here.lstrip("."), str(key), inner
            yield from walk(inner, here, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path, depth + 1)
