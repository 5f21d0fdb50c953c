"""Whom root believes: every folder, link and file on a path, and the files that are root's alone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import PATH, NodeConfig
from qatprep.engine import journal
from qatprep.engine.bootstrap import bootstrap
from qatprep.engine.run import LOCK
from qatprep.errors import Locked, QatprepError
from qatprep.exits import ExitCode
from qatprep.host import manifest, private
from qatprep.host.capture import Capture
from qatprep.host.linux import LinuxHost
from qatprep.host.trust import doubt
from tests.conftest import qatprep

TREE = """# qatprep host 1
/etc/plain = x
/etc/users [0644 1000:1000] = x
/etc/grouped [0664 0:50] = x
/etc/all [0666] = x
/home/u [0755 1000:1000] /
/home/u/file = x
/open [0777] /
/open/file = x
/tmp [1777] /
/tmp/file = x
/tmp/theirs [0644 1000:1000] = x
/staff [2775 0:50] /
/staff/bin/x [0755] = x
/links/good -> ../etc/plain
/links/home -> /home/u/file
/links/round -> round
/links/theirs [0777 1000:1000] -> /etc/plain
"""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/plain", ""),
        ("/etc/not-there-yet", ""),
        ("/not/there/yet", ""),
        ("/etc/../etc/./plain", ""),
        ("/links/good", ""),
        ("/tmp/file", ""),
        ("/etc/users", "/etc/users belongs to user 1000"),
        ("/etc/grouped", "/etc/grouped is writable by group 50 (mode 0664)"),
        ("/etc/all", "/etc/all is writable by every user (mode 0666)"),
        ("/home/u/file", "/home/u belongs to user 1000"),
        ("/home/u/not-there", "/home/u belongs to user 1000"),
        ("/open/file", "/open is writable by every user (mode 0777)"),
        ("/tmp", "/tmp is writable by every user (mode 1777)"),
        ("/tmp/theirs", "/tmp/theirs belongs to user 1000"),
        ("/tmp/not-there", "/tmp is writable by every user, who can make /tmp/not-there there"),
        ("/staff/bin/x", "/staff is writable by group 50 (mode 2775)"),
        ("/links/home", "/home/u belongs to user 1000"),
        ("/links/round", "/links/round has too many symbolic links"),
        ("/links/theirs", "/links/theirs belongs to user 1000"),
    ],
)
def test_a_path_is_believed_when_root_alone_can_change_it(path: str, why: str) -> None:
    assert doubt(Capture(manifest.parse(TREE, "x"), "x"), path) == why


@pytest.mark.parametrize(
    ("path", "mode", "uid", "call"),
    [
        ("/var/lib/qatprep", 0o777, 0, ("rollback",)),
        (journal.DIRECTORY, 0o755, 1000, ("rollback",)),
        (journal.DIRECTORY, 0o770, 0, ("device", "unbind", "6b:00.1")),
        ("/run", 0o777, 0, ("bootstrap", "--yes")),
        (PATH, 0o666, 0, ("plan",)),
        ("/etc", 0o777, 0, ("plan",)),
    ],
)
def test_what_others_can_write_is_refused_at_every_use(path: str, mode: int, uid: int, call: tuple[str, ...]) -> None:
    host = open_host("/", "spr-2s")
    bootstrap(host, NodeConfig(smoke=False))
    host.mkdir(PATH.rsplit("/", 1)[0])
    host.replace(PATH, b"version: 1\n")
    host.chmod(path, mode)
    host.chown(path, uid, 0)
    refused = qatprep(*call, host=host)
    assert refused.code == ExitCode.ERROR
    assert path in refused.err and "refused" in refused.err


def test_a_planted_journal_is_refused_and_its_file_not_written() -> None:
    host = open_host("/", "spr-2s")
    run = bootstrap(host, NodeConfig(smoke=False)).run
    host.chown(f"{journal.DIRECTORY}/{run}.jsonl", 1000, 0)
    refused = qatprep("rollback", host=host)
    assert refused.code == ExitCode.ERROR and "belongs to user 1000" in refused.err


@pytest.fixture
def anything_goes() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("anything_goes")
def test_modes_are_exact_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "sys/bus").mkdir(parents=True)
    for umask in (0, 0o077, 0o777):
        os.umask(umask)
        host = LinuxHost(str(tmp_path))
        host.mkdir(f"/{umask}/lib/own", mode=0o700)
        host.append(f"/{umask}/lib/own/journal", b"x")
        with host.lock(f"/{umask}/run/lock"):
            modes = [
                host.stat(f"/{umask}{path}").mode for path in ("", "/lib", "/lib/own", "/lib/own/journal", "/run/lock")
            ]
        assert modes == [0o755, 0o755, 0o700, 0o600, 0o600]


@pytest.mark.parametrize("kind", ["link", "fifo", "open"])
def test_a_file_of_roots_alone_is_nothing_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "link":
        (tmp_path / "target").write_text("x")
        path.symlink_to("target")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("x")
        path.chmod(0o666)
    with pytest.raises(OSError):
        os.close(private.open_file(str(path), os.O_RDWR))


def test_the_lock_names_its_holder_by_the_kernel_and_not_by_its_text(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("1\n")
    path.chmod(0o600)
    program = f"import fcntl, time; f = open({str(path)!r}, 'r+'); fcntl.flock(f, fcntl.LOCK_EX); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program]) as holder:
        try:
            (tmp_path / "sys/bus").mkdir(parents=True)
            host = LinuxHost(str(tmp_path))
            while not host.held("/lock"):
                assert holder.poll() is None
                time.sleep(0.01)
            with pytest.raises(Locked) as refused, host.lock("/lock"):
                pass
            assert f"process {holder.pid}" in refused.value.message
        finally:
            holder.kill()
    assert not host.held("/lock")
    with host.lock("/lock"):
        assert host.held("/lock")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's lock needs root to set up")
def test_a_lock_that_others_could_open_is_exchanged(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(0o644)
    fd = os.open(path, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        fcntl.flock(fd, fcntl.LOCK_EX)
        time.sleep(60)
        os._exit(0)
    try:
        while private.lock_holder(os.stat(path)) is None:
            time.sleep(0.01)
        os.close(private.take_lock(str(path)))
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(fd)


@pytest.mark.parametrize(
    ("mode", "owner", "status"),
    [(0o1777, None, "applied"), (0o1777, 0, "applied"), (0o1777, 1000, ""), (0o777, None, "")],
)
def test_the_lock_is_roots_own_wherever_run_is(mode: int, owner: int | None, status: str) -> None:
    host = open_host("/", "spr-2s")
    host.mkdir("/run")
    host.chmod("/run", mode)
    if owner is not None:
        host.replace(LOCK, b"", mode=0o600, uid=owner)
    if status:
        assert bootstrap(host, NodeConfig(smoke=False)).status == status
        return
    with pytest.raises(QatprepError, match=LOCK):
        bootstrap(host, NodeConfig(smoke=False))
