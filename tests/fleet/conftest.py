"""What the tests of the fleet share: the single file, made once, and qatprep as it is installed on a node."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fleet.lab import ROOT, program, script
from tests.packages.conftest import make


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("pyz.py", tmp_path_factory.mktemp("pyz") / "qatprep.pyz")


@pytest.fixture(scope="session")
def ansible() -> None:
    if program("ansible-playbook") is None:
        pytest.skip("ansible-core is not installed (pip install ansible-core)")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for PATH: qatprep as it is installed on a node."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script(directory / "qatprep", f'PYTHONPATH={ROOT} exec {sys.executable} -m qatprep "$@"')
    return directory
