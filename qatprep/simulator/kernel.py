"""Which kernel is modelled, and what it can do. Features go by version; the kernel file that shows each is named.

Paths are those of Linux 7.2, below drivers/crypto/intel/qat/ (drivers/crypto/qat/ before 6.5) unless they begin
otherwise.
"""

from __future__ import annotations

import re

from qatprep.errors import InputError
from qatprep.hardware import Family

LATEST = {
    (5, 17): 15,
    (6, 1): 192,
    (6, 6): 112,
    (6, 12): 117,
    (6, 13): 12,
    (6, 14): 11,
    (6, 15): 11,
    (6, 16): 12,
    (6, 17): 13,
    (7, 2): 13,
}
"""The patch level that a bare X.Y means: late enough for the stable fixes. Others get _SOME_PATCH."""
_SOME_PATCH = 9

OLDEST = (5, 11)
"""qat_4xxx came with it; nothing before is modelled."""
_LAST_MINOR = {5: 19, 6: 19, 7: 2}
"""The last series of each major number, as far as they were looked at."""

_NO_IOMMU_FIX = {(6, 12): 42, (6, 15): 10, (6, 16): 1}
"""Stable releases (August 2025) that took mainline 53669ff591d4 of 6.17 back; 6.13 and 6.14 never did."""

_TEXT = re.compile(r"(\d{1,2})\.(\d{1,3})(?:\.(\d{1,4}))?(?P<rest>[-+~.\w]*)$")


class Kernel:
    """A kernel by its release. InputError when `text` is not X.Y, X.Y.Z or a release beginning so."""

    def __init__(self, text: str) -> None:
        match = _TEXT.match(text)
        if match is None:
            raise InputError(f"{text!r} is not a kernel version", "write X.Y or X.Y.Z, for example 6.12 or 6.17.1")
        series = int(match[1]), int(match[2])
        self.exact = match[3] is not None
        """False when only a series was named, so that any release of it will do."""
        patch = int(match[3]) if match[3] is not None else LATEST.get(series, _SOME_PATCH)
        self.version = (*series, patch)
        self.release = text if self.exact else f"{series[0]}.{series[1]}.{patch}{match['rest']}"

    @property
    def series(self) -> tuple[int, int]:
        return self.version[:2]

    def require_modelled(self) -> None:
        """InputError for a series that does not exist, or whose sources were not looked at."""
        if not (self.series >= OLDEST and self.series[1] <= _LAST_MINOR.get(self.series[0], -1)):
            newest = max(_LAST_MINOR.items())
            raise InputError(
                f"kernel {self.release} is not modelled: what it does is not known",
                f"{OLDEST[0]}.{OLDEST[1]} to {newest[0]}.{newest[1]} are, for example 6.12",
            )

    def since(self, major: int, minor: int, patch: int = 0) -> bool:
        return self.version >= (major, minor, patch)

    def knows(self, family: Family) -> bool:
        """Whether the driver's PCI table has this PF: qat_*/adf_drv.c adf_pci_tbl."""
        return self.series >= family.since

    # -- qat sysfs: Documentation/ABI/testing/sysfs-driver-qat* and qat_common/adf_sysfs.c ----------------

    @property
    def has_state(self) -> bool:
        """qat/state and qat/cfg_services."""
        return self.since(6, 0)

    @property
    def has_pm_idle(self) -> bool:
        return self.since(6, 5)

    @property
    def has_num_rps(self) -> bool:
        """qat/num_rps, qat/rp2srv and the qat_ras directory."""
        return self.since(6, 7)

    @property
    def has_auto_reset(self) -> bool:
        return self.since(6, 9)

    @property
    def tells_driver_of_reset(self) -> bool:
        """adf_aer.c has reset_prepare and reset_done: a reset by sysfs restarts a PF rather than killing it."""
        return self.since(7, 2)

    @property
    def down_twice_fails(self) -> bool:
        """adf_sysfs.c state_store: EINVAL for a device that is down already, until c9ca9756f376 (6.7, stable 6.6.2)."""
        return not self.since(6, 6, 2)

    # -- SR-IOV: qat_common/adf_sriov.c -------------------------------------------------------------------

    @property
    def numvfs_zero_works(self) -> bool:
        """Writing 0 disables the VFs since ca88a2bdd4dd (6.12); before it is EINVAL."""
        return self.since(6, 12)

    @property
    def reports_total(self) -> bool:
        """adf_sriov_configure returns how many VFs it made, so that the core logs the difference."""
        return self.since(6, 12)

    @property
    def needs_iommu_for_vfs(self) -> bool:
        """6.12 to 6.16 refuse SR-IOV without an IOMMU, until 53669ff591d4."""
        if not self.since(6, 12) or self.since(6, 17):
            return False
        fixed = _NO_IOMMU_FIX.get(self.series)
        return fixed is None or self.version[2] < fixed

    @property
    def has_sriov_key(self) -> bool:
        """SriovEnabled = 1 in dev_cfg, never taken back: qat_common/adf_sriov.c adf_add_sriov_configuration."""
        return self.since(6, 9)

    @property
    def zeroes_dc_instances(self) -> bool:
        """NumberDcInstances = 0 next to NumberCyInstances once SR-IOV is on: not in 6.1, there in 6.12."""
        return self.since(6, 7)

    # -- debugfs: Documentation/ABI/testing/debugfs-driver-qat* -------------------------------------------

    @property
    def has_heartbeat(self) -> bool:
        """fw_counters and heartbeat/."""
        return self.since(6, 6)

    @property
    def has_pm_status(self) -> bool:
        """pm_status and cnv_errors."""
        return self.since(6, 7)

    @property
    def has_telemetry(self) -> bool:
        return self.since(6, 8)

    # -- the rest -----------------------------------------------------------------------------------------

    @property
    def default_split(self) -> bool:
        """Even device numbers start as sym;asym and odd ones as dc: qat_common/adf_gen4_config.c, since 5.17."""
        return self.since(5, 17)

    @property
    def has_vfio_variant(self) -> bool:
        """drivers/vfio/pci/qat/main.c."""
        return self.since(6, 10)

    @property
    def has_adf_ctl(self) -> bool:
        """/dev/qat_adf_ctl, made by intel_qat itself (qat_common/adf_ctl_drv.c); gone by 6.12."""
        return not self.since(6, 12)

    @property
    def has_vfio_cdev(self) -> bool:
        """/dev/vfio/devices, where CONFIG_VFIO_DEVICE_CDEV is set: drivers/vfio/device_cdev.c."""
        return self.since(6, 6)

    @property
    def qat_directory(self) -> str:
        """Where the QAT modules are below /lib/modules/<release>/kernel/."""
        return "drivers/crypto/intel/qat" if self.since(6, 5) else "drivers/crypto/qat"

    def probe_failed(self, driver: str, bdf: str, number: int) -> str:
        """drivers/base/dd.c call_driver_probe; the wording changed in 6.10."""
        if self.since(6, 10):
            return f"{driver} {bdf}: probe with driver {driver} failed with error -{number}"
        return f"{driver}: probe of {bdf} failed with error -{number}"
