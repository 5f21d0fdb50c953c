"""What waits in the kernel until somebody lets go of a device."""

from __future__ import annotations

from qatprep.simulator.device import PciDevice


class Held(Exception):
    """An operation waits until the holder of `device` lets go. Meanwhile `locked` answers nobody."""

    def __init__(self, device: PciDevice, locked: PciDevice | None = None) -> None:
        super().__init__(device.bdf)
        self.device = device
        self.locked = locked or device.physfn or device


class BlockedForever(RuntimeError):
    """A caller that gave no deadline would hang in the kernel, perhaps for ever: a bug in the caller."""
