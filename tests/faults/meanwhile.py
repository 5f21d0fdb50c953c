"""Somebody else at work on the host in the middle of a command: devices that vanish, and other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from qatprep.hardware import PCI_DEVICES, PCI_DRIVERS
from qatprep.simulator.faults import Fault
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import snapshot
from tests.faults.hold import different
from tests.faults.journeys import PF, VFS, Fell, Journey, clean, said

BASE = f"{PCI_DEVICES}/{PF}"
READERS = ("doctor", "rollback")


def _doctor(host: SimulatedHost) -> None:
    """Everything that only looks, while another qatprep changes the host."""
    for verb in ("doctor --profile qat", "status", "device list"):
        called = qatprep(*verb.split(), "-o", "json", host=host)
        if called.code not in (0, 3) or "QP-CRASH" in called.out:
            raise Fell(f"{verb}: status {called.code}: {called.err[-200:]}{called.out[-200:]}")
        called.json  # noqa: B018


def _rollback(host: SimulatedHost) -> None:
    """A second qatprep that would change the host: it is told who does."""
    called = qatprep("rollback", "--yes", "-o", "json", host=host)
    if host._locks and called.code not in (0, 8):  # 0 while nothing was written down yet: nothing to undo
        raise Fell(f"a second writer was let in: status {called.code}: {called.err}{called.out}")


def _unplug(host: SimulatedHost) -> None:
    if PF in host.model.bus.devices:
        host.model.unplug(PF)


def _reset_itself(host: SimulatedHost) -> None:
    """A fatal error: the driver restarts the device where auto_reset is on, or leaves it as it is."""
    if (accel := host.model.qat.table.get(PF)) is not None and accel.up:
        accel.auto_reset = True
        host.model.qat.error(PF, "errors_fatal")


def _hang(host: SimulatedHost) -> None:
    """The firmware stops."""
    if (accel := host.model.qat.table.get(PF)) is not None:
        accel.hung = True


def _take(host: SimulatedHost) -> None:
    """A program opens the first VF that it can: a device plugin gave it to a pod."""
    for vf in VFS:
        device = host.model.bus.devices.get(vf)
        if device is not None and device.group is not None and host.tree.find(host.model.group_node(device)):
            host.tree.file("/proc/777/comm", b"envoy\n")
            host.tree.link("/proc/777/fd/9", host.model.group_node(device))
            return


def _write(host: SimulatedHost, path: str, value: bytes) -> None:
    try:
        host.write(path, value, deadline=5.0)
    except OSError as e:
        if e.errno is None:
            raise


def _plugin(host: SimulatedHost) -> None:
    """What Intel's device plugin does with each VF: taken from its driver, bound to vfio-pci."""
    for vf in VFS:
        for path, value in (
            (f"{PCI_DEVICES}/{vf}/driver/unbind", vf.encode()),
            (f"{PCI_DEVICES}/{vf}/driver_override", b"vfio-pci"),
            (f"{PCI_DRIVERS}/vfio-pci/bind", vf.encode()),
        ):
            _write(host, path, value)


def _service(host: SimulatedHost) -> None:
    """What qatlib's qat_init.sh does at the start of qat.service: other services, all VFs."""
    for path, value in (
        (f"{BASE}/qat/state", b"down"),
        (f"{BASE}/qat/cfg_services", b"dc"),
        (f"{BASE}/qat/state", b"up"),
        (f"{BASE}/sriov_numvfs", b"2"),
    ):
        _write(host, path, value)


ACTS: dict[str, Callable[[SimulatedHost], None]] = {
    "doctor": _doctor,
    "rollback": _rollback,
    "unplugged": _unplug,
    "resets itself": _reset_itself,
    "firmware hangs": _hang,
    "VF taken": _take,
    "device plugin": _plugin,
    "qat.service": _service,
}


class Meanwhile(NamedTuple):
    journey: Journey
    kernel: str
    act: str
    at: int

    def __str__(self) -> str:
        return f"{self.journey.name}, {self.kernel}: {self.act} at operation {self.at}"


def meanwhile(journey: Journey, kernel: str) -> Iterator[Meanwhile]:
    """Each act at each operation of the journey."""
    for act in ACTS:
        for at in range(1, len(clean(journey, kernel).operations) + 1):
            yield Meanwhile(journey, kernel, act, at)


def hold(case: Meanwhile) -> str:
    """How the command ended. Fell where it, or what is run after it, makes a mistake of its own or tells an untruth.

    Whoever only looks changes nothing: the command ends as ever. After anybody else the host is not what it was, and
    what holds is that each status is one of those that there are, that "rolled back" leaves nothing that can be undone,
    and that looking at the host and rolling back work.
    """
    met: list[Fell] = []

    def act(host: SimulatedHost) -> None:
        try:
            ACTS[case.act](host)
        except Fell as e:
            met.append(e)

    host = case.journey.host(case.kernel, Fault("act", case.at, act=act))
    begin = host.now()
    end = case.journey.call(host)
    if met:
        raise met[0]
    if host.now() - begin > 600:
        raise Fell(f"it took {host.now() - begin:.0f} simulated seconds")
    if case.act in READERS:
        if end.status != ("rolled back" if case.journey.undoes else "applied"):
            raise Fell(f"ended {end.status!r}: {end.told[-200:]}")
        if found := different(clean(case.journey, case.kernel).after, snapshot(host)):
            raise Fell("; ".join(line[:160] for line in found[:3]))
        return end.status
    host.faults.faults.clear()
    if end.status == "partial" and not end.not_undone:
        raise Fell("partial, and nothing is named")
    _doctor(host)
    for pid in ("/proc/777",):
        if host.tree.find(pid):
            host.end_process(777)
    back = said(qatprep("rollback", "--yes", "-o", "json", host=host))
    if end.status == "rolled back" and not case.journey.undoes and back.status != "unchanged":
        raise Fell(f"'rolled back', and rollback undoes more: {back}")
    if back.status == "partial" and not back.not_undone:
        raise Fell("rollback in part, and nothing is named")
    return end.status
