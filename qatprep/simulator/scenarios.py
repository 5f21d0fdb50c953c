"""The hosts that --simulate knows: fixtures/sysfs, or qatprep/hosts where it is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from qatprep import schema_check, yaml_text
from qatprep.errors import InputError
from qatprep.host.shipped import hosts_directory
from qatprep.text import did_you_mean


@dataclass(frozen=True)
class Findings:
    """Ids of findings, by result."""

    fail: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """A host that --simulate knows: fixtures/sysfs/<name>/scenario.yaml."""

    name: str
    title: str
    story: str
    source: str
    kernel: str
    """What --simulate uses unless told otherwise; host.txt was recorded under it."""
    findings: Findings
    """What `doctor --profile <profile>` gives, exactly."""
    after: Findings | None
    """The same after `bootstrap`; None where bootstrap cannot fix it."""
    profile: str = "qat"
    since: str = "6.0"
    """The oldest kernel (X.Y) under which `findings` and `after` hold as well ..."""
    until: str = ""
    """... and the newest, "" for no limit."""

    def holds_under(self, kernel: str) -> bool:
        """Whether `findings` and `after` are those under kernel X.Y."""
        from qatprep.simulator.kernel import Kernel

        series = Kernel(kernel).series
        return Kernel(self.since).series <= series and (not self.until or series <= Kernel(self.until).series)

    @property
    def host_file(self) -> str:
        return os.path.join(hosts_directory(), self.name, "host.txt")


def scenario(name: str) -> Scenario:
    """One simulated host by name. InputError, with names like it, when there is none."""
    known = _names()
    if name not in known:
        hint = did_you_mean(name, known, "`qatprep hosts` lists them", most=3, alike=0.5)
        raise InputError(f"there is no simulated host {name!r}", hint)
    return _read(name)


def scenarios() -> list[Scenario]:
    """Every simulated host, by name. InputError for a malformed scenario.yaml."""
    return [_read(name) for name in _names()]


def _names() -> list[str]:
    directory = hosts_directory()
    return sorted(name for name in os.listdir(directory) if os.path.isfile(os.path.join(directory, name, "host.txt")))


def _read(name: str) -> Scenario:
    path = os.path.join(hosts_directory(), name, "scenario.yaml")
    try:
        with open(path, encoding="utf-8") as f:
            read = yaml_text.document(f.read(), path)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not UTF-8 text (byte {e.start})") from e
    for place, problem in read.problems:
        raise InputError(f"{place}: {problem}")
    document = read.value
    if wrong := schema_check.errors("scenario", document)[0]:
        raise InputError("\n".join(f"{read.place(path)}: {text}" for path, text, _ in wrong), wrong[0].hint)
    texts = {field: value.strip() for field, value in document.items() if isinstance(value, str)}
    return Scenario(
        name=name,
        findings=_findings(document["findings"]),
        after=_findings(document["after"]) if "after" in document else None,
        **texts,
    )


def _findings(lists: Mapping[str, list[str]]) -> Findings:
    return Findings(**{result: tuple(ids) for result, ids in lists.items()})
