"""A log judged: each kind of known line is a finding, with what the table of messages says of it."""

from __future__ import annotations

from qatprep.findings import Evidence, Finding
from qatprep.mesh.inspect.logs import Hit, Log


def judge(log: Log) -> list[Finding]:
    return [_finding(log.name, hit) for hit in log.hits]


def _finding(name: str, hit: Hit) -> Finding:
    row = hit.message
    return Finding(
        row.finding,
        row.status,
        f"{row.title} ({hit.count} times)" if hit.count > 1 else row.title,
        subjects=tuple(hit.devices),
        evidence=(
            *(Evidence(f"{name}:{line}", text) for line, text in hit.before),
            Evidence(f"{name}:{hit.line}", hit.text),
        ),
        cause=row.cause,
        fix=row.fix,
    )
