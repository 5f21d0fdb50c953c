"""systemctl, as far as unit files go: enable and disable make and remove links, as systemctl(1) tells.

Nothing is started: a simulated host has no services.
"""

from __future__ import annotations

import re

from qatprep.simulator import clock
from qatprep.simulator.machine import Machine

DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
BOOTED = "/run/systemd/system"
RELOAD = 0.2
"""Seconds of daemon-reload: every generator runs."""
_INSTALL = re.compile(r"^\[Install\]$(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)


def systemctl(machine: Machine, arguments: list[str]) -> tuple[int, str, str]:
    """Status, stdout and stderr."""
    words = [word for word in arguments if not word.startswith("-")]
    verb, units = (words[0], words[1:]) if words else ("", [])
    if machine.tree.find(BOOTED) is None and verb not in ("enable", "disable", "is-enabled"):
        return (
            1,
            "",
            "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
            "Failed to connect to bus: Host is down\n",
        )
    if verb == "daemon-reload":
        machine.clock.spend(RELOAD)
        return 0, "", ""
    if verb == "is-enabled":
        states = [("enabled" if _links(machine, unit) else "disabled") for unit in units if _file(machine, unit)]
        missing = [unit for unit in units if not _file(machine, unit)]
        if missing:
            return 1, "", f"Failed to get unit file state for {missing[0]}: No such file or directory\n"
        return int("disabled" in states), "".join(f"{state}\n" for state in states), ""
    if verb in ("enable", "disable"):
        for unit in units:
            if not _file(machine, unit):
                return 1, "", f"Failed to {verb} unit: Unit file {unit} does not exist.\n"
        out = "".join((_enable if verb == "enable" else _disable)(machine, unit) for unit in units)
        machine.clock.spend(clock.FSYNC + RELOAD)
        return 0, "", out
    if verb in ("start", "stop", "restart", "try-restart", "reload", "reset-failed"):
        return 0, "", ""
    return 1, "", f"Unknown command verb '{verb}'.\n"


def _file(machine: Machine, unit: str) -> str:
    """The path of a unit's file, "" when there is none."""
    return next((f"{d}/{unit}" for d in DIRECTORIES if machine.tree.find(f"{d}/{unit}") is not None), "")


def _wanted(machine: Machine, unit: str) -> list[str]:
    """Directories below /etc/systemd/system that WantedBy= and RequiredBy= name."""
    section = _INSTALL.search(machine.text(_file(machine, unit)))
    found = []
    for line in section[1].splitlines() if section else ():
        key, _, value = line.partition("=")
        kind = {"WantedBy": "wants", "RequiredBy": "requires"}.get(key.strip())
        found += [f"{DIRECTORIES[0]}/{target}.{kind}" for target in value.split()] if kind else []
    return found


def _links(machine: Machine, unit: str) -> list[str]:
    paths = [f"{directory}/{unit}" for directory in _wanted(machine, unit)]
    return [path for path in paths if machine.tree.find(path, follow=False) is not None]


def _enable(machine: Machine, unit: str) -> str:
    out = ""
    for directory in _wanted(machine, unit):
        path = f"{directory}/{unit}"
        if machine.tree.find(path, follow=False) is None:
            machine.tree.link(path, _file(machine, unit))
            out += f"Created symlink {path} → {_file(machine, unit)}.\n"
    return out


def _disable(machine: Machine, unit: str) -> str:
    out = ""
    for path in _links(machine, unit):
        machine.tree.remove(path)
        out += f'Removed "{path}".\n'
        directory = path.rsplit("/", 1)[0]
        listing = machine.tree.find(directory)
        if listing is not None and not listing.children:
            machine.tree.remove(directory)
    return out
