"""A device goes away, restarts, or is taken by somebody else, while qatprep or libqat is at work on it (emulated QAT).

Whatever the devices do, every verb ends by itself, with a documented exit status and without a traceback.
"""

from __future__ import annotations

import time

import pytest

from qatprep.exits import ExitCode

from .conftest import Boot, full
from .machine import Guest, Hardware, Job, Result
from .node import PF0, PF1, Node, vf
from .test_emulated import SIGNED
from .test_emulated_faults import ONE_PF, doctor, fault, load, prepared
from .test_held import hold

pytestmark = [pytest.mark.vm, full]

TWO_PFS = Hardware(kind="emulated", pfs=2, sockets=2, vfs=2, memory=1024)
SMOKE = "smoke --provider qat"
APPLY = "bootstrap --yes --no-smoke"
HUNG = 400.0
"""Seconds after which a verb counts as hung."""


def ends(node: Node, verb: str) -> Result:
    """Run a verb whatever the devices are doing."""
    result = node.qatprep(verb, status=None, timeout=HUNG)
    print(f"$ qatprep {verb}: {result.status}\n{result.out}{result.err}")
    assert result.status in set(ExitCode), (verb, result)
    assert "Traceback" not in result.err, (verb, result)
    return result


def meanwhile(guest: Guest, text: str) -> Job:
    """Repeat a shell text until it is stopped."""
    return guest.start(f"while :; do {text}; echo again; done 2>/dev/null")


def stop(job: Job) -> None:
    """End it; it must have been at work."""
    job.kill()
    job.wait()
    assert "again" in job.out


def remove(guest: Guest, device: str) -> Job:
    """What hot-plug does for a device that is pulled out, and a guest's kernel for one that its hypervisor takes."""
    return guest.start(f"echo 1 >/sys/bus/pci/devices/{device}/remove")


def test_a_pf_is_pulled_out_under_load(boot: Boot, kernel: str) -> None:
    with boot(kernel, TWO_PFS) as guest:
        node = prepared(guest)
        job = load(guest)
        fault(guest, "unplugged")  # the first PF, before the kernel has noticed
        ends(node, "status")
        if kernel != "6.1":  # which has no heartbeat to ask for
            assert "QP-PF-003" in doctor(node)
        gone = remove(guest, PF0)  # waits for the program that has its VFs
        for _ in range(60):
            if "blocked until released by user" in guest.check("dmesg"):
                break
            time.sleep(1)
        found = doctor(node)
        assert "QP-PF-001" in found
        assert "held" in ends(node, SMOKE).out
        applied = ends(node, APPLY)
        assert "is being removed from its driver" in " ".join(applied.out.split())
        assert "0000:6b:00.1" not in applied.out, "a VF that is on its way out is not to be bound"
        assert gone.result is None
        job.kill()
        job.wait()
        gone.wait()
        assert list(node.pfs()) == [PF1]
        assert "Nothing to do" in node.qatprep(APPLY).out
        assert SIGNED in node.qatprep(SMOKE).out
        ends(node, "rollback --yes")


def test_a_pf_leaves_its_slot(boot: Boot, kernel: str) -> None:
    """Hot-plug takes VFs from the last to the first, as if they were none, and waits for the program that has one."""
    with boot(kernel, TWO_PFS) as guest:
        node = prepared(guest)
        hold(guest, vf(PF0, 0))
        slot = guest.check(f"grep -l {PF0[:-2]} /sys/bus/pci/slots/*/address").strip()
        gone = guest.start(f"echo 0 >{slot.removesuffix('address')}power")
        for _ in range(60):
            if "blocked until released by user" in guest.check("dmesg"):
                break
            time.sleep(1)
        assert doctor(node)["QP-SRIOV-001"] == ["2", "leads nowhere"]
        ends(node, "status")
        ends(node, SMOKE)
        applied = " ".join(ends(node, APPLY).out.split())
        assert f"PF {PF0} is being taken out of its slot: 1 of its 2 VFs is gone" in applied
        assert gone.result is None
        # Here the machine ends: QEMU 11.1 aborts when the slot loses its power (memory_region_del_subregion).


def test_a_vm_loses_a_vf_while_it_signs(boot: Boot, kernel: str) -> None:
    """A hypervisor takes a VF from its guest. On a host no VF can be removed alone."""
    with boot(kernel, Hardware(kind="emulated", pfs=0, vfs=2, memory=1024)) as guest:
        node = prepared(guest)
        first, second = sorted(v["device"] for v in node.json("device list")["vfs"])
        job = load(guest)
        gone = remove(guest, first)  # waits for the program that has it
        time.sleep(2)
        ends(node, "status")
        assert "held" in ends(node, SMOKE).out
        ends(node, APPLY)
        job.kill()
        job.wait()
        gone.wait()
        assert [v["device"] for v in node.json("device list")["vfs"]] == [second]
        assert SIGNED in node.qatprep(SMOKE).out
        assert "Nothing to do" in node.qatprep(APPLY).out
        ends(node, "rollback --yes")


def test_a_pf_restarts_again_and_again(boot: Boot, kernel: str) -> None:
    with boot(kernel, ONE_PF) as guest:
        node = prepared(guest)
        state = f"/sys/bus/pci/devices/{PF0}/qat/state"
        job = meanwhile(guest, f"echo down >{state}; echo up >{state}; sleep 1")
        for verb in ("status", SMOKE, APPLY, f"device services dc {PF0} --yes", f"device reset {PF0} --yes"):
            ends(node, verb)
        stop(job)
        assert SIGNED in node.qatprep("bootstrap --yes", timeout=HUNG).out
        assert not node.complaints()


def test_somebody_else_takes_vfs(boot: Boot, kernel: str) -> None:
    with boot(kernel, ONE_PF) as guest:
        node = prepared(guest)
        taken = vf(PF0, 0)
        device = f"/sys/bus/pci/devices/{taken}"
        # drivers/pci/pci-sysfs.c, pci_dev_hp_attrs_are_visible
        assert guest.run(f"test -e {device}/remove").status == 1
        job = meanwhile(
            guest,
            f"echo {taken} >{device}/driver/unbind; echo >{device}/driver_override; sleep 0.3;"
            f" echo vfio-pci >{device}/driver_override; echo {taken} >/sys/bus/pci/drivers_probe; sleep 0.3",
        )
        for verb in (SMOKE, f"device bind {taken} --yes", APPLY, f"device unbind {taken} --yes"):
            ends(node, verb)
        stop(job)
        number = f"/sys/bus/pci/devices/{PF0}/sriov_numvfs"
        job = meanwhile(guest, f"echo 0 >{number}; sleep 1; echo 2 >{number}; sleep 1")
        for verb in ("status", APPLY, f"device services dc {PF0} --yes", "rollback --yes"):
            ends(node, verb)
        stop(job)
        node.qatprep(APPLY, timeout=HUNG)  # 6.1 refuses 0 (EINVAL): there may be nothing left to do
        assert SIGNED in node.qatprep(SMOKE).out
        assert not node.complaints()
