"""modprobe, groupadd and the rest, as the host's own programs would do it."""

from __future__ import annotations

import pytest

from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.testing.fingerprint import fingerprint
from tests.simulator.hosts import simulated


def loaded(host: SimulatedHost) -> list[str]:
    return [line.split()[0] for line in host.read_text("/proc/modules").raw.splitlines()]


# -- modprobe -----------------------------------------------------------------------------------------------


def test_vfio_pci_brings_what_it_needs() -> None:
    host = simulated()
    assert not host.exists("/dev/vfio/vfio")
    assert host.run(["modprobe", "vfio-pci"]).rc == 0
    assert {"vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "irqbypass"} <= set(loaded(host))
    assert host.stat("/dev/vfio/vfio").mode == 0o666
    assert host.exists("/sys/bus/pci/drivers/vfio-pci/bind")
    assert host.read_text("/sys/module/vfio_pci/parameters/disable_denylist") == "N\n"
    assert not host.exists("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
    host.run(["modprobe", "-r", "vfio-pci"])
    assert host.run(["modprobe", "-r", "vfio_iommu_type1"]).rc == 0
    assert not host.exists("/dev/vfio/vfio")


def test_a_second_time_changes_nothing() -> None:
    host = simulated()
    host.run(["modprobe", "vfio-pci"])
    before = fingerprint(host.tree)
    assert host.run(["modprobe", "-a", "vfio_pci", "qat_4xxx"]).rc == 0
    assert fingerprint(host.tree) == before


@pytest.mark.parametrize(
    ("name", "argv", "rc", "stderr"),
    [
        ("debian-kernel", ["modprobe", "qat_4xxx"], 1,
         "modprobe: FATAL: Module qat_4xxx not found in directory /lib/modules/6.12.117+deb13-amd64\n"),
        ("vfio-not-shipped", ["modprobe", "vfio-pci"], 1,
         "modprobe: FATAL: Module vfio-pci not found in directory /lib/modules/6.12.117\n"),
        ("spr-2s", ["modprobe", "-r", "intel_qat"], 1, "modprobe: FATAL: Module intel_qat is in use.\n"),
        ("spr-2s-builtin", ["modprobe", "qat_4xxx"], 0, ""),
        ("spr-2s-builtin", ["modprobe", "-r", "qat_4xxx"], 1, "modprobe: FATAL: Module qat_4xxx is builtin.\n"),
        ("spr-2s", ["modprobe", "-r", "vfio_pci"], 0, ""),
        ("spr-2s", ["modprobe", "-r", "no_such"], 1, "modprobe: FATAL: Module no_such not found.\n"),
        ("spr-2s", ["reboot"], 127, "reboot: not found on this simulated host"),
    ],
)  # fmt: skip
def test_what_modprobe_says(name: str, argv: list[str], rc: int, stderr: str) -> None:
    result = simulated(name).run(argv)
    assert (result.rc, result.stderr.raw) == (rc, stderr)


def test_an_install_line_holds_and_a_blacklist_does_not() -> None:
    host = simulated("vfio-forbidden")
    result = host.run(["modprobe", "vfio-pci"])
    assert result.rc == 1
    assert "Error running install command '/bin/false' for module vfio_pci: retcode 1" in result.stderr
    assert "vfio_pci" not in loaded(host)
    host = simulated("module-blacklisted")
    assert "qat_4xxx" not in loaded(host)
    assert host.run(["modprobe", "-b", "qat_4xxx"]).rc == 0
    assert "qat_4xxx" not in loaded(host)
    assert host.run(["modprobe", "qat_4xxx"]).rc == 0
    assert host.readlink("/sys/bus/pci/devices/0000:6b:00.0/driver").endswith("/4xxx")


def test_install_true_says_nothing_and_does_nothing() -> None:
    host = simulated()
    host.replace("/etc/modprobe.d/off.conf", b"install vfio-pci /bin/true\n")
    assert host.run(["modprobe", "vfio-pci"]).rc == 0
    assert "vfio_pci" not in loaded(host)


def test_the_kernel_itself_may_refuse() -> None:
    host = simulated()
    host.tree.get("/proc/cmdline").data = b"ro module_blacklist=vfio_pci\n"
    result = host.run(["modprobe", "vfio-pci"])
    assert (result.rc, result.stderr.raw) == (
        1,
        "modprobe: ERROR: could not insert 'vfio_pci': Operation not permitted\n",
    )


def test_options_and_soft_dependencies_of_modprobe_d() -> None:
    host = simulated("vfs-unbound")
    host.run(["modprobe", "-r", "vfio-pci"])
    host.replace("/etc/modprobe.d/vfio.conf", b"options vfio-pci ids=8086:4941 disable_idle_d3=1\n")
    host.replace("/etc/modprobe.d/soft.conf", b"softdep vfio-pci pre: qat_c62x nonsense post: qat_420xx\n")
    assert host.run(["modprobe", "vfio-pci"]).rc == 0
    assert host.read_text("/sys/module/vfio_pci/parameters/disable_idle_d3") == "Y\n"
    assert host.readlink("/sys/bus/pci/devices/0000:6b:00.1/driver").endswith("/vfio-pci")
    assert {"qat_c62x", "qat_420xx"} <= set(loaded(host))
    assert "vfio_pci: add [8086:4941[ffffffff:ffffffff]] class 0x000000/00000000" in host.kernel_log()


def test_loading_the_driver_probes_the_pfs() -> None:
    host = simulated("module-not-loaded")
    host.run(["modprobe", "qat_4xxx"])
    assert host.read_text("/sys/bus/pci/devices/0000:70:00.0/qat/cfg_services") == "dc\n"
    assert loaded(host)[0] == "qat_4xxx"


# -- groups -------------------------------------------------------------------------------------------------


def test_a_system_group_comes_and_goes() -> None:
    host = simulated()
    group, shadow = host.read("/etc/group"), host.read("/etc/gshadow")
    assert host.run(["groupadd", "--system", "qat"]).rc == 0
    # 999, 998 and 997 are taken on this host.
    assert host.read("/etc/group") == group + b"qat:x:996:\n"
    assert host.read("/etc/gshadow") == shadow + b"qat:!::\n"
    assert host.run(["getent", "group", "qat"]).stdout == "qat:x:996:\n"
    again = host.run(["groupadd", "--system", "qat"])
    assert (again.rc, again.stderr.raw) == (9, "groupadd: group 'qat' already exists\n")
    assert host.run(["groupdel", "qat"]).rc == 0
    assert (host.read("/etc/group"), host.read("/etc/gshadow")) == (group, shadow)
    assert host.run(["groupdel", "qat"]).rc == 6
    assert host.run(["getent", "group", "qat"]).rc == 2


def test_an_ordinary_user_changes_nothing() -> None:
    host = simulated("spr-2s-as-user")
    before = fingerprint(host.tree)
    assert host.run(["groupadd", "--system", "web"]).rc == 1
    with pytest.raises(PermissionError):
        host.write("/sys/bus/pci/devices/0000:6b:00.0/qat/state", b"down")
    with pytest.raises(PermissionError):
        host.replace("/etc/group", b"")
    with pytest.raises(PermissionError):
        host.chmod("/etc/group", 0o777)
    assert fingerprint(host.tree) == before


# -- udev ---------------------------------------------------------------------------------------------------

RULE = b'SUBSYSTEM=="vfio", KERNEL!="vfio", GROUP="qat", MODE="0660"\n'


def test_a_rule_sets_group_and_mode_but_only_after_a_while() -> None:
    host = simulated("vfs-unbound")
    host.replace("/etc/udev/rules.d/90-qat.rules", RULE)
    vf = "0000:6b:00.1"
    host.write(f"/sys/bus/pci/devices/{vf}/driver_override", b"vfio-pci")
    host.write("/sys/bus/pci/drivers/vfio-pci/bind", vf.encode())
    number = host.readlink(f"/sys/bus/pci/devices/{vf}/iommu_group").rsplit("/", 1)[-1]
    assert host.stat(f"/dev/vfio/{number}").mode == 0o600
    assert host.settle()
    assert (host.stat(f"/dev/vfio/{number}").mode, host.stat(f"/dev/vfio/{number}").gid) == (0o660, 996)
    assert host.stat("/dev/vfio/vfio").gid == 0


def test_a_late_rule_overrides_an_early_chmod() -> None:
    """The race that leaves some nodes with the wrong mode: udev comes after whoever was quicker."""
    host = simulated("vfs-unbound")
    host.replace("/etc/udev/rules.d/90-qat.rules", RULE.replace(b"0660", b"0600"))
    vf = "0000:6b:00.1"
    host.write(f"/sys/bus/pci/devices/{vf}/driver_override", b"vfio-pci")
    host.write("/sys/bus/pci/drivers/vfio-pci/bind", vf.encode())
    number = host.readlink(f"/sys/bus/pci/devices/{vf}/iommu_group").rsplit("/", 1)[-1]
    host.chmod(f"/dev/vfio/{number}", 0o660)
    host.sleep(1)
    assert host.stat(f"/dev/vfio/{number}").mode == 0o600


def test_files_in_etc_hide_their_namesakes_and_unknown_groups_are_left_out() -> None:
    host = simulated("vfs-unbound")
    host.tree.file("/usr/lib/udev/rules.d/90-qat.rules", RULE.replace(b"0660", b"0666"))
    host.replace("/etc/udev/rules.d/90-qat.rules", RULE.replace(b'"qat"', b'"nobody-knows"'))
    vf = "0000:6b:00.1"
    host.write(f"/sys/bus/pci/devices/{vf}/driver_override", b"vfio-pci")
    host.write("/sys/bus/pci/drivers/vfio-pci/bind", vf.encode())
    host.run(["udevadm", "settle"])
    number = host.readlink(f"/sys/bus/pci/devices/{vf}/iommu_group").rsplit("/", 1)[-1]
    assert (host.stat(f"/dev/vfio/{number}").mode, host.stat(f"/dev/vfio/{number}").gid) == (0o660, 0)
