"""How much memory a container may lock, in systemd's words and in bytes.

VFIO pins every page a VF may reach, and the kernel charges it to RLIMIT_MEMLOCK of the process that maps it
(drivers/vfio/vfio_iommu_type1.c, vfio_lock_acct). Kubernetes has no field for it (kubernetes issue 3595): containers
inherit the limit of the daemon that started their shim.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from qatprep import json_input
from qatprep.text import printable

MIB = 1 << 20
INFINITY = math.inf

PER_VF = 16 * MIB
"""qatlib INSTALL: "16MB per VF plus whatever the application requires"."""
HEADROOM = 64 * MIB
"""For the application. No source gives a number for Envoy: this one is ours, and --set changes the whole size."""
FLOOR = 128 * MIB
"""What Intel's own Istio releases set from 1.16 on (intel/istio, release-1.16-intel and later)."""
PAPER = 16 * MIB
"""Intel's 16777216: exactly one VF, and nothing left for the application."""

SYSTEMD_DEFAULT = 8 * MIB
"""DefaultLimitMEMLOCK= of systemd (systemd-system.conf(5)) where nobody sets it."""

DROPIN_NAMES = ("90-qatprep-memlock.conf", "zz-qatprep-memlock.conf")
"""systemd reads drop-ins by name, and the last to set a limit wins: the second is for units with one like Intel's
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
    """A size as people and systemd write it, never without a unit: 128M, 64K, 65537B; "unlimited"."""
    if size == INFINITY:
        return "unlimited"
    number = int(size)
    letter = next((letter for letter in "GMK" if number and number % _UNITS[letter] == 0), "B")
    return f"{number // _UNITS[letter]}{letter}"


def drop_in_name(source: str) -> str | None:
    """The name under which a drop-in overrules the one that decides now (`source`, "" or a unit file: any will do).

    None when even the last name would not.
    """
    deciding = source.rsplit("/", 1)[-1] if ".d/" in source else ""
    return next((name for name in DROPIN_NAMES if name >= deciding), None)


def drop_in(size: float, hard: float = 0) -> str:
    """The drop-in for a unit: `size` and, where larger, the hard limit that it has (bytes, or INFINITY).

    Bytes without a suffix: the one spelling every systemd takes.
    """
    value = _systemd(size) if hard <= size else f"{_systemd(size)}:{_systemd(hard)}"
    return (
        "# Written by qatprep: lets containers pin the memory that QAT VFs need (16 MiB a VF and headroom).\n"
        "# Pods that were there before keep their old limit until they are deleted and made again.\n"
        "[Service]\n"
        f"LimitMEMLOCK={value}\n"
    )


def _systemd(size: float) -> str:
    return "infinity" if size == INFINITY else str(int(size))


class Key(NamedTuple):
    """A setting of systemd's and the section it belongs to."""

    section: str
    name: str


UNIT = Key("Service", "LimitMEMLOCK")
MANAGER = Key("Manager", "DefaultLimitMEMLOCK")
"""In system.conf."""


class Assignments(NamedTuple):
    """Values of a key in one file."""

    used: tuple[str, ...]
    """In the order of the file; "" goes back to the default."""
    ignored: tuple[tuple[str, str], ...]
    """(value, why)."""


def assignments(text: str, key: Key) -> Assignments:
    """Every value of `key` in a unit file, drop-in or system.conf (src/shared/conf-parser.c, config_parse)."""
    used: list[str] = []
    ignored: list[tuple[str, str]] = []
    section = ""
    for line in _lines(text):
        if line.startswith("["):
            section = line[1:].removesuffix("]")
            continue
        name, equals, value = line.partition("=")
        if not equals or name.rstrip() != key.name:
            continue
        if section == key.section:
            used.append(value.strip())
        else:
            where = f"below [{section}]" if section else "above the first section"
            ignored.append((value.strip(), f"it is {where}, and belongs below [{key.section}]"))
    return Assignments(tuple(used), tuple(ignored))


def _lines(text: str) -> list[str]:
    """Logical lines, printable: without byte order mark and comments, and with continued lines put together."""
    found: list[str] = []
    begun = ""
    for raw in re.split(r"\r\n|\n\r|[\r\n]", text.removeprefix("\ufeff")):
        raw = printable(raw, "\t")
        if raw.lstrip().startswith(("#", ";")):
            continue
        line = begun + raw
        if (len(raw) - len(raw.rstrip("\\"))) % 2:
            begun = line[:-1] + " "
            continue
        begun = ""
        if line.strip():
            found.append(line.strip())
    return [*found, begun.strip()] if begun.strip() else found


_LIMITS_LINE = re.compile(r"^Max locked memory +(unlimited|[0-9]{1,20}) +(unlimited|[0-9]{1,20}) +bytes", re.MULTILINE)


def from_proc_limits(text: str) -> Limit | None:
    """The limit in a /proc/<pid>/limits (fs/proc/base.c, proc_pid_limits); None when the line is not there."""
    match = _LIMITS_LINE.search(text)
    if match is None:
        return None
    soft, hard = (INFINITY if word == "unlimited" else int(word) for word in match.groups())
    return Limit(soft, hard)


def from_ulimits(items: tuple[str, ...]) -> Limit | None:
    """The memlock of CRI-O's default_ulimits (crio.conf(5)): "memlock=SOFT:HARD", the hard one may be left out, -1 is
    unlimited. None when there is none, or none that is valid.
    """
    found = None
    for item in items:
        if match := re.fullmatch(r"memlock=(-1|[0-9]{1,20})(?::(-1|[0-9]{1,20}))?", item.strip()):
            soft, hard = (INFINITY if word == "-1" else int(word) for word in (match[1], match[2] or match[1]))
            found = Limit(soft, hard)
    return found


_BASE_RLIMIT = "RLIMIT_MEMLOCK"
_UNLIMITED = 2**64 - 1


def from_base_spec(text: str) -> Limit | None:
    """RLIMIT_MEMLOCK of an OCI runtime specification (config.md, process.rlimits), None when it sets none.

    ValueError for what is not such a document. An unlimited one is 2^64 - 1.
    """
    for item in _memlock_rlimits(json_input.loads(text)):
        soft, hard = item.get("soft", 0), item.get("hard", 0)
        if type(soft) is not int or type(hard) is not int:
            raise ValueError(f"{_BASE_RLIMIT} is not two whole numbers")
        return Limit(*(INFINITY if number >= _UNLIMITED else number for number in (soft, hard)))
    return None


def _memlock_rlimits(document: Any) -> list[dict[str, Any]]:
    process = document.get("process") if isinstance(document, dict) else None
    rlimits = process.get("rlimits") if isinstance(process, dict) else None
    listed = rlimits if isinstance(rlimits, list) else []
    return [item for item in listed if isinstance(item, dict) and item.get("type") == _BASE_RLIMIT]


def in_base_spec(text: str, size: int) -> str:
    """The specification with RLIMIT_MEMLOCK raised to `size` bytes; a larger hard limit stays. For a text that
    `from_base_spec` gave a limit of.

    JSON has no comments to lose; the indentation is kept.
    """
    document = json_input.loads(text)
    for item in _memlock_rlimits(document):
        item["soft"], item["hard"] = size, max(size, item.get("hard", 0))
    indent = re.search(r"^\{\n([ \t]+)", text)
    separators = None if indent or ": " in text else (",", ":")
    end = text[len(text.rstrip()) :]
    return json.dumps(document, indent=indent[1] if indent else None, separators=separators, ensure_ascii=False) + end
