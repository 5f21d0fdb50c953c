"""Lines of the kernel log in the forms people keep them in."""

from __future__ import annotations

import pytest

from qatprep.host.kmsg import Record, device, parse, spell

TEXT = "4xxx 0000:6b:00.0: Failed to load MMP"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (f"<3>{TEXT}", 3),
        (f"<30>{TEXT}", 6),
        (f"<4>[   12.345678] {TEXT}", 4),
        (f"[   12.345678] {TEXT}", None),
        (f"[   12.345678][  T123] {TEXT}", None),
        (f"[Thu Nov 26 02:02:59 2026] {TEXT}", None),
        (f"kern  :err   : [   12.3] {TEXT}", 3),
        (f"kern  :warn  : {TEXT}", 4),
        (f"2026-11-26T02:02:59,123456+00:00 {TEXT}", None),
        (f"Nov 26 02:02:59 node kernel: {TEXT}", None),
        (f"Nov  6 02:02:59 node kernel: [   12.3] {TEXT}", None),
        (f"2026-11-26T02:02:59.123456+0000 node kernel: {TEXT}", None),
        (TEXT, None),
    ],
)
def test_priority_and_text(line: str, level: int | None) -> None:
    assert parse(line) == Record(level, TEXT, line != TEXT)


@pytest.mark.parametrize("line", ["", "<", "<4", "<4x>y", "[x] y", "kern: y", "Nov 26 y"])
def test_what_is_no_head_is_text(line: str) -> None:
    assert parse(line) == Record(None, line)


def test_written_and_read() -> None:
    assert parse(spell(4, TEXT))[:2] == (4, TEXT) and spell(None, TEXT) == TEXT
    assert parse(spell(4, TEXT)).bad and not parse(spell(5, TEXT)).bad and not parse(TEXT).bad


@pytest.mark.parametrize(
    ("text", "bdf"),
    [
        (TEXT, "0000:6b:00.0"),
        ("DMAR: [DMA Read] Request device [6b:00.1] PASID ffffffff fault addr 9c000000", "0000:6b:00.1"),
        ("DMAR: [DMA Read NO_PASID] Request device [0001:6b:00.1] fault addr 0x9c000000", "0001:6b:00.1"),
        ("QAT: authentication error (FCU_STATUS = 0x1)", ""),
    ],
)
def test_the_device_of_a_message(text: str, bdf: str) -> None:
    assert device(text) == bdf
