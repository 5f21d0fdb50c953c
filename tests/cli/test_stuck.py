"""A write that waits in the kernel for the holder of a VF: every verb still comes to an end and says what it sees."""

from __future__ import annotations

import errno

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep

PF = "0000:6b:00.0"
HELD = "0000:6b:00.3"
WRITES = {
    "state": (f"/sys/bus/pci/devices/{PF}/qat/state", b"down"),
    "PF": ("/sys/bus/pci/drivers/4xxx/unbind", PF.encode()),
    "VF": ("/sys/bus/pci/drivers/vfio-pci/unbind", HELD.encode()),
}
VERBS = ("doctor", "plan", "status", "device list", "device list --all", "bootstrap", "rollback --list")
CHANGES = (f"device vfs remove {PF} --yes", f"device unbind {HELD}", "device bind 6b:00.*")


@pytest.mark.parametrize("kernel", ["6.1", "7.2"])
@pytest.mark.parametrize("what", WRITES)
def test_no_verb_waits_without_end(kernel: str, what: str) -> None:
    host = open_host("/", f"vf-held@{kernel}")
    assert isinstance(host, SimulatedHost)
    with pytest.raises(OSError) as caught:
        host.write(*WRITES[what], deadline=5)
    assert caught.value.errno == errno.ETIMEDOUT
    for verb in VERBS + CHANGES:
        started = host.now()
        called = qatprep(*verb.split(), host=host)
        assert called.code in (ExitCode.OK, ExitCode.ERROR, ExitCode.FINDINGS, ExitCode.ROLLED_BACK), (verb, called.err)
        assert "mistake" not in called.err, (verb, called.err)
        assert host.now() - started < 60, verb


def test_what_it_waits_for_is_named_and_then_it_goes_on() -> None:
    host = open_host("/", "vf-held@6.1")
    assert isinstance(host, SimulatedHost)
    with pytest.raises(OSError):
        host.write(*WRITES["state"], deadline=5)
    left = qatprep("bootstrap", host=host)
    assert left.code == ExitCode.FINDINGS
    assert "sriov_numvfs: blocked in the kernel" in left.out
    refused = qatprep("device", "vfs", "remove", PF, "--yes", host=host)
    assert refused.code == ExitCode.ERROR
    assert "envoy (process 4711" in refused.err
    host.end_process(4711)
    assert qatprep("bootstrap", host=host).code == ExitCode.OK
