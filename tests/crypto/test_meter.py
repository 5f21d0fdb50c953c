"""The line that says how far a measurement is."""

from __future__ import annotations

from io import StringIO

from qatprep.report.console import Console
from qatprep.report.meter import Meter


def test_a_terminal_is_drawn_on_before_the_first_step_is_known() -> None:
    out = StringIO()
    with Meter(Console(file=out, force_terminal=True, width=100), "tune") as meter:
        assert meter._progress is not None
        meter._progress.refresh()
        meter(3, 8, "capacity of qat")
        meter._progress.refresh()
    assert "tune" in out.getvalue()
    assert "3/8" in out.getvalue()
    assert "capacity of qat" in out.getvalue()
