"""A PF (8086:4940), as far as a kernel's qat_4xxx needs it to come up and to run: power, engine registers, the firmware
control unit, admin messages, heartbeat, errors, SR-IOV and the VFs' mailboxes.

Sources: K qat_4xxx/adf_drv.c, qat_common/{qat_hal,qat_uclo,adf_admin,adf_accel_engine,adf_gen4_pm,adf_sriov}.c.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from qat_emulator import registers as r
from qat_emulator.faults import Faults
from qat_emulator.function import BARS_64, MSIX, Function
from qat_emulator.mailbox import PENDING
from qat_emulator.memory import DmaFault
from qat_emulator.record import Record
from qat_emulator.vf import Vf

VECTORS = 66
MOST_VFS = 16

# Extended configuration space: SR-IOV, then ARI, which VFs of number 8 and higher need (linux/pci_regs.h).
SRIOV, ARI = 0x100, 0x160
SRIOV_CONTROL, SRIOV_VFS, SRIOV_PAGES, SRIOV_BARS = SRIOV + 0x08, SRIOV + 0x10, SRIOV + 0x20, SRIOV + 0x24
VF_BAR_SIZES = {0: r.BUNDLES * r.BUNDLE_SIZE, 2: 0x2000}

AUTHENTICATE, LOAD, START = 1, 2, 3
ONE_ENGINE = 1 << 4
VERIFIED, LOADED, REFUSED, DONE, STARTED = 1, 2, 3, 1 << 8, 1 << 9
"""Commands and status of the firmware control unit. K qat_common/icp_qat_hal.h"""

ADMIN_COMMANDS = {
    0: "INIT_AE", 3: "CONSTANTS_CFG", 5: "COUNTERS_GET", 7: "SYNC", 9: "COMP_CAPABILITY_GET", 11: "DC_CHAIN_INIT",
    13: "HEARTBEAT_TIMER_SET", 15: "RL_INIT", 19: "TIMER_GET", 20: "CNV_STATS_GET", 128: "PM_STATE_CONFIG",
    129: "PM_INFO", 137: "TL_START", 138: "TL_STOP",
}  # fmt: skip
"""K qat_common/icp_qat_fw_init_admin.h"""
ADMIN_SIZE = 32
TIMER_HERTZ = 62.5e6
"""K qat_common/adf_gen4_hw_data.h: the KPT counter, one sixteenth of 1 GHz."""
THREADS = 8
BEAT = 0.1
"""Seconds between heartbeats."""


class Pf(Function):
    """BARs 0, 2 and 4; MSI-X; the functions of its VFs are notified of what its driver does to them."""

    device_id = 0x4940
    irqs = {MSIX: VECTORS}  # noqa: RUF012
    keeps_mailbox = True
    """Its registers are the mailbox."""
    pairs: tuple[int, ...] | None = None

    def __init__(self, name: str, vfs: int, faults: Faults, record: Record) -> None:
        super().__init__(name, {r.SRAM: 0x80000, r.PMISC: 0x800000, r.PF_RINGS: 0x400000}, faults, record)
        self.vfs: list[Vf] = []
        self.admin: Counter[str] = Counter()
        """Admin messages by name."""
        self._counted = [[0, 0] for _ in range(r.ENGINE_COUNT)]
        """Requests and answers of each engine."""
        self._cycles = 0
        self._heart: int | None = None
        if vfs:
            self._describe_vfs(vfs)
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def _describe_vfs(self, vfs: int) -> None:
        # Header, capabilities, control and status, initial, total, number, link, offset, stride, device ID, page sizes.
        struct.pack_into(
            "<IIHHHHHHHHHHII", self.config, SRIOV, 0x10 | 1 << 16 | ARI << 20,
            0, 0, 0, vfs, vfs, 0, 0, 1, 1, 0, Vf.device_id, 0x553, 1,
        )  # fmt: skip
        struct.pack_into("<IIII", self.config, SRIOV_BARS, BARS_64, 0, BARS_64, 0)
        struct.pack_into("<II", self.config, ARI, 0x0E | 1 << 16, 0)

    @property
    def running(self) -> bool:
        """A reset takes the firmware away; the driver has to load and start it again before any VF is served."""
        return not self.gone and bool(self.get(r.PMISC, r.FCU_STATUS) & STARTED)

    def vanish(self) -> None:
        """With its VFs."""
        with self.lock:
            super().vanish()
            self._heart = None
            for vf in self.vfs:
                vf.vanish()

    def reset(self) -> None:
        """Function level reset: firmware, mailboxes and all rings are gone, those of the VFs, too."""
        with self.lock:
            super().reset()
            self._heart = None
            if self.gone:
                return
            for memory in self.registers.values():
                memory[:] = bytes(len(memory))
            for vf in self.vfs:
                vf.reset()
                mailbox = vf.registers[r.VF_MAILBOX]
                mailbox[:] = bytes(len(mailbox))

    # -- configuration space -----------------------------------------------------------------------------------

    def config_read(self, offset: int, size: int) -> bytes:
        """QEMU reads all of it when it makes the device, and would take SR-IOV away; a guest reads words."""
        data = bytearray(super().config_read(offset, size))
        if not self.gone and size > 4 and offset <= SRIOV < offset + size:
            data[SRIOV - offset : SRIOV - offset + 4] = bytes(4)
        return bytes(data)

    def config_write(self, offset: int, data: bytes) -> None:
        """SR-IOV: control, number of VFs, page size and the VFs' BARs can be written."""
        if self.gone or not SRIOV <= offset < ARI:
            super().config_write(offset, data)
            return
        value = int.from_bytes(data, "little")
        self.record(self.name, "config", offset=offset, size=len(data), value=value)
        if SRIOV_BARS <= offset < SRIOV_BARS + 24:
            bar = (offset - SRIOV_BARS) // 4
            size = VF_BAR_SIZES.get(bar)
            if size:
                struct.pack_into("<I", self.config, offset, value & ~(size - 1) & 0xFFFF_FFFF | BARS_64)
            elif bar - 1 in VF_BAR_SIZES:  # the upper half of one
                struct.pack_into("<I", self.config, offset, value)
        elif offset in (SRIOV_CONTROL, SRIOV_VFS, SRIOV_PAGES):
            self.config[offset : offset + len(data)] = data

    # -- registers -----------------------------------------------------------------------------------------------

    def read(self, bar: int, offset: int, size: int) -> int:
        """Registers that are not plain memory: power, cycle counters, sources of errors."""
        with self.lock:
            if bar == r.PMISC and not self.gone:
                if offset == r.PM_STATUS:
                    return 0 if "nopower" in self.faults else r.POWERED_UP
                if r.ENGINES <= offset < r.FIRMWARE and offset % r.ENGINE_SIZE == r.CYCLES:
                    self._cycles += 97
                    return self._cycles & 0xFFFF
                if r.ERRSOU0 <= offset <= r.ERRSOU3:
                    return self._error_source(offset)
            return super().read(bar, offset, size)

    def write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Error logs are cleared by ones; a ring pair's reset is done at once; the rest follows from PMISC."""
        with self.lock:
            if self.gone:
                return
            if bar == r.PMISC and offset in (r.AE_CORRECTABLE_LOG, r.AE_UNCORRECTABLE_LOG, r.COMMAND_PARITY_LOG):
                self.set(bar, offset, self.get(bar, offset) & ~value)  # write 1 to clear
                return
            super().write(bar, offset, size, value)
            if bar == r.PMISC:
                self._written(offset, value)
            elif (
                bar == r.PF_RINGS and r.RESET_CONTROL <= offset < r.RESET_CONTROL + 8 * r.RING_PAIRS and not offset & 4
            ):
                self.set(bar, offset + r.RESET_STATUS - r.RESET_CONTROL, 1)

    def _written(self, offset: int, value: int) -> None:
        if offset == r.FCU_CONTROL:
            self._firmware(value)
        elif offset == r.VM2PF_MASK:
            self._mailbox_interrupt()
        elif r.PF2VM <= offset < r.PF2VM + r.VM_STRIDE * MOST_VFS:
            number, register = divmod(offset - r.PF2VM, r.VM_STRIDE)
            if register in (0, r.VM2PF - r.PF2VM) and number < len(self.vfs):
                self._mailbox_written(number, register, value)
        elif r.ENGINES <= offset < r.FIRMWARE and offset % r.ENGINE_SIZE == r.ADMIN_DOORBELL and value == 1:
            self._admin((offset - r.ENGINES) // r.ENGINE_SIZE)

    # -- mailboxes -------------------------------------------------------------------------------------------------

    def _mailbox_written(self, number: int, register: int, value: int) -> None:
        """The driver wrote its end of VF `number`'s mailbox."""
        if register == 0:
            if value & PENDING:
                self.vfs[number].tell(value)
            else:
                self.vfs[number].set(r.VF_MAILBOX, r.PF2VF, value)
            return
        self.vfs[number].set(r.VF_MAILBOX, r.VF2PF, value)
        if not value & PENDING:
            self.set(r.PMISC, r.VM2PF_SOURCE, self.get(r.PMISC, r.VM2PF_SOURCE) & ~(1 << number))

    def written(self, vf: Vf, register: int, value: int) -> None:
        """A VF wrote its end."""
        number = self.vfs.index(vf)
        if register == r.PF2VF:
            self.set(r.PMISC, r.PF2VM + r.VM_STRIDE * number, value)
            return
        self.set(r.PMISC, r.VM2PF + r.VM_STRIDE * number, value)
        if value & PENDING:
            self.set(r.PMISC, r.VM2PF_SOURCE, self.get(r.PMISC, r.VM2PF_SOURCE) | 1 << number)
            self._mailbox_interrupt()

    def _mailbox_interrupt(self) -> None:
        if self.get(r.PMISC, r.VM2PF_SOURCE) & ~self.get(r.PMISC, r.VM2PF_MASK) & (1 << MOST_VFS) - 1:
            self.interrupt(r.MISC_VECTOR)

    # -- firmware --------------------------------------------------------------------------------------------------

    def _firmware(self, value: int) -> None:
        """The control unit takes an image, loads it into engines and starts them. Nothing in it is run."""
        command, status = value & 3, self.get(r.PMISC, r.FCU_STATUS)
        if command == AUTHENTICATE:
            status = (REFUSED if "nofirmware" in self.faults else VERIFIED) | DONE
        elif command == LOAD:
            engines = 1 << (value >> 8 & 0x1F) if value & ONE_ENGINE else self.get(r.PMISC, r.FCU_MASK)
            self.set(r.PMISC, r.FCU_LOADED, self.get(r.PMISC, r.FCU_LOADED) | engines)
            status = LOADED | DONE
        elif command == START:
            status |= STARTED
        self.set(r.PMISC, r.FCU_STATUS, status)
        self.record(self.name, "firmware", command=command, loaded=self.get(r.PMISC, r.FCU_LOADED))

    def _admin(self, engine: int) -> None:
        """One admin message: the request is in memory, its answer goes behind it, the doorbell goes back to 0."""
        if "noadmin" in self.faults or not self.running:
            return
        base = self.get(r.PMISC, r.ADMIN_HIGH) << 32 | self.get(r.PMISC, r.ADMIN_LOW)
        address = base + 2 * ADMIN_SIZE * engine
        try:
            request = self.memory.read(address, ADMIN_SIZE)
            command = request[3]
            answer = bytearray(ADMIN_SIZE)
            answer[3] = command
            name = ADMIN_COMMANDS.get(command, str(command))
            if name == "TIMER_GET":
                struct.pack_into("<Q", answer, 16, int(time.time() * TIMER_HERTZ))
            elif name == "COUNTERS_GET":
                struct.pack_into("<QQ", answer, 16, *self._counted[engine])
            elif name == "HEARTBEAT_TIMER_SET":
                (self._heart,) = struct.unpack_from("<Q", request, 16)
            self.memory.write(address + ADMIN_SIZE, bytes(answer))
        except DmaFault as fault:
            self.record(self.name, "fault", text=str(fault))
            return
        self.set(r.PMISC, r.ENGINES + r.ENGINE_SIZE * engine + r.ADMIN_DOORBELL, 0)
        self.admin[name] += 1
        self.record(self.name, "admin", command=name, engine=engine)

    def count(self, number: int, requests: int, answers: int) -> None:
        """The firmware of the engine that serves VF `number` counts."""
        counted = self._counted[number % (r.ENGINE_COUNT - 1)]
        counted[0] += requests
        counted[1] += answers

    def _beat(self) -> None:
        """Each thread of each engine counts requests seen and answered. Standing still with requests open is what a
        driver takes for dead (K qat_common/adf_heartbeat.c)."""
        beats = 0
        while True:
            time.sleep(BEAT)
            with self.lock:
                heart, lost = self._heart, "heartbeat" in self.faults
                if heart is None:
                    continue
                beats = beats if lost else beats + 1 & 0xFFFF
                try:
                    self.memory.write(
                        heart, struct.pack("<HH", (beats + lost) & 0xFFFF, beats) * (r.ENGINE_COUNT * THREADS)
                    )
                except DmaFault:
                    self._heart = None

    # -- errors ------------------------------------------------------------------------------------------------------

    def _error_source(self, offset: int) -> int:
        """Bits follow from the logs that were not cleared yet."""
        if offset == r.ERRSOU0:
            return int(self.get(r.PMISC, r.AE_CORRECTABLE_LOG) != 0)
        if offset == r.ERRSOU1:
            logs = (r.AE_UNCORRECTABLE_LOG, r.COMMAND_PARITY_LOG)
            return sum((self.get(r.PMISC, log) != 0) << bit for bit, log in enumerate(logs))
        return 0

    def apply_faults(self) -> None:
        """Make happen what was asked for since the last call."""
        if "unplugged" in self.faults and not self.gone:
            self.record(self.name, "unplugged")
            self.vanish()
        if self.gone:
            return
        for name, log in (
            ("correctable", r.AE_CORRECTABLE_LOG),
            ("uncorrectable", r.AE_UNCORRECTABLE_LOG),
            ("fatalerror", r.COMMAND_PARITY_LOG),
        ):
            if name in self.faults:
                self.faults.once(name)
                with self.lock:
                    self.set(r.PMISC, log, self.get(r.PMISC, log) | 1)
                    self.record(self.name, "error", kind=name)
                    self.interrupt(r.MISC_VECTOR)


class PhysicalVf(Vf):
    """A VF of a PF that a kernel drives. A scan of the bus does not see it; who enables VFs knows where they are."""

    def __init__(
        self, name: str, pf: Pf, number: int, engines: ThreadPoolExecutor, faults: Faults, record: Record
    ) -> None:
        super().__init__(name, pf, engines, faults, record)
        self.lock = pf.lock
        self.answered = lambda requests, answers: pf.count(number, requests, answers)
        pf.vfs.append(self)

    def config_read(self, offset: int, size: int) -> bytes:
        """A VF's vendor and device read as ones (PCI Express, 9.3.4.1.1)."""
        if size <= 4 and offset < 4:
            return b"\xff" * size
        return super().config_read(offset, size)
