"""What each verb says of a PF that vanishes, resets itself, or whose VFs somebody takes while it is at work."""

from __future__ import annotations

import pytest

from qatprep.simulator.faults import Fault
from tests.conftest import qatprep
from tests.faults.journeys import BY_NAME, PF, small
from tests.faults.meanwhile import ACTS

AT = {"bootstrap": 14, "device services": 9, "device vfs remove": 5, "device reset": 8, "device unbind": 5}
"""A write to the device in the middle of each."""


@pytest.mark.parametrize("name", AT)
def test_a_pf_that_is_pulled_out_in_the_middle(name: str) -> None:
    """The command fails, says at which path, and does not say that the host is as it was where it is not known."""
    host = BY_NAME[name].host("6.12", Fault("act", AT[name], act=ACTS["unplugged"]))
    called = qatprep(*BY_NAME[name].argv, "--yes", host=host)
    assert called.code in (4, 5), called.out + called.err
    said = called.out + called.err
    assert "is no longer on the PCI bus" in said and "host is as it was" not in said, said
    after = qatprep("doctor", "--profile", "qat", host=host)
    assert after.code == 3 and PF not in qatprep("device", "list", host=host).out
    assert "QP-DEV-001" in after.out


@pytest.mark.parametrize("act", ["resets itself", "firmware hangs"])
def test_doctor_names_the_pf_whose_firmware_stopped_in_the_middle(act: str) -> None:
    host = BY_NAME["bootstrap"].host("6.12", Fault("act", 24, act=ACTS[act]))
    called = qatprep("bootstrap", "--no-smoke", "--yes", "-o", "json", host=host)
    document = called.json
    assert document["status"] in ("applied", "rolled back", "partial")
    if act == "firmware hangs":
        assert PF in qatprep("doctor", "--profile", "qat", host=host).out


def test_a_vf_that_was_given_away_in_the_middle_is_not_taken_back() -> None:
    """Undoing would wait for the program that has it open: what stays is named, and goes once the program has ended."""
    journey = BY_NAME["bootstrap"]
    faults = [Fault("act", 24, act=ACTS["VF taken"]), Fault("errno", 26, 5, times=1)]
    host = journey.host("6.12", *faults)
    document = qatprep("bootstrap", "--no-smoke", "--yes", "-o", "json", host=host).json
    assert document["status"] in ("partial", "applied", "rolled back")
    if document["status"] == "partial":
        assert any(line.startswith("0000:6b:00.") for line in document["not_undone"])
        refused = qatprep("rollback", "--yes", host=host)
        assert refused.code == 1 and "envoy (process 777" in refused.err
    host.end_process(777)
    assert qatprep("rollback", "--yes", host=host).code == 0


def test_an_unplugged_pf_is_gone_from_the_model_with_its_vfs() -> None:
    host = small("6.12", ready=True)
    host.model.unplug(PF)
    assert not [name for name in host.listdir("/sys/bus/pci/devices") if name.startswith("0000:6b:")]
    assert not host.exists("/dev/vfio/devices") or host.listdir("/dev/vfio/devices") == []
    assert "Card not present" in host.kernel_log().text
