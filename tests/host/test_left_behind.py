"""A write that the kernel does not finish is left behind in a child of its own, which keeps nothing of ours."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qatprep.host.child import in_child
from qatprep.host.linux import LinuxHost

ATTRIBUTE = "sys/bus/attribute"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root with an attribute that takes no value until somebody reads from the other end."""
    fifo = tmp_path / ATTRIBUTE
    fifo.parent.mkdir(parents=True)
    os.mkfifo(fifo)
    yield tmp_path
    os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))  # whoever still waits goes on


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
from qatprep.host.child import in_child
from qatprep.host.linux import LinuxHost
with contextlib.suppress(TimeoutError):
    LinuxHost({str(root)!r}).write("/{ATTRIBUTE}", b"1", deadline=0.2)
print("done")
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.communicate(timeout=20)[0] == b"done\n"
        finally:
            assert (root / ATTRIBUTE).read_bytes() == b"1"


def test_ctrl_c_in_the_terminal_does_not_reach_a_child_that_writes() -> None:
    def work() -> bytes:
        os.kill(os.getpid(), signal.SIGINT)  # the terminal signals every process of its group
        return b"written"

    assert in_child(work, 5.0, 16) == b"written"
