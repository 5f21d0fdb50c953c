"""The whole chain on emulated QAT: unpatched driver, Debian's firmware and libqat, signatures the device counted."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from . import disks, userland
from .conftest import Boot, full
from .emulated import EmulatedGuest
from .machine import Guest, Hardware
from .node import PF0, PF1, Node, trouble, vf

pytestmark = pytest.mark.vm

TWO_SOCKETS = Hardware(kind="emulated", pfs=2, sockets=2, memory=1024)
UNIT = "qatprep-apply.service"
KILLS = 4
SIGNED = "64 RSA-2048 signatures, all right"
EVERY = 65
"""Signatures of a proof on two PFs: 64 of libqat, which takes one VF, and one without it on the other PF."""
COUNTED = "the device's firmware counted 64 responses for 64 operations (fw_counters)"


def signing_services(kernel: str) -> str:
    """What a PF is given so that it signs: asym alone is taken from Linux 6.5 on."""
    return "'sym;asym'" if kernel == "6.1" else "asym"


def signatures(guest: Guest) -> int:
    """Requests that the VFs of all PFs have answered."""
    assert isinstance(guest, EmulatedGuest)
    counts = [emulator.counts() for emulator in guest.emulators]
    return sum(each["answers"] for one in counts for name, each in one.items() if name != "pf")


@pytest.mark.parametrize("suite", [userland.DEFAULT, pytest.param("sid", marks=full)])
def test_from_nothing_to_a_signature(boot: Boot, kernel: str, suite: str) -> None:
    with boot(kernel, TWO_SOCKETS, suite=suite) as guest:
        node = Node(guest)
        driver = guest.kit.driver()
        print(driver)
        assert driver.in_index
        assert driver.compiled == driver.files
        untouched = node.picture()

        out = node.qatprep("bootstrap --yes").out
        assert SIGNED in out
        # 6.1 has no fw_counters (they came with 6.6): there only the device itself can tell.
        assert (COUNTED in " ".join(out.split())) == (kernel != "6.1")
        assert signatures(guest) == EVERY

        log = guest.check("dmesg")
        for pf in (PF0, PF1):
            assert f"4xxx {pf}: qat_dev" in log
            assert "started 9 acceleration engines" in log
            assert node.sysfs(pf, "sriov_numvfs") == "16"
            assert node.drivers([vf(pf, n) for n in range(16)]) == ["vfio-pci"] * 16
        assert [node.sysfs(pf, "numa_node") for pf in (PF0, PF1)] == ["0", "1"]
        groups = guest.check("for v in /sys/bus/pci/drivers/vfio-pci/0*; do ls $v/iommu_group/devices | wc -l; done")
        assert groups.split() == ["1"] * 32
        assert node.nodes() == ["660 root:qat"] * 32
        judged = node.json("doctor --profile qat")
        assert judged["outcome"]["proof"]["holds"] == [PF0, PF1]
        assert judged["verdicts"][0]["state"] == "ready"
        assert trouble(judged) == {}

        assert "Nothing to do" in node.qatprep("bootstrap --yes --no-smoke").out
        node.put_back()
        assert node.picture() == untouched
        assert not node.complaints()


@full
def test_a_pf_that_offers_compression_alone_cannot_sign(boot: Boot, kernel: str) -> None:
    with boot(kernel, Hardware(kind="emulated", pfs=1, vfs=2, memory=1024)) as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke --set devices.services=dc")
        assert node.sysfs(PF0, "qat/cfg_services") == "dc"
        said = node.qatprep("smoke --provider qat", status=3).out
        assert "no crypto instance" in " ".join(said.split())
        assert "dc" in said
        assert signatures(guest) == 0

        node.qatprep(f"device services {signing_services(kernel)} {PF0} --yes")
        assert SIGNED in node.qatprep("smoke --provider qat").out


@full
def test_a_signature_after_a_reboot(boot: Boot, kernel: str, tmp_path: Path) -> None:
    """What persists (unit, modules, udev rule) brings the PFs back to where a signature comes out."""
    disk = disks.make(str(tmp_path))
    hardware = Hardware(kind="emulated", pfs=2, sockets=2, vfs=4, memory=1024)
    with boot(kernel, hardware, boot="systemd", disk=disk, seconds=300) as guest:
        node = Node(guest)
        assert SIGNED in node.qatprep("bootstrap --yes", timeout=240).out
        guest.check("sync")
        guest.shut_down()
    with boot(kernel, hardware, boot="systemd", disk=disk, seconds=300) as guest:
        node = Node(guest)
        guest.run(f"systemctl start {UNIT}", timeout=240)
        result = guest.check(f"systemctl show -p Result --value {UNIT}").strip()
        assert result == "success", guest.run(f"systemctl status --no-pager -n 100 {UNIT}").out
        assert node.nodes() == ["660 root:qat"] * 8
        assert signatures(guest) == EVERY, "the run at boot proves what it prepared, from inside its sandbox"
        assert f"boot: {EVERY} signatures right" in node.qatprep("status").out
        assert SIGNED in node.qatprep("smoke --provider qat").out
        assert signatures(guest) == 2 * EVERY
        assert "Nothing to do" in node.qatprep("bootstrap --yes --no-smoke").out
        assert not node.complaints()


@full
def test_killed_during_bootstrap_it_converges_and_signs(boot: Boot, kernel: str) -> None:
    seed = random.randrange(1 << 16)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with boot(kernel, Hardware(kind="emulated", pfs=2, sockets=2, vfs=4, memory=1024)) as guest:
        node = Node(guest)
        whole = node.qatprep("bootstrap --yes --no-smoke").seconds
        node.put_back()
        cut_off = 0
        for round in range(KILLS):
            job = guest.start("echo $$ >/root/pid; exec qatprep bootstrap --yes --no-smoke")
            after = chance.uniform(0.2, 1.0) * whole
            time.sleep(after)
            guest.run("kill -9 $(cat /root/pid)")
            cut_off += job.wait().status == 137
            where = f"seed {seed}, round {round}, killed after {after:.2f} s of {whole:.2f}"
            before = signatures(guest)
            node.qatprep("bootstrap --yes --no-smoke")
            assert SIGNED in node.qatprep("smoke --provider qat").out, where
            assert signatures(guest) == before + EVERY, where
            assert node.nodes() == ["660 root:qat"] * 8, where
            node.put_back()
        assert cut_off, "the kills came too late to mean anything"
        assert not node.complaints()
