"""What udev knows of a device: the only place that imports pyudev."""

from __future__ import annotations


def hardware_name(sysfs_path: str) -> str:
    """Vendor and model of a device from udev's hardware database (hwdb(7)), "" where there is none."""
    try:
        import pyudev

        device = pyudev.Devices.from_path(pyudev.Context(), sysfs_path)
    except (ImportError, OSError, LookupError):  # no libudev on this machine, or no such device
        return ""
    vendor = str(device.get("ID_VENDOR_FROM_DATABASE", ""))
    model = str(device.get("ID_MODEL_FROM_DATABASE", ""))
    return f"{vendor} {model}".strip()
