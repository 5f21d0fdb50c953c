"""The vfio-user transport, by a client that speaks it as QEMU does; and a PF behind it."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from qat_emulator import mailbox, pf
from qat_emulator import registers as r
from qat_emulator.faults import Faults
from qat_emulator.function import Function
from qat_emulator.pf import Pf, PhysicalVf
from qat_emulator.record import Record
from qat_emulator.serve import make, qemu_options
from qat_emulator.vfio_user import HEADER, Connection

VERSION, MAP, UNMAP, INFO, REGION, IRQ, SET_IRQS, READ, WRITE, RESET = 1, 2, 3, 4, 5, 7, 8, 9, 10, 13
CONFIG = 7


class Client:
    def __init__(self, function: Function) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.thread = threading.Thread(target=Connection(function, theirs).serve, daemon=True)
        self.thread.start()

    def ask(self, command: int, body: bytes = b"", *fds: int) -> bytes:
        """OSError with what the device refuses with."""
        socket.send_fds(self.socket, [HEADER.pack(1, command, HEADER.size + len(body), 0, 0) + body], fds)
        number, same, size, flags, error = HEADER.unpack(self.socket.recv(HEADER.size, socket.MSG_WAITALL))
        assert (number, same, flags & 0xF) == (1, command, 1)
        if error:
            raise OSError(error, os.strerror(error))
        return self.socket.recv(size - HEADER.size, socket.MSG_WAITALL) if size > HEADER.size else b""

    def read(self, region: int, offset: int, size: int = 4) -> int:
        return int.from_bytes(self.ask(READ, struct.pack("<QII", offset, region, size))[16:], "little")

    def write(self, region: int, offset: int, value: int, size: int = 4) -> None:
        self.ask(WRITE, struct.pack("<QII", offset, region, size) + value.to_bytes(size, "little"))

    def map(self, address: int, size: int) -> int:
        """Guest memory at this address; its file."""
        fd = os.memfd_create("guest")
        os.ftruncate(fd, size)
        self.ask(MAP, struct.pack("<IIQQQ", 32, 3, 0, address, size), fd)
        return fd


@pytest.fixture
def board() -> Iterator[Callable[..., tuple[Client, Client, Pf, PhysicalVf]]]:
    clients: list[Client] = []

    def build(*faults: str) -> tuple[Client, Client, Pf, PhysicalVf]:
        made = make(pf=True, vfs=2, services="asym", faults=Faults(faults), record=Record(), workers=1)
        owner, vf = made["pf"], made["vf1"]
        assert isinstance(owner, Pf)
        assert isinstance(vf, PhysicalVf)
        clients.extend((Client(owner), Client(vf)))
        return clients[-2], clients[-1], owner, vf

    yield build
    for client in clients:
        client.socket.close()
        client.thread.join(5)


Board = Callable[..., tuple[Client, Client, Pf, PhysicalVf]]


def test_what_qemu_asks_first(board: Board) -> None:
    client, _, _, _ = board()
    body = client.ask(VERSION, struct.pack("<HH", 0, 0) + b'{"capabilities":{}}\0')
    assert json.loads(body[4:].rstrip(b"\0"))["capabilities"]["max_dma_maps"] <= 65535
    assert struct.unpack("<IIII", client.ask(INFO, struct.pack("<IIII", 16, 0, 0, 0))) == (16, 3, 9, 5)
    sizes = {}
    for index in range(9):
        sizes[index] = struct.unpack("<IIIIQQ", client.ask(REGION, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)))[4]
    assert sizes == {0: 0x80000, 1: 0, 2: 0x800000, 3: 0, 4: 0x400000, 5: 0, 6: 0, 7: 4096, 8: 0}
    assert struct.unpack("<IIII", client.ask(IRQ, struct.pack("<IIII", 16, 0, 2, 0)))[3] == 66
    with pytest.raises(OSError, match="not supported"):
        client.ask(99)
    for region, offset in ((1, 0), (r.PMISC, 0x800000)):
        with pytest.raises(OSError, match="Invalid"):
            client.write(region, offset, 1)


def test_sr_iov_is_hidden_from_qemu_and_shown_to_the_guest(board: Board) -> None:
    client, vf, _, _ = board()
    assert client.read(CONFIG, 0) == 0x49408086
    whole = client.ask(READ, struct.pack("<QII", 0x100, CONFIG, 64))[16:]
    assert whole[:4] == bytes(4)
    assert client.read(CONFIG, 0x100) == 0x10 | 1 << 16 | 0x160 << 20
    assert client.read(CONFIG, 0x10E, 2) == 2, "total VFs"
    client.write(CONFIG, pf.SRIOV_BARS, 0xFFFFFFFF)
    assert client.read(CONFIG, pf.SRIOV_BARS) == 0xFFFF8000 | 0xC
    assert vf.read(CONFIG, 0) == 0xFFFFFFFF
    assert vf.ask(READ, struct.pack("<QII", 0, CONFIG, 64))[16:20] == bytes.fromhex("86804149")


def test_interrupts_and_both_ends_of_a_mailbox(board: Board) -> None:
    client, guest, _, _ = board()
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    client.ask(SET_IRQS, struct.pack("<IIIII", 20, 4 | 32, 2, r.MISC_VECTOR, 1), eventfd)
    client.write(r.PMISC, r.VM2PF_MASK, 0xFFFF)
    guest.write(r.VF_MAILBOX, r.VF2PF, 5 << 8 | 6 << 2 | 3)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(eventfd)
    client.write(r.PMISC, r.VM2PF_MASK, 0)
    assert os.eventfd_read(eventfd) == 1
    assert client.read(r.PMISC, r.VM2PF_SOURCE) == 1 << 1
    place = r.VM2PF + r.VM_STRIDE
    assert client.read(r.PMISC, place) == 5 << 8 | 6 << 2 | 3
    client.write(r.PMISC, r.PF2VM + r.VM_STRIDE, mailbox.word(2, 5 | 1 << 8))
    client.write(r.PMISC, place, client.read(r.PMISC, place) & ~1)
    assert client.read(r.PMISC, r.VM2PF_SOURCE) == 0
    assert not guest.read(r.VF_MAILBOX, r.VF2PF) & 1
    said = guest.read(r.VF_MAILBOX, r.PF2VF)
    assert said == mailbox.word(2, 5 | 1 << 8)
    guest.write(r.VF_MAILBOX, r.PF2VF, said & ~1)
    assert not client.read(r.PMISC, r.PF2VM + r.VM_STRIDE) & 1


def test_firmware_and_admin_messages(board: Board) -> None:
    client, _, owner, vf = board()
    assert client.read(r.PMISC, r.PM_STATUS) == r.POWERED_UP
    assert client.read(r.PMISC, r.ENGINES + r.CYCLES) != client.read(r.PMISC, r.ENGINES + r.CYCLES)
    client.write(r.PMISC, r.FCU_CONTROL, pf.AUTHENTICATE)
    assert client.read(r.PMISC, r.FCU_STATUS) == pf.VERIFIED | pf.DONE
    client.write(r.PMISC, r.FCU_CONTROL, pf.LOAD | pf.ONE_ENGINE | 8 << 8)
    assert client.read(r.PMISC, r.FCU_LOADED) == 1 << 8
    client.write(r.PMISC, r.FCU_CONTROL, pf.START)
    assert client.read(r.PMISC, r.FCU_STATUS) & pf.STARTED

    memory = client.map(0x1_0000_0000, 0x1000)
    client.write(r.PMISC, r.ADMIN_HIGH, 1)
    client.write(r.PMISC, r.ADMIN_LOW, 0)
    vf.answered(3, 2)  # as VF 1 does, whose engine is number 1
    os.pwrite(memory, bytes((0, 0, 0, 5)), 64)
    client.write(r.PMISC, r.ENGINES + r.ENGINE_SIZE + r.ADMIN_DOORBELL, 1)
    assert client.read(r.PMISC, r.ENGINES + r.ENGINE_SIZE + r.ADMIN_DOORBELL) == 0
    assert struct.unpack("<QQ", os.pread(memory, 16, 64 + 32 + 16)) == (3, 2)
    assert owner.admin == {"COUNTERS_GET": 1}


@pytest.mark.parametrize(
    ("kind", "source", "bit", "log"),
    [
        ("correctable", r.ERRSOU0, 1, r.AE_CORRECTABLE_LOG),
        ("uncorrectable", r.ERRSOU1, 1, r.AE_UNCORRECTABLE_LOG),
        ("fatalerror", r.ERRSOU1, 2, r.COMMAND_PARITY_LOG),
    ],
)
def test_errors_are_reported_until_they_are_cleared(board: Board, kind: str, source: int, bit: int, log: int) -> None:
    client, _, owner, _ = board(kind)
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    client.ask(SET_IRQS, struct.pack("<IIIII", 20, 4 | 32, 2, r.MISC_VECTOR, 1), eventfd)
    owner.apply_faults()
    assert os.eventfd_read(eventfd) == 1
    assert client.read(r.PMISC, source) == bit
    client.write(r.PMISC, log, client.read(r.PMISC, log))
    assert client.read(r.PMISC, source) == 0
    owner.apply_faults()
    assert client.read(r.PMISC, source) == 0, "each happens once"


def test_faults_of_the_firmware(board: Board) -> None:
    client, _, owner, _ = board("nopower", "nofirmware", "noadmin")
    assert client.read(r.PMISC, r.PM_STATUS) == 0
    client.write(r.PMISC, r.FCU_CONTROL, pf.AUTHENTICATE)
    assert client.read(r.PMISC, r.FCU_STATUS) & 7 == pf.REFUSED
    doorbell = r.ENGINES + r.ADMIN_DOORBELL
    client.write(r.PMISC, doorbell, 1)
    assert client.read(r.PMISC, doorbell) == 1
    assert not owner.admin


def test_who_comes_after_another_finds_a_reset_device(board: Board) -> None:
    client, _, owner, _ = board()
    client.write(r.PMISC, r.FCU_CONTROL, pf.AUTHENTICATE)
    client.socket.close()
    client.thread.join(5)
    assert not client.thread.is_alive()
    assert owner.resets == 1
    second = Client(owner)
    assert second.read(r.PMISC, r.FCU_STATUS) == 0
    second.socket.close()
    second.thread.join(5)


def test_the_options_for_qemu() -> None:
    names = ["pf", *(f"vf{n}" for n in range(16))]
    devices = [json.loads(word) for word in qemu_options("/d", names) if word.startswith("{")]
    assert [d["addr"] for d in devices] == [f"{n // 8}.{n % 8}" for n in range(17)]
    assert [d["multifunction"] for d in devices] == [n % 8 == 0 for n in range(17)]
    assert devices[16]["socket"] == {"type": "unix", "path": "/d/vf15"}
    assert [json.loads(w)["bus"] for w in qemu_options("/d", ["vf0", "vf1"]) if w[0] == "{"] == ["port0", "port1"]
