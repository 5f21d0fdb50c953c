"""Devices, PFs and kernels that do anything: a proof ends in time, with a verdict, and leaves nothing behind.

Seeds are fixed and the clock is the model's, so that the work is the same on every run.
"""

from __future__ import annotations

import errno
from functools import partial
from random import Random

import pytest

from qatprep.direct.prove import prove
from qatprep.direct.result import Cause, Step
from tests.direct.device import PENDING, PF2VF, VF2PF, Device, Dma
from tests.direct.here import NUMBER
from tests.direct.model import BDF, Model
from tests.direct.test_prove import LONGEST

MOST_CALLS = 60_000
"""System calls of one proof: polling at 2 ms for as long as all its limits allow, several calls a look."""


class Anything(Device):
    """Behaves until chance says otherwise. `wildness` is the share of moments in which it does."""

    def __init__(self, dma: Dma, random: Random, wildness: float) -> None:
        super().__init__(dma)
        self.random, self.wildness = random, wildness

    @property
    def wild(self) -> bool:
        return self.random.random() < self.wildness

    def read(self, bar: int, offset: int) -> int:
        value = super().read(bar, offset)
        if not self.wild:
            return value
        return self.random.choice((0, value ^ 1, value ^ 1 << self.random.randrange(32), self.random.getrandbits(32)))

    def message(self, kind: int, data: int) -> None:
        match self.random.randrange(6) if self.wild else -1:
            case 0:
                return
            case 1:
                self.acknowledge()
            case 2:
                self.registers[2, PF2VF] = self.random.getrandbits(32) | PENDING
                self.acknowledge()
            case 3:
                super().message(kind, self.random.getrandbits(24))
            case 4:
                super().message(self.random.randrange(64), data)
            case 5:
                self.later.append(lambda: self.send(self.random.randrange(7), self.random.getrandbits(24)))
                super().message(kind, data)
            case _:
                super().message(kind, data)

    def acknowledge(self) -> None:
        self.registers[2, VF2PF] = self.registers.get((2, VF2PF), 0) & ~PENDING

    def payload(self, which: int) -> bytes | None:
        return self.random.randbytes(self.random.randrange(16)) if self.wild else super().payload(which)

    def answer(self, pair: int, answer: bytes) -> None:
        if self.wild:
            at = self.random.randrange(32)
            answer = (answer[:at] + self.random.randbytes(self.random.randrange(1, 33)))[:32].ljust(32, b"\0")
        if not self.wild:
            super().answer(pair, answer)

    def result(self, q: int, m1: int, m2: int, p: int, qinv: int) -> int:
        return self.random.getrandbits(2048) if self.wild else super().result(q, m1, m2, p, qinv)


class Failing(Model):
    """A kernel whose calls fail by chance."""

    random = Random()
    failing = 0.0

    def _call(self, *, change: bool = False) -> None:
        super()._call(change=change)
        if self.random.random() < self.failing and not self.closing:
            number = self.random.choice((errno.EIO, errno.EINVAL, errno.EPERM, errno.EBUSY, errno.ENOMEM, errno.ENODEV))
            raise OSError(number, "by chance")

    closing = False

    def close(self, fd: int) -> None:
        self.closing = True
        super().close(fd)
        self.closing = False

    def now(self) -> float:
        self.clock += 1e-6
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds


def judged(model: Model) -> Cause | None:
    proof = prove(BDF, NUMBER, kernel=model)
    assert (proof.cause is None) == (proof.step is Step.CLOSE)
    assert (proof.cause is None) == bool(proof.seen.signature)
    assert model.clock < LONGEST
    assert model.calls < MOST_CALLS
    assert not model.fds
    assert not model.maps
    assert not model.bus_master
    assert not [offence for offence in model.offences if "unmapped while" in offence]
    return proof.cause


@pytest.mark.parametrize("wildness", [0.002, 0.02, 0.2])
def test_wild_devices(wildness: float) -> None:
    seen = set()
    for seed in range(60):
        random = Random(f"{wildness} {seed}")
        device = partial(Anything, random=random, wildness=wildness)
        seen.add(judged(Model(device, random.choice(("group", "cdev")))))
    assert len(seen) > 2, "these seeds try too little"


@pytest.mark.parametrize("kind", ["group", "cdev"])
def test_failing_kernels(kind: str) -> None:
    seen = set()
    for seed in range(60):
        model = Failing(kind=kind)
        model.random, model.failing = Random(seed), (0.005, 0.02, 0.1)[seed % 3]
        seen.add(judged(model))
    assert len(seen) > 2, "these seeds try too little"


def test_wild_iommus() -> None:
    """What the IOMMU says of addresses is data like any other."""
    random = Random(19)
    for _ in range(60):
        model = Model(kind=random.choice(("group", "cdev")))
        model.ranges = tuple(
            (random.getrandbits(random.choice((16, 33, 64))), random.getrandbits(random.choice((16, 33, 64))))
            for _ in range(random.randrange(8))
        )
        assert judged(model) in (None, Cause.MAP_REFUSED)
