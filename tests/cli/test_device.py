"""The low-level verbs where they could do harm: what they refuse, and what rollback gives back."""

from __future__ import annotations

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.facts import gather
from qatprep.facts.nodes import Holder
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


@pytest.mark.parametrize(
    ("arguments", "kernels"),
    [
        (["unbind", "6b:00.1"], ["6.1", "7.2"]),  # its node belongs to a group
        (["bind", "6b:00.1", "--driver", "qat_vfio_pci"], ["6.12"]),
        (["bind", "6b:00.1", "--group", "render", "--mode", "0600"], ["6.12"]),
        (["unbind", "70:00.0", "--force"], ["5.17", "6.1", "7.2"]),  # a PF: its VFs and services go with its driver
        (["bind", "70:00.0", "--force"], ["6.12"]),
        (["services", "asym", "6b:00.0", "70:00.0"], ["6.12", "7.2"]),
        (["vfs", "remove", "6b:00.0"], ["5.17", "6.1", "7.2"]),
        (["down", "6b:00.0", "70:00.0"], ["6.1", "6.12", "7.2"]),
    ],
    ids=" ".join,
)
def test_rollback_gives_back_what_the_verb_took(arguments: list[str], kernels: list[str]) -> None:
    for kernel in kernels:
        host = simulated(f"spr-2s-ready@{kernel}")
        before = snapshot(host)
        called = qatprep("device", *arguments, "--yes", host=host)
        assert called.code == ExitCode.OK, called.err
        assert difference(before, snapshot(host)) != []
        assert qatprep("device", *arguments, "--yes", host=host).out == "Nothing to do: already as requested.\n"
        assert qatprep("rollback", host=host).code == ExitCode.OK
        assert difference(before, snapshot(host)) == []


def test_a_driver_that_will_not_have_it() -> None:
    host = simulated("spr-2s-ready")
    before = snapshot(host)
    called = qatprep("device", "bind", "6b:00.1", "--driver", "4xxx", host=host)
    assert called.code == ExitCode.ROLLED_BACK
    assert "ENODEV" in called.err and "nothing was changed" in called.err
    assert difference(before, snapshot(host)) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--driver", "nosuch"], ExitCode.ERROR, "no driver 'nosuch'"),
        (["--driver", "../../../etc"], ExitCode.USAGE, "not the name of a driver"),
        (["--driver", ""], ExitCode.USAGE, "--driver"),
        (["--group", "--gid=0"], ExitCode.USAGE, "not the name of a group"),
        (["--group", "a:b"], ExitCode.USAGE, "not the name of a group"),
        (["--mode", "-1"], ExitCode.USAGE, "octal"),
        (["--mode", "10000"], ExitCode.USAGE, "octal"),
    ],
)
def test_bad_names(arguments: list[str], code: ExitCode, words: str) -> None:
    host = simulated("spr-2s-ready")
    called = qatprep("device", "bind", "6b:00.1", *arguments, host=host)
    assert called.code == code, called.err
    assert words in called.err
    assert host.operations == []


def test_the_modules_spelling_of_vfio_pci_will_do() -> None:
    host = simulated("spr-2s-ready")
    assert qatprep("device", "unbind", "6b:00.1", host=host).code == ExitCode.OK
    assert qatprep("device", "bind", "6b:00.1", "--driver", "vfio_pci", host=host).code == ExitCode.OK
    assert host.readlink("/sys/bus/pci/devices/0000:6b:00.1/driver").endswith("/vfio-pci")


def test_what_hangs_on_a_function_is_seen_behind_every_bus() -> None:
    """A network card and a disk of virtio have another bus between them and their PCI function."""
    host = simulated("spr-2s")
    host.tree.remove("/sys/class/net/ens1f0")
    devices = "../../devices/pci0000:17/0000:17:00.0"
    host.tree.link("/sys/class/net/eth0", f"{devices}/virtio1/net/eth0")
    host.tree.file("/sys/devices/pci0000:17/0000:17:00.0/virtio1/net/eth0/operstate", b"unknown\n")
    up = qatprep("device", "unbind", "17:00.0", host=host)
    assert up.code == ExitCode.USAGE and "eth0, which is up" in up.err and "--force" in up.err
    host.tree.file("/sys/devices/pci0000:17/0000:17:00.0/virtio1/net/eth0/operstate", b"down\n")
    assert qatprep("device", "unbind", "17:00.0", "--check", host=host).code == ExitCode.FINDINGS
    host.tree.link("/sys/class/block/vda", f"{devices}/virtio1/block/vda")
    disk = qatprep("device", "unbind", "17:00.0", host=host)
    assert disk.code == ExitCode.USAGE and "disk vda" in disk.err
    assert host.operations == []


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("01:00.0", "the storage controller of the disk nvme0n1"),
        ("17:00.0", "the network interface ens1f0, which is up"),
    ],
)
@pytest.mark.parametrize("verb", ["bind", "unbind"])
def test_disk_and_network_card_of_a_simulated_host_are_guarded(device: str, words: str, verb: str) -> None:
    host = simulated("spr-2s")
    called = qatprep("device", verb, device, host=host)
    assert called.code == ExitCode.USAGE and words in called.err and "--force" in called.err
    assert host.operations == []


def test_a_pf_without_sriov_is_a_pf_all_the_same() -> None:
    called = qatprep("device", "bind", "6b:00.0", host=simulated("sriov-off-in-bios"))
    assert called.code == ExitCode.USAGE and "is a PF" in called.err


def test_the_driver_of_another_card_is_not_taken_from_it() -> None:
    """sriov_numvfs=0 refused by a network card is told, not worked around by taking its driver away."""
    host = simulated("spr-2s")
    base = "/sys/devices/pci0000:17/0000:17:00.0"
    host.tree.file(f"{base}/sriov_totalvfs", b"2\n")
    host.tree.file(f"{base}/sriov_numvfs", b"1\n").store = _refuse
    host.tree.link(f"{base}/virtfn0", "../0000:17:01.0")
    host.tree.file("/sys/devices/pci0000:17/0000:17:01.0/vendor", b"0x8086\n")
    host.tree.link("/sys/bus/pci/devices/0000:17:01.0", "../../../devices/pci0000:17/0000:17:01.0")
    called = qatprep("device", "vfs", "remove", "17:00.0", "--yes", host=host)
    assert called.code == ExitCode.ROLLED_BACK, called.err
    assert "EINVAL" in called.err
    assert not [op for op in host.operations if "unbind" in op.path]


def _refuse(data: bytes) -> None:
    raise OSError(22, "Invalid argument")


def test_owners_of_nodes_survive_a_change_of_services() -> None:
    host = simulated("spr-2s-ready")
    group = host.readlink("/sys/bus/pci/devices/0000:6b:00.1/iommu_group").rsplit("/", 1)[-1]
    host.chown(f"/dev/vfio/{group}", 1000, 4711)  # a user, and a group without a name
    assert qatprep("device", "services", "asym", "6b:00.0", "--yes", host=host).code == ExitCode.OK
    group = host.readlink("/sys/bus/pci/devices/0000:6b:00.1/iommu_group").rsplit("/", 1)[-1]
    node = host.stat(f"/dev/vfio/{group}")
    assert (node.uid, node.gid, node.mode) == (1000, 4711, 0o660)


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])
def test_reset_makes_the_vfs_again_as_they_were(kernel: str) -> None:
    host = simulated(f"spr-2s-ready@{kernel}")
    before = snapshot(host)
    for _ in range(2):  # each time it is asked for
        called = qatprep("device", "reset", "6b:00.0", "--yes", host=host)
        assert called.code == ExitCode.OK, called.err
        assert "stopped 9 acceleration engines" in host.kernel_log()
        assert "nothing is left to undo" in called.err
        assert difference(before, snapshot(host)) == []
    asked = len(host.operations)
    assert qatprep("rollback", "--yes", host=host).out == "Nothing to undo.\n"
    assert host.operations[asked:] == []  # no VF is destroyed a third time for nothing
    listed = qatprep("rollback", "--list", "-o", "json", host=host).json["runs"]
    assert [(run["status"], run["standing"]) for run in listed] == [("as before", 0)] * 2


def test_a_rollback_after_a_reset_undoes_the_run_before_it() -> None:
    host = simulated("spr-2s")
    before = snapshot(host)
    assert qatprep("bootstrap", "--yes", "--no-smoke", host=host).code == ExitCode.OK
    assert qatprep("device", "reset", "6b:00.0", "--yes", host=host).code == ExitCode.OK
    assert qatprep("rollback", "--yes", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []


def test_up_down_and_reset_of_a_pf_without_vfs() -> None:
    host = simulated("spr-2s-no-vfs")
    state = "/sys/bus/pci/devices/0000:6b:00.0/qat/state"
    for verb, after in (("up", "up"), ("reset", "up"), ("down", "down"), ("down", "down"), ("reset", "up")):
        assert qatprep("device", verb, "6b:00.0", "--yes", host=host).code == ExitCode.OK, verb
        assert host.read_text(state).raw.strip() == after
    assert qatprep("device", "up", "6b:00.0", host=host).out == "Nothing to do: already as requested.\n"


@pytest.mark.parametrize("verb", ["reset", "down"])
def test_the_cost_of_a_reset_is_said_first_and_agreed_to(verb: str) -> None:
    host = simulated("spr-2s-ready")
    checked = qatprep("device", verb, "6b:00.0", "--check", host=host)
    assert checked.code == ExitCode.FINDINGS and "16 VFs are destroyed" in checked.out
    assert host.operations == []


@pytest.mark.parametrize("verb", ["reset", "down"])
def test_a_pf_whose_vf_is_held_is_not_taken_down(verb: str) -> None:
    host = simulated("vf-held")
    held = next(pf.bdf for pf in gather(host).pci.pfs if any(h.vf in {vf.bdf for vf in pf.vfs} for h in _holders(host)))
    called = qatprep("device", verb, held, "--yes", host=host)
    assert called.code == ExitCode.ERROR
    assert _holders(host)[0].command in called.out + called.err
    assert host.operations == []


def _holders(host: SimulatedHost) -> tuple[Holder, ...]:
    return gather(host).nodes.holders


@pytest.mark.parametrize(
    ("name", "device", "code", "words"),
    [
        ("spr-2s-old-kernel", "6b:00.0", ExitCode.ERROR, "no qat/state, which came with Linux 6.0"),
        ("module-not-loaded", "6b:00.0", ExitCode.ERROR, "not bound to 4xxx"),
        ("spr-2s-ready", "6b:00.1", ExitCode.USAGE, "is a VF"),
        ("spr-2s-ready", "17:00.0", ExitCode.USAGE, "no QAT PF"),
        ("spr-2s-ready", "6c:00.0", ExitCode.USAGE, "no PCI device"),
    ],
)
def test_what_cannot_be_reset(name: str, device: str, code: ExitCode, words: str) -> None:
    for verb in ("reset", "up", "down"):
        called = qatprep("device", verb, device, "--yes", host=simulated(name))
        assert called.code == code and words in called.err, (verb, called.err)


def test_a_list_begins_with_a_summary() -> None:
    out = qatprep("device", "list", "--no-vfs", "--simulate", "vf-held").out
    assert out.splitlines()[:3] == [
        "PFs             8: 1 4xxx with dc, 7 4xxx with sym;asym",
        "VFs             128 on vfio-pci, root:qat 0660, each in its own IOMMU group",
        "held            1 of 128 VFs",
    ]


def test_a_class_and_what_may_drive_it() -> None:
    host = simulated("spr-2s")
    nic = "/sys/devices/pci0000:17/0000:17:00.0"
    host.tree.file(f"{nic}/modalias", b"pci:v00008086d00001592sv00008086sd00000001bc02sc00i00\n")
    host.tree.file(f"{nic}/driver_override", b"vfio-pci\n")
    aliases = b"alias pci:v00008086d00001592sv*sd*bc*sc*i* ice\nalias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias usb:x y\n"
    host.tree.file("/lib/modules/6.12.117/modules.alias", aliases)
    called = qatprep("device", "list", "--class", "network", "-o", "json", host=host)
    (found,) = called.json["functions"]
    assert (found["device"], found["used_as"], found["override"]) == ("0000:17:00.0", ["ens1f0"], "vfio-pci")
    assert found["drivers"] == ["ice"] and found["class"] == 2
    out = qatprep("device", "list", "--class", "network", host=host).out
    assert "functions       1; 0 with SR-IOV; in use as ens1f0" in out and "may drive it" in out
    assert len(qatprep("device", "list", "--class", "qat", "-o", "json", host=host).json["functions"]) == 8


def test_a_device_can_be_named_by_its_interface() -> None:
    host = simulated("spr-2s")
    called = qatprep("device", "unbind", "ens1f0", "--check", "--force", host=host)
    assert called.code == ExitCode.FINDINGS and called.out == "would be: 0000:17:00.0 driver: ice -> none\n"
    unknown = qatprep("device", "unbind", "eth7", "--check", host=host)
    assert unknown.code == ExitCode.USAGE and "neither a PCI address nor a network interface" in unknown.err


@pytest.mark.parametrize("user", ["101", "envoy"])
def test_nodes_are_given_to_a_user(user: str) -> None:
    host = simulated("spr-2s-ready")
    passwd = host.read_text("/etc/passwd").raw if host.exists("/etc/passwd") else ""
    host.tree.file("/etc/passwd", f"{passwd}envoy:x:101:101::/:/bin/false\n".encode())
    before = snapshot(host)
    called = qatprep("device", "bind", "6b:00.1", "--user", user, host=host)
    assert called.code == ExitCode.OK, called.err
    assert "root:qat 0660 -> 101:qat 0660" in called.out
    group = host.readlink("/sys/bus/pci/devices/0000:6b:00.1/iommu_group").rsplit("/", 1)[-1]
    assert host.stat(f"/dev/vfio/{group}").uid == 101
    assert qatprep("device", "bind", "6b:00.1", "--user", user, host=host).out.startswith("Nothing to do")
    assert qatprep("rollback", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []
    missing = qatprep("device", "bind", "6b:00.1", "--user", "nobdy", host=host)
    assert missing.code == ExitCode.USAGE and "there is no user 'nobdy'" in missing.err
