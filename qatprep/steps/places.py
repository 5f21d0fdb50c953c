"""What a journal may say: the types of a change's fields, and the names and paths that qatprep itself writes.

A journal is data. Nothing in it is acted on before every value was found to be one of these.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Place = str | Callable[[], str]
"""A regular expression that the whole text has to match, or a function that gives one (where it has to be put
together from other rooms, which nobody loads before)."""

BDF = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
"""A module or a new group: an argument of a program, so never one that looks like an option."""
_ODD = r"\0-\x1f\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufeff"
"""What does not print: qatprep.text escapes it in whatever it reads, so it is in no name and no sentence of ours."""
ENTRY = rf"(?!\.{{1,2}}$)[^/{_ODD}]{{0,255}}"
"""One component of a path or one value of an attribute, "" for none."""
UNIT = r"[A-Za-z0-9_][A-Za-z0-9@_.-]{0,127}\.(service|timer)"
STATE = r"(up|down)?"
BASE64 = r"[A-Za-z0-9+/]*={0,2}"
TEXT = rf"[^{_ODD}]*"
"""For people."""
CONTENT = r"(?s)[^\0]*"
"""What a file holds."""
TOML = rf"(/(?!\.{{1,2}}/)[^/{_ODD}]+)*/(?!\.{{1,2}}$)[^/{_ODD}]+\.(toml|conf)"
"""A configuration file of containerd: its --config and imports may be anywhere."""

JSON = TOML.replace(r"(toml|conf)", "json")
PROGRAM = rf"containerd|/([^/{_ODD}]+/)+containerd"


@cache
def own_files() -> str:
    """The files that qatprep installs or edits whole."""
    from qatprep.facts.persist import FILES
    from qatprep.persist.arguments import COUNT, GRUB_SNIPPET
    from qatprep.runtime import crio, memlock, rancher, units

    paths = {*FILES, GRUB_SNIPPET, COUNT, crio.DROPIN}
    for place in (rancher.Place("k3s"), rancher.Place("rke2")):
        paths |= {place.flag_file, *place.templates}
    # The unit is the one that runs containers here, whatever its name.
    drop_ins = [units.drop_in_path(UNIT, re.escape(name)) for name in memlock.DROPIN_NAMES]
    return "|".join([*map(re.escape, sorted(paths)), *drop_ins])


def own_units() -> str:
    """The unit files that qatprep installs."""
    from qatprep.facts.persist import APPLY, METRICS_SERVICE, METRICS_TIMER

    return "|".join(map(re.escape, (APPLY, METRICS_SERVICE, METRICS_TIMER)))


def misplaced(cls: type, values: Mapping[str, Any], places: Mapping[str, Place]) -> str:
    """What of a change's values qatprep would not have written, "" when nothing.

    Every field has the type of its annotation. Every text in it, at whatever depth, matches the field's place; a field
    without one holds no text.
    """
    hints = _hints(cls)
    for name, value in values.items():
        if not _is(value, hints[name]):
            return f"{name} is {_short(value)}, which is not of its type"
        if wrong := _wrong(name, value, places):
            return wrong
    return ""


_hints = cache(get_type_hints)


def strange_outcome(outcome: Mapping[str, Any], places: Mapping[str, Place]) -> str:
    """The same for what a change reported: texts match the place of their key, numbers need none."""
    return next((wrong for name, value in outcome.items() if (wrong := _wrong(name, value, places))), "")


def _wrong(name: str, value: Any, places: Mapping[str, Place]) -> str:
    for text in _texts(value):
        place = places.get(name, r"(?!)")
        if not re.fullmatch(place if isinstance(place, str) else place(), text):
            return f"{name} is {_short(text)}, which qatprep never writes"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        yield "\0"  # no change has one: it fits no place


def _is(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation: str, int, bool, None, tuples and unions of these."""
    if type(value) is hint:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is(value, each) for each in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_is(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_is, value, arguments))
    return type(value) is (type(None) if hint is None else hint)
