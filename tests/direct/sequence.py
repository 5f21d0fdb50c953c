"""What a driver wrote to one VF, as the emulator recorded it, in a form that two drivers can be compared in.

python -m tests.direct.sequence RECORD prints it: recordings/ has libqat's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

RECORDINGS = Path(__file__).parent / "recordings"


def lines(record: Path) -> list[str]:
    """What was written to the one VF of a record."""
    return written(record.read_text().splitlines())


def written(events: Iterable[str], function: str = "") -> list[str]:
    """Writes of 32 bits to a function (by default any), in order: "0 LBASE0 address", "- VF2PF INIT 0x0"."""
    found = []
    for text in events:
        event = json.loads(text)
        if event["what"] != "write" or function not in ("", event["function"]):
            continue
        assert event["size"] == 4, text
        name, value = event["register"], event["value"]
        if name == "VF2PF":
            shown = f"{event['message']} {event['data']:#x}"
        elif name == "PF2VF":
            assert not value & 1, "an acknowledgement clears the pending bit"
            shown = "acknowledged"
        elif name == "HEAD1":
            assert value % 32 == 0, "whole answers"
            shown = "taken"  # how many, is a matter of time
        else:
            shown = "address" if "LBASE" in name and value else f"{value:#x}"
        found.append(f"{event.get('pair', '-')} {name} {shown}")
    return found


def without_ring_map(sequence: list[str]) -> list[str]:
    """As 24.02 does it: no interrupt mask, no question for the ring map (block 3)."""
    kept: list[str] = []
    asked = False
    for line in sequence:
        if "SMALL_BLOCK" in line:
            asked = int(line.split()[-1], 16) & 0xF == 3
        elif "PF2VF" not in line:
            asked = False
        if not asked and line != "- MASK 0x1":
            kept.append(line)
    return kept


def of_one_pair(written: Iterable[str], pair: int) -> list[str]:
    """The chain of one signature: one ring pair, its first request, the first time its answers are taken."""
    kept: list[str] = []
    for line in written:
        place, name, *_ = line.split()
        if place not in ("-", str(pair)):
            continue
        if name in ("TAIL0", "HEAD1") and any(name in other for other in kept):
            continue
        if line == "- MASK 0x1" and line in kept:
            continue  # libqat 26.08 opens the VF twice: for its capabilities, and to use it
        kept.append(line)
    return kept


if __name__ == "__main__":
    print("\n".join(lines(Path(sys.argv[1]))))
