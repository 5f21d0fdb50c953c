"""What udev knows of a device: the only place that imports pyudev."""

from __future__ import annotations

from qatprep.errors import QatprepError
from qatprep.text import Foreign


def hardware_name(sysfs_path: str) -> Foreign:
    """Vendor and model of a device from udev's hardware database (hwdb(7)), "" where there is none."""
    try:
        import pyudev

        device = pyudev.Devices.from_path(pyudev.Context(), sysfs_path)
    except (ImportError, OSError, LookupError):  # no libudev on this machine, or no such device
        return Foreign("")
    vendor = str(device.get("ID_VENDOR_FROM_DATABASE", ""))
    model = str(device.get("ID_MODEL_FROM_DATABASE", ""))
    return Foreign(f"{vendor} {model}".strip())


SUBSYSTEMS = ("pci", "vfio", "vfio-dev")
"""Whose events a look at the devices waits for: VFs made and removed, drivers bound, device nodes made."""
_QUIET = 0.5
"""Seconds without an event after which what happened is over: 16 VFs are made one by one."""


class Watch:
    """The kernel's events about PCI and VFIO devices (pyudev.Monitor). QatprepError where libudev is not there."""

    def __init__(self) -> None:
        try:
            import pyudev

            # The kernel's own, not udev's: the host may run without udevd, as in a container.
            self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
            for name in SUBSYSTEMS:
                self._monitor.filter_by(name)
            self._monitor.start()
        except (ImportError, OSError) as e:
            raise QatprepError(f"cannot watch for device events: {e}", "install libudev (package libudev1)") from e

    def wait(self, seconds: float) -> tuple[str, ...]:
        """The devices of the next events, all that come close together; () when none came in this time."""
        found: dict[str, None] = {}
        device = self._monitor.poll(timeout=seconds)
        while device is not None:
            found[str(Foreign(device.sys_name))] = None
            device = self._monitor.poll(timeout=_QUIET)
        return tuple(found)
