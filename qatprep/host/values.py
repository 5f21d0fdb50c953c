"""What no file of a host tells, and a host file therefore keeps below /.qatprep: read and checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from qatprep import json_input
from qatprep.errors import InputError
from qatprep.host.base import CpuidResult, RunResult
from qatprep.host.tree import Tree
from qatprep.text import Foreign

META = "/.qatprep"
_TIME = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"


class Values(NamedTuple):
    euid: int
    machine: str
    """As uname -m."""
    cpuid: Mapping[tuple[int, int], CpuidResult]
    """By leaf and subleaf."""
    xcr0: int | None
    time: str
    """UTC, ISO 8601 with seconds; "" where it was not recorded."""
    modified: Mapping[str, float]
    """Seconds since 1970, by path."""
    programs: Mapping[tuple[str, ...], RunResult]
    """What programs answered, by their arguments."""
    simulated: bool
    """Whether it was a simulated host that was recorded."""


def read(tree: Tree, label: str) -> Values:
    """The values of a host. InputError, naming the file below /.qatprep and the value, for one that is no such thing.

    `label`: what the host is called in messages.
    """

    def of(name: str, parse: Any, form: str) -> Any:
        try:
            return parse(text(tree, name))
        except ValueError as e:
            raise InputError(
                f"{label}: {META}/{name} is not {form}: {str(e)[:200]}",
                "a host file is made by `qatprep capture`, or is one of fixtures/sysfs/*/host.txt",
            ) from e

    return Values(
        euid=of("euid", _euid, "a user id"),
        machine=of("machine", _machine, "the name of an architecture"),
        cpuid=of("cpuid", _cpuid, "lines of `leaf subleaf: eax ebx ecx edx` in hexadecimal"),
        xcr0=of("xcr0", _xcr0, "a register in hexadecimal"),
        time=of("time", _time, "a time such as 2026-03-02T08:00:00Z"),
        modified=of("modified", _modified, "lines of `seconds path`"),
        programs=of("programs", _programs, "lines of JSON with argv, rc, stdout and stderr"),
        simulated=bool(text(tree, "simulated")),
    )


def text(tree: Tree, name: str) -> str:
    """One of them as it is written, "" where it is not there."""
    node = tree.find(f"{META}/{name}")
    return node.content().decode("utf-8", "backslashreplace").strip() if node else ""


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError(repr(text[:60]))
    return text


def _euid(text: str) -> int:
    return int(_matching(r"[0-9]{1,10}", text)) if text else 0


def _machine(text: str) -> str:
    return _matching(r"[\w.-]{1,64}", text) if text else "x86_64"


def _hex(text: str, bits: int) -> int:
    return int(_matching(rf"(?:0x)?[0-9a-fA-F]{{1,{bits // 4}}}", text), 16)


def _cpuid(text: str) -> Mapping[tuple[int, int], CpuidResult]:
    found: dict[tuple[int, int], CpuidResult] = {}
    for line in text.splitlines():
        key, _, registers = line.partition(":")
        words, values = key.split(), registers.split()
        if len(words) != 2 or len(values) != 4:
            raise ValueError(repr(line[:60]))
        leaf, subleaf = (_hex(word, 32) for word in words)
        found.setdefault((leaf, subleaf), CpuidResult(*(_hex(value, 32) for value in values)))
    return found


def _xcr0(text: str) -> int | None:
    return _hex(text, 64) if text else None


def _time(text: str) -> str:
    return _matching(_TIME, text) if text else ""


def _modified(text: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for line in text.splitlines():
        seconds, _, path = line.partition(" ")
        found.setdefault(path, float(_matching(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", seconds)))
    return found


def _programs(text: str) -> Mapping[tuple[str, ...], RunResult]:
    found: dict[tuple[str, ...], RunResult] = {}
    for line in text.splitlines():
        match json_input.loads(line):
            case {"argv": [*argv], "rc": int(rc), "stdout": str(stdout), "stderr": str(stderr)} if all(
                isinstance(word, str) for word in argv
            ):
                found.setdefault(tuple(argv), RunResult(tuple(argv), rc, Foreign(stdout), Foreign(stderr)))
            case _:
                raise ValueError(repr(line[:60]))
    return found
