"""What fuzzing found, and what it begins with: each input is answered or refused, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import node
from tests.fuzz.explore import CORPUS
from tests.fuzz.targets import BY_NAME, ROOT, TARGETS, Target

MOST = 4096
"""Bytes of one finding that is kept: a reduced one says more, and the sources stay small."""
FOUND = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: str(path.relative_to(CORPUS)))
def test_a_finding_stays_fixed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "JUDGED", 1)
    BY_NAME[path.parent.name].attempt(path.read_bytes())
    assert path.stat().st_size <= MOST


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target.name))
def test_what_a_target_begins_with(target: Target) -> None:
    """At least one of its seeds is taken, not refused: else nothing behind the refusal would be reached."""
    seeds = target.seeds()
    assert seeds
    for seed in [*seeds[:12], b"", b"\0", b"\xff" * 64, b"[" * 3000, b'{"a":' * 3000]:
        target.attempt(seed)
    assert any(target.takes(seed) for seed in seeds)


ELSEWHERE = {
    "host/child.py": "starts a process and waits for it; reads nothing",
    "host/linux.py": "reads files, and hands them on",
    "host/private.py": "owners and modes",
    "host/programs.py": "which program a name is",
    "host/read_only.py": "refuses",
    "host/record.py": "keeps what is read, as it is",
    "host/trace.py": "writes",
    "host/udev.py": "the kernel's own events, through pyudev",
    "config/writing.py": "writes",
    "mesh/inspect/judge/handshake.py": "numbers of a handshake",
}
"""Modules of the rooms that read text from outside which no target reaches, and why."""
ROOMS = ("facts", "runtime", "mesh/inspect", "host", "config")


def test_every_module_that_reads_text_from_outside_is_reached() -> None:
    """By what a target begins with: a new parser takes a row in targets.py, or a line above."""
    package = ROOT / "qatprep"
    command = [sys.executable, "-m", "tests.fuzz.reached"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    modules = [path for room in ROOMS for path in (package / room).rglob("*.py") if "def " in path.read_text()]
    missing = {str(path.relative_to(package)) for path in modules} - set(done.stdout.split())
    assert missing - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() - missing == set(), "reached after all"


def test_every_target_is_in_the_documents() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    missing = [target.name for target in TARGETS if f"| `{target.name}` | {target.reads} |" not in text]
    assert missing == []
