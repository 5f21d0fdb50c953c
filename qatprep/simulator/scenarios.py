"""The hosts that --simulate knows: fixtures/sysfs, or qatprep/hosts where it is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qatprep.errors import InputError
from qatprep.host.shipped import hosts_directory
from qatprep.text import did_you_mean

PROFILES = ("qat", "cryptomb")


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
    """The same after `bootstrap`; None where bootstrap cannot mend it."""
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


_FIELDS = {
    "title": True,
    "story": True,
    "source": True,
    "kernel": True,
    "findings": True,
    "after": False,
    "profile": False,
    "since": False,
    "until": False,
}


def _read(name: str) -> Scenario:
    path = os.path.join(hosts_directory(), name, "scenario.yaml")
    document = _load_yaml(path)
    for field, needed in _FIELDS.items():
        if needed and field not in document:
            raise InputError(f"{path}: {field!r} is missing")
    for field, value in document.items():
        if field not in _FIELDS:
            raise InputError(f"{path}: {field!r} is none of {', '.join(_FIELDS)}")
        if field not in ("findings", "after") and not isinstance(value, str):
            raise InputError(f"{path}: {field!r} must be text, this is {value!r}", 'quote numbers: kernel: "6.12"')
    if document.get("profile", "qat") not in PROFILES:
        raise InputError(f"{path}: profile {document['profile']!r} is none of {', '.join(PROFILES)}")
    texts = {field: value.strip() for field, value in document.items() if isinstance(value, str)}
    after = document.get("after")
    return Scenario(
        name=name,
        findings=_findings(path, "findings", document["findings"]),
        after=_findings(path, "after", after) if "after" in document else None,
        **texts,
    )


def _findings(path: str, field: str, value: Any) -> Findings:
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: {field!r} must be a mapping of fail, warn and unknown, this is {value!r}")
    lists = {}
    for result, ids in value.items():
        if result not in ("fail", "warn", "unknown"):
            raise InputError(f"{path}: {field}.{result!r} is none of fail, warn, unknown")
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise InputError(f"{path}: {field}.{result} must be a list of ids, this is {ids!r}")
        lists[result] = tuple(ids)
    return Findings(**lists)


def _load_yaml(path: str) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with open(path, encoding="utf-8") as f:
            document = yaml.load(f, Loader=loader)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise InputError(f"{path} is not YAML: {e}") from e
    if not isinstance(document, dict):
        raise InputError(f"{path}: a scenario is a mapping, this is {type(document).__name__}")
    return document
