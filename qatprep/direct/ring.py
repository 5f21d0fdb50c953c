"""One ring pair: set up, one request, one answer, torn down, with the writes of libqat in its order.

Sources: qatlib 26.08, qat_direct/adf_io/adf_user_ring.c, adf_user_arbiter.c, adf_user_transport_ctrl.c.
"""

from __future__ import annotations

import struct

from qatprep.direct import pke
from qatprep.direct.dma import Memory
from qatprep.direct.mailbox import Mailbox
from qatprep.direct.registers import (
    ARBITER,
    BASE_HIGH,
    BASE_LOW,
    BUNDLE,
    HEAD,
    RING_CONFIG,
    RING_STATUS,
    TAIL,
    Region,
)
from qatprep.direct.result import Cause, Limits, Seen, Stop
from qatprep.direct.trace import Clock, Trace

REQUEST, ANSWER = 0, 1
"""The two rings of a pair (adf_gen4: one bit of the arbiter, ring 0)."""
EMPTY = 0x7F7F7F7F
"""First word of an answer slot without an answer (ADF_RING_EMPTY_SIG)."""
EMPTY_BYTE = b"\x7f"
REQUESTS, ANSWERS, LISTS, OPERANDS = 0, 0x1000, 0x1800, 0x2000
"""Offsets in the DMA memory. A ring is aligned to its size: the device masks the base."""
REQUESTS_SIZE, ANSWERS_SIZE = 0x1000, 0x800
RING_SIZES = {REQUEST: 6, ANSWER: 5}
"""64 << n bytes: 4 KiB, 2 KiB."""


class RingPair:
    def __init__(self, region: Region, pair: int, memory: Memory, trace: Trace) -> None:
        self._region, self._base, self._memory, self._trace = region, BUNDLE * pair, memory, trace
        memory.put(REQUESTS, EMPTY_BYTE * (REQUESTS_SIZE + ANSWERS_SIZE))

    def set_up(self) -> None:
        for ring, at, arbiter in ((REQUEST, REQUESTS, 0), (ANSWER, ANSWERS, 1)):
            address = self._memory.iova + at
            self._write(BASE_LOW + 4 * ring, address & 0xFFFFFFFF)
            self._write(BASE_HIGH + 4 * ring, address >> 32)
            self._write(RING_CONFIG + 4 * ring, RING_SIZES[ring])
            self._write(ARBITER, arbiter)

    def tear_down(self) -> None:
        for ring in (REQUEST, ANSWER):
            for register in (ARBITER, RING_CONFIG + 4 * ring, BASE_LOW + 4 * ring, BASE_HIGH + 4 * ring):
                self._write(register, 0)

    def sign(self, number: int, ticket: int, mailbox: Mailbox, clock: Clock, limits: Limits, seen: Seen) -> int:
        """The device's answer to `number`, an integer below the modulus. Meanwhile the PF is listened to."""
        result_at = self._put_request(number, ticket)
        # x86 keeps these stores before the doorbell, and a system call lies between them.
        began = clock.now()
        self._write(TAIL + 4 * REQUEST, pke.REQUEST_SIZE)
        seen.requests += 1

        def answered() -> bool:
            if self._memory.word(ANSWERS) != EMPTY:
                return True
            mailbox.look()
            return False

        if not clock.until(limits.answer, answered):
            self._no_answer(limits)
        seen.answer_seconds = clock.now() - began
        answer = pke.read_answer(self._memory.get(ANSWERS, pke.ANSWER_SIZE))
        self._memory.put(ANSWERS, EMPTY_BYTE * 4)
        self._write(HEAD + 4 * ANSWER, pke.ANSWER_SIZE)  # else the ring looks full after 64 answers
        self._trace.note("answer", **answer._replace(ticket=0)._asdict(), seconds=round(seen.answer_seconds, 6))
        pke.check_answer(answer, ticket)
        return int.from_bytes(self._memory.get(result_at, pke.SIZE), "big")

    def _put_request(self, number: int, ticket: int) -> int:
        """Offset of the result."""
        addresses, at = [], OPERANDS
        for operand in pke.operands(number):
            addresses.append(self._memory.put(at, operand))
            at += len(operand)
        result = self._memory.put(at, bytes(pke.SIZE))
        inputs = self._memory.put(LISTS, struct.pack(f"<{len(addresses)}Q", *addresses))
        outputs = self._memory.put(LISTS + 64, struct.pack("<Q", result))
        self._memory.put(REQUESTS, pke.request(ticket, len(addresses), inputs, outputs))
        return at

    def _no_answer(self, limits: Limits) -> None:
        head = self._region.read(self._base + HEAD + 4 * REQUEST)
        tail = self._region.read(self._base + TAIL + 4 * REQUEST)
        status = self._region.read(self._base + RING_STATUS)
        cause = Cause.NO_ANSWER if head == tail else Cause.NOT_TAKEN
        raise Stop(cause, seconds=limits.answer, head=head, tail=tail, ring_status=hex(status))

    def _write(self, register: int, value: int) -> None:
        self._region.write(self._base + register, value)
