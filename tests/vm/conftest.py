"""Guests for tests. Tests marked vm run when they are asked for (-m vm, or rig.py test); else they say why not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import kernels
from .errors import RigError
from .machine import Guest, Hardware
from .rig import guest

Boot = Callable[..., Guest]
FULL = bool(os.environ.get("QATPREP_VM_FULL"))
"""The long loops and every scenario on every kernel."""
full = pytest.mark.skipif(not FULL, reason="only in the full run: python3 tests/vm/rig.py test --full")
SERIES = os.environ.get("QATPREP_VM_KERNELS", kernels.DEFAULT).split(",")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = _why_not(config)
    for item in items:
        if item.get_closest_marker("vm") and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`kernel` stands for each kernel that was asked for."""
    if "kernel" in metafunc.fixturenames:
        metafunc.parametrize("kernel", SERIES)


def _why_not(config: pytest.Config) -> str:
    if "vm" not in str(config.option.markexpr):
        return "boots a kernel in QEMU: python3 tests/vm/rig.py test"
    if not shutil.which(os.environ.get("QATPREP_VM_QEMU", "qemu-system-x86_64")):
        return "QEMU is not installed: python3 tests/vm/rig.py setup"
    return ""


@pytest.fixture(scope="session")
def boot() -> Iterator[Boot]:
    """Start a guest: boot(series, Hardware(...), ...) as a context manager."""

    def start(series: str = kernels.DEFAULT, hardware: Hardware | None = None, **more: Any) -> Guest:
        try:
            return guest(series, hardware or Hardware(), **more)
        except RigError as e:
            # CI must not be green because the rig could not be built there.
            if os.environ.get("CI"):
                raise
            pytest.skip(f"the rig cannot be built here: {e}")

    yield start
