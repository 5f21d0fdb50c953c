"""A VF driven by its registers alone, as a driver does."""

from __future__ import annotations

import io
import json
import os
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from qat_emulator import mailbox, pke
from qat_emulator import registers as r
from qat_emulator.faults import TABLE, BadFault, Faults
from qat_emulator.mailbox import StandInPf, crc8
from qat_emulator.pf import AUTHENTICATE, LOAD, START, Pf, PhysicalVf
from qat_emulator.record import Record
from qat_emulator.services import PAIRS, canonical
from qat_emulator.vf import Vf, engines

REQUESTS, ANSWERS, LISTS, OPERANDS = 0x200000, 0x201000, 0x202000, 0x203000
EMPTY = 0x7F7F7F7F
SLOTS = 64


class Driver:
    """What libqat does with one ring pair."""

    def __init__(
        self, *faults: str, services: str = "asym", record: Record | None = None, pf: Pf | None = None
    ) -> None:
        """Of a VF of `pf`; without one, of a VF whose PF is the stand-in."""
        self.pool = engines(1)
        more = (self.pool, Faults(faults), record or Record())
        self.vf = PhysicalVf("vf0", pf, 0, *more) if pf else Vf("vf0", StandInPf(services), *more)
        fd = os.memfd_create("guest")
        os.ftruncate(fd, 0x10000)
        self.vf.memory.map(REQUESTS, 0x10000, fd)
        os.close(fd)
        self.configure()

    def configure(self) -> None:
        """Both rings, from their beginning."""
        self.vf.memory.write(ANSWERS, b"\x7f" * 2048)
        self.sent = self.seen = 0
        for register, value in (
            (r.BASE_LOW, REQUESTS), (r.CONFIG, 6), (r.BASE_LOW + 4, ANSWERS), (r.CONFIG + 4, 5),
        ):  # fmt: skip
            self.ring(register, value)

    def ring(self, register: int, value: int) -> None:
        self.vf.write(r.VF_RINGS, register, 4, value)

    def get(self, register: int) -> int:
        return self.vf.read(r.VF_RINGS, register, 4)

    def send(self, count: int = 1) -> None:
        """Requests for 2 ** 5 mod 2**767, and the doorbell."""
        self.vf.memory.write(LISTS, struct.pack("<3Q", OPERANDS, OPERANDS + 96, OPERANDS + 192))
        self.vf.memory.write(OPERANDS, (5).to_bytes(96, "big") + (1 << 767).to_bytes(96, "big"))
        for _ in range(count):
            request = struct.pack("<2xBB16xIQQQBB6xQ", 3, 0x80, 0x1C0B1A10, self.sent, LISTS, LISTS + 16, 1, 2, 0)
            self.vf.memory.write(REQUESTS + self.sent * 64 % 4096, request)
            self.sent += 1
        self.ring(r.TAIL, self.sent * 64 % 4096)

    def answers(self, count: int) -> list[tuple[int, int]]:
        """Opaque and flags of as many answers, or of those that came before the device was idle."""
        found: list[tuple[int, int]] = []
        self.pool.submit(lambda: None).result(5)
        while len(found) < count:
            place = ANSWERS + self.seen * 32 % 2048
            data = self.vf.memory.read(place, 32)
            if struct.unpack_from("<I", data)[0] == EMPTY:
                break
            found.append((pke.ANSWER.unpack(data)[5], data[5]))
            self.vf.memory.write(place, b"\x7f" * 32)
            self.seen += 1
        return found

    def say(self, kind: int, data: int = 0) -> tuple[bool, int]:
        """A message to the PF: whether it was acknowledged, and the PF's word."""
        self.vf.write(r.VF_MAILBOX, r.VF2PF, 4, data << 8 | kind << 2 | mailbox.SYSTEM | mailbox.PENDING)
        acknowledged = not self.vf.read(r.VF_MAILBOX, r.VF2PF, 4) & mailbox.PENDING
        return acknowledged, self.vf.read(r.VF_MAILBOX, r.PF2VF, 4)


@pytest.fixture
def driver() -> Iterator[Callable[..., Driver]]:
    made: list[Driver] = []

    def make(*faults: str, **options: object) -> Driver:
        made.append(Driver(*faults, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.pool.shutdown()


def test_requests_are_answered_in_their_slots(driver: Callable[..., Driver]) -> None:
    one = driver()
    for _ in range(3):  # three times round a ring of 64
        one.send(63)
        assert [opaque for opaque, flags in one.answers(63)] == list(range(one.sent - 63, one.sent))
        one.ring(r.HEAD + 4, one.seen * 32 % 2048)
    assert one.get(r.HEAD) == one.get(r.TAIL)
    assert one.get(r.EMPTY_STATUS) == 3
    assert one.vf.memory.read(OPERANDS + 192, 96) == (32).to_bytes(96, "big")
    assert (one.vf.counts.requests, one.vf.counts.answers, one.vf.counts.pairs) == (189, 189, [189, 0, 0, 0])
    assert one.vf.counts.functions == {"DH_G2_768": 189}


def test_a_full_answer_ring_waits_for_its_head(driver: Callable[..., Driver]) -> None:
    one = driver()
    one.send(60)
    assert len(one.answers(60)) == 60
    one.send(10)
    assert len(one.answers(10)) == 3, "63 of 64 slots, the head was never written"
    one.ring(r.HEAD + 4, one.seen * 32 % 2048)
    assert len(one.answers(10)) == 7


@pytest.mark.parametrize(
    ("fault", "answers"),
    [("lost=2", 3), ("twice=2", 7), ("full=2", 2), ("fatal=1", 1), ("restarting=4", 4), ("gone=3", 0), ("failed=1", 5)],
)
def test_faults_of_answers(driver: Callable[..., Driver], fault: str, answers: int) -> None:
    one = driver(fault)
    one.send(5)
    assert len(one.answers(9)) == answers
    if fault == "gone=3":
        assert one.get(r.TAIL) == 0xFFFFFFFF
        assert one.vf.config_read(0, 4) == b"\xff" * 4


@pytest.mark.parametrize("tail", [3, 0xFFFFFFFF, 4096 + 64, 7])
def test_nonsense_in_a_register_ends_in_time(driver: Callable[..., Driver], tail: int) -> None:
    one = driver()
    one.ring(r.TAIL, tail)
    assert one.vf.counts.requests <= SLOTS
    one.ring(r.CONFIG + 4, 0x1F)
    one.ring(r.TAIL, 128)


def test_a_pair_of_another_service_refuses(driver: Callable[..., Driver]) -> None:
    one = driver(services="asym;dc")
    one.send(1)
    assert one.answers(1) == [(0, pke.FAILED | pke.UNSUPPORTED)]
    assert one.vf.counts.functions == {"refused": 1}


def test_a_reset_ends_what_runs(driver: Callable[..., Driver]) -> None:
    one = driver("stalled=50")
    one.send(1)
    one.vf.config_write(0x88, b"\x00\x80")
    assert one.answers(1) == []
    assert one.get(r.TAIL) == one.get(r.CONFIG) == 0


def test_memory_that_is_not_mapped_stops_nothing(driver: Callable[..., Driver]) -> None:
    out = io.StringIO()
    one = driver(record=Record(out))
    one.ring(r.BASE_LOW, 0x900000)
    one.ring(r.TAIL, 64)
    assert one.answers(1) == []
    assert "not mapped" in out.getvalue()


def test_the_mailbox(driver: Callable[..., Driver]) -> None:
    one = driver(services="asym;dc")
    assert one.say(6, 5) == (True, mailbox.word(mailbox.VERSION_IS, 5 | 1 << 8))
    block = bytes(one.say(9, 3 | n << 4)[1] >> 10 & 0xFF for n in range(4))
    assert block[:2] == b"\x01\x02"
    ring_map = int.from_bytes(block[2:], "little")
    assert [ring_map >> 3 * n & 7 for n in range(4)] == [2, 4, 2, 4], "dc first, as Linux has it"
    assert one.say(9, 3 | 3 << 4 | 1 << 9)[1] >> 10 & 0xFF == crc8(block)
    assert one.say(9, 3 | 4 << 4)[1] >> 8 == mailbox.BLOCK_ERROR | mailbox.NO_SUCH_BYTE << 2
    assert one.say(9, 9)[1] >> 8 == mailbox.BLOCK_ERROR
    assert one.say(8, 1)[1] >> 8 == mailbox.BLOCK_ERROR


def test_the_checksum_of_blocks() -> None:
    """Long division by 0x197 of the message, whose first byte is inverted."""
    for data in (b"\x00", b"\x02\x08", b"\x01\x02\x1c\x07"):
        remainder = (0xFF << 8 * (len(data) - 1) ^ int.from_bytes(data, "big")) << 8
        for bit in range(remainder.bit_length() - 1, 7, -1):
            remainder ^= 0x197 << bit - 8 if remainder >> bit & 1 else 0
        assert crc8(data) == remainder


@pytest.mark.parametrize(
    ("fault", "acknowledged", "word"),
    [
        ("silent", False, 0),
        ("acknowledged", True, 0),
        ("unacknowledged", False, mailbox.word(2, 5 | 1 << 8)),
        ("incompatible", True, mailbox.word(2, 5 | 2 << 8)),
        ("unknowing", True, mailbox.word(2, 5 | 3 << 8)),
        ("version=1", True, mailbox.word(2, 1 | 3 << 8)),
        ("restarting", True, mailbox.word(1)),
        ("fatal", True, mailbox.word(4)),
        ("gone", False, 0xFFFFFFFF),
        ("late=20", False, 0),
        ("foreign", True, mailbox.word(2, 5 | 1 << 8) & ~mailbox.SYSTEM),
    ],
)
def test_faults_of_the_mailbox(driver: Callable[..., Driver], fault: str, acknowledged: bool, word: int) -> None:
    assert driver(fault).say(6, 5) == (acknowledged, word)


def test_a_word_from_before(driver: Callable[..., Driver]) -> None:
    one = driver("stale")
    one.vf.reset()
    assert one.vf.read(r.VF_MAILBOX, r.PF2VF, 4) == mailbox.word(mailbox.RESTARTED)


def test_a_late_answer_comes(driver: Callable[..., Driver]) -> None:
    one = driver("late=5")
    one.say(6, 5)
    for _ in range(1000):
        if one.vf.read(r.VF_MAILBOX, r.PF2VF, 4):
            break
        time.sleep(0.005)
    assert one.vf.read(r.VF_MAILBOX, r.PF2VF, 4) == mailbox.word(2, 5 | 1 << 8)


@pytest.mark.parametrize(
    ("fault", "which", "bits"),
    [
        ("noblocks", 2, 2),
        ("emptyblocks", 2 | 1 << 4, 0),
        ("zeroblocks", 2, 0),
        ("longblocks", 2 | 1 << 4, 255 << 2),
        ("checksum", 2 | 1 << 9, None),
    ],
)
def test_faults_of_blocks(driver: Callable[..., Driver], fault: str, which: int, bits: int | None) -> None:
    _, word = driver(fault).say(9, which)
    if bits is None:
        assert word >> 10 & 0xFF == crc8(b"\x02") ^ 1
    else:
        assert word >> 8 == bits


def test_the_record_has_every_write(driver: Callable[..., Driver]) -> None:
    out = io.StringIO()
    one = driver(record=Record(out))
    one.send(1)
    one.answers(1)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["register"], line["value"]) for line in lines if line["what"] == "write"] == [
        ("LBASE0", REQUESTS), ("CONFIG0", 6), ("LBASE1", ANSWERS), ("CONFIG1", 5), ("TAIL0", 64),
    ]  # fmt: skip


def test_the_table_of_faults() -> None:
    faults = Faults(["wrong=2", "stalled"])
    assert [faults.take("wrong") for _ in range(3)] == [True, True, False]
    assert faults.value("stalled") == TABLE["stalled"].default
    faults.set("stalled=off")
    assert "stalled" not in faults
    for bad in ("nonsense", "wrong=x", "wrong=-1", "wrong="):
        with pytest.raises(BadFault, match=bad.partition("=")[0]):
            faults.set(bad)


def test_services_are_sets() -> None:
    assert canonical("asym;sym") == "sym;asym"
    assert canonical("dc; asym") == "asym;dc"
    assert set(PAIRS) == {canonical(name) for name in PAIRS}
    with pytest.raises(ValueError, match="dcc"):
        canonical("dcc")


def bring_up(pf: Pf) -> None:
    """What a kernel's driver has the firmware control unit do."""
    for command in (AUTHENTICATE, LOAD, START):
        pf.write(r.PMISC, r.FCU_CONTROL, 4, command)


def test_vfs_are_served_as_long_as_their_pf_has_firmware(driver: Callable[..., Driver]) -> None:
    pf = Pf("pf", 1, Faults(), Record())
    one = driver(pf=pf)
    one.send()
    assert one.answers(1) == [], "no firmware was started yet"
    bring_up(pf)
    one.configure()
    one.send(3)
    assert len(one.answers(3)) == 3

    pf.reset()  # nobody tells the driver of the VF, which goes on
    one.configure()
    one.send(3)
    assert one.answers(3) == []
    assert (one.vf.counts.requests, one.get(r.HEAD)) == (3, 0)
    bring_up(pf)
    one.ring(r.TAIL, 3 * 64)
    assert len(one.answers(3)) == 3


def test_a_pf_that_was_pulled_out_takes_its_vfs_along(driver: Callable[..., Driver]) -> None:
    faults = Faults()
    pf = Pf("pf", 1, faults, Record())
    one = driver(pf=pf)
    bring_up(pf)
    faults.set("unplugged")
    pf.apply_faults()
    for function in (pf, one.vf):
        assert function.config_read(0, 2) == b"\xff\xff"
        function.config_write(4, b"\x06\x00")
        function.reset()
        assert set(function.config_read(0, 4096)) == {0xFF}
    assert pf.read(r.PMISC, r.PM_STATUS, 4) == 0xFFFFFFFF
    pf.write(r.PMISC, r.FCU_STATUS, 4, 0)
    assert pf.read(r.PMISC, r.FCU_STATUS, 4) == 0xFFFFFFFF
    one.send()
    assert (one.answers(1), one.vf.counts.requests) == ([], 0)
    faults.set("correctable")
    pf.apply_faults()
    assert pf.read(r.PMISC, r.ERRSOU0, 4) == 0xFFFFFFFF
