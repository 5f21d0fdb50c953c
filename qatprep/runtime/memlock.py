"""How much memory a container may lock, in systemd's words and in bytes.

VFIO pins every page a VF may reach, and the kernel charges it to RLIMIT_MEMLOCK of the process that maps it
(drivers/vfio/vfio_iommu_type1.c, vfio_lock_acct). Kubernetes has no field for it (kubernetes issue 3595): containers
inherit the limit of the daemon that started their shim.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

MIB = 1 << 20
INFINITY = math.inf

PER_VF = 16 * MIB
"""qatlib INSTALL: "16MB per VF plus whatever the application requires"."""
HEADROOM = 64 * MIB
"""For the application. No source gives a number for Envoy: this one is ours, and --set changes the whole size."""
FLOOR = 128 * MIB
"""What Intel's own Istio releases set from 1.16 on (intel/istio, release-1.16-intel and later)."""
PAPER = 16 * MIB
"""The paper's 16777216: exactly one VF, and nothing left for the application."""

SYSTEMD_DEFAULT = 8 * MIB
"""DefaultLimitMEMLOCK= of systemd (systemd-system.conf(5)) where nobody sets it."""

DROPIN_NAMES = ("90-qatprep-memlock.conf", "zz-qatprep-memlock.conf")
"""systemd reads drop-ins by name, and the last to set a limit wins: the second is for units with one like the paper's
memlock.conf, which sorts behind the first."""

_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([BKMGTPE]?)")


class Limit(NamedTuple):
    """A soft and a hard limit in bytes; math.inf is "unlimited"."""

    soft: float
    hard: float


def needed(vfs: int, *, headroom: int = HEADROOM) -> int:
    """Bytes a container that holds `vfs` VFs should be allowed to lock: max(128 MiB, 16 MiB a VF + headroom)."""
    return max(FLOOR, PER_VF * max(vfs, 0) + headroom)


def parse_limit(text: str) -> Limit:
    """A LimitMEMLOCK= value as systemd reads it (systemd.exec(5), src/basic/rlimit-util.c).

    One value, or soft:hard. ValueError, saying why, for what systemd would ignore with only a warning in its log:
    16MB, 64k, 1 GiB.
    """
    soft, colon, hard = text.partition(":")
    low = _parse_size(soft)
    high = _parse_size(hard) if colon else low
    if low > high:
        raise ValueError(f"{text!r}: the soft limit is above the hard one")
    return Limit(low, high)


def _parse_size(text: str) -> float:
    if text == "infinity":
        return INFINITY
    match = _SIZE.fullmatch(text)
    if match is None:
        wrong = "units are one capital letter: K, M, G, T" if re.fullmatch(r"[0-9.]+ ?[A-Za-z]+", text) else ""
        raise ValueError(f"{text!r} is no size systemd knows" + (f" ({wrong})" if wrong else ""))
    return int(float(match[1]) * _UNITS[match[2]]) if "." in match[1] else int(match[1]) * _UNITS[match[2]]


def spell(size: float) -> str:
    """A size as people write it: 128M, 8M, 65536, unlimited."""
    if size == INFINITY:
        return "unlimited"
    number = int(size)
    for letter in ("G", "M"):
        if number and number % _UNITS[letter] == 0:
            return f"{number // _UNITS[letter]}{letter}"
    return str(number)


def drop_in_name(source: str) -> str | None:
    """The name under which a drop-in overrules the one that decides now (`source`, "" or a unit file: any will do).

    None when even the last name would not.
    """
    deciding = source.rsplit("/", 1)[-1] if ".d/" in source else ""
    return next((name for name in DROPIN_NAMES if name >= deciding), None)


def drop_in(size: int) -> str:
    """The drop-in for a unit. Bytes without a suffix: the one spelling every systemd takes."""
    return (
        "# Written by qatprep: lets containers pin the memory that QAT VFs need (16 MiB a VF and headroom).\n"
        "# Pods that were there before keep their old limit until they are deleted and made anew.\n"
        "[Service]\n"
        f"LimitMEMLOCK={size}\n"
    )


def unit_assignments(text: str) -> tuple[str, ...]:
    """Every LimitMEMLOCK= value of a unit file or drop-in, in order, of its [Service] sections only."""
    return _assignments(text, "[Service]", "LimitMEMLOCK")


def default_assignments(text: str) -> tuple[str, ...]:
    """Every DefaultLimitMEMLOCK= of a system.conf."""
    return _assignments(text, "[Manager]", "DefaultLimitMEMLOCK")


def _assignments(text: str, section: str, key: str) -> tuple[str, ...]:
    values = []
    inside = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line == section
        elif inside and not line.startswith(("#", ";")):
            name, equals, value = line.partition("=")
            if equals and name.rstrip() == key:
                values.append(value.strip())
    return tuple(values)


_LIMITS_LINE = re.compile(r"^Max locked memory +(unlimited|[0-9]{1,20}) +(unlimited|[0-9]{1,20}) +bytes", re.MULTILINE)


def from_proc_limits(text: str) -> Limit | None:
    """The limit in a /proc/<pid>/limits (fs/proc/base.c, proc_pid_limits); None when the line is not there."""
    match = _LIMITS_LINE.search(text)
    if match is None:
        return None
    soft, hard = (INFINITY if word == "unlimited" else int(word) for word in match.groups())
    return Limit(soft, hard)


def docker_flags(size: int) -> tuple[str, ...]:
    """What `docker run` needs: it has no device ownership, and its limit is a flag (docker-run(1))."""
    return ("--ulimit", f"memlock={size}:{size}")
