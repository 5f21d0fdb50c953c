"""What every PCI function of the device has: configuration space, BARs, interrupts, a reset."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

from qat_emulator.faults import Faults
from qat_emulator.memory import AddressSpace
from qat_emulator.record import Record

MSI, MSIX = 1, 2
"""VFIO's indexes of interrupts (linux/vfio.h)."""
INTEL = 0x8086
CAPABILITY, EXPRESS = 0x50, 0x80
"""Where MSI or MSI-X, and PCI Express are in configuration space."""
DEVICE_CONTROL = EXPRESS + 8
START_RESET = 0x8000
BARS_64 = 0xC
"""A BAR that is 64 bits wide and prefetchable (linux/pci_regs.h)."""


class Function:
    """One PCI function. `memory` and `interrupt` are its transport's. `lock` guards registers; a PF shares its own with
    its VFs."""

    device_id = 0
    irqs: dict[int, int] = {}  # noqa: RUF012 - a constant of each class
    """Vectors by VFIO index."""

    def __init__(self, name: str, bars: dict[int, int], faults: Faults, record: Record) -> None:
        self.name, self.faults, self.record = name, faults, record
        self.memory = AddressSpace()
        self.resets = 0
        self.interrupt: Callable[[int], None] = lambda vector: None
        self.lock = threading.RLock()
        self.gone = False
        """Unplugged: every register and all of configuration space read as ones, for good."""
        self.config = self._configuration(bars)
        self.bars = dict.fromkeys(bars, 0x1000) if "smallbars" in faults else bars
        self.registers = {bar: memoryview(bytearray(size)) for bar, size in bars.items()}

    def _configuration(self, bars: dict[int, int]) -> bytearray:
        """Header of type 0, the interrupt capability, PCI Express version 2 with function level reset."""
        space = bytearray(4096)
        struct.pack_into("<HHHHI", space, 0, INTEL, self.device_id, 0, 0x10, 0x0B40_0040)
        for bar in bars:
            struct.pack_into("<I", space, 0x10 + 4 * bar, BARS_64)
        struct.pack_into("<HH", space, 0x2C, INTEL, 0)
        space[0x34] = CAPABILITY
        if MSIX in self.irqs:  # table in BAR 0 at 0, pending bits at 0x8000
            struct.pack_into("<BBHII", space, CAPABILITY, 0x11, EXPRESS, self.irqs[MSIX] - 1, 0, 0x8000)
        elif "nointerrupt" in self.faults:
            space[0x34] = EXPRESS
        else:
            struct.pack_into("<BBH", space, CAPABILITY, 0x05, EXPRESS, 0x0080)
        struct.pack_into("<BBHI", space, EXPRESS, 0x10, 0, 0x0002, 1 << 28 | 0x8000)
        return space

    def config_read(self, offset: int, size: int) -> bytes:
        """Configuration space, as a driver reads it."""
        return bytes(self.config[offset : offset + size])

    def config_write(self, offset: int, data: bytes) -> None:
        """Command, BARs, the interrupt capability and device control can be written; the rest stays."""
        value = int.from_bytes(data, "little")
        self.record(self.name, "config", offset=offset, size=len(data), value=value)
        if self.gone:
            return
        if DEVICE_CONTROL - 3 <= offset < DEVICE_CONTROL + 2 and self._starts_reset(offset, value):
            self.reset()
        elif 0x04 <= offset < 0x06 or 0x10 <= offset < 0x28 or CAPABILITY + 2 <= offset < CAPABILITY + 0x10:
            self.config[offset : offset + len(data)] = data

    @staticmethod
    def _starts_reset(offset: int, value: int) -> bool:
        shift = 8 * (offset - DEVICE_CONTROL)
        return bool((value << shift if shift >= 0 else value >> -shift) & START_RESET)

    def get(self, bar: int, offset: int) -> int:
        """A 32-bit register."""
        return int.from_bytes(self.registers[bar][offset : offset + 4], "little")

    def set(self, bar: int, offset: int, value: int) -> None:
        """A 32-bit register, in one store."""
        self.registers[bar].cast("I")[offset // 4] = value

    def read(self, bar: int, offset: int, size: int) -> int:
        """What a driver reads."""
        return int.from_bytes(self.registers[bar][offset : offset + size], "little")

    def write(self, bar: int, offset: int, size: int, value: int) -> None:
        """What a driver writes, and what follows from it."""
        self.registers[bar][offset : offset + size] = value.to_bytes(size, "little")

    def vanish(self) -> None:
        """What a device that was pulled out leaves (PCI Express, 2.9.2): who reads it is answered with ones."""
        with self.lock:
            self.gone = True
            self.config[:] = b"\xff" * len(self.config)
            for view in self.registers.values():
                view[:] = b"\xff" * len(view)

    def reset(self) -> None:
        """Function level reset."""
        self.resets += 1
        self.record(self.name, "reset")
