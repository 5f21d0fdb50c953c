"""A kernel older than a device's driver, with the module loaded by hand: the PFs have no driver and the log is silent.
The kernel is the cause, and bootstrap does not try what cannot work."""

from __future__ import annotations

import pytest

from qatprep.hardware import FAMILIES
from qatprep.simulator.kernel import OLDEST
from tests.conftest import qatprep

HOSTS = {"401xx": "emr-2s", "402xx": "gnr-2s", "420xx": "gnr-d-420xx", "6xxx": "gen6-6xxx"}
SERIES = (OLDEST, (5, 17), (6, 1), (6, 6), (6, 12))
NEWER = [(f.name, series) for f in FAMILIES for series in SERIES if f.since > series]


def test_every_family_that_a_modelled_kernel_may_lack_has_a_host() -> None:
    assert {name for name, _ in NEWER} == set(HOSTS)


@pytest.mark.parametrize(("family", "series"), NEWER)
def test_the_kernel_is_the_cause(family: str, series: tuple[int, int]) -> None:
    host = f"{HOSTS[family]}@{series[0]}.{series[1]}"
    doctor = qatprep("doctor", "--profile", "qat", "--simulate", host).out
    assert "QP-KRN-001 FAIL" in doctor and "is older than the driver" in doctor and "QP-PF-001" not in doctor
    assert "fix      qatprep bootstrap" not in doctor
    done = qatprep("bootstrap", "--yes", "--simulate", host)
    assert done.code == 3 and "Nothing was changed" in done.out + done.err
