"""qatlib as this host has it installed, and the huge pages it may or may not find. Containers bring their own."""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep.facts.base import Unknown, names, read_int
from qatprep.host.base import Host

DIRECTORIES = (
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)
"""Where distributions and `make install` put the library; the first that has it is what programs load."""
HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"

_FILE = re.compile(r"libqat\.so\.4\.(\d+)\.\d+")
_RELEASES = {0: (23, 8), 1: (23, 11), 2: (24, 2), 3: (24, 9), 4: (25, 8), 5: (26, 2), 6: (26, 8)}
"""Second number of the file's name -> release: LIBQAT_VERSION of configure.ac in each tag, as libtool spells it."""

Release = tuple[int, int]


class QatlibFacts(NamedTuple):
    path: str
    """The library's file, "" where none is installed."""
    release: Release | None
    """Year and month: (25, 8) is 25.08. None without a library, or for one newer than this table."""
    pages: int | Unknown | None
    """Huge pages of 2 MiB that are set aside ..."""
    free: int | Unknown | None
    """... and how many of them nobody uses."""


def spell(release: Release) -> str:
    """As qatlib writes it: 25.08."""
    return f"{release[0]}.{release[1]:02d}"


def gather(host: Host) -> QatlibFacts:
    path, number = _library(host)
    return QatlibFacts(
        path=path,
        release=_RELEASES.get(number),
        pages=read_int(host, f"{HUGE_PAGES}/nr_hugepages"),
        free=read_int(host, f"{HUGE_PAGES}/free_hugepages"),
    )


def _library(host: Host) -> tuple[str, int]:
    for directory in DIRECTORIES:
        entries = names(host, directory)
        listed = () if isinstance(entries, Unknown) else entries
        found = [match for name in listed if (match := _FILE.fullmatch(name))]
        if found:
            newest = max(found, key=lambda match: int(match[1]))
            return f"{directory}/{newest[0]}", int(newest[1])
    return "", -1
