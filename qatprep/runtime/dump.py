"""Two `containerd config dump` outputs held against each other: one key may differ, and nothing else.

That comparison catches what containerd itself passes over in silence: a misspelt key, a table replaced by a drop-in, an
import that is not read, a version that makes it ignore the file (docs/containers.md).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from qatprep.runtime.containerd import KEY, URIS, ConfigSet, Version, tables
from qatprep.text import gated

_MISSING = object()


class Answer(NamedTuple):
    """What the containerd of a node says of its configuration, asked by `config dump`."""

    command: str
    on: bool
    """Whether device ownership is on; False where containerd refuses the files."""
    refused: str = ""
    """Why it does not start with them, in its own words."""
    ignored: tuple[str, ...] = ()
    """Keys it says it does not know, from 2.0 on: below their plugin, spaces between."""
    lost: tuple[str, ...] = ()
    """Settings of the CRI plugin that one file has and a later one took away, with dots."""


class Difference(NamedTuple):
    path: str
    before: str
    after: str


def parse_dump(text: str) -> dict[str, Any]:
    """The dump as a document. ValueError when it is none: the daemon would not start with such a file."""
    try:
        document: dict[str, Any] = gated(tomllib.loads(text))
        return document
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ValueError(f"not a containerd dump: {e}") from e


_IGNORED = re.compile(r'Ignoring unknown key in TOML for plugin".* key="?([^"=]*?)"? plugin=')


def answer(command: str, files: ConfigSet, binary: Version | None, stdout: str, stderr: str) -> Answer:
    """From what a `config dump` of `files` that ended well has printed. ValueError when that is not a dump."""
    document = parse_dump(stdout)
    ignored = tuple(dict.fromkeys(_IGNORED.findall(stderr)))
    return Answer(command, device_ownership(document) is True, "", ignored, _lost(files, binary, document))


def _lost(files: ConfigSet, binary: Version | None, document: dict[str, Any]) -> tuple[str, ...]:
    """1.x alone takes settings away: 2.x merges key by key, and prints them below other names."""
    if binary is None or binary.major >= 2:
        return ()
    said: dict[tuple[str, ...], Any] = {}
    for file in files.files:
        try:
            plugins = gated(tomllib.loads(file.text or "")).get("plugins", {})
        except (tomllib.TOMLDecodeError, RecursionError):
            return ()
        table = plugins.get(tables(files, file, binary)[0]) if isinstance(plugins, dict) else None
        said.update(_settings(table, ()) if isinstance(table, dict) else ())
    plugins = document.get("plugins", {})
    now = dict(_settings(next((plugins[uri] for uri in URIS if uri in plugins), {}), ()))
    return tuple(".".join(path) for path, value in said.items() if path != (KEY,) and now.get(path) != value)


def _settings(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _settings(value, (*path, key))
        else:
            yield (*path, key), value


def device_ownership(document: dict[str, Any]) -> bool | None:
    """What a dump says of the key, in whichever table; None when it does not name it."""
    plugins = document.get("plugins", {})
    for uri in URIS:
        value = plugins.get(uri, {}).get(KEY) if isinstance(plugins.get(uri), dict) else None
        if isinstance(value, bool):
            return value
    return None


def unwanted(before: str, after: str, *, paths: frozenset[str] = frozenset()) -> tuple[Difference, ...]:
    """What differs besides the one key, which must be true in `after`. () means: proven.

    `paths` are file names that may come and go in the dump's `imports`, which lists the files that were read.
    ValueError when one of the two is not a dump.
    """
    old, new = parse_dump(before), parse_dump(after)
    found = [d for d in _differences(old, new, ()) if not _expected(d, paths)]
    if device_ownership(new) is not True:
        state = {False: "false", None: "not there"}[device_ownership(new)]
        found.append(Difference(KEY, "", f"{state}: the setting does not take effect"))
    return tuple(found)


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if path == ("imports",) and all(item is _MISSING or isinstance(item, list) for item in (old, new)):
        old, new = list(old if old is not _MISSING else []), list(new if new is not _MISSING else [])
        for name in sorted({str(item) for item in old} ^ {str(item) for item in new}):
            yield Difference(f"imports: {name}", "read" if name in old else "", "read" if name in new else "")
        return
    # A table that is not there says what an empty one says.
    old = {} if old is _MISSING and isinstance(new, dict) else old
    new = {} if new is _MISSING and isinstance(old, dict) else new
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif old != new:
        yield Difference(".".join(path), _show(old), _show(new))


def _show(value: Any) -> str:
    return "" if value is _MISSING else repr(value)[:200]


def _expected(difference: Difference, paths: frozenset[str]) -> bool:
    if difference.path.startswith("imports: "):
        return difference.path.removeprefix("imports: ") in paths
    return any(difference.path == f"plugins.{uri}.{KEY}" for uri in URIS)
