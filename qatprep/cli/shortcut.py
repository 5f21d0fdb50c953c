"""The device verbs without typer, whose loading takes longer than binding a hundred VFs.

Only what is spelled exactly as documented is taken: everything else (help, mistakes, other verbs) is typer's, so that
it alone decides what is wrong and says so. Options come from the keywords of the functions in qatprep.cli.devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qatprep.cli import devices

if TYPE_CHECKING:
    from qatprep.cli.session import Session


VERBS: dict[str, tuple[Callable[..., int], int]] = {
    "list": (devices.show, 0),
    "bind": (devices.bind, 1),
    "unbind": (devices.unbind, 1),
    "services": (devices.services, 2),
    "vfs": (devices.vfs, 2),
}
"""Of `qatprep device`: what does it, and how many words it needs at least."""
SPELLED = {"every": "--all"}
"""Options that are not called as their keyword."""
SHORT = {"-a": "every", "-o": "output", "-y": "yes"}
OUTPUTS = ("human", "json")


def shortcut(argv: list[str]) -> Callable[[Session], int] | None:
    """What to call for this command line; None when it takes typer to understand it."""
    if len(argv) < 2 or argv[0] != "device" or argv[1] not in VERBS:
        return None
    verb, least = VERBS[argv[1]]
    understood = _understood(argv[2:], verb.__kwdefaults__ or {})
    if understood is None:
        return None
    words, options = understood
    if len(words) < least or (words and not least):
        return None
    return lambda session: verb(session, words, **options)


def _understood(arguments: list[str], defaults: dict[str, Any]) -> tuple[list[str], dict[str, Any]] | None:
    """Words and options. Only flags and options that take a text; each at most once, none of them empty."""
    spelled = {SPELLED.get(name, f"--{name}"): name for name in defaults}
    spelled |= {short: name for short, name in SHORT.items() if name in defaults}
    words: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            words.append(argument)
            continue
        option, equals, value = argument.partition("=")
        name = spelled.get(option, "")
        if name not in defaults or name in options or (equals and option in SHORT):
            return None
        if isinstance(defaults[name], bool):
            if equals:
                return None
            options[name] = True
            continue
        value = value if equals else next(rest, "")
        if not isinstance(defaults[name], str) or not value or value.startswith("-"):
            return None
        options[name] = value
    if options.get("output", "human") not in OUTPUTS or "" in words:
        return None
    return words, options
