"""The judges of tools.txt; tests that need them skip, saying why, where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import Unavailable, get


@pytest.fixture(scope="session")
def tools() -> Path:
    """The bin directory with envoy, kubernetes-validate and a python that has xds-protos.

    QATPREP_OFFLINE=1 uses only what is there already.
    """
    try:
        return get("mesh") / "bin"
    except Unavailable as e:
        pytest.skip(f"no judges for what is rendered: {e}")
