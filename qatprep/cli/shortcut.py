"""The device verbs without typer, whose loading takes longer than binding a hundred VFs.

Only what is spelled exactly as documented is taken: everything else (help, mistakes, other verbs) is typer's, so that
it alone decides what is wrong and says so. Words and options are those of the table in qatprep.cli.device_verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qatprep.cli.device_verbs import OPTIONS, SHARED, VERBS, Options

if TYPE_CHECKING:
    from qatprep.cli.session import Session


OUTPUTS = ("human", "json")


def shortcut(argv: list[str]) -> Callable[[Session], int] | None:
    """What to call for this command line; None when it takes typer to understand it."""
    if len(argv) < 2 or argv[0] != "device" or argv[1] not in VERBS:
        return None
    verb = VERBS[argv[1]]
    understood = _understood(argv[2:], verb.options)
    if understood is None:
        return None
    words, options = understood
    if len(words) < verb.least or (words and not verb.least):
        return None
    return lambda session: verb.run(session, words, Options(**options))


def _understood(arguments: list[str], names: tuple[str, ...]) -> tuple[list[str], dict[str, Any]] | None:
    """Words and options. Only flags and options that take a text; each at most once, none of them empty."""
    flags = {name: SHARED[name] if name in SHARED else OPTIONS[name].flags for name in names}
    spelled = {flag: name for name in names for flag in flags[name] if "/" not in flag}
    words: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            words.append(argument)
            continue
        option, equals, value = argument.partition("=")
        name = spelled.get(option, "")
        if not name or name in options or (equals and not option.startswith("--")):
            return None
        if isinstance(Options._field_defaults[name], bool):
            if equals:
                return None
            options[name] = True
            continue
        value = value if equals else next(rest, "")
        if not isinstance(Options._field_defaults[name], str) or not value or value.startswith("-"):
            return None
        options[name] = value
    if options.get("output", "human") not in OUTPUTS or "" in words:
        return None
    return words, options
