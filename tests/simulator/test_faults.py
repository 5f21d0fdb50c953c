"""Faults hit the operation they are meant for, before or after it, and a power loss leaves what was synced."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from qatprep.simulator.faults import Fault, Faults, PowerLoss
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.testing.fingerprint import fingerprint
from qatprep.simulator.waiting import BlockedForever
from tests.simulator.hosts import simulated

PF = "/sys/bus/pci/devices/0000:6b:00.0"
JOURNAL = "/var/lib/qatprep/runs/1.jsonl"
RULES = "/etc/udev/rules.d/90-qatprep.rules"


def operations(host: SimulatedHost) -> None:
    """Six operations of six kinds."""
    host.mkdir("/var/lib/qatprep/runs")
    host.append(JOURNAL, b'{"begin": 1}\n')
    host.write(f"{PF}/qat/state", b"down")
    host.replace(RULES, b"# rules\n")
    host.chmod(RULES, 0o600)
    host.unlink(RULES)


def test_operations_are_listed_failed_ones_too() -> None:
    host = simulated()
    operations(host)
    with pytest.raises(OSError):
        host.write(f"{PF}/qat/cfg_services", b"nonsense")
    assert [(entry.op, entry.path, entry.data) for entry in host.operations] == [
        ("mkdir", "/var/lib/qatprep/runs", b""),
        ("append", JOURNAL, b'{"begin": 1}\n'),
        ("write", f"{PF}/qat/state", b"down"),
        ("replace", RULES, b"# rules\n"),
        ("chmod", RULES, b"0600"),
        ("unlink", RULES, b""),
        ("write", f"{PF}/qat/cfg_services", b"nonsense"),
    ]


def test_reading_and_asking_are_no_operations() -> None:
    host = simulated()
    host.read(f"{PF}/qat/state")
    host.listdir("/sys")
    host.run(["getent", "group", "root"])
    host.run(["udevadm", "settle"])
    host.settle()
    assert host.operations == []


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("when", ["before", "after"])
def test_every_operation_can_fail(number: int, when: str) -> None:
    clean = simulated()
    operations(clean)
    host = simulated(faults=Faults.error(number, errno.EIO, when=when))  # type: ignore[arg-type]
    with pytest.raises(OSError) as caught:
        operations(host)
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == clean.operations[number - 1].path
    assert len(host.operations) == number
    down = host.read_text(f"{PF}/qat/state") == "down\n"
    assert down == (number > 3 or (number == 3 and when == "after"))


@pytest.mark.parametrize(
    ("faults", "fails"),
    [
        (Faults.error(1, errno.EBUSY, path="*/qat/state"), [3]),
        (Faults.error(1, errno.EBUSY, op="chmod"), [5]),
        (Faults.error(2, errno.EBUSY, path="/etc/*", times=0), [5, 6]),
        (Faults(Fault("errno", 1, errno.EBUSY), Fault("errno", 4, errno.ENOSPC)), [1, 4]),
        (Faults.error(7, errno.EBUSY), []),
    ],
)
def test_faults_choose_by_number_path_and_kind(faults: Faults, fails: list[int]) -> None:
    host = simulated(faults=faults)
    steps: list[Callable[[], None]] = [
        lambda: host.mkdir("/var/lib/qatprep/runs"),
        lambda: host.append(JOURNAL, b"{}\n"),
        lambda: host.write(f"{PF}/qat/state", b"down"),
        lambda: host.replace(RULES, b"# rules\n"),
        lambda: host.chmod(RULES, 0o600),
        lambda: host.unlink(RULES),
    ]
    failed = []
    for number, step in enumerate(steps, 1):
        try:
            step()
        except OSError as e:
            if e.errno in (errno.EBUSY, errno.ENOSPC):
                failed.append(number)
    assert failed == fails


def test_a_program_that_fails_has_an_exit_status() -> None:
    host = simulated(faults=Faults.error(1, errno.ENOMEM, op="run", path="modprobe *"))
    result = host.run(["modprobe", "vfio-pci"])
    assert (result.rc, result.stderr.raw) == (1, "modprobe: Cannot allocate memory\n")
    assert not host.exists("/dev/vfio/vfio")
    assert host.run(["modprobe", "vfio-pci"]).rc == 0


def test_a_hang_takes_its_deadline() -> None:
    host = simulated(faults=Faults.hang(1, path="*/sriov_numvfs"))
    with pytest.raises(OSError) as caught:
        host.write(f"{PF}/sriov_numvfs", b"16", deadline=7)
    assert caught.value.errno == errno.ETIMEDOUT
    assert host.now() >= 7
    assert simulated(faults=Faults.hang(1)).run(["modprobe", "vfio-pci"], deadline=2).rc == 124
    with pytest.raises(BlockedForever):
        simulated(faults=Faults.hang(1)).chmod("/etc/group", 0o644)


# -- power --------------------------------------------------------------------------------------------------


def test_without_power_nothing_works_until_the_reboot() -> None:
    host = simulated(faults=Faults.power(3))
    with pytest.raises(PowerLoss):
        operations(host)
    with pytest.raises(PowerLoss):
        host.read(f"{PF}/qat/state")
    with pytest.raises(PowerLoss):
        host.append(JOURNAL, b"too late\n")
    after = host.reboot()
    assert after.read(JOURNAL) == b'{"begin": 1}\n'
    assert after.read_text(f"{PF}/qat/state") == "up\n"
    assert after.boot_id() != simulated().boot_id()


def test_a_torn_append() -> None:
    host = simulated(faults=Faults.power(2, op="append", when="half"))
    host.append("/var/lib/journal", b"first\n")
    with pytest.raises(PowerLoss):
        host.append("/var/lib/journal", b"second\n")
    assert host.reboot().read("/var/lib/journal") == b"first\nsec"


def lose_power(host: SimulatedHost) -> SimulatedHost:
    host.faults.faults.append(Fault("power"))
    with pytest.raises(PowerLoss):
        host.mkdir("/tmp/x")
    return host.reboot()


def test_what_was_not_synced_is_as_before() -> None:
    host = simulated()
    host.replace("/etc/synced.conf", b"old\n")
    host.write("/etc/synced.conf", b"new\n")
    host.chmod("/etc/modprobe.d", 0o700)
    host.unlink("/etc/os-release")
    host.mkdir("/srv/empty")
    after = lose_power(host)
    assert after.read("/etc/synced.conf") == b"old\n"
    assert after.stat("/etc/modprobe.d").mode == 0o755
    assert after.exists("/etc/os-release")
    assert not after.exists("/srv/empty")


def test_a_sync_in_a_directory_syncs_what_happened_to_its_entries() -> None:
    host = simulated()
    host.unlink("/etc/os-release")
    host.mkdir("/srv/deep/down")
    host.replace("/etc/other.conf", b"x\n")
    host.append("/srv/deep/down/log", b"y\n")
    after = lose_power(host)
    assert not after.exists("/etc/os-release")
    assert after.read("/srv/deep/down/log") == b"y\n"


def test_an_orderly_reboot_loses_nothing_on_disk() -> None:
    host = simulated()
    host.write("/etc/default/grub", b"GRUB_DEFAULT=1\n")
    assert host.reboot().read("/etc/default/grub").startswith(b"GRUB_DEFAULT=1\n")


@pytest.mark.parametrize("name", ["spr-2s-ready", "pf-down", "vf-variant-driver", "nodes-world-writable", "dc-only"])
def test_a_boot_forgets_services_vfs_overrides_and_modes(name: str) -> None:
    host = simulated(name=name)
    assert fingerprint(host.reboot().tree) == fingerprint(simulated("spr-2s-rebooted").tree)


@pytest.mark.parametrize("name", ["fw-missing", "debian-kernel", "module-blacklisted", "dmar-absent", "pf-ids"])
def test_a_boot_mends_nothing_that_is_on_disk(name: str) -> None:
    host = simulated(name=name)
    ready = host.reboot()
    bound = {"dmar-absent": "4xxx", "pf-ids": "vfio-pci"}.get(name, "")
    link = f"{PF}/driver"
    assert (ready.readlink(link).rsplit("/", 1)[-1] if ready.exists(link) else "") == bound
    assert ready.exists("/sys/kernel/iommu_groups/3") == (name != "dmar-absent")


def test_a_second_boot_gives_the_same_host() -> None:
    once = simulated(name="spr-2s-ready").reboot()
    assert fingerprint(once.reboot().tree) == fingerprint(once.tree)
