"""The mailbox between a VF and its PF, and a PF that answers it where no kernel does.

A message is a 32-bit word: bit 0 pending, bit 1 from the system, type in 6 bits, data in 24. Whoever receives it clears
bit 0. Sources: QL .../qat_direct/adf_pfvf/adf_pfvf_{proto,vf_msg}.c, adf_pfvf_msg.h; K qat_common/adf_pfvf_msg.h,
adf_pfvf_pf_proto.c, adf_gen4_pfvf.c.
"""

from __future__ import annotations

import random
import struct
import threading
from typing import TYPE_CHECKING

from qat_emulator.registers import VF2PF, VF_MAILBOX
from qat_emulator.services import PAIRS, capabilities, ring_map

if TYPE_CHECKING:
    from qat_emulator.vf import Vf

PENDING, SYSTEM = 1, 2
FROM_VF = {
    3: "INIT",
    4: "SHUTDOWN",
    5: "VERSION",
    6: "COMPAT_VERSION",
    7: "LARGE_BLOCK",
    8: "MEDIUM_BLOCK",
    9: "SMALL_BLOCK",
    10: "RESTARTING_COMPLETE",
    16: "RP_RESET",
}
FROM_PF = {1: "RESTARTING", 2: "VERSION", 3: "BLOCK", 4: "FATAL_ERROR", 5: "RESTARTED", 16: "RP_RESET"}
RESTARTING, VERSION_IS, BLOCK_IS, FATAL_ERROR, RESTARTED, RESET_IS = FROM_PF

PROTOCOL = 5
"""The version of the protocol that the PF speaks, as Linux 6.12 does."""
FITS, FITS_NOT, FITS_PERHAPS = 1, 2, 3
BLOCK_BYTE, BLOCK_CHECKSUM, BLOCK_ERROR = 0, 1, 2
NO_SUCH_BLOCK, NO_SUCH_BYTE = 0, 1
CAPABILITIES, RING_MAP = 2, 3
"""Types of small blocks."""


def word(kind: int, data: int = 0) -> int:
    """A message of the PF."""
    return data << 8 | kind << 2 | SYSTEM | PENDING


def describe(value: int, names: dict[int, str]) -> dict[str, object]:
    """What a mailbox word says, for the record."""
    kind = value >> 2 & 0x3F
    return {"message": names.get(kind, f"type {kind}"), "data": value >> 8, "pending": value & PENDING}


def crc8(data: bytes) -> int:
    """Polynomial 0x97, most significant bit first, from 0xff."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x97 if crc & 0x80 else 0)) & 0xFF
    return crc


class StandInPf:
    """Answers a VF as the kernel's PF driver does, or as the faults say."""

    keeps_mailbox = False
    running = True

    def __init__(self, services: str) -> None:
        self.pairs: tuple[int, ...] | None = PAIRS[services]
        self._blocks = {
            # Version 2: extended compression, capabilities; version 3 would add the clock.
            CAPABILITIES: struct.pack("<BBII", 2, 8, 0, capabilities(services)),
            RING_MAP: struct.pack("<BBH", 1, 2, ring_map(services)),
        }
        self._random = random.Random(1)
        self._messages = 0

    def written(self, vf: Vf, register: int, value: int) -> None:
        """A message of the VF. The answer goes first: who polls looks for it soon after the acknowledgement."""
        if register != VF2PF or not value & PENDING:
            return
        faults, kind, data = vf.faults, value >> 2 & 0x3F, value >> 8
        self._messages += 1
        if vf.strike(first_message=True):
            if not vf.gone:
                self._acknowledge(vf, value)
            return
        if "silent" in faults or ("half" in faults and self._messages % 2 == 0):
            return
        answer = self._answer(vf, kind, data)
        if "garbage" in faults:
            answer = self._random.getrandbits(32) | PENDING
        if "foreign" in faults and answer is not None:
            answer &= ~SYSTEM
        if "acknowledged" in faults:
            answer = None
        late = faults.value("late") / 1000
        if late:
            threading.Timer(late, self._reply, (vf, kind, value, answer)).start()
        else:
            self._reply(vf, kind, value, answer)

    def _reply(self, vf: Vf, kind: int, value: int, answer: int | None) -> None:
        with vf.lock:
            if answer is not None:
                vf.tell(answer)
                if "repeated" in vf.faults:
                    threading.Timer(0.003, vf.tell, (answer,)).start()
            closing = "stuckclosing" in vf.faults and FROM_VF.get(kind) == "SHUTDOWN"
            if not closing and "unacknowledged" not in vf.faults:
                self._acknowledge(vf, value)

    @staticmethod
    def _acknowledge(vf: Vf, value: int) -> None:
        vf.set(VF_MAILBOX, VF2PF, value & ~PENDING)

    def _answer(self, vf: Vf, kind: int, data: int) -> int | None:
        match FROM_VF.get(kind):
            case "VERSION" | "COMPAT_VERSION":
                version = vf.faults.value("version") or PROTOCOL
                fits = FITS if data & 0xFF <= version else FITS_PERHAPS
                if "incompatible" in vf.faults:
                    fits = FITS_NOT
                elif "unknowing" in vf.faults:
                    fits = FITS_PERHAPS
                return word(VERSION_IS, version | fits << 8)
            case "SMALL_BLOCK":
                return word(BLOCK_IS, self._block(vf, data & 0xF, data >> 4 & 0x1F, bool(data >> 9 & 1)))
            case "MEDIUM_BLOCK" | "LARGE_BLOCK":
                return word(BLOCK_IS, BLOCK_ERROR | NO_SUCH_BLOCK << 2)
            case "RP_RESET":
                return word(RESET_IS, 0)
        return None

    def _block(self, vf: Vf, which: int, byte: int, checksum: bool) -> int:
        """One byte of a block (version, length, payload), or the checksum of the bytes up to it."""
        faults = vf.faults
        if "randomblocks" in faults:
            return self._random.getrandbits(16)
        block = b"" if "noblocks" in faults else self._blocks.get(which, b"")
        if not block:
            return BLOCK_ERROR | NO_SUCH_BLOCK << 2
        if "zeroblocks" in faults:
            block = bytes(len(block))
        if "emptyblocks" in faults:
            block = block[:1] + b"\0"
        if "longblocks" in faults:
            block = block[:1] + b"\xff" + block[2:]
        if byte >= len(block):
            return BLOCK_ERROR | NO_SUCH_BYTE << 2
        if checksum:
            return BLOCK_CHECKSUM | (crc8(block[: byte + 1]) ^ ("checksum" in faults)) << 2
        return BLOCK_BYTE | block[byte] << 2
