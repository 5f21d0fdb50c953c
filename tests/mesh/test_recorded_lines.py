"""The table of sentences against what the unpatched driver and libqat printed on emulated devices in tests/vm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatprep.facts.base import Unknown
from qatprep.findings import Status
from qatprep.findings.messages import Source, matching
from qatprep.mesh.inspect import logs
from tests.checks.hosts import facts, judge

ENTRIES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vm/recordings/lines.json").read_text())
KERNEL = [e for e in ENTRIES if e["speaker"] == "kernel"]


def dmesg(lines: list[str]) -> str:
    return "/.qatprep/dmesg <<\n" + "\n".join(f"| {line}" for line in lines)


def name(entry: dict[str, Any]) -> str:
    return f"{entry['scenario']}, {entry['speaker']} {entry['kernel']} {entry['suite']}"


@pytest.mark.parametrize("entry", KERNEL, ids=name)
def test_each_line_of_the_driver_is_known(entry: dict[str, Any]) -> None:
    """Each that doctor keeps as one about QAT: a busy guest's kernel talks of its timers as well."""
    lines = facts("spr-2s-ready", dmesg(entry["lines"])).log.lines
    assert not isinstance(lines, Unknown) and lines
    assert [line.text for line in lines if not line.key] == []


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e not in KERNEL], ids=name)
def test_each_failure_that_a_program_tells_is_known(entry: dict[str, Any]) -> None:
    read = logs.read("log", list(enumerate(entry["lines"], 1)))
    assert [q for q in read.quoted if logs.TROUBLE.search(q.text.lower())] == []


TROUBLE = {
    "down with a holder": "vf-silent",
    "error: correctable": "ras-correctable",
    "error: fatalerror": "hang",
    "error: uncorrectable": "ras",
    "heartbeat lost": "heartbeat-lost",
}
"""Scenario -> the row that tells it."""


@pytest.mark.parametrize("entry", KERNEL, ids=name)
def test_a_scenario_is_told_by_its_row(entry: dict[str, Any]) -> None:
    expected = TROUBLE.get(entry["scenario"])
    keys = {row.key for line in entry["lines"] for row, _ in matching(line, Source.KERNEL)}
    assert expected is None or expected in keys


@pytest.mark.parametrize("scenario", [name for name in TROUBLE if name != "down with a holder"])
def test_doctor_shows_it_on_a_host_where_all_else_is_well(scenario: str) -> None:
    lines = [line for e in KERNEL if e["scenario"] == scenario for line in e["lines"]]
    report = judge("spr-2s-ready", dmesg(lines))
    told = report.of(Status.WARN, Status.FAIL)
    shown = {e.value.partition(" (")[0] for f in told for e in f.evidence if e.path == "kernel log"}
    assert shown and any(TROUBLE[scenario] in [row.key for row, _ in matching(line)] for line in shown)
