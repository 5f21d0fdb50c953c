"""Findings about one object of a manifest, each with its place in the file."""

from __future__ import annotations

from dataclasses import dataclass, field

from qatprep.findings import Evidence, Finding, Status
from qatprep.mesh.inspect.manifest import Manifest, Object, Spot
from qatprep.text import printable

_LONGEST = 300
"""Characters of a title: names of a manifest may have any length."""


@dataclass
class Found:
    """Findings as they come: where, what is there, what is wrong with it, why that matters, what to do."""

    manifest: Manifest
    part: Object
    findings: list[Finding] = field(default_factory=list)

    def fail(self, id: str, spot: Spot, value: object, title: str, cause: str, *fix: str) -> None:
        """It will not work."""
        self._add(Status.FAIL, id, spot, value, title, cause, fix)

    def warn(self, id: str, spot: Spot, value: object, title: str, cause: str, *fix: str) -> None:
        """It works, and not as one may think."""
        self._add(Status.WARN, id, spot, value, title, cause, fix)

    def _add(
        self, status: Status, id: str, spot: Spot, value: object, title: str, cause: str, fix: tuple[str, ...]
    ) -> None:
        location = self.manifest.location(self.part, spot)
        evidence = (Evidence(location.path or self.part.title, printable(str(value)[:200])),)
        title = printable(title if len(title) <= _LONGEST else f"{title[:_LONGEST]}...")
        fix = tuple(step[:1].upper() + step[1:] if step.startswith("did you") else step for step in fix)
        self.findings.append(Finding(id, status, title, evidence=evidence, cause=cause, fix=fix, location=location))


def absent(value: object) -> object:
    return "not set" if value is None else value


def kind_of(value: object) -> str:
    """The type of a value in YAML's words."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    return "text" if isinstance(value, str) else "a boolean" if isinstance(value, bool) else "a number"
