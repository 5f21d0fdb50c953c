"""Hosts whose files cannot be read, or hold what nobody expects: every verb ends in words, never in a traceback."""

from __future__ import annotations

import errno
import itertools
import random
import re

import pytest

from qatprep.assess import assess
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.facts import gather
from qatprep.plan.node import make_plan
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from tests.conftest import EVERYTHING, qatprep, some

ROUNDS = 400 if EVERYTHING else 10
HOSTS = ("spr-2s", "spr-2s-ready", "vm-vfs", "half-bound", "module-not-loaded", "out-of-tree", "iommu-staged")
ERRORS = (errno.EACCES, errno.EIO, errno.EPERM, errno.ENODEV, errno.ENXIO, errno.EINVAL, errno.ETIMEDOUT)
GARBAGE = (
    b"", b"\n", b"\0\0", b"\xff\xfe", b"-1\n", b"99999999999999999999\n", b"0x\n", b"(null)\n", b"sym;;asym", b";",
    b"a" * 5000, b"=\n:\n::\n", b"\xc2\x85\xe2\x80\xa8", b"{", b"- a\n- b: [",
)  # fmt: skip
LOOKS = ("plan", "status", "device list", "device list --all", "status --as-config")


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


def disturb(host: SimulatedHost, dice: random.Random) -> list[str]:
    """Some files of a host that cannot be read, are gone, or hold garbage."""
    paths = [path for path, _ in host.tree.walk() if path.count("/") > 1 and not path.startswith("/.qatprep")]
    few = [path for path in paths if "/virtfn" not in path and path.count("/") <= 6]  # VFs would be most of them
    told = []
    for _ in range(dice.choice((1, 2, 4))):
        path = dice.choice(few if dice.random() < 0.7 else paths)
        node = host.tree.find(path, follow=False)
        if node is None:
            continue
        act = dice.choice(("error", "garbage", "remove"))
        if act == "error":
            node.error = dice.choice(ERRORS)
        elif act == "garbage" and node.kind == "file" and "iommu_groups" not in path:
            node.show, node.size, node.data = None, None, dice.choice(GARBAGE)
        elif act == "remove":
            host.tree.remove(path)
        told.append(f"{act} {path}")
    return told


@pytest.mark.parametrize("name", HOSTS)
def test_no_traceback_whatever_is_unreadable(name: str) -> None:
    for n in range(ROUNDS):
        host = simulated(name)
        dice = random.Random(f"{name} {n}")
        told = disturb(host, dice)
        for verb in ("doctor", *(LOOKS if EVERYTHING else (dice.choice(LOOKS),)), "bootstrap --no-smoke"):
            called = qatprep(*verb.split(), host=host)
            assert "internal error" not in called.err, (verb, told, called.err)
            assert "QP-CRASH" not in called.out, (verb, told)


SHARED = (
    "/sys/module",
    "/usr/lib/modules",
    "/etc/modprobe.d",
    "/sys/kernel/iommu_groups",
    "/dev/vfio",
    "/proc/cmdline",
)
"""What all devices of a host are judged by."""


@pytest.mark.parametrize("name", ("spr-2s", "vm-vfs", "module-not-loaded"))
@pytest.mark.parametrize("gone", some(itertools.combinations(SHARED, 2), 3), ids=" ".join)
def test_no_traceback_in_a_container_that_shows_little(name: str, gone: tuple[str, str]) -> None:
    host = simulated(name)
    for path in gone:
        if host.tree.find(path) is not None:
            host.tree.remove(path)
    for verb in ("doctor", *LOOKS, "bootstrap --no-smoke"):
        called = qatprep(*verb.split(), host=host)
        assert "mistake in qatprep" not in called.err, (verb, called.err)
        assert "QP-CRASH" not in called.out, verb


@pytest.mark.parametrize(
    ("path", "finding"),
    [
        ("/sys/bus/pci/devices/0000:70:00.0/qat/cfg_services", "QP-SVC-002"),
        ("/sys/bus/pci/devices/0000:70:00.0/driver", "QP-PF-001"),
        ("/sys/bus/pci/devices/0000:70:00.0/iommu_group", "QP-IOMMU-004"),
        ("/sys/bus/pci/devices/0000:70:00.0/sriov_numvfs", "QP-SRIOV-001"),
        ("/sys/bus/pci/devices/0000:70:00.0/sriov_totalvfs", "QP-SRIOV-002"),
    ],
)
def test_what_is_not_known_is_not_taken_for_absent(path: str, finding: str) -> None:
    """A PF of which something cannot be seen is skipped, and the others are prepared."""
    host = simulated("spr-2s")
    parent, name = host.realpath(path.rsplit("/", 1)[0]), path.rsplit("/", 1)[1]
    node = host.tree.find(f"{parent}/{name}", follow=False)
    assert node
    node.error = errno.EIO
    plan = make_plan(assess(gather(host), NodeConfig()))
    assert [(item.subject, item.finding) for item in plan.skipped] == [("0000:70:00.0", finding)]
    assert re.search("Input/output error|cannot be read", plan.skipped[0].reason)
    assert bootstrap(host, NodeConfig(smoke=False)).status == "applied"


def test_a_pf_that_is_being_removed_is_left_alone() -> None:
    """Its first VF has lost driver and links, and is still there: no VM's VF, and nothing to bind."""
    host = simulated("spr-2s-ready")
    pf, vf = (host.realpath(f"/sys/bus/pci/devices/0000:70:00.{n}") for n in (0, 1))
    for link in (f"{pf}/driver", f"{pf}/virtfn0", f"{vf}/physfn", f"{vf}/driver"):
        host.tree.remove(link)
    node = host.tree.find(f"{pf}/sriov_numvfs")
    assert node
    node.error = errno.ETIMEDOUT
    plan = make_plan(assess(gather(host), NodeConfig()))
    assert [(item.subject, item.finding) for item in plan.skipped] == [("0000:70:00.0", "QP-PF-001")]
    assert not plan.lanes


def test_a_number_of_vfs_that_cannot_be_is_not_planned_for() -> None:
    host = simulated("spr-2s")
    node = host.tree.find(host.realpath("/sys/bus/pci/devices/0000:70:00.0") + "/sriov_totalvfs")
    assert node
    node.show, node.size, node.data = None, None, b"99999999999999999999\n"
    (skipped,) = make_plan(assess(gather(host), NodeConfig())).skipped
    assert (skipped.subject, skipped.finding) == ("0000:70:00.0", "QP-SRIOV-002")
    assert "99999999999999999999 VFs cannot be" in skipped.reason


def test_sysfs_that_is_read_only_is_told_as_such() -> None:
    host = simulated("spr-2s")
    host.faults = Faults(Fault("errno", 1, errno.EROFS, op="write", path="/sys/*", times=0))
    called = qatprep("bootstrap", host=host)
    assert called.code == 4
    words = " ".join(called.out.split())
    assert "mounted read-only here" in words and "privileged container" in words
