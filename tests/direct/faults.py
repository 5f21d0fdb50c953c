"""Devices and PFs that misbehave, each in one way."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.direct.device import PENDING, PF2VF, SYSTEM, VF2PF, Device, Dma


class Silent(Device):
    def message(self, kind: int, data: int) -> None: ...


class AcknowledgesOnly(Device):
    def send(self, kind: int, data: int = 0) -> None: ...


class RandomWords(Device):
    """Every answer is a random word."""

    def __init__(self, dma: Dma) -> None:
        super().__init__(dma)
        self.random = Random(19)

    def send(self, kind: int, data: int = 0) -> None:
        kinds = (0, 5, 6, 9, 21, 33)  # none that ends the talk by itself
        self.registers[2, PF2VF] = self.random.getrandbits(24) << 8 | self.random.choice(kinds) << 2 | SYSTEM | PENDING
        self.later.append(lambda: self.send(kind))


class NotSystem(Device):
    """Answers without the origin bit: another protocol's."""

    def send(self, kind: int, data: int = 0) -> None:
        self.registers[2, PF2VF] = data << 8 | kind << 2 | PENDING


class Restarting(Device):
    """Restarts when the VF has registered: nothing is answered any more."""

    def answer(self, pair: int, answer: bytes) -> None: ...

    def message(self, kind: int, data: int) -> None:
        super().message(kind, data)
        if kind == 3:
            self.later.append(self.restart)


class RestartsAtTheEnd(Device):
    """The message crosses our SHUTDOWN."""

    def message(self, kind: int, data: int) -> None:
        if kind == 4:
            self.restart()
        super().message(kind, data)


class RestartingBefore(Device):
    """A PF that waits for a process that was killed: RESTARTING lies in the mailbox; it answers nothing else."""

    def __init__(self, dma: Dma) -> None:
        super().__init__(dma)
        self.initialised = True
        self.restart()

    def message(self, kind: int, data: int) -> None:
        if kind == 10:
            super().message(kind, data)


class StaleRestart(Device):
    """The same, long over: the PF is up again."""

    def __init__(self, dma: Dma) -> None:
        super().__init__(dma)
        self.initialised = True
        self.restart()


class StaleWord(Device):
    def __init__(self, dma: Dma) -> None:
        super().__init__(dma)
        self.send(3, 0x1234)


class FatalError(Device):
    def answer(self, pair: int, answer: bytes) -> None: ...

    def message(self, kind: int, data: int) -> None:
        super().message(kind, data)
        if kind == 3:
            self.later.append(lambda: self.send(4))


class Restarted(Device):
    """RESTARTED before each answer: harmless."""

    def message(self, kind: int, data: int) -> None:
        super().message(kind, data)
        if kind in (6, 9):
            answer = self.registers[2, PF2VF]
            self.send(5)
            self.later = [lambda: None, lambda: self.registers.update({(2, PF2VF): answer})]


class AllOnes(Device):
    def read(self, bar: int, offset: int) -> int:
        return 0xFFFFFFFF


class GoneLater(Device):
    """The function vanishes with the doorbell."""

    gone = False

    def read(self, bar: int, offset: int) -> int:
        return 0xFFFFFFFF if self.gone else super().read(bar, offset)

    def requests(self, pair: int) -> None:
        self.gone = True


def version(answer: int) -> type[Device]:
    class Version(Device):
        def version(self, theirs: int) -> int:
            return answer

    return Version


def payload(which: int, data: bytes | None) -> type[Device]:
    class Payload(Device):
        def payload(self, asked: int) -> bytes | None:
            return data if asked == which else super().payload(asked)

    return Payload


class WrongCrc(Device):
    def crc(self, data: bytes) -> int:
        return super().crc(data) ^ 1


class NoShutdown(Device):
    """Never takes SHUTDOWN."""

    def message(self, kind: int, data: int) -> None:
        if kind != 4:
            super().message(kind, data)


class NoInit(Device):
    def message(self, kind: int, data: int) -> None:
        if kind != 3:
            super().message(kind, data)


class Twice(Device):
    """Every answer comes again once it was acknowledged, and takes the place of the next."""

    def send(self, kind: int, data: int = 0) -> None:
        if not self.registers.get((2, PF2VF), 0) & PENDING:
            super().send(kind, data)
            self.again = True

    def write(self, bar: int, offset: int, value: int) -> None:
        super().write(bar, offset, value)
        if (bar, offset) == (2, PF2VF) and self.again:
            self.again = False
            self.registers[2, PF2VF] = value | PENDING


class Late(Device):
    """Takes each message 0.4 s after it came."""

    reads = 0

    def message(self, kind: int, data: int) -> None:
        self.held: Callable[[], None] | None = lambda: Device.message(self, kind, data)
        self.reads = 0

    def read(self, bar: int, offset: int) -> int:
        if (bar, offset) == (2, VF2PF) and getattr(self, "held", None):
            self.reads += 1
            if self.reads == 206:  # 2 ms apart
                held, self.held = self.held, None
                assert held
                held()
        return super().read(bar, offset)


class Loses(Device):
    def answer(self, pair: int, answer: bytes) -> None: ...


class NotTaken(Device):
    def requests(self, pair: int) -> None: ...


class Wrong(Device):
    def result(self, q: int, m1: int, m2: int, p: int, qinv: int) -> int:
        return super().result(q, m1, m2, p, qinv) ^ 1


class Zero(Device):
    def result(self, q: int, m1: int, m2: int, p: int, qinv: int) -> int:
        return 0


class TooLarge(Device):
    def result(self, q: int, m1: int, m2: int, p: int, qinv: int) -> int:
        return super().result(q, m1, m2, p, qinv) + p * q


def answers(at: int, data: bytes) -> type[Device]:
    """The answer has these bytes at that place."""

    class Answers(Device):
        def answer(self, pair: int, answer: bytes) -> None:
            super().answer(pair, answer[:at] + data + answer[at + len(data) :])

    return Answers


class OtherRing(Device):
    """The answer goes to the first bytes of memory that another pair's base holds: nowhere that is mapped."""

    def answer(self, pair: int, answer: bytes) -> None:
        super().answer((pair + 1) % 4, answer)


class Half(Device):
    """Only the first word of the answer is written."""

    def answer(self, pair: int, answer: bytes) -> None:
        super().answer(pair, answer[:4] + b"\x7f" * 28)
