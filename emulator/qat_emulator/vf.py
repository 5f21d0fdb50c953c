"""A VF (8086:4941): four ring pairs and a mailbox."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from qat_emulator import mailbox, pke
from qat_emulator.faults import Faults
from qat_emulator.function import MSI, Function
from qat_emulator.memory import DmaFault
from qat_emulator.record import Record
from qat_emulator.registers import (
    ANSWERS,
    BUNDLE_SIZE,
    BUNDLES,
    CONFIG,
    HEAD,
    MAILBOX_REGISTERS,
    PF2VF,
    REQUESTS,
    RING_REGISTERS,
    TAIL,
    VF2PF,
    VF_MAILBOX,
    VF_RINGS,
)
from qat_emulator.rings import RingPair, spoiled
from qat_emulator.services import ASYM


@dataclass
class Counts:
    """What a VF has done."""

    requests: int = 0
    answers: int = 0
    pairs: list[int] = field(default_factory=lambda: [0] * BUNDLES)
    """Requests of each ring pair."""
    functions: Counter[str] = field(default_factory=Counter)
    """Requests by the name of their function; what the device cannot do is counted as refused."""
    opened: list[dict[str, object]] = field(default_factory=list)
    """Who opened the VF, each time, where the transport knows: process, and the libqat it has loaded."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "functions": dict(self.functions)}


class OtherEnd(Protocol):
    """Who has the other end of the mailbox: mailbox.StandInPf, or a PF that a kernel drives."""

    keeps_mailbox: bool
    """Whether the mailbox outlives a reset of the VF."""
    pairs: tuple[int, ...] | None
    """The service of each ring pair; None where only the firmware that a kernel has loaded knows."""

    @property
    def running(self) -> bool:
        """Whether firmware runs on its engines. Without, requests stay where they are."""

    def written(self, vf: Vf, register: int, value: int) -> None:
        """The VF wrote PF2VF (to acknowledge) or VF2PF."""


class Vf(Function):
    """Rings in BAR 0, the mailbox in BAR 2, one MSI."""

    device_id = 0x4941
    irqs = {MSI: 1}  # noqa: RUF012

    def __init__(self, name: str, pf: OtherEnd, engines: ThreadPoolExecutor, faults: Faults, record: Record) -> None:
        super().__init__(name, {VF_RINGS: BUNDLES * BUNDLE_SIZE, VF_MAILBOX: 0x2000}, faults, record)
        self.pf, self.engines = pf, engines
        self.counts = Counts()
        self.pairs = [RingPair(self, number) for number in range(BUNDLES)]
        self.answered: Callable[[int, int], None] = lambda requests, answers: None
        """Told of each request and answer: the PF's firmware counts them."""
        self._era = 0
        """Answers to requests from before a reset are dropped."""
        self._stopped = False
        """No request is taken until the next reset."""

    def attach(self, registers: dict[int, memoryview]) -> None:
        """Keep the registers in this memory, which drivers read."""
        with self.lock:
            for bar, view in registers.items():
                view[:] = self.registers[bar]
            self.registers = registers

    def reset(self) -> None:
        """Function level reset: rings are off, requests under way are dropped."""
        with self.lock:
            self._era += 1
            self._stopped = False
            super().reset()
            if self.gone:
                return
            self.registers[VF_RINGS][:] = bytes(len(self.registers[VF_RINGS]))
            if not self.pf.keeps_mailbox:
                self.registers[VF_MAILBOX][:] = bytes(len(self.registers[VF_MAILBOX]))
                if "stale" in self.faults:
                    self.set(VF_MAILBOX, PF2VF, mailbox.word(mailbox.RESTARTED))
            for pair in self.pairs:
                pair.reset()

    def write(self, bar: int, offset: int, size: int, value: int) -> None:
        """A doorbell, the head of an answer ring, a ring's configuration, a message to the PF."""
        with self.lock:
            if bar == VF_RINGS:
                self._write_ring(offset, size, value)
            else:
                self._write_mailbox(offset, size, value)

    def tell(self, value: int) -> None:
        """A message of the PF to the VF."""
        with self.lock:
            self.record(self.name, "message", of="PF", **mailbox.describe(value, mailbox.FROM_PF))
            self.set(VF_MAILBOX, PF2VF, value)
        self.interrupt(0)

    def _write_mailbox(self, offset: int, size: int, value: int) -> None:
        name = MAILBOX_REGISTERS.get(offset, hex(offset))
        said = mailbox.describe(value, mailbox.FROM_VF) if offset == VF2PF else {}
        self.record(self.name, "write", bar=VF_MAILBOX, register=name, offset=offset, size=size, value=value, **said)
        if self.gone:
            return
        super().write(VF_MAILBOX, offset, size, value)
        if offset in (PF2VF, VF2PF):
            self.pf.written(self, offset, value)

    def _write_ring(self, offset: int, size: int, value: int) -> None:
        number, register = divmod(offset, BUNDLE_SIZE)
        name = RING_REGISTERS.get(register, hex(register))
        self.record(
            self.name, "write", bar=VF_RINGS, pair=number, register=name, offset=register, size=size, value=value
        )
        if self.gone:
            return
        super().write(VF_RINGS, offset, size, value)
        pair = self.pairs[number]
        if register == TAIL + 4 * REQUESTS:
            self._doorbell(pair)
        elif register == HEAD + 4 * ANSWERS:
            pair.flush()
        elif register in (CONFIG + 4 * REQUESTS, CONFIG + 4 * ANSWERS):
            pair.configured((register - CONFIG) // 4, value)
        if not self.gone:
            pair.show_empty()

    def _doorbell(self, pair: RingPair) -> None:
        if self._stopped or not self.pf.running:
            return
        try:
            for request in pair.take():
                if self.strike():
                    return
                self.counts.requests += 1
                self.counts.pairs[pair.number] += 1
                self.answered(1, 0)
                self.engines.submit(self._perform, self._era, pair, request)
        except DmaFault as fault:
            self.record(self.name, "fault", pair=pair.number, text=str(fault))

    def strike(self, *, first_message: bool = False) -> bool:
        """What happens after so many requests, or, for 0, at the first message to the PF. Whether it did."""
        for name in ("restarting", "fatal", "gone"):
            if not self.faults.due(name, self.counts.requests) or first_message != (self.faults.value(name) == 0):
                continue
            self.faults.once(name)
            self._stopped = True
            if name == "gone":
                self.vanish()
            else:
                self.tell(mailbox.word(mailbox.RESTARTING if name == "restarting" else mailbox.FATAL_ERROR))
            return True
        return False

    def _perform(self, era: int, pair: RingPair, request: bytes) -> None:
        """One request, in a thread of the engines."""
        does_this = self.pf.pairs is None or self.pf.pairs[pair.number] == ASYM
        name, data = pke.perform(self.memory, request, self.faults) if does_this else pke.refuse(request)
        with self.lock:
            self.counts.functions[name] += 1
        if "stalled" in self.faults:
            later = threading.Timer(self.faults.value("stalled") / 1000, self._answer, (era, pair, data))
            later.daemon = True
            later.start()
        else:
            self._answer(era, pair, data)

    def _answer(self, era: int, pair: RingPair, data: bytes) -> None:
        with self.lock:
            if era != self._era:
                return
            for each in spoiled(self, data):
                other = self.faults.take("otherring")
                (self.pairs[(pair.number + 1) % BUNDLES] if other else pair).answer(each)
                self.answered(0, 1)


def engines(count: int) -> ThreadPoolExecutor:
    """Threads that do public key operations; libcrypto runs outside Python's lock."""
    return ThreadPoolExecutor(count, thread_name_prefix="engine")
