"""Ring pairs: requests that a driver puts into memory, answers that the device puts there.

Source: QL .../qat_direct/io/adf_user_ring.c and the registers' own (registers.py).
"""

from __future__ import annotations

import os
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qat_emulator import pke
from qat_emulator.memory import DmaFault
from qat_emulator.registers import (
    ANSWERS,
    BASE_HIGH,
    BASE_LOW,
    BUNDLE_SIZE,
    CONFIG,
    EMPTY_STATUS,
    HEAD,
    REQUESTS,
    TAIL,
    VF_RINGS,
)

if TYPE_CHECKING:
    from qat_emulator.vf import Vf

SHORT, LONG = 64, 128
"""Bytes of a request for public keys, and of any other."""


class RingPair:
    """One bundle of a VF. Its methods are called with the VF's lock held."""

    def __init__(self, vf: Vf, number: int) -> None:
        self.vf, self.number = vf, number
        self._waiting: deque[bytes] = deque()
        """Answers for which the ring has no room until the driver moves its head."""

    def _get(self, register: int, ring: int) -> int:
        return self.vf.get(VF_RINGS, self.number * BUNDLE_SIZE + register + 4 * ring)

    def _set(self, register: int, ring: int, value: int) -> None:
        self.vf.set(VF_RINGS, self.number * BUNDLE_SIZE + register + 4 * ring, value)
        self.show_empty()

    def show_empty(self) -> None:
        """Which rings are empty follows from heads and tails, whoever wrote them."""
        empty = sum(1 << ring for ring in (REQUESTS, ANSWERS) if self._get(HEAD, ring) == self._get(TAIL, ring))
        self.vf.set(VF_RINGS, self.number * BUNDLE_SIZE + EMPTY_STATUS, empty)

    def _size(self, ring: int) -> int:
        return 64 << (self._get(CONFIG, ring) & 0x1F)

    def _base(self, ring: int) -> int:
        # A ring is aligned to its size; lower bits are not looked at.
        return (self._get(BASE_HIGH, ring) << 32 | self._get(BASE_LOW, ring)) & ~(self._size(ring) - 1)

    def configured(self, ring: int, value: int) -> None:
        """CONFIG was written: a ring that is switched off begins again at 0."""
        if not value:
            self._waiting.clear()
            for register in (HEAD, TAIL):
                self._set(register, ring, 0)

    def reset(self) -> None:
        """Forget what waits; the registers are cleared already."""
        self._waiting.clear()
        self._set(HEAD, REQUESTS, 0)

    def take(self) -> Iterator[bytes]:
        """The requests between head and tail."""
        vf, size = self.vf, self._size(REQUESTS)
        head, tail = (self._get(register, REQUESTS) % size // SHORT * SHORT for register in (HEAD, TAIL))
        for _ in range(size // SHORT):  # whatever a driver writes, one round is the most there is
            if head == tail or vf.faults.due("full", vf.counts.requests):
                return
            address = self._base(REQUESTS) + head
            request = vf.memory.read(address, SHORT)
            if request[2] != pke.SERVICE:
                request = vf.memory.read(address, LONG)
            head = (head + len(request)) % size
            self._set(HEAD, REQUESTS, head)
            yield request

    def answer(self, data: bytes) -> None:
        """Put an answer into the ring, as soon as there is room."""
        self._waiting.append(data)
        self.flush()

    def flush(self) -> None:
        """Put as many waiting answers into the ring as it has room for."""
        size = self._size(ANSWERS)
        while self._waiting and (self._get(TAIL, ANSWERS) - self._get(HEAD, ANSWERS)) % size < size - pke.ANSWER.size:
            self._put(self._waiting.popleft())

    def _put(self, data: bytes) -> None:
        vf, tail = self.vf, self._get(TAIL, ANSWERS)
        address = self._base(ANSWERS) + tail
        (first,) = struct.unpack_from("<I", data)
        # A driver takes an answer as soon as its first word has changed: that goes last.
        try:
            if "torn" in vf.faults:
                vf.memory.store_word(address, first)
                threading.Event().wait(vf.faults.value("torn") / 1000)
            vf.memory.write(address + 4, data[4:])
            vf.memory.store_word(address, first)
        except DmaFault as fault:
            vf.record(vf.name, "fault", pair=self.number, text=str(fault))
            return
        self._set(TAIL, ANSWERS, (tail + len(data)) % self._size(ANSWERS))
        vf.counts.answers += 1
        vf.interrupt(0)


def spoiled(vf: Vf, data: bytes) -> list[bytes]:
    """An answer as the faults leave it: none, one, or several."""
    if vf.faults.take("lost"):
        return []
    if vf.faults.take("opaque"):
        data = data[:8] + os.urandom(8) + data[16:]
    if vf.faults.take("noise"):
        data = os.urandom(len(data))
    if vf.faults.take("zero"):
        data = bytes(len(data))
    return [data, data] if vf.faults.take("twice") else [data]
