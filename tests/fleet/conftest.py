"""What the tests of the fleet share: the single file, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.lab import ROOT, program


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pyz") / "qatprep.pyz"
    subprocess.run([sys.executable, str(ROOT / "packaging" / "pyz.py"), str(target)], check=True)
    return target


@pytest.fixture(scope="session")
def ansible() -> None:
    if program("ansible-playbook") is None:
        pytest.skip("ansible-core is not installed (pip install ansible-core)")
