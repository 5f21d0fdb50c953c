"""One VF, each verdict: which fault gives which cause, and what is left behind (nothing)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from qatprep.direct import pke
from qatprep.direct.prove import prove
from qatprep.direct.result import Cause, Entry, Proof, Step
from tests.direct import faults
from tests.direct.device import ASYM, DC, SYM, Device, Dma
from tests.direct.here import NUMBER
from tests.direct.model import BDF, DEVICE, GROUP, VFIO, Killed, Model

LONGEST = 20.0
"""Seconds of the model's clock that any proof may take, putting back included."""

FAULTS: dict[str, tuple[Callable[[Dma], Device], Step, Cause | None]] = {
    "silent": (faults.Silent, Step.MAILBOX, Cause.PF_SILENT),
    "acknowledges only": (faults.AcknowledgesOnly, Step.MAILBOX, Cause.PF_NO_ANSWER),
    "random words": (faults.RandomWords, Step.MAILBOX, Cause.PF_NONSENSE),
    "another protocol": (faults.NotSystem, Step.MAILBOX, Cause.PF_NONSENSE),
    "restarting": (faults.Restarting, Step.SIGN, Cause.PF_RESTARTING),
    "restarting before": (faults.RestartingBefore, Step.MAILBOX, Cause.PF_RESTARTING),
    "restart long over": (faults.StaleRestart, Step.CLOSE, None),
    "restart at the end": (faults.RestartsAtTheEnd, Step.CLOSE, None),
    "word from before": (faults.StaleWord, Step.CLOSE, None),
    "fatal error": (faults.FatalError, Step.SIGN, Cause.PF_FATAL),
    "restarted": (faults.Restarted, Step.CLOSE, None),
    "all ones": (faults.AllOnes, Step.MAILBOX, Cause.FUNCTION_GONE),
    "gone at the doorbell": (faults.GoneLater, Step.SIGN, Cause.FUNCTION_GONE),
    "not compatible": (faults.version(5 | 2 << 8), Step.MAILBOX, Cause.VERSION_REFUSED),
    "too old": (faults.version(3 | 1 << 8), Step.MAILBOX, Cause.VERSION_REFUSED),
    "verdict 0": (faults.version(5), Step.MAILBOX, Cause.VERSION_REFUSED),
    "older but content": (faults.version(4 | 3 << 8), Step.CLOSE, None),
    "newer": (faults.version(9 | 1 << 8), Step.CLOSE, None),
    "wrong CRC": (faults.WrongCrc, Step.MAILBOX, Cause.PF_NONSENSE),
    "no block": (faults.payload(2, None), Step.MAILBOX, Cause.PF_NONSENSE),
    "no ring map": (faults.payload(3, None), Step.MAILBOX, Cause.PF_NONSENSE),
    "empty block": (faults.payload(2, b"\0\0"), Step.MAILBOX, Cause.PF_NONSENSE),
    "no length": (faults.payload(2, b"\2\0"), Step.MAILBOX, Cause.PF_NONSENSE),
    "short block": (faults.payload(2, b"\1\4\0\0\0\0"), Step.MAILBOX, Cause.PF_NONSENSE),
    "short map": (faults.payload(3, b"\1\1\0"), Step.MAILBOX, Cause.PF_NONSENSE),
    "long block": (faults.payload(2, bytes((9, 29)) + bytes(29)), Step.CLOSE, None),
    "cut block": (faults.payload(2, bytes((3, 255)) + bytes(4)), Step.MAILBOX, Cause.PF_NONSENSE),
    "dc": (lambda dma: Device(dma, (DC,) * 4), Step.MAILBOX, Cause.NO_ASYM),
    "sym": (lambda dma: Device(dma, (SYM,) * 4), Step.MAILBOX, Cause.NO_ASYM),
    "unknown services": (lambda dma: Device(dma, (7, 6, 0, 1)), Step.MAILBOX, Cause.NO_ASYM),
    "dc;asym": (lambda dma: Device(dma, (DC, ASYM, DC, ASYM)), Step.CLOSE, None),
    "asym last": (lambda dma: Device(dma, (DC, DC, SYM, ASYM)), Step.CLOSE, None),
    "no shutdown": (faults.NoShutdown, Step.CLOSE, None),
    "no init": (faults.NoInit, Step.RINGS, Cause.PF_SILENT),
    "answers twice": (faults.Twice, Step.MAILBOX, Cause.PF_NONSENSE),
    "late": (faults.Late, Step.MAILBOX, Cause.DEADLINE),
    "loses": (faults.Loses, Step.SIGN, Cause.NO_ANSWER),
    "not taken": (faults.NotTaken, Step.SIGN, Cause.NOT_TAKEN),
    "wrong": (faults.Wrong, Step.SIGN, Cause.WRONG),
    "zero": (faults.Zero, Step.SIGN, Cause.WRONG),
    "too large": (faults.TooLarge, Step.SIGN, Cause.WRONG),
    "failed": (faults.answers(5, b"\x40"), Step.SIGN, Cause.REFUSED),
    "unsupported": (faults.answers(5, b"\x04"), Step.SIGN, Cause.REFUSED),
    "another's answer": (faults.answers(8, b"\1" * 8), Step.SIGN, Cause.STRAY_ANSWER),
    "not valid": (faults.answers(3, b"\0"), Step.SIGN, Cause.STRAY_ANSWER),
    "another service": (faults.answers(2, b"\4"), Step.SIGN, Cause.STRAY_ANSWER),
    "noise": (faults.answers(0, bytes(range(32))), Step.SIGN, Cause.STRAY_ANSWER),
    "half an answer": (faults.Half, Step.SIGN, Cause.STRAY_ANSWER),
}


def run(model: Model, keep: list[Entry] | None = None) -> Proof:
    return prove(BDF, NUMBER, kernel=model, keep=keep.append if keep is not None else None)


def clean(model: Model) -> None:
    assert model.leaks() == []
    assert model.offences == []


@pytest.mark.parametrize("kind", ["group", "cdev", "both"])
def test_signs(kind: str) -> None:
    model = Model(kind=kind)
    proof = run(model)
    assert proof.signs
    assert pow(int(proof.seen.signature, 16), pke.E, pke.N) == NUMBER
    assert proof.seen.way == ("cdev" if kind == "cdev" else "group")
    assert (proof.seen.services, proof.seen.pair, proof.seen.requests) == (("asym",) * 4, 0, 1)
    assert proof.seen.dma_bytes == 12288
    assert proof.not_undone == ()
    assert Proof.from_dict(proof.as_dict()) == proof
    clean(model)


@pytest.mark.parametrize("kind", ["group", "cdev"])
@pytest.mark.parametrize("name", FAULTS)
def test_verdicts(name: str, kind: str) -> None:
    device, step, cause = FAULTS[name]
    model = Model(device, kind)
    proof = run(model)
    assert (proof.step, proof.cause) == (step, cause), proof.evidence
    assert model.clock < LONGEST
    clean(model)
    # The next run has a device that behaves, with whatever words lie in the mailbox.
    before, model.device = model.device, Device(model)
    model.device.registers = before.registers if before.read(2, 0) != 0xFFFFFFFF else {}
    model.clock = 0.0
    assert run(model).signs
    clean(model)


def test_a_lost_answer_says_what_the_ring_says() -> None:
    evidence = run(Model(faults.Loses)).evidence
    assert evidence == {"seconds": 1.0, "head": 64, "tail": 64, "ring_status": "0x0"}


def test_no_asym_shows_the_map() -> None:
    proof = run(Model(lambda dma: Device(dma, (DC, SYM, DC, SYM))))
    assert proof.evidence["services"] == ["dc", "sym", "dc", "sym"]


def test_a_restarting_pf_is_released_at_once() -> None:
    for device in (faults.Restarting, faults.RestartsAtTheEnd, faults.RestartingBefore):
        model = Model(device)
        run(model)
        assert model.device.messages[-1] == "RESTARTING_COMPLETE"
        assert not model.device.restarting


def test_an_older_pf_is_told_shutdown() -> None:
    """RESTARTING_COMPLETE came with version 5."""

    class Old(faults.Restarting):
        def version(self, theirs: int) -> int:
            return 4 | 3 << 8

    model = Model(Old)
    assert run(model).cause is Cause.PF_RESTARTING
    assert model.device.messages[-1] == "SHUTDOWN"


def test_what_could_not_be_undone_is_said() -> None:
    proof = run(Model(faults.NoShutdown))
    assert proof.signs
    assert proof.not_undone == ("registration at the PF (pf-silent)",)


def unviable(model: Model) -> None:
    model.viable = False
    model.ioctl_errors[VFIO + 18] = errno.EPERM
    model.folders[f"/sys/kernel/iommu_groups/{GROUP}/devices"] = [BDF, "0000:6b:00.2"]
    model.links["/sys/bus/pci/devices/0000:6b:00.2/driver"] = "/x/mlx5_core"


HOSTS: dict[str, tuple[Callable[[Model], object], Step, Cause]] = {
    "no device": (lambda m: m.folders.pop(DEVICE), Step.FIND, Cause.NO_DEVICE),
    "no driver": (lambda m: m.links.pop(f"{DEVICE}/driver"), Step.FIND, Cause.NOT_BOUND),
    "another driver": (
        lambda m: m.links.update({f"{DEVICE}/driver": "/x/qat_vfio_pci"}),
        Step.FIND,
        Cause.NOT_BOUND,
    ),
    "no group": (lambda m: m.links.pop(f"{DEVICE}/iommu_group"), Step.FIND, Cause.NO_IOMMU),
    "noiommu": (lambda m: m.nodes.add(f"/dev/vfio/noiommu-{GROUP}"), Step.FIND, Cause.NO_IOMMU),
    "node missing": (lambda m: m.nodes.discard(f"/dev/vfio/{GROUP}"), Step.OPEN, Cause.NODE_MISSING),
    "container missing": (lambda m: m.nodes.discard("/dev/vfio/vfio"), Step.OPEN, Cause.NODE_MISSING),
    "no permission": (
        lambda m: m.open_errors.update({f"/dev/vfio/{GROUP}": errno.EACCES}),
        Step.OPEN,
        Cause.NOT_PERMITTED,
    ),
    "device policy": (
        lambda m: m.open_errors.update({f"/dev/vfio/{GROUP}": errno.EPERM}),
        Step.OPEN,
        Cause.DEVICE_POLICY,
    ),
    "held": (lambda m: m.open_errors.update({f"/dev/vfio/{GROUP}": errno.EBUSY}), Step.OPEN, Cause.HELD),
    "a link": (lambda m: m.open_errors.update({f"/dev/vfio/{GROUP}": errno.ELOOP}), Step.OPEN, Cause.SYSTEM_ERROR),
    "not viable": (unviable, Step.OPEN, Cause.NOT_VIABLE),
    "RMRR": (lambda m: m.ioctl_errors.update({VFIO + 2: errno.EPERM}), Step.OPEN, Cause.IOMMU_REFUSED),
    "memlock": (lambda m: setattr(m, "limit", 8192), Step.MEMORY, Cause.MEMLOCK),
    "map refused": (lambda m: m.ioctl_errors.update({VFIO + 13: errno.EINVAL}), Step.MEMORY, Cause.MAP_REFUSED),
    "no memory": (lambda m: m.ioctl_errors.update({VFIO + 13: errno.ENOMEM}), Step.MEMORY, Cause.MAP_REFUSED),
    "no address": (lambda m: setattr(m, "ranges", ((1 << 40, 1 << 41),)), Step.MEMORY, Cause.MAP_REFUSED),
    "device refused": (lambda m: m.ioctl_errors.update({VFIO + 6: errno.EIO}), Step.DEVICE, Cause.DEVICE_REFUSED),
    "small BAR": (lambda m: m.sizes.update({2: 0x1000}), Step.DEVICE, Cause.WRONG_REGISTERS),
    "gone": (lambda m: setattr(m, "gone", True), Step.DEVICE, Cause.FUNCTION_GONE),
}


@pytest.mark.parametrize("name", HOSTS)
def test_verdicts_of_the_host(name: str) -> None:
    change, step, cause = HOSTS[name]
    model = Model()
    change(model)
    proof = run(model)
    assert (proof.step, proof.cause) == (step, cause), proof.evidence
    clean(model)


CDEV_HOSTS: dict[str, tuple[Callable[[Model], object], Step, Cause]] = {
    "no iommufd": (lambda m: m.nodes.discard("/dev/iommu"), Step.OPEN, Cause.NODE_MISSING),
    "iommufd forbidden": (lambda m: m.open_errors.update({"/dev/iommu": errno.EACCES}), Step.OPEN, Cause.NOT_PERMITTED),
    "cdev forbidden": (
        lambda m: m.open_errors.update({"/dev/vfio/devices/vfio7": errno.EACCES}),
        Step.OPEN,
        Cause.NOT_PERMITTED,
    ),
    "held by cdev": (lambda m: m.ioctl_errors.update({VFIO + 18: errno.EINVAL}), Step.OPEN, Cause.HELD),
    "held by group": (lambda m: m.ioctl_errors.update({VFIO + 18: errno.EBUSY}), Step.OPEN, Cause.HELD),
    "not viable": (unviable, Step.OPEN, Cause.NOT_VIABLE),
    "RMRR": (lambda m: m.ioctl_errors.update({VFIO + 19: errno.EPERM}), Step.OPEN, Cause.IOMMU_REFUSED),
    "map refused": (lambda m: m.ioctl_errors.update({0x3B85: errno.EADDRINUSE}), Step.MEMORY, Cause.MAP_REFUSED),
}


@pytest.mark.parametrize("name", CDEV_HOSTS)
def test_verdicts_of_a_host_with_iommufd(name: str) -> None:
    change, step, cause = CDEV_HOSTS[name]
    model = Model(kind="cdev")
    change(model)
    proof = run(model)
    assert (proof.step, proof.cause) == (step, cause), proof.evidence
    clean(model)


def test_memlock_says_both_numbers() -> None:
    model = Model()
    model.limit = 8192
    assert run(model).evidence == {"needs": 12288, "limit": 8192}


def test_a_holder_is_looked_for_at_both_nodes() -> None:
    model = Model(kind="both")
    model.open_errors[f"/dev/vfio/{GROUP}"] = errno.EBUSY
    assert run(model).evidence["nodes"] == [f"/dev/vfio/{GROUP}", "/dev/vfio/devices/vfio7"]


@pytest.mark.parametrize("kind", ["group", "cdev"])
def test_neighbours_are_named(kind: str) -> None:
    model = Model(kind=kind)
    unviable(model)
    assert run(model).evidence["others"] == ["0000:6b:00.2 (mlx5_core)"]


def test_reserved_addresses_are_avoided() -> None:
    model = Model()
    model.ranges = ((0, 0x201FFF), (0x300000, 0x301FFF), (0x404000, 1 << 47))
    entries: list[Entry] = []
    assert run(model, entries).signs
    assert next(e for e in entries if e.what == "mapped").values["iova"] == "0x410000"


@pytest.mark.parametrize("kind", ["group", "cdev"])
def test_killed_anywhere(kind: str) -> None:
    """SIGKILL at each call that changes something: the kernel cleans up, and the next run signs."""
    whole = Model(kind=kind)
    run(whole)
    for number in range(1, whole.changes + 1):
        model = Model(kind=kind)
        model.kill_at = number
        with pytest.raises(Killed):
            run(model)
        model.process_ended()
        assert run(model).signs, f"after a death at change {number}"
        clean(model)


def test_the_trace_holds_no_operands() -> None:
    entries: list[Entry] = []
    proof = run(Model(), entries)
    text = " ".join(str(entry.as_dict()) for entry in entries)
    for operand in pke.operands(NUMBER):
        assert operand.hex()[:16] not in text
        assert str(int.from_bytes(operand, "big"))[:16] not in text
    assert proof.seen.signature[:16] not in text
    assert {entry.step for entry in entries} == set(Step)
