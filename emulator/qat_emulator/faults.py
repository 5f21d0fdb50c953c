"""The one table of what a device, its PF or VFIO can be made to do wrong.

A fault is asked for as NAME or NAME=N. What N means is the fault's unit:
- requests: the fault happens N times, then no more;
- after: the fault happens once, when N requests were taken (0: at the first message to the PF);
- anything else: a value, and the fault lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple


class BadFault(ValueError):
    """A fault that is not in the table, or whose value is not a number."""


class Fault(NamedTuple):
    name: str
    unit: str
    """Of N: "requests", "after" (see above), a unit of measure, or "" where N says nothing."""
    default: int
    """N where none is given."""
    text: str
    """What happens."""


GROUPS = {
    "answers of the engines": (
        Fault("wrong", "requests", 1, "a result has one bit flipped"),
        Fault("lost", "requests", 1, "a request is taken and never answered"),
        Fault("failed", "requests", 1, "an answer carries the failure flag, its output is not written"),
        Fault("unsupported", "requests", 1, "an answer says that the request is not supported"),
        Fault("unwritten", "requests", 1, "an answer says success, its output is not written"),
        Fault("stalled", "milliseconds", 200, "every answer comes that late"),
        Fault("full", "after", 0, "no request is taken any more: the request ring stays full"),
        Fault("twice", "requests", 1, "an answer is given twice"),
        Fault("opaque", "requests", 1, "an answer names another request than the one it answers"),
        Fault("noise", "requests", 1, "an answer is 32 random bytes"),
        Fault("zero", "requests", 1, "an answer is 32 zero bytes"),
        Fault("torn", "milliseconds", 1, "the first word of every answer is written that long before the rest"),
        Fault("otherring", "requests", 1, "an answer goes to another ring pair"),
    ),
    "the mailbox and the PF": (
        Fault("silent", "", 1, "the PF neither acknowledges nor answers"),
        Fault("acknowledged", "", 1, "the PF acknowledges and does not answer"),
        Fault("unacknowledged", "", 1, "the PF answers and does not acknowledge"),
        Fault("garbage", "", 1, "the PF answers with random words"),
        Fault("foreign", "", 1, "the PF's words lack the bit that marks them as the system's"),
        Fault("stale", "", 1, "a word from before is in the mailbox when the VF is opened"),
        Fault("late", "milliseconds", 400, "every message is answered that late"),
        Fault("half", "", 1, "the PF ignores every second message"),
        Fault("repeated", "", 1, "the PF gives every answer again 3 ms later"),
        Fault("incompatible", "", 1, "the PF says that the versions do not fit"),
        Fault("unknowing", "", 1, "the PF does not know whether the versions fit"),
        Fault("version", "version", 1, "the PF's mailbox protocol has this version"),
        Fault("checksum", "", 1, "the checksum of a block is wrong"),
        Fault("noblocks", "", 1, "the PF has no blocks (capabilities, ring map)"),
        Fault("emptyblocks", "", 1, "blocks say that they have no bytes"),
        Fault("longblocks", "", 1, "blocks say that they have 255 bytes"),
        Fault("zeroblocks", "", 1, "blocks are all zero"),
        Fault("randomblocks", "", 1, "blocks are random"),
        Fault("stuckclosing", "", 1, "the PF does not acknowledge SHUTDOWN"),
        Fault("restarting", "after", 0, "the PF restarts: no request is taken until the VF is opened again"),
        Fault("fatal", "after", 0, "the PF reports a fatal error: no request is taken until the VF is opened again"),
        Fault("gone", "after", 0, "the function is gone: every register reads as ones"),
    ),
    "VFIO (run)": (
        Fault("memlock", "KiB", 1024, "no more memory than that can be mapped for DMA (ENOMEM)"),
        Fault("unviable", "", 1, "the IOMMU group is not viable"),
        Fault("nointerrupt", "", 1, "the function has no MSI"),
        Fault("smallbars", "", 1, "every BAR has 4 KiB"),
    ),
    "a PF that a kernel drives (serve --pf)": (
        Fault("heartbeat", "", 1, "the firmware's heartbeat stands still"),
        Fault("correctable", "", 1, "the device reports a correctable error, once"),
        Fault("uncorrectable", "", 1, "the device reports an uncorrectable error, once"),
        Fault("fatalerror", "", 1, "the device reports a fatal error, once"),
        Fault("noadmin", "", 1, "the firmware does not answer admin messages"),
        Fault("nofirmware", "", 1, "the firmware control unit refuses every image"),
        Fault("nopower", "", 1, "the device does not power up"),
        Fault("unplugged", "", 1, "the PF and its VFs are gone: every register reads as ones"),
    ),
}  # fmt: skip

TABLE = {fault.name: fault for group in GROUPS.values() for fault in group}


class Faults:
    """The faults of one run. Safe to use and to change from several threads."""

    def __init__(self, wanted: Iterable[str] = ()) -> None:
        self._values: dict[str, int] = {}
        self._lock = threading.Lock()
        for text in wanted:
            self.set(text)

    def set(self, text: str) -> None:
        """NAME or NAME=N; NAME=off takes a fault back. BadFault."""
        name, equals, value = text.partition("=")
        fault = TABLE.get(name)
        if fault is None:
            raise BadFault(f"unknown fault {name!r} (qat-emulator faults lists them)")
        with self._lock:
            if value == "off":
                self._values.pop(name, None)
            elif equals and not value.isdigit():
                raise BadFault(f"fault {text!r}: {value!r} is not a number")
            else:
                self._values[name] = int(value) if equals else fault.default

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> int:
        """The value of a fault that is on; 0 where it is not."""
        return self._values.get(name, 0)

    def take(self, name: str) -> bool:
        """Whether a fault of the unit `requests` happens now; counts it."""
        with self._lock:
            remaining = self._values.get(name, 0)
            if remaining:
                self._values[name] = remaining - 1
            return remaining > 0

    def due(self, name: str, taken: int) -> bool:
        """Whether a fault of the unit `after` happens, now that `taken` requests were taken."""
        return name in self._values and taken >= self._values[name]

    def once(self, name: str) -> None:
        """A fault has happened and must not happen again."""
        with self._lock:
            self._values.pop(name, None)
