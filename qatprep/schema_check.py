"""All mistakes of a document at once: a JSON schema of qatprep/schema held against it, with a suggestion for each."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from qatprep.text import close, did_you_mean

Path = tuple[str | int, ...]


PREFIX = "qatprep."
"""What the "schema" of every document begins with: qatprep.doctor/1."""


class Error(NamedTuple):
    path: Path
    text: str
    hint: str


@cache
def schema(kind: str) -> dict[str, Any]:
    """qatprep/schema/<kind>.json."""
    from importlib.resources import files

    loaded: dict[str, Any] = json.loads(files("qatprep.schema").joinpath(f"{kind}.json").read_text(encoding="utf-8"))
    return loaded


def documents() -> dict[str, str]:
    """Every kind that has a schema, by the name that a document's "schema" gives it."""
    from importlib.resources import files

    names = sorted(file.name for file in files("qatprep.schema").iterdir() if file.name.endswith(".json"))
    return {f"{PREFIX}{name.removesuffix('.json')}/1": name.removesuffix(".json") for name in names}


def kind(document: str) -> str:
    """The kind of a document by that name. InputError where there is none."""
    from qatprep.errors import InputError

    known = documents()
    if document not in known:
        hint = did_you_mean(document, list(known), f"one of {', '.join(known)}")
        raise InputError(f"there is no document {document!r}", hint)
    return known[document]


@cache
def compiled(kind: str) -> Callable[[Any], Any]:
    """The same as a function that raises JsonSchemaValueException for the first mistake. Defaults are not filled in."""
    import fastjsonschema

    check: Callable[[Any], Any] = fastjsonschema.compile(schema(kind), use_default=False)
    return check


def errors(kind: str, document: Any) -> tuple[list[Error], Any]:
    """Every mistake, in the order in which they were found, and the document without them (None: nothing is left)."""
    from fastjsonschema import JsonSchemaValueException

    found: list[Error] = []
    document = copy.deepcopy(document)
    while True:
        try:
            compiled(kind)(document)
            return found, document
        except JsonSchemaValueException as e:
            path = _path(document, e.path[1:])
            if not _follows(e, path, found):
                found += _told(kind, e, path)
            if not _without(document, path, e):
                if e.rule == "required":  # the check ends here, before it comes to keys that are not known
                    found += _unknown(kind, e, path)
                return found, None


def name(path: Path) -> str:
    """devices.services, overrides[0].match: as people write it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def leaves(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that has a value of its own, with its definition: devices.services, overrides[].match.device ..."""
    return _leaves(schema(kind), schema(kind), "")


def _leaves(whole: dict[str, Any], part: dict[str, Any], above: str) -> Iterator[tuple[str, dict[str, Any]]]:
    part = resolved(whole, part)
    if "properties" in part:
        for key, inner in part["properties"].items():
            yield from _leaves(whole, inner, f"{above}.{key}".removeprefix("."))
    elif "properties" in part.get("items", {}):
        yield from _leaves(whole, part["items"], f"{above}[]")
    else:
        yield above, part


def resolved(whole: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """A definition, or what its $ref names."""
    return whole["definitions"][definition["$ref"].rsplit("/", 1)[-1]] if "$ref" in definition else definition


def _follows(error: Any, path: Path, found: list[Error]) -> bool:
    """Whether something is missing only because what was there instead has been reported already."""
    below = any(len(one.path) > len(path) and one.path[: len(path)] == path for one in found)
    return below and error.rule in ("required", "minProperties")


def _path(document: Any, parts: list[Any]) -> Path:
    """fastjsonschema's path, indexes as numbers."""
    out: list[str | int] = []
    for part in parts:
        out.append(int(part) if isinstance(document, list) else part)
        document = document[out[-1]]
    return tuple(out)


def _without(document: Any, path: Path, error: Any) -> bool:
    """Take what is wrong out of the document, so that the next mistake shows; False where that cannot be.

    Where a value has to be, its definition's default is used.
    """
    where = _at(document, path)
    if error.rule == "additionalProperties":
        for key in _extra(error):
            del where[key]
        return True
    if error.rule == "required":
        for key in set(error.definition["required"]) - set(where):
            if "default" not in error.definition["properties"][key]:
                return False
            where[key] = copy.deepcopy(error.definition["properties"][key]["default"])
        return True
    if not path:
        return False
    above, last = _at(document, path[:-1]), path[-1]
    if "default" in error.definition:
        above[last] = copy.deepcopy(error.definition["default"])
    else:
        del above[last]
    return True


def _at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


def _extra(error: Any) -> list[Any]:
    return [key for key in error.value if key not in error.definition.get("properties", {})]


def _told(kind: str, error: Any, path: Path) -> Iterator[Error]:
    definition = resolved(schema(kind), error.definition)
    hint = str(definition.get("description", ""))
    here = name(path) or "this"
    value = shown(error.value)
    if error.rule == "additionalProperties":
        yield from _unknown(kind, error, path)
    elif error.rule == "required":
        slips = list(map(str, _extra(error))) if definition.get("additionalProperties") is False else []
        for key in definition["required"]:
            if key not in error.value and not close(key, slips):  # a slip is reported alone
                needed = resolved(schema(kind), definition["properties"][key])
                yield Error(path, f"{here} lacks the key {key!r}", str(needed.get("description", "")))
    elif error.rule == "enum":
        options = [str(option) for option in definition["enum"]]
        guess = did_you_mean(str(error.value), options, hint)
        yield Error(path, f"{here} is {value}, not one of {', '.join(options)}", guess)
    elif error.rule == "const":
        yield Error(path, f"{here} is {value}, this qatprep knows only {definition['const']!r}", hint)
    elif error.rule == "type":
        wanted = definition["type"]
        kinds = " or ".join(_article(one) for one in (wanted if isinstance(wanted, list) else [wanted]))
        if path[-1:] == ("mode",) and type(error.value) is int:  # YAML reads 0660 as an octal number
            octal = f"0{error.value:o}"
            if re.search(definition["pattern"], octal):
                value, hint = f"{value} ({octal} without quotes)", f'write "{octal}"'
        yield Error(path, f"{here} is {value}, not {kinds}", hint)
    elif error.rule == "pattern":
        yield Error(path, f"{here} is {value}, which has the wrong form", hint)
    elif error.rule == "minProperties":
        yield Error(path, f"{here} is empty", hint)
    else:
        yield Error(path, f"{here}: {error.message.removeprefix(error.name).strip()}", hint)


def _unknown(kind: str, error: Any, path: Path) -> Iterator[Error]:
    """Keys of an object that its definition does not have."""
    definition = resolved(schema(kind), error.definition)
    known = list(definition.get("properties", {}))
    where = f" in {name(path)}" if path else ""
    for key in _extra(error) if definition.get("additionalProperties") is False else ():
        yield Error((*path, key), f"unknown key {shown(key)}{where}", _key_hint(kind, str(key), known))


def _key_hint(kind: str, key: str, known: list[str]) -> str:
    """The key that was meant: next to it, or elsewhere by the same name."""
    elsewhere = [leaf for leaf, _ in leaves(kind) if leaf.rsplit(".", 1)[-1] == key and "[]" not in leaf]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return did_you_mean(key, known, f"known keys: {', '.join(known)}")


def shown(value: Any) -> str:
    """A value in a message: what it is in YAML's words, and not too long."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return _article("object" if isinstance(value, dict) else "array")
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _article(kind: str) -> str:
    return {
        "object": "a mapping",
        "array": "a list",
        "integer": "a whole number",
        "boolean": "true or false",
        "string": "text",
    }.get(kind, f"a {kind}")
