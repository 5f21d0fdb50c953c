"""VFs that somebody holds: what waits, for how long, and what goes on when the holder ends."""

from __future__ import annotations

import errno

import pytest

from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.waiting import BlockedForever
from tests.simulator.hosts import simulated

PF = "/sys/bus/pci/devices/0000:6b:00.0"
OTHER = "/sys/bus/pci/devices/0000:70:00.0"
HELD = "0000:6b:00.3"
ENVOY = 4711


@pytest.fixture
def host() -> SimulatedHost:
    return simulated("vf-held")


def vfs(host: SimulatedHost) -> int:
    return sum(name.startswith("virtfn") for name in host.listdir(PF))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{PF}/qat/state", b"down"),
        (f"{PF}/sriov_numvfs", b"0"),
        ("/sys/bus/pci/drivers/4xxx/unbind", b"0000:6b:00.0"),
    ],
)
def test_taking_the_vfs_away_waits_for_the_holder(host: SimulatedHost, path: str, value: bytes) -> None:
    started = host.now()
    with pytest.raises(OSError) as caught:
        host.write(path, value, deadline=5)
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.filename == path
    assert host.now() - started >= 5
    assert "blocked until released by user" in host.kernel_log()
    # The VFs before the held one are gone, it and those behind it are not.
    assert vfs(host) == 14
    assert host.exists(f"/sys/bus/pci/devices/{HELD}/driver")
    with pytest.raises(OSError) as caught:
        host.read(f"{PF}/sriov_numvfs", deadline=1)
    assert caught.value.errno == errno.ETIMEDOUT
    host.end_process(ENVOY)
    assert host.read_text(f"{PF}/sriov_numvfs", deadline=1) == "0\n"
    assert vfs(host) == 0


def test_other_pfs_are_not_kept_waiting(host: SimulatedHost) -> None:
    with pytest.raises(OSError):
        host.write(f"{PF}/qat/state", b"down", deadline=5)
    assert host.read_text(f"{OTHER}/sriov_numvfs", deadline=1) == "16\n"
    host.write(f"{OTHER}/qat/state", b"down", deadline=5)
    assert host.read_text(f"{OTHER}/sriov_numvfs", deadline=1) == "0\n"


def test_unbinding_the_held_vf_blocks_that_vf_only(host: SimulatedHost) -> None:
    with pytest.raises(OSError) as caught:
        host.write("/sys/bus/pci/drivers/vfio-pci/unbind", HELD.encode(), deadline=2)
    assert caught.value.errno == errno.ETIMEDOUT
    assert host.read_text(f"{PF}/sriov_numvfs", deadline=1) == "16\n"
    host.write("/sys/bus/pci/drivers/vfio-pci/unbind", b"0000:6b:00.4", deadline=2)
    host.end_process(ENVOY)
    assert not host.exists(f"/sys/bus/pci/devices/{HELD}/driver")


def test_a_second_writer_waits_too_and_does_nothing(host: SimulatedHost) -> None:
    with pytest.raises(OSError):
        host.write(f"{PF}/sriov_numvfs", b"0", deadline=1)
    with pytest.raises(OSError) as caught:
        host.write(f"{PF}/qat/state", b"down", deadline=1)
    assert caught.value.errno == errno.ETIMEDOUT
    host.end_process(ENVOY)
    assert host.read_text(f"{PF}/qat/state") == "up\n"


def test_a_module_in_use_is_not_unloaded(host: SimulatedHost) -> None:
    result = host.run(["modprobe", "-r", "vfio-pci"])
    assert (result.rc, result.stderr.raw) == (1, "modprobe: FATAL: Module vfio_pci is in use.\n")


def test_unloading_the_pf_driver_hangs(host: SimulatedHost) -> None:
    result = host.run(["modprobe", "-r", "qat_4xxx"], deadline=3)
    assert result.rc == 124
    host.end_process(ENVOY)
    assert not host.exists("/sys/module/qat_4xxx")


def test_without_a_deadline_it_is_a_bug(host: SimulatedHost) -> None:
    with pytest.raises(BlockedForever, match=HELD):
        host.write(f"{PF}/qat/state", b"down")


def test_nothing_waits_for_a_vf_nobody_holds(host: SimulatedHost) -> None:
    host.tree.remove(f"/proc/{ENVOY}/fd/4")
    host.write(f"{PF}/sriov_numvfs", b"0", deadline=5)
    assert vfs(host) == 0
