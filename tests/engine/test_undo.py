"""Undo after a run was cut at a bad place: everything that was recorded comes back."""

from __future__ import annotations

import base64

import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.exits import ExitCode
from qatprep.facts import pci
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import TooLarge
from qatprep.simulator.host import SimulatedHost
from qatprep.steps.base import ChangeFailed
from qatprep.steps.binding import driver_of, override_of
from qatprep.steps.files import LIMIT, InstallFile, RemoveFile, install
from qatprep.steps.sriov import CreateVfs, RemoveVfs
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot

PF = "0000:70:00.0"


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


def test_vfs_come_back_when_their_pf_had_just_been_let_go_of() -> None:
    host = simulated("spr-2s-old-kernel")
    bootstrap(host, NodeConfig(smoke=False), only=PF.__eq__)
    before = snapshot(host)
    pf = pci.physical(host, PF)
    assert pf is not None and pf.vfs and pf.state is None
    change = RemoveVfs.of(pf, "up")
    host.write(f"{PCI_DEVICES}/{PF}/driver/unbind", PF.encode(), deadline=30)
    change.undo(host)
    assert difference(before, snapshot(host)) == []


def test_vfs_that_were_never_made_need_no_driver_to_be_undone() -> None:
    host = simulated("spr-2s-old-kernel")
    for module in ("qat_4xxx", "intel_qat"):
        host.run(["rmmod", module])
    before = snapshot(host)
    CreateVfs(PF, 16, "").undo(host)
    assert difference(before, snapshot(host)) == []


def test_unbind_takes_the_override_away_that_a_killed_one_left() -> None:
    host = simulated("spr-2s-ready")
    vf = "0000:6b:00.1"
    host.write(f"{PCI_DEVICES}/{vf}/driver/unbind", vf.encode(), deadline=30)
    assert (driver_of(host, vf), override_of(host, vf)) == ("", "vfio-pci")
    checked = qatprep("device", "unbind", vf, "--check", host=host)
    assert checked.code == ExitCode.FINDINGS and "driver_override vfio-pci" in checked.out
    assert qatprep("device", "unbind", vf, host=host).code == ExitCode.OK
    assert override_of(host, vf) == ""
    assert "unchanged" in qatprep("device", "unbind", vf, "-o", "json", host=host).out
    assert qatprep("rollback", host=host).code == ExitCode.OK
    assert override_of(host, vf) == "vfio-pci"


OLD, NEW = base64.b64encode(b"old\n").decode(), base64.b64encode(b"new\n").decode()
PATH = "/etc/qatprep.yaml"


@pytest.mark.parametrize(
    ("now", "owner"),
    [
        (b"new\n", (0, 0, 0o644)),
        (b"old\n", (0, 0, 0o644)),
        (b"old\n", (7, 8, 0o600)),
        (b"old\n", (7, 9, 0o640)),
    ],
)
def test_a_file_comes_back_with_owner_and_mode(now: bytes, owner: tuple[int, int, int]) -> None:
    host = simulated("spr-2s")
    uid, gid, mode = owner
    host.mkdir("/etc")
    host.replace(PATH, now, mode=mode, uid=uid, gid=gid)
    InstallFile(PATH, NEW, 0o644, OLD, (7, 8, 0o600)).undo(host)
    found = host.stat(PATH)
    assert (host.read(PATH), found.uid, found.gid, found.mode) == (b"old\n", 7, 8, 0o600)


@pytest.mark.parametrize("size", [1 << 20, 1_600_000, LIMIT])
def test_a_large_file_comes_back_whole(size: int) -> None:
    host = simulated("spr-2s")
    host.mkdir("/etc")
    host.replace(PATH, b"x" * size)
    change = install(host, PATH, b"new\n")
    assert change is not None
    change.do(host)
    change.undo(host)
    assert host.read(PATH, limit=LIMIT) == b"x" * size


def test_a_file_that_could_not_be_kept_is_not_replaced() -> None:
    host = simulated("spr-2s")
    host.mkdir("/etc")
    host.replace(PATH, b"x" * (LIMIT + 1))
    with pytest.raises(TooLarge, match=str(LIMIT + 1)):
        install(host, PATH, b"new\n")


def test_a_file_that_somebody_wrote_since_is_no_ones_to_remove_or_replace() -> None:
    host = simulated("spr-2s")
    host.mkdir("/etc")
    host.replace(PATH, b"theirs\n")
    for change in (InstallFile(PATH, NEW, 0o644, OLD, None), RemoveFile(PATH, OLD, (0, 0, 0o644))):
        with pytest.raises(ChangeFailed, match="was changed since by another program"):
            change.undo(host)
    assert host.read(PATH) == b"theirs\n"
