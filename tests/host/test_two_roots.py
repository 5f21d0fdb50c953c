"""One host by two paths has one lock; two hosts below two roots have two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qatprep.engine.run import LOCK
from qatprep.errors import Locked
from qatprep.host.linux import LinuxHost

HOLD = """
import sys
from qatprep.host.linux import LinuxHost
with LinuxHost(sys.argv[1]).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name / "sys/bus").mkdir(parents=True)
    (tmp_path / "also-one").symlink_to(tmp_path / "one")
    return tmp_path


def test_the_lock_belongs_to_the_host_and_not_to_its_path(root: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(root / "one"), LOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=f"process {process.pid}"), LinuxHost(str(root / "also-one")).lock(LOCK):
            pass
        with LinuxHost(str(root / "two")).lock(LOCK):
            assert LinuxHost(str(root / "one")).held(LOCK)
        process.communicate()
    with LinuxHost(str(root / "also-one")).lock(LOCK):
        assert os.path.exists(root / "one" / LOCK.lstrip("/"))
