"""The mailbox between a VF and its PF (PFVF), generation 4 and later.

One 32-bit word each way: bit 0 pending, bit 1 "system", bits 2-7 the type, bits 8-31 data. The receiver clears bit 0,
which is the acknowledgement. Sources: qatlib 26.08, adf_pfvf_proto.c, adf_pfvf_vf_msg.c, adf_pfvf_msg.h; Linux,
qat_common/adf_pfvf_pf_proto.c, adf_pfvf_pf_msg.c, adf_gen4_pfvf.c.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from qatprep.direct.registers import MAILBOX_MASK, PF_TO_VF, VF_TO_PF, Region
from qatprep.direct.result import Cause, Limits, Stop
from qatprep.direct.trace import Clock, Trace

PENDING, SYSTEM = 1, 2


class ToPf(IntEnum):
    """ADF_VF2PF_MSGTYPE_* (adf_pfvf_msg.h)."""

    INIT = 3
    SHUTDOWN = 4
    COMPAT_VERSION = 6
    SMALL_BLOCK = 9
    RESTARTING_COMPLETE = 10


class FromPf(IntEnum):
    """ADF_PF2VF_MSGTYPE_*."""

    RESTARTING = 1
    VERSION = 2
    BLOCK = 3
    FATAL_ERROR = 4
    RESTARTED = 5


WITH_RING_MAP, WITH_RESTART, OUR_VERSION = 4, 5, 5
"""ADF_PFVF_COMPAT_RING_TO_SVC_MAP, _FALLBACK (RESTARTING_COMPLETE is known), _THIS_VERSION (adf_pfvf_msg.h)."""
COMPATIBLE, INCOMPATIBLE, UNKNOWN = 1, 2, 3
"""The PF's opinion of our version; 3 is what an older PF says of a newer VF."""
CAPABILITIES, RING_MAP = 2, 3
"""ADF_VF2PF_BLKMSG_REQ_CAP_SUMMARY, _RING_SVC_MAP."""
MOST_BYTES = {CAPABILITIES: 12, RING_MAP: 2}
"""Payload that is read, even if the PF announces more: extended dc, capabilities, clock; a map of 16 bits."""
DATA, CRC = 0, 1
SERVICES = {0: "none", 1: "any", 2: "dc", 3: "sym", 4: "asym", 5: "decomp"}
"""Three bits a ring pair (enum adf_cfg_service_type; qatlib, adf_kernel_types.h)."""
MOST_STRANGE = 8
"""Messages that fit no question, after which the PF's answers are called nonsense."""


class Offer(NamedTuple):
    """What the PF says it offers to this VF."""

    version: int
    capabilities: str
    services: tuple[str, ...]


class Mailbox:
    """Stop where the PF does not keep to the protocol."""

    def __init__(self, region: Region, trace: Trace, clock: Clock, limits: Limits) -> None:
        self._region, self._trace, self._clock, self._limits = region, trace, clock, limits
        self.sent = 0
        self._strange: list[str] = []
        self._restarting = self._leaving = False
        self._version = OUR_VERSION

    def open(self) -> None:
        """As libqat does it: the mask, then the version. A word from before is acknowledged and not believed."""
        self._region.write(MAILBOX_MASK, 1)
        left_over = self._take()
        if left_over and left_over[0] == FromPf.RESTARTING:
            # The PF waits for whoever was here before us, 10 s (adf_pf2vf_wait_for_restarting_complete).
            self._restarting = True
            self._tell(ToPf.RESTARTING_COMPLETE)

    def handshake(self) -> Offer:
        self._version = self._ask_version()
        self._restarting = False  # it was over: this PF answers
        able = self._block(CAPABILITIES)
        if len(able) < 8:
            raise Stop(Cause.PF_NONSENSE, block=CAPABILITIES, bytes=able.hex(), why="too short")
        map_bytes = self._block(RING_MAP)
        if len(map_bytes) < 2:
            raise Stop(Cause.PF_NONSENSE, block=RING_MAP, bytes=map_bytes.hex(), why="too short")
        ring_map = int.from_bytes(map_bytes, "little")
        services = tuple(SERVICES.get(ring_map >> 3 * pair & 7, "unknown") for pair in range(4))
        return Offer(self._version, able[4:8][::-1].hex(), services)

    def register(self) -> None:
        """From now on the PF tells us when it restarts."""
        self._tell(ToPf.INIT)

    def look(self) -> None:
        """Stop(PF_RESTARTING) or Stop(PF_FATAL) when the PF says so meanwhile."""
        self._receive()

    def leave(self) -> None:
        """The last word. A PF that restarts waits for RESTARTING_COMPLETE, even after SHUTDOWN (adf_pfvf_pf_msg.c)."""
        self._leaving = True
        self._take()
        if not self._restarting or self._version < WITH_RESTART:
            self._tell(ToPf.SHUTDOWN)
            self._take()
        if self._restarting and self._version >= WITH_RESTART:
            self._tell(ToPf.RESTARTING_COMPLETE)

    # -- words ------------------------------------------------------------------------------------------------

    def _take(self) -> tuple[int, int] | None:
        """Acknowledge what the PF has sent, if anything: its type and data."""
        word = self._region.read(PF_TO_VF)
        if not word & PENDING:
            return None
        self._region.write(PF_TO_VF, word & ~PENDING)
        kind, data = word >> 2 & 0x3F, word >> 8
        if not word & SYSTEM:
            kind = -1  # not a message of this protocol
        self._restarting |= kind == FromPf.RESTARTING
        return kind, data

    def _receive(self) -> tuple[int, int] | None:
        message = self._take()
        if message and message[0] == FromPf.RESTARTING:
            raise Stop(Cause.PF_RESTARTING)
        if message and message[0] == FromPf.FATAL_ERROR:
            raise Stop(Cause.PF_FATAL)
        return message

    def _tell(self, kind: ToPf, data: int = 0) -> None:
        self._region.write(VF_TO_PF, data << 8 | kind << 2 | SYSTEM | PENDING)
        self.sent += 1
        if not self._clock.until(self._limits.message, lambda: not self._region.read(VF_TO_PF) & PENDING):
            if not self._leaving:
                self._receive()  # it may have said why
            raise Stop(self._instead(Cause.PF_SILENT), message=kind.name, seconds=self._limits.message, sent=self.sent)

    def _ask(self, kind: ToPf, data: int, wanted: FromPf) -> int:
        self._tell(kind, data)
        answers: list[int] = []

        def answered() -> bool:
            message = self._receive()
            if message and message[0] == wanted:
                answers.append(message[1])
            elif message and message[0] != FromPf.RESTARTED:
                self._strange.append(f"{message[0]}:{message[1]:#x}")
                if len(self._strange) >= MOST_STRANGE:
                    raise Stop(Cause.PF_NONSENSE, message=kind.name, answers=self._strange)
            return bool(answers)

        if not self._clock.until(self._limits.message, answered):
            cause = Cause.PF_NONSENSE if self._strange else self._instead(Cause.PF_NO_ANSWER)
            evidence = {"answers": self._strange} if self._strange else {}
            raise Stop(cause, message=kind.name, seconds=self._limits.message, sent=self.sent, **evidence)
        return answers[0]

    def _instead(self, cause: Cause) -> Cause:
        """A PF that said it restarts and then falls silent is restarting."""
        return Cause.PF_RESTARTING if self._restarting else cause

    # -- questions --------------------------------------------------------------------------------------------

    def _ask_version(self) -> int:
        data = self._ask(ToPf.COMPAT_VERSION, OUR_VERSION, FromPf.VERSION)
        version, verdict = data & 0xFF, data >> 8 & 3
        if verdict not in (COMPATIBLE, UNKNOWN) or version < WITH_RING_MAP:
            raise Stop(Cause.VERSION_REFUSED, pf=version, ours=OUR_VERSION, verdict=verdict)
        return version

    def _block(self, which: int) -> bytes:
        """A block message, byte by byte, and its CRC-8: version, length, payload. Only the payload is returned."""

        def byte(number: int, kind: int = DATA) -> int:
            data = self._ask(ToPf.SMALL_BLOCK, which | number << 4 | kind << 9, FromPf.BLOCK)
            if data & 3 != kind:
                raise Stop(Cause.PF_NONSENSE, block=which, byte=number, kind=data & 3, code=data >> 2 & 0xFF)
            return data >> 2 & 0xFF

        block = bytearray((byte(0), byte(1)))
        if not block[0] or not block[1]:
            raise Stop(Cause.PF_NONSENSE, block=which, bytes=block.hex(), why="no version or no length")
        for number in range(2, 2 + min(block[1], MOST_BYTES[which])):
            block.append(byte(number))
        if (crc := byte(len(block) - 1, CRC)) != crc8(block):
            raise Stop(Cause.PF_NONSENSE, block=which, bytes=block.hex(), crc=crc, why="CRC does not match")
        return bytes(block[2:])


def crc8(data: bytes | bytearray) -> int:
    """Polynomial 0x97, most significant bit first, from 0xff (adf_pfvf_utils.c)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x97 if crc & 0x80 else 0)) & 0xFF
    return crc
