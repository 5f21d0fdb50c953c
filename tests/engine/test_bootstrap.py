"""Bootstrap on simulated hosts: to ready and back, whatever fails on the way."""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass

import pytest

from qatprep.assess import assess
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig, parse
from qatprep.engine.bootstrap import bootstrap, undoable
from qatprep.engine.run import Runner, locked, undo_run
from qatprep.exits import ExitCode
from qatprep.facts import gather
from qatprep.host.base import Host, RunResult
from qatprep.plan.node import make_plan
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.scenarios import scenarios
from qatprep.steps.base import Change, Summary
from tests.conftest import qatprep, some
from tests.engine.state import difference, snapshot

KERNELS = ("5.17", "6.1", "6.6", "6.12", "6.17", "7.2")
CONFIG = NodeConfig(smoke=False)
ONE_WAY = "vfs-half-made"
"""A PF with 15 of its 16 VFs cannot be made again: the driver makes all or none."""
FIXABLE = [scenario.name for scenario in scenarios() if scenario.after is not None and scenario.name != ONE_WAY]


def simulated(name: str, kernel: str = "") -> SimulatedHost:
    host = open_host("/", f"{name}@{kernel}" if kernel else name)
    assert isinstance(host, SimulatedHost)
    return host


@pytest.mark.parametrize("name", some(FIXABLE, 2))
def test_ready_again_unchanged_and_back(name: str) -> None:
    host = simulated(name)
    before = snapshot(host)
    result = bootstrap(host, CONFIG)
    assert result.status in ("applied", "unchanged"), result.failure
    again = bootstrap(host, CONFIG)
    assert again.status == "unchanged"
    for run in undoable(host):
        assert undo_run(host, run) == []
    assert difference(before, snapshot(host)) == []


def test_a_lost_vf_comes_back_and_stays_after_a_rollback() -> None:
    host = simulated(ONE_WAY)
    result = bootstrap(host, CONFIG)
    assert result.status == "applied" and result.skipped == ()
    assert bootstrap(host, CONFIG).status == "unchanged"
    assert [undo_run(host, run) for run in undoable(host)] == [[]]
    pf = next(pf for pf in gather(host).pci.pfs if pf.bdf == "0000:6b:00.0")
    assert len(pf.vfs) == 16 and sum(vf.bound is True for vf in pf.vfs) == 15


@pytest.mark.parametrize(
    ("name", "kernel"),
    [(name, kernel) for n, name in enumerate(("spr-2s", "spr-8s")) for kernel in some(KERNELS, 2, n)],
)
def test_every_kernel(name: str, kernel: str) -> None:
    host = simulated(name, kernel)
    before = snapshot(host)
    assert bootstrap(host, CONFIG).status == "applied"
    facts = gather(host)
    plan = make_plan(assess(facts, CONFIG))
    assert plan.empty
    assert all(vf.bound is True for vf in facts.pci.all_vfs)
    # Before 6.0 no services can be set: PFs with dc cannot sign, and are left as they are.
    assert bool(plan.skipped) is (kernel == "5.17")
    assert len(facts.pci.all_vfs) == 16 * (len(facts.pci.pfs) - len(plan.skipped))
    assert undo_run(host, undoable(host)[0]) == []
    assert difference(before, snapshot(host)) == []


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])
def test_services_change_on_a_ready_host_and_back(kernel: str) -> None:
    """VFs that are destroyed for a change of services come back with their drivers and nodes."""
    host = simulated("spr-2s-ready", kernel)
    before = snapshot(host)
    config = parse("", "test", ["devices.services=dc"])
    result = bootstrap(host, config, only={"0000:6b:00.0"}.__contains__)
    assert result.status == "applied", result.failure
    assert undo_run(host, undoable(host)[0]) == []
    assert difference(before, snapshot(host)) == []


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("out-of-tree", "QP-STACK-001"),
        ("iommu-staged", "QP-IOMMU-002"),
        ("pf-on-vfio", "QP-PF-001"),
        ("module-blacklisted", "QP-MOD-002"),
        ("debian-kernel", "QP-MOD-001"),
        ("fw-missing", "QP-FW-001"),
        ("sriov-off-in-bios", "QP-SRIOV-002"),
        ("vf-out-of-memory", "QP-SRIOV-001"),
        ("acs-missing", "QP-VFIO-003"),
    ],
)
def test_what_is_broken_above_is_told_and_not_touched(name: str, finding: str) -> None:
    host = simulated(name)
    before = snapshot(host)
    result = bootstrap(host, CONFIG)
    assert finding in {item.finding for item in result.skipped}
    touched = {change.subject for change in result.made}
    assert not touched & {item.subject for item in result.skipped}
    if result.status == "unchanged":
        assert difference(before, snapshot(host)) == []


def test_a_failed_attempt_gives_the_kernel_its_instances_back() -> None:
    """No room for the VFs: the PF has been restarted without kernel crypto by then, and is started once more."""
    host = simulated("vf-out-of-memory")
    log = host.tree.find("/.qatprep/dmesg")
    assert log
    log.error = errno.EPERM  # an attempt that failed before is not known, so it is tried again
    path = "/sys/kernel/debug/qat_4xxx_0000:6b:00.0/dev_cfg"
    before = host.read(path)
    assert bootstrap(host, CONFIG).status == "rolled back"
    assert host.read(path).replace(b"SriovEnabled = 1\n", b"") == before


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])
@pytest.mark.parametrize("name", ["module-not-loaded", "pf-unbound"])
def test_a_pf_that_will_not_start_keeps_nothing_from_the_others(name: str, kernel: str) -> None:
    """And that without a word in the kernel log: it is tried once, and left alone then."""
    host = simulated(name, kernel)
    node = host.tree.find("/sys/devices/pci0000:75/0000:75:00.0/numa_node")
    log = host.tree.find("/.qatprep/dmesg")
    assert node and log
    node.data, node.show = b"-1\n", None
    log.error = errno.EPERM
    before = snapshot(host)
    result = bootstrap(host, CONFIG)
    assert result.status == "applied", result.failure
    assert [(item.subject, item.finding) for item in result.skipped] == [("0000:75:00.0", "QP-PF-001")]
    assert sum(vf.bound is True for vf in gather(host).pci.all_vfs) == 16 * 7
    assert bootstrap(host, CONFIG).status == "unchanged"
    for run in undoable(host):
        assert undo_run(host, run) == []
    assert undoable(host) == []
    assert difference(before, snapshot(host)) == []


def test_what_udev_loads_meanwhile_stays() -> None:
    """A driver that appears beside the modules we load is not taken away again by our rollback."""
    host = simulated("spr-2s")
    run = host.run

    def run_and_plug(argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if argv[:1] == ["modprobe"] and not host.exists("/sys/module/usbhid"):
            host.tree.dir("/sys/module/usbhid/drivers")
        return run(argv, deadline=deadline)

    host.run = run_and_plug  # type: ignore[method-assign]
    assert bootstrap(host, CONFIG).status == "applied"
    assert undo_run(host, undoable(host)[0]) == []
    assert host.exists("/sys/module/usbhid")
    assert not [op for op in host.operations if op.op == "run" and "usbhid" in op.path]


def test_a_pf_that_leaves_its_slot_is_let_go() -> None:
    """Hot-plug takes its VFs and then the PF: nothing of it is changed, and the other PFs are prepared all the same."""
    machine = open_host("/", "pf-leaving-its-slot")
    for vf in ("0000:6b:00.1", "0000:70:00.1"):
        machine.write("/sys/bus/pci/drivers/vfio-pci/unbind", vf.encode())
    called = qatprep("bootstrap", "--yes", "--no-smoke", "-o", "json", host=machine)
    assert called.code == ExitCode.FINDINGS and called.json["status"] == "applied"
    assert [(item["subject"], item["finding"]) for item in called.json["skipped"]] == [("0000:6b:00.0", "QP-SRIOV-001")]
    assert not machine.exists("/sys/bus/pci/devices/0000:6b:00.1/driver")
    assert machine.readlink("/sys/bus/pci/devices/0000:70:00.1/driver").endswith("/vfio-pci")
    called = qatprep("bootstrap", "--yes", "--no-smoke", "--set", "devices.services=dc", host=machine)
    assert called.code == ExitCode.ERROR and "0000:6b:00.6 is open in envoy" in called.err


@dataclass(frozen=True)
class Waiting(Change):
    """A change that ends once others have: it makes lanes end in a chosen order."""

    name: str

    @property
    def summary(self) -> Summary:
        return Summary(self.name, "off", "on")

    def do(self, host: Host) -> None:
        if self.name == "a2":
            assert ENDED.wait(60)
        if self.name == "b2":
            ENDED.set()

    def undo(self, host: Host, outcome: object = None) -> None:
        ENDED.clear()


ENDED = threading.Event()


def test_what_was_made_is_in_the_order_of_the_plan_whichever_lane_was_quicker() -> None:
    host = open_host("/", "spr-2s")
    runner = Runner(host, "a test")
    with locked(host):
        runner.execute({"": [Waiting("first")]})
        runner.execute({"b": [Waiting("a1"), Waiting("a2")], "a": [Waiting("b1"), Waiting("b2")]})
        runner.execute({"": [Waiting("last")]})
    assert [change.subject for change in runner.made] == ["first", "a1", "a2", "b1", "b2", "last"]
