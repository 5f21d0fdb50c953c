"""The QAT drivers: starting and stopping devices, their services, their VFs.

Rules: qat_common/adf_init.c, adf_sysfs.c, adf_sriov.c, adf_dev_mgr.c, adf_accel_engine.c and qat_*/adf_drv.c.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qatprep.hardware import FAMILIES, FIRMWARE_SUFFIXES, INTEL, Family
from qatprep.simulator import clock, services
from qatprep.simulator.pci import Driver, PciDevice
from qatprep.simulator.sysfs import oops, word

if TYPE_CHECKING:
    from qatprep.simulator.machine import Machine

ENGINES = {4: 9, 5: 17, 6: 9, 2: 10}
"""Acceleration engines that start, by generation (only the log line shows them)."""


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

    def set_key(self, key: str, value: str) -> None:
        """adf_cfg_add_key_value_param: a changed key moves to the end of its section, an unchanged one stays."""
        if (key, value) in self.general:
            return
        self.general = [pair for pair in self.general if pair[0] != key] + [(key, value)]

    def configuration(self) -> bytes:
        """What dev_cfg shows: qat_common/adf_cfg.c qat_dev_cfg_show."""
        lines = "".join(f"{key} = {value}\n" for key, value in self.general)
        return f"[GENERAL]\n{lines}{self.sections}".encode()


class Qat:
    """The framework (intel_qat): its device table and what all families share."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.table: dict[str, Accel] = {}
        """By BDF: everything QAT that has a driver, gen2 VFs too."""

    def drivers(self, module: str) -> list[Driver]:
        """What loading a PF or VF module registers: the ids this kernel knows."""
        kernel = self.machine.kernel
        made: list[Driver] = []
        families = [family for family in FAMILIES if family.module == module and kernel.knows(family)]
        if families:
            made.append(PfDriver(self, families))
        for family in FAMILIES:
            if family.vf_driver and module == f"{family.module}vf":
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
        return self.machine.marked("busy", accel.device.bdf)

    # -- start and stop -----------------------------------------------------------------------------------

    def start(self, accel: Accel, *, for_vfs: bool = False) -> None:
        """adf_dev_up: firmware, engines, configuration. EFAULT when the firmware is not to be had."""
        machine, device = self.machine, accel.device
        machine.clock.spend(clock.PF_START)
        self._load_firmware(accel)
        self.configure(accel, for_vfs=for_vfs)
        accel.up = True
        engines = ENGINES[accel.family.generation]
        machine.log(f"{device.slot}: qat_dev{accel.number} started {engines} acceleration engines")
        machine.qatfs.started(accel)

    def configure(self, accel: Accel, *, for_vfs: bool) -> None:
        """The keys that a start writes: adf_gen4_config.c, adf_heartbeat.c, adf_sriov.c."""
        kernel = self.machine.kernel
        if kernel.has_heartbeat and accel.family.generation >= 4 and not _has(accel, "HeartbeatTimer"):
            accel.set_key("HeartbeatTimer", "200")
        if for_vfs and kernel.has_sriov_key:
            accel.set_key("SriovEnabled", "1")
        accel.sections = self._sections(accel, for_vfs)

    def stop(self, accel: Accel) -> None:
        """adf_dev_shutdown: VFs go first (disable_iov), then the engines; of the configuration only GENERAL stays."""
        machine, device = self.machine, accel.device
        machine.iov.disable(device)
        machine.clock.spend(clock.PF_STOP)
        engines = ENGINES[accel.family.generation]
        machine.log(f"{device.slot}: qat_dev{accel.number} stopped {engines} acceleration engines")
        accel.up = False
        accel.sections = ""
        machine.qatfs.stopped(accel)

    def _load_firmware(self, accel: Accel) -> None:
        """adf_ae_fw_load: the MMP image first; a missing one means that the main image is never tried."""
        slot = accel.device.slot
        for kind, name in zip(("MMP", "UOF"), accel.family.firmware, strict=True):
            if not self._find_firmware(name):
                self.machine.log(f"{slot}: Direct firmware load for {name} failed with error -2")
                self.machine.log(f"{slot}: Failed to load {kind} firmware {name}")
                self.machine.log(f"{slot}: Failed to load acceleration FW")
                raise oops(errno.EFAULT)

    def _find_firmware(self, name: str) -> bool:
        """drivers/base/firmware_loader/main.c fw_path[]; plain, then the compressed forms it was built for."""
        machine = self.machine
        release = machine.kernel.release
        directories = [f"/lib/firmware/updates/{release}", "/lib/firmware/updates", f"/lib/firmware/{release}"]
        directories.append("/lib/firmware")
        extra = machine.parameter("firmware_class", "path")
        if extra.startswith("/"):
            directories.insert(0, extra)
        suffixes = [suffix for suffix in FIRMWARE_SUFFIXES if machine.unpacks(suffix)]
        return any(
            machine.tree.find(f"{directory}/{name}{suffix}") is not None
            for directory in directories
            for suffix in suffixes
        )

    def _sections(self, accel: Accel, for_vfs: bool) -> str:
        """The sections beside GENERAL; only the keys that a reader could care for."""
        if accel.family.generation < 4:
            return ""
        if for_vfs:
            dc = "NumberDcInstances = 0\n" if self.machine.kernel.zeroes_dc_instances else ""
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
        machine, device = self.machine, accel.device
        machine.must_not_be_stuck(device)
        machine.clock.wait_until(device.busy_until)
        name = f"qat_dev{accel.number}"
        if self.in_use(accel):
            machine.log(f"{device.slot}: Device {name} is busy")
            raise oops(errno.EBUSY)
        wanted = word(data)
        if wanted not in ("up", "down"):
            raise oops(errno.EINVAL)
        try:
            if wanted == "down":
                machine.log(f"{device.slot}: Stopping device {name}")
                if not accel.up:
                    machine.log(f"{device.slot}: Device {name} already down")
                    if machine.kernel.down_twice_fails:
                        raise oops(errno.EINVAL)
                    return
                self.stop(accel)
                return
            machine.log(f"{device.slot}: Starting device {name}")
            if accel.up:
                machine.log(f"{device.slot}: Device {name} already up")
                return
            try:
                self.start(accel)
            except OSError:
                machine.log(f"{device.slot}: Failed to start device {name}")
                raise
        finally:
            device.busy_until = machine.clock.mine()

    def store_services(self, accel: Accel, data: bytes) -> None:
        """adf_sysfs.c cfg_services_store: EINVAL for what is not known, and for a device that is up."""
        stored = services.accept(self.machine.kernel, accel.family, word(data))
        if stored is None:
            raise oops(errno.EINVAL)
        if accel.up:
            slot, number = accel.device.slot, accel.number
            self.machine.log(f"{slot}: Device qat_dev{number} must be down to reconfigure the service.")
            raise oops(errno.EINVAL)
        accel.services = stored
        accel.set_key("ServicesEnabled", stored)


class PfDriver(Driver):
    """qat_4xxx and its kin."""

    can_sriov = True

    def __init__(self, qat: Qat, families: list[Family]) -> None:
        super().__init__(families[0].driver, {(INTEL, family.pf_id) for family in families})
        self.qat = qat
        self.module = families[0].module
        self.families = {family.pf_id: family for family in families}

    def probe(self, device: PciDevice) -> None:
        """adf_probe. EINVAL without a NUMA node where there are several; EFAULT when the firmware does not load."""
        machine = self.qat.machine
        machine.clock.spend(clock.PF_PROBE)
        family = self.families.get(device.ids[1])
        if family is None:
            raise oops(errno.ENODEV)
        if machine.several_nodes() and machine.text(f"{device.path}/numa_node") == "-1":
            machine.log(f"{device.slot}: Invalid NUMA configuration.")
            raise oops(errno.EINVAL)
        accel = self.qat.add(family, device)
        accel.services = services.default(machine.kernel, accel.number)
        if family.generation >= 4:
            accel.set_key("ServicesEnabled", accel.services)
        try:
            machine.qatfs.probed(accel)
            self.qat.start(accel)
        except OSError:
            machine.qatfs.removed(accel)
            self.qat.forget(device)
            raise
        machine.qatfs.ready(accel)

    def remove(self, device: PciDevice) -> None:
        """adf_remove: VFs, then the device, then its files."""
        accel = self.qat.table[device.bdf]
        if accel.up:
            self.qat.stop(accel)
        self.qat.machine.qatfs.removed(accel)
        self.qat.forget(device)

    def configure_vfs(self, device: PciDevice, count: int) -> int:
        """adf_sriov_configure. The count is not honoured: all VFs or none."""
        machine, qat = self.qat.machine, self.qat
        kernel = machine.kernel
        accel = qat.table.get(device.bdf)
        if accel is None:
            machine.log(f"{device.slot}: Failed to find accel_dev")
            raise oops(errno.EFAULT)
        if count == 0 and kernel.numvfs_zero_works:
            if qat.in_use(accel):
                machine.log(f"{device.slot}: Cannot disable SR-IOV, device in use")
                raise oops(errno.EBUSY)
            qat.stop(accel)
            qat.start(accel)
            return 0
        if device.group is None:
            machine.log(f"{device.slot}: IOMMU should be enabled for SR-IOV to work correctly")
            if kernel.needs_iommu_for_vfs:
                raise oops(errno.EINVAL)
        if device.vfs:
            machine.log(f"{device.slot}: Already enabled for this device")
            raise oops(errno.EINVAL)
        if accel.up:
            if qat.in_use(accel):
                machine.log(f"{device.slot}: Device busy")
                raise oops(errno.EBUSY)
            qat.stop(accel)
        try:
            qat.start(accel, for_vfs=True)
        except OSError:
            machine.log(f"{device.slot}: Failed to start qat_dev{accel.number}")
            raise
        machine.iov.enable(device, accel.family.vf_id)
        return device.total_vfs if kernel.reports_total else count


class VfDriver(Driver):
    """qat_c62xvf and its kin: the kernel's own drivers for VFs of generation 2."""

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
