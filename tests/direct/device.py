"""A QAT VF and its PF as plain Python: what the registers do, and what each kind of misbehaviour does instead."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

PENDING, SYSTEM = 1, 2
BUNDLE = 0x2000
HEAD, TAIL, CONFIG, LOW, HIGH = 0xC0, 0x100, 0x1000, 0x1040, 0x1080
MASK, PF2VF, VF2PF = 0x1004, 0x1008, 0x100C
NAMES = {3: "INIT", 4: "SHUTDOWN", 6: "COMPAT_VERSION", 9: "SMALL_BLOCK", 10: "RESTARTING_COMPLETE"}
ASYM, SYM, DC = 4, 3, 2


class Dma(Protocol):
    """The device's view of memory: only what is mapped. A fault is remembered and gives zeroes."""

    def read(self, iova: int, size: int) -> bytes: ...
    def write(self, iova: int, data: bytes) -> None: ...


class Device:
    """Behaves. Misbehaviour overrides one method (faults.py)."""

    def __init__(self, dma: Dma, services: tuple[int, ...] = (ASYM, ASYM, ASYM, ASYM)) -> None:
        self.dma, self.services = dma, services
        self.registers: dict[tuple[int, int], int] = {}
        self.writes: list[tuple[int, int, int]] = []
        self.messages: list[str] = []
        self.initialised = False
        """The PF's idea of the VF (vf_info->init)."""
        self.restarting = False
        self.resets = 0
        self.answers = 0
        self.later: list[Callable[[], None]] = []
        """What happens at the next look at the mailbox."""

    # -- registers ----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """FLR. The mailbox belongs to the PF: its words stay."""
        self.resets += 1
        self.registers = {place: value for place, value in self.registers.items() if place[0] == 2}

    def read(self, bar: int, offset: int) -> int:
        if (bar, offset) == (2, PF2VF) and self.later:
            self.later.pop(0)()
        return self.registers.get((bar, offset), 0)

    def write(self, bar: int, offset: int, value: int) -> None:
        self.writes.append((bar, offset, value))
        self.registers[bar, offset] = value
        if (bar, offset) == (2, VF2PF) and value & PENDING:
            self.message(value >> 2 & 0x3F, value >> 8)
        elif bar == 0 and offset % BUNDLE == TAIL:
            self.requests(offset // BUNDLE)

    # -- the PF -------------------------------------------------------------------------------------------

    def message(self, kind: int, data: int) -> None:
        self.messages.append(NAMES.get(kind, str(kind)))
        match kind:
            case 3:
                self.initialised = True
            case 4:
                self.initialised = False
            case 6:
                self.send(2, self.version(data))
            case 9:
                self.send(3, self.block(data & 0xF, data >> 4 & 0x1F, data >> 9 & 1))
            case 10:
                self.initialised = self.restarting = False
        self.acknowledge()

    def acknowledge(self) -> None:
        self.registers[2, VF2PF] &= ~PENDING

    def send(self, kind: int, data: int = 0) -> None:
        self.registers[2, PF2VF] = data << 8 | kind << 2 | SYSTEM | PENDING

    def restart(self) -> None:
        """As adf_pf2vf_notify_restarting: only to a VF that has registered."""
        if self.initialised:
            self.restarting = True
            self.send(1)

    def version(self, theirs: int) -> int:
        return 5 | 1 << 8

    def payload(self, which: int) -> bytes | None:
        if which == 2:  # capabilities, version 2: 8 bytes (adf_pf_capabilities_msg_provider)
            return bytes((2, 8)) + struct.pack("<II", 0, 0x2)
        if which == 3:
            return bytes((1, 2)) + struct.pack("<H", sum(s << 3 * n for n, s in enumerate(self.services)))
        return None

    def block(self, which: int, byte: int, crc: int) -> int:
        payload = self.payload(which)
        if payload is None or byte >= len(payload):
            return 2 | 1 << 2
        return 1 | self.crc(payload[: byte + 1]) << 2 if crc else payload[byte] << 2

    def crc(self, data: bytes) -> int:
        crc = 0xFF
        for bit in "".join(f"{byte:08b}" for byte in data):
            high = crc >> 7 ^ int(bit)
            crc = crc << 1 & 0xFF ^ (0x97 if high else 0)
        return crc

    # -- the engines --------------------------------------------------------------------------------------

    def ring(self, pair: int, register: int, ring: int) -> int:
        return self.registers.get((0, pair * BUNDLE + register + 4 * ring), 0)

    def requests(self, pair: int) -> None:
        base = self.ring(pair, HIGH, 0) << 32 | self.ring(pair, LOW, 0)
        size = 64 << self.ring(pair, CONFIG, 0)
        head, tail = self.ring(pair, HEAD, 0), self.ring(pair, TAIL, 0)
        while head != tail:
            self.request(pair, self.dma.read(base + head, 64))
            head = (head + 64) % size
        self.registers[0, pair * BUNDLE + HEAD] = head

    def request(self, pair: int, request: bytes) -> None:
        service, valid, function, opaque = struct.unpack_from("<2xBB16xIQ", request)
        assert (service, valid, function) == (3, 0x80, 0x59121DFA)
        inputs_at, outputs_at, outputs, inputs = struct.unpack_from("<QQBB", request, 32)
        assert (outputs, inputs) == (1, 6)
        places = struct.unpack("<6Q", self.dma.read(inputs_at, 48))
        sizes = (256, 128, 128, 128, 128, 128)
        c, p, q, dp, dq, qinv = (
            int.from_bytes(self.dma.read(at, n), "big") for at, n in zip(places, sizes, strict=True)
        )
        result = self.result(q, pow(c % p, dp, p), pow(c % q, dq, q), p, qinv)
        self.dma.write(struct.unpack("<Q", self.dma.read(outputs_at, 8))[0], result.to_bytes(256, "big"))
        self.answer(pair, struct.pack("<BBBBBBHQQQ", 0, 0, 3, 0x80, 0, 0, 0, opaque, inputs_at, outputs_at))

    def result(self, q: int, m1: int, m2: int, p: int, qinv: int) -> int:
        return m2 + q * ((m1 - m2) * qinv % p)

    def answer(self, pair: int, answer: bytes) -> None:
        base = self.ring(pair, HIGH, 1) << 32 | self.ring(pair, LOW, 1)
        size = 64 << self.ring(pair, CONFIG, 1)
        tail = self.ring(pair, TAIL, 1)
        assert (self.ring(pair, HEAD, 1) - tail - 32) % size != 0 or not self.answers, "answer ring full"
        self.dma.write(base + tail + 4, answer[4:])
        self.dma.write(base + tail, answer[:4])
        self.registers[0, pair * BUNDLE + TAIL + 4] = (tail + 32) % size
        self.answers += 1
