"""What changes of a PF and its VFs are built on: drivers bound, a PF up or down, its VFs made and removed."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

from qatprep.facts.base import READ_DEADLINE, Unknown, exists, link_name, read_int, read_line
from qatprep.hardware import BY_PF_ID, FAMILIES, PCI_DEVICES, PCI_DRIVERS
from qatprep.host.base import Host
from qatprep.steps.base import BLOCKING, ChangeFailed, Reasons, explained, write

STATE_REASONS: Reasons = {
    errno.EBUSY: (
        "kernel users (dm-crypt, IPsec, zswap) keep the device busy, or it is being reset",
        "stop them (grep -B1 -A9 qat /proc/crypto shows the reference counts), then run this again",
    ),
    errno.EFAULT: ("the device did not start", "see the end of `dmesg`; it is down now"),
    errno.EINVAL: ("the kernel does not take this state now", "see the end of `dmesg`"),
}
"""qat_common/adf_sysfs.c, state_store."""
BIND_REASONS: Reasons = {
    errno.ENODEV: ("the driver does not match the device, or the device is gone", ""),
    errno.EBUSY: ("a driver has it already", ""),
    errno.EINVAL: (
        "the driver refused it: no IOMMU group, or on vfio-pci's denylist",
        "qatprep doctor --only iommu,device says which",
    ),
    errno.ENOENT: ("the driver is not loaded", "load its module"),
    errno.EFAULT: ("the driver could not start it, most often for want of firmware", "see the end of `dmesg`"),
}
"""drivers/base/bus.c bind_store, drivers/vfio/pci/vfio_pci_core.c."""
OVERRIDE_REASONS: Reasons = {errno.ENOENT: ("there is no such device", "qatprep device list")}
UNBIND_REASONS: Reasons = {errno.ENODEV: ("that driver does not have it", "")}


def state_of(host: Host, pf: str) -> str | None:
    """ "up" or "down"; None where the driver has no such attribute."""
    state = read_line(host, f"{PCI_DEVICES}/{pf}/qat/state", deadline=READ_DEADLINE)
    if isinstance(state, Unknown):
        raise ChangeFailed(f"cannot read the state of {pf}: {state.reason}")
    return state


def set_state(host: Host, pf: str, wanted: str) -> None:
    """Bring a PF up or down. Nothing when it is so: on 6.1 `down` on a PF that is down is EINVAL."""
    if state_of(host, pf) == wanted:
        return
    write(host, f"{PCI_DEVICES}/{pf}/qat/state", wanted, STATE_REASONS, deadline=BLOCKING)
    now = state_of(host, pf)
    if now != wanted:
        raise ChangeFailed(f"wrote {wanted!r} to {PCI_DEVICES}/{pf}/qat/state, it reads back {now!r}")


def num_vfs(host: Host, pf: str) -> int:
    """sriov_numvfs, 0 where the PF has no such attribute or no longer is."""
    count = read_int(host, f"{PCI_DEVICES}/{pf}/sriov_numvfs", deadline=READ_DEADLINE)
    if isinstance(count, Unknown):
        raise ChangeFailed(
            f"cannot read sriov_numvfs of {pf}: {count.reason}",
            "an earlier change of this PF still waits in the kernel for a process that holds a VF",
        )
    return count or 0


_MAKE_REASONS: Reasons = {
    errno.EBUSY: ("it has VFs already, or kernel users keep it busy", "see the end of `dmesg`"),
    errno.EINVAL: (
        "the driver refused: no IOMMU (kernels 6.12 to 6.16), or left-overs of an attempt that failed",
        "turn the IOMMU on; if it is on, bring the PF down and up by its qat/state attribute",
    ),
    errno.ENOENT: ("no driver has the PF, or it cannot do SR-IOV", "qatprep doctor --only driver,sr-iov"),
    errno.ERANGE: ("more than sriov_totalvfs", ""),
    errno.ENOMEM: (
        "no room for the VFs on the bus or in the address space",
        "in the BIOS: SR-IOV, ARI, MMIO above 4 GB; or the kernel argument pci=realloc",
    ),
    errno.EFAULT: ("the device did not start again", "see the end of `dmesg`; the PF is down now"),
}
"""drivers/pci/iov.c sriov_numvfs_store, qat_common/adf_sriov.c adf_sriov_configure."""


_REMOVE_REASONS: Reasons = {errno.EBUSY: ("kernel users keep the device busy", "see the end of `dmesg`")}
_QAT_DRIVERS = frozenset(family.driver for family in FAMILIES)
_REBINDING = threading.Lock()


def make_vfs(host: Host, pf: str, total: int) -> None:
    """All VFs, which is the only number the driver makes (adf_sriov.c); the PF comes up with them.

    Where some of them had been lost, `total` is what was left, and more come back.
    """
    path = f"{PCI_DEVICES}/{pf}/sriov_numvfs"
    write(host, path, str(total), _MAKE_REASONS, deadline=BLOCKING)
    count = num_vfs(host, pf)
    more = count > total and link_name(host, f"{PCI_DEVICES}/{pf}/driver") in _QAT_DRIVERS
    if count != total and not more:
        raise ChangeFailed(f"wrote {total} to {path}, it reads back {count}")


def remove_vfs(host: Host, pf: str, then: str) -> None:
    """No VFs; the PF is left `then` ("up" or "down").

    Down takes the VFs away on every kernel; sriov_numvfs=0 is EINVAL before 6.12 (adf_sriov.c), and before 6.0 there
    is no state either, so that the driver has to let go of the PF.
    """
    base = f"{PCI_DEVICES}/{pf}"
    if num_vfs(host, pf):
        state = state_of(host, pf)
        if state is not None:
            set_state(host, pf, "down")
        else:
            _without_state(host, pf)
        if count := num_vfs(host, pf):
            raise ChangeFailed(f"{base}/sriov_numvfs is still {count} after the PF was stopped")
    if state_of(host, pf) is not None:
        set_state(host, pf, then)


def _without_state(host: Host, pf: str) -> None:
    path = f"{PCI_DEVICES}/{pf}/sriov_numvfs"
    try:
        host.write(path, b"0", deadline=BLOCKING)
    except OSError as e:
        driver = link_name(host, f"{PCI_DEVICES}/{pf}/driver")
        if e.errno != errno.EINVAL or driver not in _QAT_DRIVERS:
            raise explained(e, f"writing '0' to {path}", _REMOVE_REASONS) from e
        # One PF after the other: each takes the lowest free number, and its services follow from that
        # (adf_dev_mgr.c, adf_drv.c). Two that let go at once could come back with each other's.
        with _REBINDING:
            unbind(host, pf)
            bind(host, pf, str(driver))


def bind_again(host: Host, pf: str, *, if_loaded: bool = False) -> None:
    """Give a QAT PF back to its driver, where it was taken from it to remove its VFs and came no further.

    `if_loaded`: nothing where the driver is not loaded, which takes the PF by itself once it is.
    """
    device_id = read_int(host, f"{PCI_DEVICES}/{pf}/device", deadline=READ_DEADLINE)
    family = BY_PF_ID.get(device_id) if isinstance(device_id, int) else None
    if family is None or link_name(host, f"{PCI_DEVICES}/{pf}/driver") is not None:
        return
    if if_loaded and exists(host, f"{PCI_DRIVERS}/{family.driver}") is False:
        return
    with _REBINDING:
        bind(host, pf, family.driver)


def unbind(host: Host, bdf: str) -> None:
    """Take a function from its driver. Blocks in the kernel while somebody holds it open, hence the deadline."""
    if not isinstance(link_name(host, f"{PCI_DEVICES}/{bdf}/driver"), str):
        return
    write(host, f"{PCI_DEVICES}/{bdf}/driver/unbind", bdf, UNBIND_REASONS, deadline=BLOCKING)
    now = link_name(host, f"{PCI_DEVICES}/{bdf}/driver")
    if now is not None:
        raise ChangeFailed(f"{bdf} is still bound to {now} after unbinding")


def override_and_bind(host: Host, wanted: Sequence[tuple[str, str]]) -> tuple[str, ChangeFailed] | None:
    """Give functions (BDF and driver, one after the other) to drivers that need not list their ids.

    The first BDF for which the kernel refused, and why; those after it are left alone. The links are not read back.
    """
    writes = []
    for bdf, driver in wanted:
        writes.append((f"{PCI_DEVICES}/{bdf}/driver_override", driver.encode()))  # takes the device lock
        writes.append((f"{PCI_DRIVERS}/{driver}/bind", bdf.encode()))
    done, error = host.write_in_turn(writes, deadline=BLOCKING)
    if error is None:
        return None
    path, value = writes[done]
    reasons = BIND_REASONS if done % 2 else OVERRIDE_REASONS
    return wanted[done // 2][0], explained(error, f"writing {value.decode()!r} to {path}", reasons)


def bind(host: Host, bdf: str, driver: str) -> None:
    """Give a function to a driver. The link is read back: a probe can fail without any error being reported."""
    write(host, f"{PCI_DRIVERS}/{driver}/bind", bdf, BIND_REASONS, deadline=BLOCKING)
    now = link_name(host, f"{PCI_DEVICES}/{bdf}/driver")
    if now != driver:
        seen = "unknown" if isinstance(now, Unknown) else now or "none"
        raise ChangeFailed(f"bound {bdf} to {driver}, but its driver is {seen}", "see the end of `dmesg`")
