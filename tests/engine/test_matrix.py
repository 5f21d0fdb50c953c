"""Every host that can be fixed, on every kernel of the model: bootstrap leaves what its story says, and no more."""

from __future__ import annotations

import pytest

from qatprep.checks.base import Profile
from qatprep.checks.registry import evaluate
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.facts import gather
from qatprep.findings import Status
from qatprep.hardware import BY_PF_ID
from qatprep.simulator.scenarios import Scenario, scenarios
from tests.conftest import some

KERNELS = ("5.17", "6.1", "6.6", "6.12", "6.17", "7.2")
CONFIG = NodeConfig(smoke=False)
MENDED = [scenario for scenario in scenarios() if scenario.after is not None]
TOO_OLD = {"QP-KRN-001", "QP-PF-001", "QP-SRIOV-001", "QP-FW-001"}
"""What may be left on a kernel that does not know the device, or cannot set its services or unpack its firmware."""


@pytest.mark.parametrize(
    ("scenario", "kernel"),
    [
        pytest.param(scenario, kernel, id=f"{scenario.name}-{kernel}")
        for n, scenario in enumerate(MENDED)
        for kernel in some(KERNELS, 6, n % 6)
    ],
)
def test_mended(scenario: Scenario, kernel: str) -> None:
    host = open_host("/", f"{scenario.name}@{kernel}")
    result = bootstrap(host, CONFIG)
    facts = gather(host)
    report = evaluate(facts, CONFIG, Profile.QAT)
    found = {
        status: {finding.id for finding in report.findings if finding.status == status}
        for status in (Status.FAIL, Status.WARN, Status.UNKNOWN)
    }
    assert scenario.after is not None
    version = tuple(int(part) for part in kernel.split("."))
    known = version >= (6, 0) and all(version >= BY_PF_ID[pf.family.pf_id].since for pf in facts.pci.pfs)
    if known:
        assert result.status in ("applied", "unchanged"), result.failure
        assert found[Status.FAIL] == set(scenario.after.fail)
        assert found[Status.WARN] == set(scenario.after.warn)
    else:
        assert found[Status.FAIL] <= set(scenario.after.fail) | TOO_OLD
    assert bootstrap(host, CONFIG).status == ("rolled back" if result.status == "rolled back" else "unchanged")
