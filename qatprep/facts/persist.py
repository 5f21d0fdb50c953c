"""What prepares the node again after a boot: systemd, and the files that qatprep keeps for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from qatprep.facts.base import ABSENT, Unknown, exists, link_name, unknown
from qatprep.host.base import Host
from qatprep.host.launcher import launcher, program_doubt
from qatprep.host.trust import doubt

MARKER = "Written by qatprep"
"""Is in the first lines of every file that is wholly ours: others are never replaced or removed."""
_HEAD = 5
"""Lines in which it must stand."""

SYSTEMD_DIR = "/etc/systemd/system"
APPLY = f"{SYSTEMD_DIR}/qatprep-apply.service"
METRICS_SERVICE = f"{SYSTEMD_DIR}/qatprep-metrics.service"
METRICS_TIMER = f"{SYSTEMD_DIR}/qatprep-metrics.timer"
MODULES = "/etc/modules-load.d/qatprep.conf"
SYSUSERS = "/etc/sysusers.d/qatprep.conf"
RULES = "/etc/udev/rules.d/90-qatprep.rules"
HELPER = "/etc/udev/qatprep-vfio"
CONFIG = "/etc/qatprep.yaml"
SCRIPT = "/etc/qatprep-apply.sh"
"""Only gen-conf --standalone makes this one."""
FILES = (CONFIG, MODULES, SYSUSERS, HELPER, RULES, APPLY, METRICS_SERVICE, METRICS_TIMER)
"""Everything qatprep installs for good. In the order in which it is installed: what a file names comes before it."""

WANTED_BY = {APPLY: "multi-user.target", METRICS_TIMER: "timers.target"}
"""Units that are enabled, and by what."""

BOOTED = "/run/systemd/system"
"""Is there where systemd is the init system: sd_booted(3)."""
UNIT_DIRS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")


class PersistFacts(NamedTuple):
    systemd: bool | Unknown
    """Whether systemd runs this host."""
    program: tuple[str, ...]
    """How qatprep is called there (absolute path first), () where that is not known."""
    files: Mapping[str, str | Unknown | None]
    """Each of FILES: its text, None when it is not there."""
    modes: Mapping[str, int]
    """Mode of each of FILES that is there."""
    enabled: Mapping[str, bool | Unknown]
    """Each unit of WANTED_BY."""
    starts: tuple[str, ...] = ()
    """How the installed unit calls qatprep, () without a unit."""
    starts_there: bool | Unknown = False
    """Whether that program is a file that can be run."""
    doubt: str = ""
    """Who but root could change `program` or what it runs, "" for nobody."""
    starts_doubt: str = ""
    """The same of what the installed unit starts."""

    def text(self, path: str) -> str | None:
        """The text of a file that is there and can be read, else None."""
        found = self.files.get(path)
        return found if isinstance(found, str) else None

    def ours(self, path: str) -> bool | Unknown | None:
        """Whether a file is ours; None when it is not there."""
        found = self.files.get(path)
        return is_ours(found) if isinstance(found, str) else found


def is_ours(text: str) -> bool:
    """Whether a file's text carries the marker."""
    return any(MARKER in line for line in text.split("\n", _HEAD)[:_HEAD])


def gather(host: Host) -> PersistFacts:
    files: dict[str, str | Unknown | None] = {}
    modes: dict[str, int] = {}
    for path in FILES:
        try:
            files[path] = host.read_text(path).text
            modes[path] = host.stat(path).mode
        except OSError as e:
            files[path] = None if e.errno in ABSENT else unknown(e)
    program = launcher(host)
    unit = files[APPLY]
    starts = started(unit) if isinstance(unit, str) else ()
    return PersistFacts(
        systemd=exists(host, BOOTED),
        program=program,
        doubt=program_doubt(host, program) if program else "",
        files=files,
        modes=modes,
        enabled={path: _enabled(host, path, target) for path, target in WANTED_BY.items()},
        starts=starts,
        starts_there=_can_run(host, starts[0]) if starts else False,
        starts_doubt=next(
            (why for word in starts if word.startswith("/") and (why := doubt(host, word, root_only=True))), ""
        ),
    )


def started(unit: str) -> tuple[str, ...]:
    """How a unit of ours calls qatprep: the words of ExecStart= before the verb, () where there is none.

    Quoting and specifiers as persist.host_files.words writes them: systemd.service(5), "Command lines".
    """
    for line in unit.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "ExecStart":
            try:
                words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value)]
            except ValueError:
                return ()
            return tuple(words[: words.index("bootstrap")]) if "bootstrap" in words else tuple(words[:1])
    return ()


def _enabled(host: Host, unit: str, target: str) -> bool | Unknown:
    """systemctl enable makes this link; it counts wherever it leads to."""
    name = link_name(host, f"{SYSTEMD_DIR}/{target}.wants/{unit.rsplit('/', 1)[-1]}")
    return name if isinstance(name, Unknown) else name is not None


def _can_run(host: Host, path: str) -> bool | Unknown:
    try:
        found = host.stat(path)
    except OSError as e:
        return False if e.errno in ABSENT else unknown(e)
    return found.kind == "file" and bool(found.mode & 0o111)
