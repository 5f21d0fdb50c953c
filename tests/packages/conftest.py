"""What is made once for all tests of the packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def make(script: str, target: Path) -> Path:
    """Run a script of packaging/; what it made."""
    command = [sys.executable, str(ROOT / "packaging" / script), str(target)]
    if script in ("pyz.py", "deb.py") and importlib.util.find_spec("qatprep._native") is None:
        command.append("--without-native")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("pyz.py", tmp_path_factory.mktemp("pyz") / "qatprep.pyz")


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As /usr/share of a package."""
    return make("share.py", tmp_path_factory.mktemp("share"))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH that has qatprep, as completion calls it."""
    directory = tmp_path_factory.mktemp("bin")
    (directory / "qatprep").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m qatprep "$@"\n')
    (directory / "qatprep").chmod(0o755)
    return directory


def needs(name: str, package: str) -> str:
    """The path of a program; skips the test, saying which Debian package has it, where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {package})")
    return found


def bare_python() -> str:
    """The interpreter itself, not that of this environment."""
    return os.path.realpath(sys.executable)
