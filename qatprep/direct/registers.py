"""A VF's registers: 32 bits at a time, by pread and pwrite on the device's descriptor.

Never by mmap: `struct.pack_into` on mapped memory stores zeroes before the value, and a slice stores it twice, which
would ring a doorbell twice. pwrite is the kernel's iowrite32 (drivers/vfio/pci/vfio_pci_rdwr.c), exactly once, and a
function that has vanished is an error there, not a SIGBUS.

Layout: qatlib 26.08, qat_direct/include/adf_platform_common.h, adf_platform_acceldev_{common,gen4}.h, adf_pfvf_msg.h;
Linux, qat_common/adf_gen4_{hw_data,pfvf}.h.
"""

from __future__ import annotations

import struct

from qatprep.direct.kernel import Kernel
from qatprep.direct.result import Cause, Stop
from qatprep.direct.trace import Trace

REGION_INFO = 0x3B6C
"""VFIO_DEVICE_GET_REGION_INFO (linux/vfio.h): _IO(';', 100 + 8)."""
IRQ_INFO, MSI = 0x3B6D, 1
"""VFIO_DEVICE_GET_IRQ_INFO; VFIO_PCI_MSI_IRQ_INDEX."""
READ_WRITE = 3
"""VFIO_REGION_INFO_FLAG_READ | _WRITE."""
RINGS_BAR, MAILBOX_BAR, CONFIG_SPACE = 0, 2, 7
"""VFIO_PCI_BAR0_REGION_INDEX, _BAR2_, VFIO_PCI_CONFIG_REGION_INDEX."""

# BAR 0: four bundles, one ring pair each. Ring r of a pair is at register + 4 r.
BUNDLE = 0x2000
PAIRS = 4
HEAD, TAIL, RING_STATUS, ARBITER = 0x0C0, 0x100, 0x140, 0x19C
RING_CONFIG, BASE_LOW, BASE_HIGH = 0x1000, 0x1040, 0x1080
# BAR 2
MAILBOX_MASK, PF_TO_VF, VF_TO_PF = 0x1004, 0x1008, 0x100C
MAILBOX_END = 0x1010
# Configuration space (PCI Local Bus Specification 3.0, 6.2.2)
COMMAND = 0x04
MEMORY_SPACE, BUS_MASTER = 2, 4


def msi_vectors(kernel: Kernel, fd: int) -> int:
    """How many MSI the device has. Unused here, but libqat does not start without one (adf_common_user_bundles.c)."""
    info = bytearray(struct.pack("<IIII", 16, 0, MSI, 0))
    kernel.ioctl(fd, IRQ_INFO, info)
    count: int = struct.unpack("<IIII", info)[3]
    return count


class Region:
    """One region of a VFIO device."""

    def __init__(self, kernel: Kernel, trace: Trace, fd: int, index: int, name: str, least: int) -> None:
        """`least` is the size in bytes it must have. Stop(WRONG_REGISTERS) for another device's."""
        info = bytearray(struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        kernel.ioctl(fd, REGION_INFO, info)
        _, flags, _, _, size, self._offset = struct.unpack("<IIIIQQ", info)
        trace.note("region", name=name, size=size, flags=flags)
        if flags & READ_WRITE != READ_WRITE or size < least:
            raise Stop(Cause.WRONG_REGISTERS, region=name, size=size, flags=flags, needs=least)
        self._kernel, self._trace, self._fd, self._name = kernel, trace, fd, name

    def read(self, at: int, size: int = 4) -> int:
        """Stop(FUNCTION_GONE) when nothing answers."""
        try:
            data = self._kernel.pread(self._fd, size, self._offset + at)
        except OSError as e:
            raise Stop(Cause.FUNCTION_GONE, register=self._label(at), error=e.strerror) from None
        value = int.from_bytes(data, "little")
        self._trace.read(self._label(at), value)
        if len(data) < size or value == (1 << 8 * size) - 1:
            raise Stop(Cause.FUNCTION_GONE, register=self._label(at), value=data.hex())
        return value

    def write(self, at: int, value: int, size: int = 4) -> None:
        self._trace.write(self._label(at), value)
        try:
            self._kernel.pwrite(self._fd, value.to_bytes(size, "little"), self._offset + at)
        except OSError as e:
            raise Stop(Cause.FUNCTION_GONE, register=self._label(at), error=e.strerror) from None

    def _label(self, at: int) -> str:
        return f"{self._name}+{at:#x}"
