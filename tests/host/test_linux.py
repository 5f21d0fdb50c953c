"""The Linux host on a directory that looks like one: reads in a child, links that stay below the root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from qatprep.host.base import TooLarge
from qatprep.host.linux import LinuxHost


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sys/bus").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_reads_with_a_deadline_give_what_plain_ones_do(root: Path) -> None:
    (root / "etc/one").write_text("1\n")
    (root / "etc/long").write_bytes(b"x" * 5000)
    host = LinuxHost(str(root))
    assert host.read("/etc/one", deadline=5) == host.read("/etc/one") == b"1\n"
    found = host.read_all(["/etc/one", "/etc/none", "/etc/long"], deadline=5)
    assert found["/etc/one"] == b"1\n" and found["/etc/long"] == b"x" * 5000
    missing = found["/etc/none"]
    assert isinstance(missing, OSError) and missing.errno == errno.ENOENT


def test_writes_in_turn_stop_at_the_first_that_fails(root: Path) -> None:
    def texts() -> list[str]:
        return [(root / "etc" / name).read_text() for name in ("one", "two", "three")]

    for name in ("one", "two", "three"):
        (root / "etc" / name).write_text("old")
    host = LinuxHost(str(root))
    assert host.write_in_turn((("/etc/one", b"new"), ("/etc/two", b"new")), deadline=5) == (2, None)
    assert texts() == ["new", "new", "old"]
    done, error = host.write_in_turn((("/etc/one", b"yet"), ("/etc/none", b"yet"), ("/etc/three", b"yet")), deadline=5)
    assert done == 1 and isinstance(error, FileNotFoundError) and error.filename == "/etc/none"
    assert texts() == ["yet", "new", "old"]
    many = [("/etc/one", f"{n:03}".encode()) for n in range(150)]
    assert host.write_in_turn([*many, ("/etc/none", b""), *many], deadline=5)[0] == 150
    assert texts() == ["149", "new", "old"]
    assert host.read("/etc/two", deadline=5) == b"new"  # no answer is left over


def test_links_do_not_lead_out_of_the_root(root: Path) -> None:
    (root / "etc/passwd").write_text("inside\n")
    (root / "etc/absolute").symlink_to("/etc/passwd")
    (root / "etc/up").symlink_to("../../../../../../etc/passwd")
    (root / "etc/loop").symlink_to("loop")
    host = LinuxHost(str(root))
    assert host.read("/etc/absolute") == host.read("/etc/up") == b"inside\n"
    assert host.realpath("/etc/absolute") == "/etc/passwd"
    with pytest.raises(OSError) as caught:
        host.read("/etc/loop")
    assert caught.value.errno == errno.ELOOP


def test_errors_name_the_path_on_the_host(root: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        LinuxHost(str(root)).read("/sys/nothing")
    assert caught.value.filename == "/sys/nothing"


def test_what_a_killed_process_left_is_in_nobodys_way(root: Path) -> None:
    """A temporary file of a process that had our number, as at the next boot."""
    (root / f"sys/rules.qatprep.{os.getpid()}").write_text("half")
    host = LinuxHost(str(root))
    host.replace("/sys/rules", b"whole\n")
    assert (root / "sys/rules").read_bytes() == b"whole\n"
    assert not list(root.glob("sys/rules.qatprep*"))


@pytest.mark.parametrize("deadline", [None, 5.0])
@pytest.mark.parametrize("size", [1000, 1001, 5000])
def test_a_file_is_read_whole_or_refused(tmp_path: Path, size: int, deadline: float | None) -> None:
    (tmp_path / "sys/bus").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"x" * size)
    host = LinuxHost(str(tmp_path))
    if size <= 1000:
        assert len(host.read("/file", limit=1000, deadline=deadline)) == size
        return
    with pytest.raises(TooLarge, match=f"the file has {size} bytes, at most 1000 are read") as refused:
        host.read("/file", limit=1000, deadline=deadline)
    assert refused.value.filename == "/file"
