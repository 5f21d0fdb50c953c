"""The judges of tools.txt; tests that need them skip, saying why, where they cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mesh.tools import Unavailable, directory, make, ready


@pytest.fixture(scope="session")
def tools() -> Path:
    """The bin directory with envoy, kubernetes-validate and a python that has xds-protos.

    QATPREP_OFFLINE=1 uses only what is there already.
    """
    found = ready()
    if found is not None:
        return found
    if os.environ.get("QATPREP_OFFLINE"):
        pytest.skip(f"no judges in {directory()}, and QATPREP_OFFLINE is set")
    try:
        return make()
    except Unavailable as e:
        pytest.skip(f"no judges for what is rendered: {e}")
