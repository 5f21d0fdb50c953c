"""Files that the user names: what they are stays what it is, and nothing is read without end."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qatprep.errors import InputError, QatprepError
from qatprep.exits import ExitCode
from qatprep.host.user_files import read_file, write_file
from tests.conftest import qatprep

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make device nodes and other users' files")


def test_a_regular_file_is_replaced_as_a_whole_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with (tmp_path / "target").open() as old:
        write_file(str(tmp_path / "link"), b"new", mode=0o600)
        assert old.read() == "old"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o600


def test_a_fifo_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()), daemon=True)
    reader.start()
    write_file(str(path), b"through")
    reader.join()
    assert read == ["through"] and stat.S_ISFIFO(path.stat().st_mode)
    with pytest.raises(InputError, match="no regular file"):
        write_file(str(path), b"x", only_regular=True)


@ROOT
@pytest.mark.parametrize(("kind", "code"), [(stat.S_IFCHR, ExitCode.OK), (stat.S_IFBLK, ExitCode.USAGE)])
def test_a_device_stays_one(tmp_path: Path, kind: int, code: ExitCode) -> None:
    path = tmp_path / "device"
    os.mknod(path, kind | 0o666, os.makedev(1, 3) if kind == stat.S_IFCHR else os.makedev(259, 4095))
    before = path.stat()
    assert qatprep("capture", str(path), "--simulate", "no-qat").code == code
    after = path.stat()
    assert (after.st_mode, after.st_rdev, after.st_ino) == (before.st_mode, before.st_rdev, before.st_ino)


@ROOT
def test_the_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    os.lchown(tmp_path / "link", 65534, 65534)
    with pytest.raises(InputError, match="symbolic link of user 65534"):
        write_file(str(tmp_path / "link"), b"new")
    assert (tmp_path / "target").read_text() == "old"


@pytest.mark.parametrize("name", [".", "missing/x"])
def test_what_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(QatprepError, match="writ"):
        write_file(str(tmp_path / name), b"x")


def test_our_own_output_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    program = "from qatprep.host.user_files import write_file; write_file('/dev/stdout', b'data\\n')"
    with path.open("wb") as out:
        out.write(b"before\n")
        out.flush()
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
    assert path.read_text() == "before\ndata\n"


@pytest.mark.parametrize("path", ["/dev/zero", "{tmp}/large"])
def test_what_is_larger_than_the_limit_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2000)
    with pytest.raises(InputError, match="at most 1000 are read"):
        read_file(path.format(tmp=tmp_path), 1000, "the list")


@pytest.mark.parametrize("name", ["x.prom", "fifo.prom"])
def test_metrics_are_written_to_regular_files_alone(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo.prom")
    called = qatprep("metrics", "--write", str(tmp_path / name), "--simulate", "no-qat")
    assert called.code == (ExitCode.OK if name == "x.prom" else ExitCode.USAGE)


@ROOT
def test_metrics_are_not_written_where_another_user_says_where(tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "collector"
    folder.mkdir(parents=True)
    os.chown(tmp_path / "theirs", 65534, 65534)
    called = qatprep("metrics", "--write", str(folder / "x.prom"), "--simulate", "no-qat")
    assert called.code == ExitCode.ERROR and "belongs to user 65534" in called.err
    os.chown(folder.parent, 0, 0)
    os.chown(folder, 65534, 65534)  # the collector's own folder
    assert qatprep("metrics", "--write", str(folder / "x.prom"), "--simulate", "no-qat").code == ExitCode.OK
