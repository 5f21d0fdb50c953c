"""What goes wrong with a device, on the unpatched driver: errors, a lost heartbeat, resets, and services under load.

The load is Debian's own: `openssl speed` through qatengine and libqat.
"""

from __future__ import annotations

import time

import pytest

from . import lines, userland
from .conftest import Boot, full
from .emulated import EmulatedGuest
from .machine import Guest, Hardware, Job
from .node import LATE, PF0, PF1, Node, vf
from .test_emulated import SIGNED, TWO_SOCKETS, signatures, signing_services

pytestmark = [pytest.mark.vm, full]

ONE_PF = Hardware(kind="emulated", pfs=1, vfs=2, memory=1024)
HEARTBEAT = f"/sys/kernel/debug/qat_4xxx_{PF0}/heartbeat/status"
LOAD = "exec openssl speed -engine qatengine -async_jobs 8 -seconds 300 rsa2048"


def fault(guest: Guest, text: str) -> None:
    """Have the first PF do something wrong."""
    assert isinstance(guest, EmulatedGuest)
    guest.emulators[0].tell("fault", text)


def said(guest: Guest, scenario: str) -> str:
    """What the kernel logged since it was asked last; kept when recording."""
    text = guest.check("dmesg -c")
    kernel = guest.kit.kernel.series
    return "\n".join(lines.keep(kernel, userland.DEFAULT, scenario, "kernel", text))


def heard(job: Job, scenario: str) -> None:
    """Keep what a program of libqat wrote."""
    kernel = job.guest.kit.kernel.series
    lines.keep(kernel, userland.DEFAULT, scenario, "libqat", job.out + job.err)


def prepared(guest: Guest, *more: str) -> Node:
    node = Node(guest)
    node.qatprep(" ".join(["bootstrap --yes --no-smoke", *more]))
    guest.check("dmesg -C")
    return node


def load(guest: Guest) -> Job:
    """Signatures without end; returns when the devices are at it."""
    job = guest.start(LOAD)
    before = signatures(guest)
    for _ in range(60):
        if signatures(guest) > before:
            return job
        time.sleep(0.5)
    raise AssertionError(f"no signature came of it: {job.out}{job.err}")


def doctor(node: Node) -> dict[str, list[str]]:
    """What the doctor finds wrong, or cannot see: the evidence by id."""
    findings = node.json("doctor --profile qat", status=None)["findings"]
    found: dict[str, list[str]] = {}
    for f in findings:
        seen = [e["value"] for e in f["evidence"] if LATE not in e["value"]]
        if f["status"] in ("fail", "warn", "unknown") and (seen or not f["evidence"]):
            found.setdefault(f["id"], []).extend(seen)
    return found


def test_errors_are_counted_and_the_doctor_sees_them(boot: Boot, kernel: str) -> None:
    if kernel == "6.1":
        pytest.skip("6.1 has neither heartbeat nor error counters")
    with boot(kernel, ONE_PF) as guest:
        node = prepared(guest)
        assert not {"QP-PF-003", "QP-PF-004", "QP-LOG-001"} & set(doctor(node))

        fault(guest, "heartbeat")
        # The doctor asks as often as the driver wants to be asked before it gives up.
        assert doctor(node)["QP-PF-003"][0] == "-1"
        assert "Heartbeat ERROR: QAT is not responding." in said(guest, "heartbeat lost")
        fault(guest, "heartbeat=off")
        node.qatprep(f"device reset {PF0} --yes", timeout=240)
        assert "QP-PF-003" not in doctor(node)
        assert guest.read(HEARTBEAT).strip("\x00\n ") in ("0", "-1")
        said(guest, "device reset")

        for name, counter in (
            ("correctable", "errors_correctable"),
            ("uncorrectable", "errors_nonfatal"),
            ("fatalerror", "errors_fatal"),
        ):
            assert node.sysfs(PF0, f"qat_ras/{counter}") == "0"
            fault(guest, name)
            time.sleep(1)
            assert node.sysfs(PF0, f"qat_ras/{counter}") == "1"
            assert ("QP-PF-003" if name == "fatalerror" else "QP-PF-004") in doctor(node)
            logged = said(guest, f"error: {name}")
        assert "Fatal error, reset required" in logged
        node.qatprep(f"device reset {PF0} --yes", timeout=240)
        assert "QP-PF-003" not in doctor(node)
        assert SIGNED in node.qatprep("smoke --provider qat", timeout=240).out


def test_services_are_not_changed_under_load(boot: Boot, kernel: str) -> None:
    with boot(kernel, Hardware(kind="emulated", pfs=2, sockets=2, vfs=2, memory=1024)) as guest:
        node = prepared(guest)
        job = load(guest)
        for pf in (PF0, PF1):
            refused = node.qatprep(f"device services dc {pf} --yes", status=None)
            assert refused.status == 1
            assert "open in openssl" in refused.out + refused.err
        before = signatures(guest)
        time.sleep(2)
        assert signatures(guest) > before
        assert "stopped" not in said(guest, "services changed under load, refused")
        job.kill()
        job.wait()
        node.qatprep(f"device services dc {PF0} --yes")
        assert node.sysfs(PF0, "qat/cfg_services") == "dc"
        node.qatprep(f"device services {signing_services(kernel)} {PF0} --yes")
        assert SIGNED in node.qatprep("smoke --provider qat").out
        said(guest, "services changed")
        assert not node.complaints()


def test_down_waits_for_the_holder_of_a_vf(boot: Boot, kernel: str) -> None:
    """The kernel tells the program, which does not listen, and waits until it has closed the VF."""
    with boot(kernel, ONE_PF) as guest:
        node = prepared(guest)
        job = load(guest)
        down = guest.start(f"echo down >/sys/bus/pci/devices/{PF0}/qat/state")
        for _ in range(60):
            logged = guest.check("dmesg")
            if "blocked until released by user" in logged:
                break
            time.sleep(1)
        # 6.1 does not ask whether its VFs have stopped; vfio-pci waits on every kernel.
        assert ("Some VFs are still running" in logged) == (kernel != "6.1")
        assert down.result is None
        # Of its own (QP-LOG-001), or as what tells why the number of VFs cannot be read (QP-SRIOV-001).
        assert "blocked until released by user" in str(doctor(node))
        job.kill()
        job.wait()
        heard(job, "down with a holder")
        down.wait()
        assert node.sysfs(PF0, "qat/state") == "down"
        said(guest, "down with a holder")
        assert SIGNED in node.qatprep("bootstrap --yes").out
        assert not node.complaints()


def test_the_driver_restarts_a_pf_under_load(boot: Boot, kernel: str) -> None:
    """auto_reset (6.9): a fatal error restarts the PF. Its VFs stay; the program that had them has to be restarted."""
    if kernel == "6.1":
        pytest.skip("6.1 has no auto_reset")
    with boot(kernel, ONE_PF) as guest:
        node = prepared(guest)
        guest.check(f"echo 1 >/sys/bus/pci/devices/{PF0}/qat/auto_reset")
        job = load(guest)
        fault(guest, "fatalerror")
        for _ in range(60):
            if "started 9 acceleration engines" in (logged := guest.check("dmesg")):
                break
            time.sleep(1)
        assert "Resetting device" in logged
        assert any("Fatal error, reset required" in line for line in doctor(node)["QP-PF-004"])
        job.kill()
        job.wait()
        heard(job, "fatal error with auto_reset under load")
        said(guest, "fatal error with auto_reset under load")
        assert node.sysfs(PF0, "qat/state") == "up"
        assert node.sysfs(PF0, "sriov_numvfs") == "2"
        assert SIGNED in node.qatprep("smoke --provider qat").out


@pytest.mark.parametrize("what", ["a VF", "the PF"])
def test_a_function_is_reset_under_load(boot: Boot, kernel: str, what: str) -> None:
    with boot(kernel, ONE_PF) as guest:
        node = prepared(guest)
        job = load(guest)
        device = PF0 if what == "the PF" else vf(PF0, 0)
        guest.check(f"echo 1 >/sys/bus/pci/devices/{device}/reset")
        time.sleep(3)
        job.kill()
        job.wait()
        heard(job, f"{what} reset under load")
        if what == "the PF":
            # The driver is not told of a reset by hand: its firmware is gone.
            if kernel == "6.12":
                assert "QP-PF-003" in doctor(node)
            node.qatprep(f"device reset {PF0} --yes", timeout=240)
            assert "QP-PF-003" not in doctor(node)
        assert SIGNED in node.qatprep("smoke --provider qat", timeout=240).out
        said(guest, f"{what} reset under load")


def test_the_pf_that_has_vfs_is_the_one_that_signs(boot: Boot, kernel: str) -> None:
    """What the device counts and what libqat uses are the same device."""
    with boot(kernel, TWO_SOCKETS) as guest:
        node = prepared(guest)
        node.qatprep(f"device vfs remove {PF0} --yes")
        assert SIGNED in node.qatprep("smoke --provider qat").out
        assert isinstance(guest, EmulatedGuest)
        first, second = (sum(v["answers"] for name, v in e.counts().items() if name != "pf") for e in guest.emulators)
        assert (first, second) == (0, 64)
