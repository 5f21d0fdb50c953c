"""What the tests of the fleet share: the single file, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.lab import program
from tests.packages.conftest import make


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("pyz.py", tmp_path_factory.mktemp("pyz") / "qatprep.pyz")


@pytest.fixture(scope="session")
def ansible() -> None:
    if program("ansible-playbook") is None:
        pytest.skip("ansible-core is not installed (pip install ansible-core)")
