"""One QAT device as the driver framework holds it."""

from __future__ import annotations

from qatprep.hardware import Family
from qatprep.simulator.device import PciDevice


class Accel:
    """One QAT device as the framework holds it (struct adf_accel_dev)."""

    def __init__(self, number: int, family: Family, device: PciDevice) -> None:
        self.number = number
        """The N of qat_devN."""
        self.family = family
        self.device = device
        self.up = False
        self.services = ""
        """As stored: what cfg_services reads."""
        self.general: list[tuple[str, str]] = []
        """Section GENERAL of the configuration, in the order of insertion."""
        self.sections = ""
        """The other sections, as text; empty while down."""
        self.pm_idle = True
        self.auto_reset = False
        self.asked_ring: int | None = None
        self.forget_health()

    def forget_health(self) -> None:
        """What a start begins again: qat_common/adf_heartbeat.c adf_heartbeat_init, adf_sysfs_start_ras."""
        self.hung = False
        """Whether the firmware stands still: nothing moves between two queries of the heartbeat."""
        self.queries = self.failed = self.unmoved = 0
        """Queries of the heartbeat, those that failed, and those in a row at which nothing had moved."""
        self.asked_at = float("-inf")
        """Simulated time of the last query."""
        self.errors = {"errors_correctable": 0, "errors_nonfatal": 0, "errors_fatal": 0}

    @property
    def timer(self) -> int:
        """Milliseconds of HeartbeatTimer: adf_heartbeat.c get_timer_ticks."""
        text = dict(self.general).get("HeartbeatTimer", "")
        return int(text) if text.isdigit() else 200

    def set_key(self, key: str, value: str) -> None:
        """adf_cfg_add_key_value_param: a changed key moves to the end of its section, an unchanged one stays."""
        if (key, value) in self.general:
            return
        self.general = [pair for pair in self.general if pair[0] != key] + [(key, value)]

    def configuration(self) -> bytes:
        """What dev_cfg shows: qat_common/adf_cfg.c qat_dev_cfg_show."""
        lines = "".join(f"{key} = {value}\n" for key, value in self.general)
        return f"[GENERAL]\n{lines}{self.sections}".encode()
