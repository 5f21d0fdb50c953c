"""A write that the kernel does not finish is left behind in a child of its own, which keeps nothing of ours."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qatprep.host.linux import LinuxHost

ATTRIBUTE = "sys/bus/attribute"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with an attribute that takes no value until somebody reads from the other end."""
    (tmp_path / "sys/bus").mkdir(parents=True)
    os.mkfifo(tmp_path / ATTRIBUTE)
    return tmp_path


def test_the_lock_is_free_again_while_the_write_still_waits(root: Path) -> None:
    host = LinuxHost(str(root))
    with host.lock("/run/lock"), pytest.raises(OSError) as caught:
        host.write(f"/{ATTRIBUTE}", b"1", deadline=0.2)
    assert caught.value.errno == errno.ETIMEDOUT
    with host.lock("/run/lock"):
        pass
    assert (root / ATTRIBUTE).read_bytes() == b"1"  # now it goes through


def test_whoever_reads_our_output_sees_its_end(root: Path) -> None:
    program = f"""
import contextlib
from qatprep.host.linux import LinuxHost
with contextlib.suppress(TimeoutError):
    LinuxHost({str(root)!r}).write("/{ATTRIBUTE}", b"1", deadline=0.2)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "done\n"
    assert (root / ATTRIBUTE).read_bytes() == b"1"
