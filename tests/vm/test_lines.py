"""The kept log lines are in the form that their readers expect."""

from __future__ import annotations

from . import lines, userland
from .kernels import KERNELS


def test_kept_lines_have_a_scenario_and_no_stamps() -> None:
    entries = lines.load()
    assert entries
    about = [tuple(str(e[key]) for key in ("scenario", "kernel", "suite", "speaker")) for e in entries]
    assert about == sorted(set(about))
    for entry in entries:
        assert entry["kernel"] in KERNELS
        assert entry["suite"] in userland.USERLANDS
        assert entry["speaker"] in ("kernel", "libqat")
        assert entry["lines"] == lines.different("\n".join(entry["lines"]))
