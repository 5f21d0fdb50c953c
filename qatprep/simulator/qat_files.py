"""The files of a QAT PF: qat/ and qat_ras/ in sysfs, and its directory in debugfs.

Which exist in which version: Documentation/ABI/testing/sysfs-driver-qat{,_ras} and debugfs-driver-qat{,_telemetry}.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from qatprep.hardware import DEBUGFS
from qatprep.host.tree import Node
from qatprep.simulator.accel import Accel
from qatprep.simulator.core import Core
from qatprep.simulator.device import PciDevice
from qatprep.simulator.services import ring_pairs
from qatprep.simulator.sysfs import attribute, boolean, line, oops, plain, unsigned

RING_PAIRS = 64
THRESHOLD = 3
"""Queries in a row at which nothing had moved, after the first: ADF_CFG_HB_COUNT_THRESHOLD, adf_heartbeat.h."""


class QatFiles:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.store_state: Callable[[Accel, bytes], None] = _nothing
        """What writing qat/state does; the framework sets it, and the next."""
        self.store_services: Callable[[Accel, bytes], None] = _nothing
        self.give_up: Callable[[Accel], None] = _nothing
        """What a lost heartbeat leads to."""
        self.debugfs = bool(core.tree.find(DEBUGFS) and core.tree.get(DEBUGFS).children)
        """Whether debugfs is mounted."""

    # -- the life of a PF ---------------------------------------------------------------------------------

    def probed(self, accel: Accel) -> None:
        """Before the start: what stays there while the device is down."""
        if self.debugfs:
            self._debug_files(accel)
        if not self.core.kernel.since(6, 5):
            self._sysfs_files(accel)

    def ready(self, accel: Accel) -> None:
        """After the first start; since 6.5 qat/ appears only then (qat_*/adf_drv.c adf_probe)."""
        self._sysfs_files(accel)

    def started(self, accel: Accel) -> None:
        if accel.family.generation < 4:
            return
        if self.debugfs:
            self._running_debug_files(accel)
        if self.core.kernel.has_num_rps:
            ras = self._child(accel.device.node, "qat_ras")
            for name in accel.errors:
                plain(ras, name, "0\n", 0o444)
            attribute(ras, "reset_error_counters", None, None, 0o200)
            self._errors(accel, ras)

    def stopped(self, accel: Accel) -> None:
        """adf_dbgfs_rm: only dev_cfg stays."""
        accel.device.node.children.pop("qat_ras", None)
        directory = self.core.tree.find(self.debug_path(accel))
        if directory is not None:
            for name in [name for name in directory.children if name != "dev_cfg"]:
                del directory.children[name]

    def removed(self, accel: Accel) -> None:
        accel.device.node.children.pop("qat", None)
        accel.device.node.children.pop("qat_ras", None)
        self.core.tree.remove(self.debug_path(accel))

    def attach(self, accel: Accel) -> None:
        """Put behaviour behind the files that a recorded host shows, adding none."""
        qat = accel.device.node.children.get("qat")
        if qat is not None:
            self._sysfs_files(accel, only=frozenset(qat.children))
        directory = self.core.tree.find(self.debug_path(accel))
        if directory is not None and "dev_cfg" in directory.children:
            attribute(directory, "dev_cfg", accel.configuration, None, 0o400)
        if directory is not None and "heartbeat" in directory.children:
            self._heartbeat(accel, directory.children["heartbeat"])
        if "qat_ras" in accel.device.node.children:
            self._errors(accel, accel.device.node.children["qat_ras"])

    def remove_debug(self, device: PciDevice) -> None:
        """Whatever debugfs directory a function has, whoever made it."""
        listing = self.core.tree.find(DEBUGFS)
        for name in [name for name in (listing.children if listing else ()) if name.endswith(f"_{device.bdf}")]:
            self.core.tree.remove(f"{DEBUGFS}/{name}")

    # -- sysfs --------------------------------------------------------------------------------------------

    def _sysfs_files(self, accel: Accel, only: frozenset[str] | None = None) -> None:
        core = self.core
        kernel = core.kernel
        if not kernel.has_state or accel.family.generation < 4:
            return
        qat = self._child(accel.device.node, "qat")

        def wanted(name: str, available: bool = True) -> bool:
            return name in only if only is not None else available

        if wanted("state"):
            attribute(
                qat,
                "state",
                lambda: line("up" if accel.up else "down"),
                lambda data: self.store_state(accel, data),
            )
        if wanted("cfg_services"):
            attribute(
                qat,
                "cfg_services",
                lambda: line(accel.services),
                lambda data: self.store_services(accel, data),
            )
        if wanted("pm_idle_enabled", kernel.has_pm_idle):
            attribute(
                qat,
                "pm_idle_enabled",
                lambda: line(int(accel.pm_idle)),
                lambda data: self._store_pm_idle(accel, data),
            )
        if wanted("num_rps", kernel.has_num_rps):
            plain(qat, "num_rps", f"{RING_PAIRS}\n", 0o444)
        if wanted("rp2srv", kernel.has_num_rps):
            _ring_attribute(accel, qat)
        if wanted("auto_reset", kernel.has_auto_reset):
            attribute(
                qat,
                "auto_reset",
                lambda: line("on" if accel.auto_reset else "off"),
                lambda data: setattr(accel, "auto_reset", boolean(data)),
            )

    def _store_pm_idle(self, accel: Accel, data: bytes) -> None:
        """adf_sysfs.c pm_idle_enabled_store: EINVAL while the device is up."""
        value = boolean(data)
        if accel.up:
            slot, number = accel.device.slot, accel.number
            self.core.log(f"{slot}: Device qat_dev{number} must be down to set pm_idle_enabled.")
            raise oops(errno.EINVAL)
        accel.pm_idle = value
        accel.set_key("PmIdleSupport", str(int(value)))

    # -- health -------------------------------------------------------------------------------------------

    def _errors(self, accel: Accel, ras: Node) -> None:
        """The counters of qat_common/adf_sysfs_ras_counters.c, as many of them as there are files for."""

        def clear(data: bytes) -> None:
            """reset_error_counters_store takes a 1 and a newline, nothing else."""
            if data != b"1\n":
                raise oops(errno.EINVAL)
            accel.errors = dict.fromkeys(accel.errors, 0)

        for name in accel.errors:
            if name in ras.children:
                attribute(ras, name, partial(self._counted, accel, name))
        if "reset_error_counters" in ras.children:
            attribute(ras, "reset_error_counters", None, clear, 0o200)

    def _counted(self, accel: Accel, name: str) -> bytes:
        return line(accel.errors[name])

    def _heartbeat(self, accel: Accel, directory: Node) -> None:
        """heartbeat/status asks the device, its neighbours count that: qat_common/adf_heartbeat_dbgfs.c."""
        for name, show in (("queries_sent", lambda: accel.queries), ("queries_failed", lambda: accel.failed)):
            if name in directory.children:
                attribute(directory, name, partial(_number, show))
        status = directory.children.get("status")
        if status is not None:
            status.ask = partial(self._query, accel, status)

    def _query(self, accel: Accel, status: Node) -> bytes:
        """adf_heartbeat.c adf_heartbeat_status, adf_hb_get_status."""
        now = self.core.clock.mine()
        slot = accel.device.slot
        if now - accel.asked_at < accel.timer / 1000:
            self.core.log(f"{slot}: HB polling too frequent. Configured HB timer {accel.timer} ms")
            return b"-1\n\0"
        accel.asked_at = now
        accel.queries += 1
        accel.unmoved = accel.unmoved + 1 if accel.hung else 0
        failed = accel.unmoved > THRESHOLD
        status.data = b"-1\n\0" if failed else b"0\n\0"
        if failed:
            accel.failed += 1
            self.core.log(f"{slot}: Heartbeat ERROR: QAT is not responding.")
            self.give_up(accel)
            return b"-1\n\0"
        return status.data

    # -- debugfs ------------------------------------------------------------------------------------------

    def debug_path(self, accel: Accel) -> str:
        return f"{DEBUGFS}/qat_{accel.family.driver}_{accel.device.bdf}"

    def _debug_files(self, accel: Accel) -> None:
        directory = self.core.tree.make_dirs(self.debug_path(accel))
        attribute(directory, "dev_cfg", accel.configuration, None, 0o400)

    def _running_debug_files(self, accel: Accel) -> None:
        kernel = self.core.kernel
        directory = self.core.tree.make_dirs(self.debug_path(accel))
        if kernel.has_heartbeat:
            rows = "".join(f"{number:2d}:            0            0\n" for number in range(8))
            plain(directory, "fw_counters", "AE     Requests    Responses\n" + rows, 0o400)
            heartbeat = self._child(directory, "heartbeat")
            plain(heartbeat, "config", f"{accel.timer}\n", 0o600)
            plain(heartbeat, "queries_failed", "0\n", 0o400)
            plain(heartbeat, "queries_sent", "0\n", 0o400)
            plain(heartbeat, "status", "-1\n\0" if accel.failed else "0\n\0", 0o400)
            self._heartbeat(accel, heartbeat)
        if kernel.has_pm_status:
            plain(directory, "pm_status", "----------- PM Fuse info ---------\n", 0o400)
            plain(directory, "cnv_errors", "No engine configured for comp\n", 0o400)
        if kernel.has_telemetry:
            telemetry = self._child(directory, "telemetry")
            plain(telemetry, "control", "0\n", 0o644)

    def _child(self, node: Node, name: str) -> Node:
        child = node.children.get(name)
        if child is None or child.kind != "dir":
            child = node.children[name] = Node("dir", 0o755)
        return child


def _nothing(accel: Accel, data: bytes = b"") -> None:
    """Before there is a framework."""


def _number(show: Callable[[], int]) -> bytes:
    return line(show())


def _ring_attribute(accel: Accel, qat: Node) -> None:
    """rp2srv reads the service of the ring pair asked for last; EINVAL before the first."""

    def ask(data: bytes) -> None:
        number = unsigned(data, 32, 10)
        if number >= RING_PAIRS:
            raise oops(errno.EINVAL)
        accel.asked_ring = number
        node.error = 0

    def show() -> bytes:
        return line(ring_pairs(accel.services)[(accel.asked_ring or 0) % 4])

    node = attribute(qat, "rp2srv", show, ask)
    node.error = errno.EINVAL
