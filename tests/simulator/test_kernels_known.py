"""Kernels that --simulate takes: those whose sources were looked at."""

from __future__ import annotations

import pytest

from qatprep.exits import ExitCode
from tests.conftest import qatprep


@pytest.mark.parametrize("kernel", ["9.9", "6.20", "7.3", "5.10", "4.19.1", "5.20"])
def test_a_kernel_that_is_not_modelled_is_refused(kernel: str) -> None:
    called = qatprep("device", "list", "--simulate", f"no-qat@{kernel}")
    assert called.code == ExitCode.USAGE
    assert f"kernel {kernel}" in called.err and "5.11 to 7.2" in called.err


@pytest.mark.parametrize("kernel", ["5.11", "6.19", "7.0", "7.2", "6.12.1"])
def test_others_are_taken(kernel: str) -> None:
    assert qatprep("device", "list", "--simulate", f"no-qat@{kernel}").code == ExitCode.OK
