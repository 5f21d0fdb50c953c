"""Reads manifests: the objects of a file, bounded in size and depth, ways to go through them, and where each is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep import json_input, yaml_text
from qatprep.errors import InputError
from qatprep.findings import Location
from qatprep.mesh.inspect.source import Input
from qatprep.mesh.inspect.spelling import snake_key
from qatprep.text import printable

LARGEST = 4 << 20
_LONGEST = 80
"""Characters of a key or name that are shown."""


@dataclass(frozen=True)
class Object:
    """One object: a document of the file, or an item of a List in it (kubectl get -o yaml)."""

    value: dict[str, Any]
    spot: Spot
    document: int
    """Of the file, from 1."""
    template: str
    """Which file of a chart it was rendered from, where Helm says so; else ""."""

    @property
    def name(self) -> str:
        """Kind, namespace/name as people say it; "" for what has no kind, such as values of a chart."""
        kind, metadata = self.value.get("kind"), mapping(self.value.get("metadata"))
        if not isinstance(kind, str):
            return ""
        name, namespace = _scalar(metadata.get("name")), _scalar(metadata.get("namespace"))
        return shown(" ".join(part for part in (kind, "/".join(filter(None, (name and namespace, name)))) if part))

    @property
    def title(self) -> str:
        """The same, or its first keys."""
        keys = [shown(key) for key in self.value]
        return self.name or ", ".join(keys[:3]) + (" ..." if len(keys) > 3 else "")


@dataclass(frozen=True)
class Spot:
    """A place in an object. `path` is in snake_case where Envoy's keys were made so; it is shown as it was written."""

    read: yaml_text.Document
    path: tuple[str | int, ...] = ()
    begin: int = 0
    """How much of the path leads to the object: items and a number in a List."""
    outer: Spot | None = None
    """The text that `read` is in, as YAML in a ConfigMap or an annotation."""
    row: int = 0
    """In a text that is not YAML, from 0."""

    def at(self, *path: str | int) -> Spot:
        return Spot(self.read, self.path + path, self.begin, self.outer)

    @property
    def _steps(self) -> list[yaml_text.Step]:
        return self.read.steps(self.path, snake_key)

    @property
    def _above(self) -> int | None:
        """Lines of the file before the text that `read` is; None where the text has no lines of its own there."""
        if self.outer is None:
            return 0
        steps, above = self.outer._steps, self.outer._above
        block = steps[-1].text if steps and len(steps) == len(self.outer.path) else 0
        return above + block - 1 if block and above is not None else None

    @property
    def line(self) -> int:
        """In the file. Within a text it is that of the text, unless that is a block which keeps its lines."""
        above = self._above
        if above is None and self.outer is not None:
            return self.outer.line
        steps = self._steps
        if self.row and steps and steps[-1].text:
            return steps[-1].text + self.row + (above or 0)
        return (steps[-1].place if steps else self.read.place(())).line + (above or 0)

    def __str__(self) -> str:
        """For people: spec.containers[1] "envoy" resources.limits["qat.intel.com/cy"], after > what is in a text."""
        steps = self._steps
        steps += [yaml_text.Step(key, yaml_text.Place(""), "", 0) for key in self.path[len(steps) :]]
        text = ""
        for step in steps[self.begin :]:
            if isinstance(step.key, int):
                text += f"[{step.key}]"
            elif re.fullmatch(r"[A-Za-z_@$][\w@/-]*", step.key):
                text += (" " if text.endswith('"') else "." if text else "") + shown(step.key)
            else:
                text += f'["{shown(step.key)}"]'
            text += f' "{shown(step.name)}"' if step.name else ""
        return " > ".join(part for part in (str(self.outer or ""), text) if part)


@dataclass(frozen=True)
class Manifest:
    name: str
    objects: tuple[Object, ...]
    documents: int
    """In the file, those without an object too."""

    def location(self, part: Object, spot: Spot) -> Location:
        item = part.spot.path[-1] if part.spot.begin else None
        return Location(
            printable(self.name),
            spot.line,
            part.document,
            item if isinstance(item, int) else None,
            part.template,
            part.name,
            str(spot),
        )


def _scalar(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def shown(value: object) -> str:
    """A key, name or value for people: what is behind it is to be seen as well."""
    text = str(value)
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")


def parse(source: Input) -> Manifest:
    """Read a file of YAML (or JSON). InputError with line and column for what is neither."""
    text = source.data.decode("utf-8")
    documents = _documents(text, source.name)
    lines = text.split("\n")
    found: list[Object] = []
    for number, document in enumerate(documents, 1):
        top, value = Spot(document), document.value
        if not isinstance(value, dict):
            continue
        template = _template(lines, document.place(()).line)
        if value.get("kind") == "List":
            found += (
                Object(mapping(item), Spot(document, ("items", place), 2), number, template)
                for place, item in enumerate(sequence(value.get("items")))
            )
        else:
            found.append(Object(value, top, number, template))
    if not found and not any(isinstance(document.value, dict) for document in documents):
        raise InputError(f"{source.name} has no mapping in it", "give a manifest of Kubernetes, Istio or Envoy")
    return Manifest(source.name, tuple(found), len(documents))


def _template(lines: list[str], line: int) -> str:
    """The file that Helm names in the comment before a document: "# Source: chart/templates/deployment.yaml"."""
    for above in reversed(lines[max(0, line - 20) : line - 1]):
        if above.startswith("---"):
            break
        if above.startswith("# Source: "):
            return shown(above.removeprefix("# Source: ").strip())
    return ""


def embedded(spot: Spot, text: str) -> list[tuple[Spot, dict[str, Any]]]:
    """The mappings in a text that is itself YAML, as annotations have it. InputError for what is not YAML."""
    found = yaml_text.documents(text, "the text", aliases=True)
    return [(Spot(item, outer=spot), item.value) for item in found if isinstance(item.value, dict)]


def _documents(text: str, name: str) -> list[yaml_text.Document]:
    try:
        return yaml_text.documents(_spaced(text), name, aliases=True)
    except InputError as e:
        if re.search(r"\{\{[^{}\n]*[.$][^{}\n]*\}\}", text):
            raise InputError(
                f"{name} is a template of Helm's, not YAML", "helm template CHART | qatprep inspect manifest -"
            ) from e
        raise


def _spaced(text: str) -> str:
    """JSON may be indented by tabs, of which YAML knows nothing; in a JSON text they are nowhere else."""
    if "\t" not in text or not text.lstrip().startswith("{"):
        return text
    try:
        json_input.loads(text)
    except ValueError:
        return text
    return text.replace("\t", " ")


def mapping(value: Any) -> dict[str, Any]:
    """The value, or an empty one where it is of another kind."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dig(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = mapping(value).get(key)
    return mapping(value)


def walk(
    value: Any, path: tuple[str | int, ...] = (), depth: int = 0
) -> Iterator[tuple[tuple[str | int, ...], str, Any]]:
    """Every key below: its path, itself, its value; the items of lists as well, whose key is ""."""
    if depth > yaml_text.DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            here = (*path, str(key))
            yield here, str(key), inner
            yield from walk(inner, here, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield (*path, number), "", inner
            yield from walk(inner, (*path, number), depth + 1)
