"""A write that the kernel does not finish is left behind in a child of its own, which keeps nothing of ours."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qatprep.host.child import Helpers
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


def test_what_was_to_follow_a_write_that_was_left_behind_is_never_done(root: Path) -> None:
    (root / "after").write_bytes(b"old")
    host = LinuxHost(str(root))
    done, error = host.write_in_turn(((f"/{ATTRIBUTE}", b"1"), ("/after", b"new")), deadline=0.2)
    assert done == 0 and error and (error.errno, error.filename) == (errno.ETIMEDOUT, f"/{ATTRIBUTE}")
    assert (root / ATTRIBUTE).read_bytes() == b"1"  # it goes through, and whoever wrote it ends
    time.sleep(0.2)
    assert (root / "after").read_bytes() == b"old"
    assert host.write_in_turn((("/after", b"new"),), deadline=5) == (1, None)  # by another helper
    assert (root / "after").read_bytes() == b"new"


def test_whoever_reads_our_output_sees_its_end(root: Path) -> None:
    program = f"""
import contextlib
from qatprep.host.linux import LinuxHost
with contextlib.suppress(TimeoutError):
    LinuxHost({str(root)!r}).write("/{ATTRIBUTE}", b"1", deadline=0.2)
print("done")
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.communicate(timeout=120)[0] == b"done\n"
        finally:
            assert (root / ATTRIBUTE).read_bytes() == b"1"


def test_ctrl_c_in_the_terminal_does_not_reach_a_child_that_writes(root: Path) -> None:
    helpers = Helpers()
    (root / "file").write_bytes(b"")
    assert helpers.ask(b"r", str(root / "file"), limit=16, deadline=5.0) == b""
    (helper,) = helpers._idle
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(helper.pid, number)  # the terminal signals every process of its group
    helpers.ask(b"w", str(root / "file"), b"written", deadline=5.0)
    assert helpers.ask(b"r", str(root / "file"), limit=16, deadline=5.0) == b"written"
    assert helpers._idle == [helper]


def test_one_child_serves_many_calls_and_errors_are_the_kernels(root: Path) -> None:
    helpers = Helpers()
    (root / "file").write_bytes(b"x" * 100_000)
    assert helpers.ask(b"r", str(root / "file"), limit=100_000, deadline=5.0) == b"x" * 100_000
    with pytest.raises(OSError, match="too large") as refused:
        helpers.ask(b"r", str(root / "file"), limit=70_000, deadline=5.0)
    assert refused.value.errno == errno.EFBIG
    for path, number in (("absent", errno.ENOENT), ("sys", errno.EISDIR)):
        with pytest.raises(OSError) as caught:
            helpers.ask(b"w", str(root / path), b"1", deadline=5.0)
        assert caught.value.errno == number
    assert len(helpers._idle) == 1
    # One that does not answer in time is given up, and the next call gets another.
    with pytest.raises(TimeoutError):
        helpers.ask(b"w", str(root / ATTRIBUTE), b"1", deadline=0.2)
    assert helpers._idle == []
    assert helpers.ask(b"r", str(root / "file"), limit=100_000, deadline=5.0) == b"x" * 100_000
    assert (root / ATTRIBUTE).read_bytes() == b"1"


def test_many_files_are_read_by_one_child_until_one_blocks(root: Path) -> None:
    for number in range(300):
        (root / f"file{number}").write_bytes(b"x" * number * 100)
    host = LinuxHost(str(root))
    paths = [f"/file{number}" for number in range(300)]
    found = host.read_all([*paths, "/absent"], deadline=5.0)
    assert [found[path] for path in paths] == [b"x" * number * 100 for number in range(300)]
    absent = found["/absent"]
    assert isinstance(absent, OSError) and absent.errno == errno.ENOENT
    assert len(host._helpers._idle) == 1
    found = host.read_all([paths[1], f"/{ATTRIBUTE}", paths[2]], deadline=0.2)
    assert (found[paths[1]], found[paths[2]]) == (b"x" * 100, b"x" * 200)
