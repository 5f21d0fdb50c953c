"""Unit files, drop-ins and manager settings as systemd reads them: what LimitMEMLOCK= of a unit comes to."""

from __future__ import annotations

from typing import NamedTuple

from qatprep.facts.base import ABSENT, Unknown, names, unknown
from qatprep.host.base import Host
from qatprep.runtime import memlock
from qatprep.runtime.memlock import Limit

UNIT_DIRECTORIES = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""Where systemd looks for units, the first wins (systemd.unit(5)). `systemctl set-property` writes to *.control."""
MANAGER_DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
"""Of system.conf (the first that is there) and system.conf.d (systemd-system.conf(5))."""


class UnitLimit(NamedTuple):
    """LimitMEMLOCK= of a unit as its files say."""

    unit: str
    limit: Limit
    source: str
    """The file that sets it; "" for systemd's default."""
    ignored: tuple[tuple[str, str, str], ...] = ()
    """(file, value, why) that systemd does not use."""


def unit_file(host: Host, unit: str) -> str:
    """The file that systemd reads for a unit, "" where there is none."""
    for directory in UNIT_DIRECTORIES:
        try:
            if host.exists(f"{directory}/{unit}"):
                return f"{directory}/{unit}"
        except OSError:
            continue
    return ""


def enabled(host: Host, unit: str) -> bool:
    """Whether a target wants the unit at boot."""
    for directory in UNIT_DIRECTORIES:
        listed = names(host, directory)
        for name in () if isinstance(listed, Unknown) else listed:
            if name.endswith((".wants", ".requires")) and unit in _listed(host, f"{directory}/{name}"):
                return True
    return False


def _listed(host: Host, directory: str) -> tuple[str, ...]:
    listed = names(host, directory)
    return () if isinstance(listed, Unknown) else tuple(listed)


def unit_limit(host: Host, unit: str) -> UnitLimit | Unknown | None:
    """LimitMEMLOCK= of a unit with all its drop-ins, as systemd puts them together; None when there is no such unit.

    Drop-ins are read in the order of their names, whichever directory they are in; of one name the directory that
    systemd asks first wins (systemd.unit(5)).
    """
    main = unit_file(host, unit)
    if not main:
        return None
    ignored: list[tuple[str, str, str]] = []
    default = _default(host, ignored)
    if isinstance(default, Unknown):
        return default
    drop_ins, unused = _drop_ins(host, _kinds(unit), UNIT_DIRECTORIES)
    found = _decide(host, (main, *drop_ins), default, memlock.UNIT, ignored)
    if isinstance(found, Unknown):
        return found
    for path in unused:
        text = _text(host, path)
        for value in memlock.assignments(text, memlock.UNIT).used if isinstance(text, str) else ():
            ignored.append((path, value, "systemd reads only drop-ins whose names end in .conf"))
    return UnitLimit(unit, *found, tuple(ignored))


def _decide(
    host: Host, paths: tuple[str, ...], start: tuple[Limit, str], key: memlock.Key, ignored: list[tuple[str, str, str]]
) -> tuple[Limit, str] | Unknown:
    """The last valid assignment wins; an empty one goes back to `start`."""
    limit, source = start
    for path in paths:
        text = _text(host, path)
        if isinstance(text, Unknown):
            return text
        found = memlock.assignments(text or "", key)
        ignored += [(path, value, why) for value, why in found.ignored]
        for value in found.used:
            if not value:
                limit, source = start
                continue
            try:
                limit, source = memlock.parse_limit(value), path
            except ValueError as e:
                ignored.append((path, value, str(e)))
    return limit, source


def _default(host: Host, ignored: list[tuple[str, str, str]]) -> tuple[Limit, str] | Unknown:
    built_in = (Limit(memlock.SYSTEMD_DEFAULT, memlock.SYSTEMD_DEFAULT), "")
    mains = [f"{directory}/system.conf" for directory in MANAGER_DIRECTORIES]
    main = next((path for path in mains if _text(host, path) is not None), None)
    drop_ins, _ = _drop_ins(host, ["system.conf.d"], MANAGER_DIRECTORIES)
    return _decide(host, (*([main] if main else []), *drop_ins), built_in, memlock.MANAGER, ignored)


def _kinds(unit: str) -> list[str]:
    """Directories of drop-ins for a unit, the most particular last."""
    stem = unit.removesuffix(".service")
    kinds = ["service.d"]
    dash = stem.find("-")
    while dash >= 0:
        kinds.append(f"{stem[: dash + 1]}.service.d")
        dash = stem.find("-", dash + 1)
    return [*kinds, f"{unit}.d"]


def _drop_ins(host: Host, kinds: list[str], directories: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Drop-ins in the order they are read, and the files next to them that are never read."""
    found: dict[str, str] = {}
    unused: list[str] = []
    for kind in kinds:
        here: dict[str, str] = {}
        for directory in reversed(directories):
            listed = names(host, f"{directory}/{kind}")
            for name in () if isinstance(listed, Unknown) else listed:
                if name.endswith(".conf"):
                    here[name] = f"{directory}/{kind}/{name}"
                else:
                    unused.append(f"{directory}/{kind}/{name}")
        found.update(here)
    return [found[name] for name in sorted(found)], unused


def _text(host: Host, path: str) -> str | Unknown | None:
    """For memlock.assignments alone, which reads lines as systemd does."""
    try:
        return host.read_text(path).raw
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
