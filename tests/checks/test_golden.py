"""What doctor prints for people, word by word, and what it prints never does."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO, TextIOWrapper
from pathlib import Path

import pytest

from qatprep.checks import registry, table
from qatprep.cli.session import Session
from tests.checks.hosts import CHAIN
from tests.conftest import qatprep

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "spr-2s": [],
    "spr-2s-ready": ["--all"],
    "half-bound": ["--verbose"],
    "iommu-staged": ["--profile", "qat"],
    "cpu-amd-zen4": [],
    "gen2-c62x": [],
    "spr-2s-as-user": [],
    "out-of-tree": ["--profile", "qat", "--verbose"],
}


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the hardware chain: a check more in another room is no change of these files."""
    monkeypatch.setattr(registry, "CHECKS", tuple(check for check in table.CHECKS if check.stage in CHAIN))


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("columns", ["80", "160"])
def test_as_people_see_it(name: str, columns: str, golden: Callable[[Path, str], None]) -> None:
    called = qatprep("doctor", "--simulate", name, *CASES[name], env={"COLUMNS": columns})
    golden(GOLDEN / f"{name}-{columns}.txt", called.out)


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
@pytest.mark.parametrize("name", CASES)
def test_lines_end_where_they_end_and_only_a_word_is_longer(name: str, columns: int) -> None:
    out = qatprep("doctor", "--simulate", name, "--verbose", env={"COLUMNS": str(columns)}).out
    for line in out.splitlines():
        assert line == line.rstrip()
        assert "\x1b" not in line
        assert len(line) <= columns or len(line.removesuffix(" \\").split()) == 1


def test_a_stream_that_knows_no_utf8_gets_plain_signs() -> None:
    from io import BytesIO

    from qatprep.__main__ import main

    raw = BytesIO()
    out = TextIOWrapper(raw, encoding="ascii")
    assert main(["doctor", "--simulate", "spr-2s"], Session(out=out, err=StringIO(), env={})) == 3
    out.flush()
    text = raw.getvalue().decode("ascii")
    assert "x modules" in text and "+ firmware" in text


def test_the_command_that_mends_works_on_the_same_host() -> None:
    out = qatprep("doctor", "--simulate", "spr-2s@6.6", "--set", "nodes.group=tls users"[:15]).out
    assert "qatprep bootstrap --simulate spr-2s@6.6 --set nodes.group=tls" in out
