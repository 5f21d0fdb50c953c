"""The QAT drivers: starting and stopping devices, their services, their VFs.

Rules: qat_common/adf_init.c, adf_sysfs.c, adf_sriov.c, adf_dev_mgr.c, adf_accel_engine.c and qat_*/adf_drv.c.
"""

from __future__ import annotations

import errno

from qatprep.hardware import FAMILIES, FIRMWARE_SUFFIXES, INTEL, Family
from qatprep.host.kmsg import ERR, WARNING
from qatprep.simulator import clock, services
from qatprep.simulator.accel import Accel
from qatprep.simulator.core import Core
from qatprep.simulator.device import Driver, PciDevice
from qatprep.simulator.qat_files import QatFiles
from qatprep.simulator.sriov import Iov
from qatprep.simulator.sysfs import attribute, oops, unsigned, word


class Qat:
    """The framework (intel_qat): its device table and what all families share."""

    def __init__(self, core: Core, iov: Iov, files: QatFiles) -> None:
        self.core = core
        self.iov = iov
        self.files = files
        files.store_state, files.store_services = self.store_state, self.store_services
        files.give_up = self.give_up
        iov.bus.extensions.append(self._attach_reset)
        self.table: dict[str, Accel] = {}
        """By BDF: everything QAT that has a driver, gen2 VFs too."""

    def drivers(self, module: str) -> list[Driver]:
        """What loading a PF or VF module registers: the ids this kernel knows."""
        kernel = self.core.kernel
        made: list[Driver] = []
        families = [family for family in FAMILIES if family.module == module and kernel.knows(family)]
        if families:
            made.append(PfDriver(self, families))
        for family in FAMILIES:
            if family.kernel_vf_driver and module == f"{family.module}vf":
                made.append(VfDriver(self, family))
        return made

    def add(self, family: Family, device: PciDevice) -> Accel:
        """adf_devmgr_add_dev: the lowest free number."""
        used = {accel.number for accel in self.table.values()}
        number = next(number for number in range(1 << 10) if number not in used)
        accel = self.table[device.bdf] = Accel(number, family, device)
        return accel

    def forget(self, device: PciDevice) -> None:
        self.table.pop(device.bdf, None)

    def in_use(self, accel: Accel) -> bool:
        """adf_dev_in_use: kernel crypto holds the device. Users of VFs through VFIO do not count."""
        return self.core.marked("busy", accel.device.bdf)

    # -- start and stop -----------------------------------------------------------------------------------

    def start(self, accel: Accel, *, for_vfs: bool = False) -> None:
        """adf_dev_up: firmware, engines, configuration. EFAULT when the firmware cannot be loaded."""
        core, device = self.core, accel.device
        core.clock.spend(clock.PF_START)
        self._load_firmware(accel)
        accel.forget_health()
        self.configure(accel, for_vfs=for_vfs)
        accel.up = True
        engines = accel.family.engines
        core.log(f"{device.slot}: qat_dev{accel.number} started {engines} acceleration engines")
        self.files.started(accel)

    def configure(self, accel: Accel, *, for_vfs: bool) -> None:
        """The keys that a start writes: adf_gen4_config.c, adf_heartbeat.c, adf_sriov.c."""
        kernel = self.core.kernel
        if kernel.has_heartbeat and accel.family.generation >= 4 and not _has(accel, "HeartbeatTimer"):
            accel.set_key("HeartbeatTimer", "200")
        if for_vfs and kernel.has_sriov_key:
            accel.set_key("SriovEnabled", "1")
        accel.sections = self._sections(accel, for_vfs)

    def stop(self, accel: Accel) -> None:
        """adf_dev_shutdown: VFs go first (disable_iov), then the engines; of the configuration only GENERAL stays."""
        core, device = self.core, accel.device
        self.iov.disable(device)
        core.clock.spend(clock.PF_STOP)
        engines = accel.family.engines
        core.log(f"{device.slot}: qat_dev{accel.number} stopped {engines} acceleration engines")
        accel.up = False
        accel.sections = ""
        self.files.stopped(accel)

    def restart(self, accel: Accel) -> None:
        """adf_aer.c adf_dev_restart, with the VFs in their place (adf_sriov.c of 6.12.117 and 7.2)."""
        core, device = self.core, accel.device
        core.clock.spend(clock.PF_STOP)
        core.log(f"{device.slot}: qat_dev{accel.number} stopped {accel.family.engines} acceleration engines")
        core.log(f"{device.slot}: Resetting device qat_dev{accel.number}")
        accel.up = False
        self.files.stopped(accel)
        try:
            self.start(accel, for_vfs=bool(device.vfs))
        except OSError:
            core.log(f"{device.slot}: Restart device failed")

    def give_up(self, accel: Accel) -> None:
        """adf_aer.c adf_notify_fatal_error: the device is restarted where auto_reset is on, else left as it is."""
        if accel.auto_reset and accel.up:
            self.restart(accel)

    def error(self, bdf: str, name: str) -> None:
        """The device of a PF reports an error, by name of its counter: adf_gen4_ras.c, adf_isr.c."""
        accel = self.table[bdf]
        accel.errors[name] += 1
        slot = accel.device.slot
        if name == "errors_fatal":
            self.core.log(f"{slot}: HI CPP agent command parity error: 0x1")
            self.core.log(f"{slot}: Fatal error, reset required")
            self.give_up(accel)
        else:
            kind = "Correctable" if name == "errors_correctable" else "Uncorrectable"
            self.core.log(f"{slot}: {kind} error detected in AE: 0x1")

    def _attach_reset(self, device: PciDevice) -> None:
        if "reset" in device.node.children:
            attribute(device.node, "reset", None, lambda data: self._reset(device, data), 0o200)

    def _reset(self, device: PciDevice, data: bytes) -> None:
        """drivers/pci/pci-sysfs.c reset_store: a function level reset. A driver that is not notified continues as if
        its firmware still ran, and sysfs with it.
        """
        if unsigned(data, 64) != 1:
            raise oops(errno.EINVAL)
        self.core.must_not_be_stuck(device)
        accel = self.table.get(device.bdf)
        if self.core.kernel.tells_driver_of_reset:
            if accel is not None and accel.up:
                self.restart(accel)
            self.core.log(f"{device.slot}: Device reset completed successfully")
        elif accel is not None and accel.up:
            accel.hung = True

    def _load_firmware(self, accel: Accel) -> None:
        """adf_ae_fw_load: the MMP image first; a missing one means that the main image is never tried."""
        slot = accel.device.slot
        for kind, name in zip(("MMP", "UOF"), accel.family.firmware, strict=True):
            if not self._find_firmware(name):
                self.core.log(f"{slot}: Direct firmware load for {name} failed with error -2", WARNING)
                self.core.log(f"{slot}: Failed to load {kind} firmware {name}", ERR)
                self.core.log(f"{slot}: Failed to load acceleration FW", ERR)
                raise oops(errno.EFAULT)

    def _find_firmware(self, name: str) -> bool:
        """drivers/base/firmware_loader/main.c fw_path[]; plain, then the compressed forms it was built for."""
        core = self.core
        release = core.kernel.release
        directories = [f"/lib/firmware/updates/{release}", "/lib/firmware/updates", f"/lib/firmware/{release}"]
        directories.append("/lib/firmware")
        extra = core.parameter("firmware_class", "path")
        if extra.startswith("/"):
            directories.insert(0, extra)
        suffixes = [suffix for suffix in FIRMWARE_SUFFIXES if core.unpacks(suffix)]
        return any(
            core.tree.find(f"{directory}/{name}{suffix}") is not None
            for directory in directories
            for suffix in suffixes
        )

    def _sections(self, accel: Accel, for_vfs: bool) -> str:
        """The sections next to GENERAL; only the keys that a reader could care for."""
        if accel.family.generation < 4:
            return ""
        if for_vfs:
            dc = "NumberDcInstances = 0\n" if self.core.kernel.zeroes_dc_instances else ""
            return f"[KERNEL]\nNumberCyInstances = 0\n{dc}"
        tokens = set(accel.services.split(";"))
        if tokens == {"sym", "asym"}:
            body = "Cy0BankAsymNumber = 0\nCy0BankSymNumber = 1\nNumberCyInstances = 32\nNumberDcInstances = 0\n"
        elif tokens == {"dc"}:
            body = "Dc0BankDcNumber = 0\nNumberDcInstances = 64\nNumberCyInstances = 0\n"
        else:
            return "[KERNEL]\nNumberCyInstances = 0\nNumberDcInstances = 0\n"
        return f"[KERNEL]\n{body}[Accelerator0]\nBank0InterruptCoalescingTimerNs = 10239\n"

    # -- attributes ---------------------------------------------------------------------------------------

    def store_state(self, accel: Accel, data: bytes) -> None:
        """adf_sysfs.c state_store: in use is looked at before the word is."""
        core, device = self.core, accel.device
        core.must_not_be_stuck(device)
        core.clock.wait_until(device.busy_until)
        name = f"qat_dev{accel.number}"
        if self.in_use(accel):
            core.log(f"{device.slot}: Device {name} is busy")
            raise oops(errno.EBUSY)
        wanted = word(data)
        if wanted not in ("up", "down"):
            raise oops(errno.EINVAL)
        try:
            if wanted == "down":
                core.log(f"{device.slot}: Stopping device {name}")
                if not accel.up:
                    core.log(f"{device.slot}: Device {name} already down")
                    if core.kernel.down_twice_fails:
                        raise oops(errno.EINVAL)
                    return
                self.stop(accel)
                return
            core.log(f"{device.slot}: Starting device {name}")
            if accel.up:
                core.log(f"{device.slot}: Device {name} already up")
                return
            try:
                self.start(accel)
            except OSError:
                core.log(f"{device.slot}: Failed to start device {name}", ERR)
                raise
        finally:
            device.busy_until = core.clock.mine()

    def store_services(self, accel: Accel, data: bytes) -> None:
        """adf_sysfs.c cfg_services_store: EINVAL for what is not known, and for a device that is up."""
        stored = services.accept(self.core.kernel, accel.family, word(data))
        if stored is None:
            raise oops(errno.EINVAL)
        if accel.up:
            slot, number = accel.device.slot, accel.number
            self.core.log(f"{slot}: Device qat_dev{number} must be down to reconfigure the service.")
            raise oops(errno.EINVAL)
        accel.services = stored
        accel.set_key("ServicesEnabled", stored)


class PfDriver(Driver):
    """The driver of PFs: qat_*/adf_drv.c."""

    can_sriov = True

    def __init__(self, qat: Qat, families: list[Family]) -> None:
        super().__init__(families[0].driver, {(INTEL, family.pf_id) for family in families})
        self.qat = qat
        self.module = families[0].module
        self.families = {family.pf_id: family for family in families}

    def probe(self, device: PciDevice) -> None:
        """adf_probe. EINVAL without a NUMA node where there are several; EFAULT when the firmware does not load."""
        core = self.qat.core
        core.clock.spend(clock.PF_PROBE)
        family = self.families.get(device.ids[1])
        if family is None:
            raise oops(errno.ENODEV)
        if core.several_nodes() and core.text(f"{device.path}/numa_node") == "-1":
            core.log(f"{device.slot}: Invalid NUMA configuration.", ERR)
            raise oops(errno.EINVAL)
        accel = self.qat.add(family, device)
        accel.services = services.default(core.kernel, accel.number)
        if family.generation >= 4:
            accel.set_key("ServicesEnabled", accel.services)
        try:
            self.qat.files.probed(accel)
            self.qat.start(accel)
        except OSError:
            self.qat.files.removed(accel)
            self.qat.forget(device)
            raise
        self.qat.files.ready(accel)

    def remove(self, device: PciDevice) -> None:
        """adf_remove: VFs, then the device, then its files."""
        accel = self.qat.table[device.bdf]
        if accel.up:
            self.qat.stop(accel)
        self.qat.files.removed(accel)
        self.qat.forget(device)

    def configure_vfs(self, device: PciDevice, count: int) -> int:
        """adf_sriov_configure. The count is not honoured: all VFs or none."""
        core, qat = self.qat.core, self.qat
        kernel = core.kernel
        accel = qat.table.get(device.bdf)
        if accel is None:
            core.log(f"{device.slot}: Failed to find accel_dev", ERR)
            raise oops(errno.EFAULT)
        if count == 0 and kernel.numvfs_zero_works:
            if qat.in_use(accel):
                core.log(f"{device.slot}: Cannot disable SR-IOV, device in use", ERR)
                raise oops(errno.EBUSY)
            qat.stop(accel)
            qat.start(accel)
            return 0
        if device.group is None:
            core.log(f"{device.slot}: IOMMU should be enabled for SR-IOV to work correctly", WARNING)
            if kernel.needs_iommu_for_vfs:
                raise oops(errno.EINVAL)
        if device.vfs:
            core.log(f"{device.slot}: Already enabled for this device")
            raise oops(errno.EINVAL)
        if accel.up:
            if qat.in_use(accel):
                core.log(f"{device.slot}: Device busy", ERR)
                raise oops(errno.EBUSY)
            qat.stop(accel)
        try:
            qat.start(accel, for_vfs=True)
        except OSError:
            core.log(f"{device.slot}: Failed to start qat_dev{accel.number}", ERR)
            raise
        qat.iov.enable(device, accel.family.vf_id)
        return device.total_vfs if kernel.reports_total else count


class VfDriver(Driver):
    """The kernel's own drivers for VFs of generation 2."""

    def __init__(self, qat: Qat, family: Family) -> None:
        super().__init__(family.vf_driver, {(INTEL, family.vf_id)})
        self.qat = qat
        self.family = family
        self.module = f"{family.module}vf"

    def probe(self, device: PciDevice) -> None:
        accel = self.qat.add(self.family, device)
        accel.up = True

    def remove(self, device: PciDevice) -> None:
        self.qat.forget(device)


def _has(accel: Accel, key: str) -> bool:
    return any(name == key for name, _ in accel.general)
