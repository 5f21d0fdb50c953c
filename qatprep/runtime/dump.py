"""Two `containerd config dump` outputs held against each other: one key may differ, and nothing else.

That comparison catches what containerd itself passes over in silence: a misspelt key, a table replaced by a drop-in, an
import that is not read, a version that makes it ignore the file (docs/containers.md).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep.runtime.containerd import KEY, URIS

_MISSING = object()


@dataclass(frozen=True)
class Difference:
    path: str
    before: str
    after: str


def parse_dump(text: str) -> dict[str, Any]:
    """The dump as a document. ValueError when it is none: the daemon would not start with such a file."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ValueError(f"not a containerd dump: {e}") from e


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
    ValueError when one of the two is no dump.
    """
    old, new = parse_dump(before), parse_dump(after)
    found = [d for d in _differences(old, new, ()) if not _expected(d, paths)]
    if device_ownership(new) is not True:
        state = {False: "false", None: "not there"}[device_ownership(new)]
        found.append(Difference(KEY, "", f"{state}: the setting does not take effect"))
    return tuple(found)


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if path == ("imports",):
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
