"""What root runs at boot or loads is what nobody but root can change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qatprep.crypto import native
from qatprep.errors import QatprepError
from qatprep.exits import ExitCode
from qatprep.facts import persist
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.persist.hosts import PROGRAM, installed

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make files of other users")
FOLDER, FILE = PROGRAM.rsplit("/", 1)[0], PROGRAM


@pytest.mark.parametrize(
    ("path", "uid", "mode", "why"),
    [
        (FILE, 1000, 0o755, f"{FILE} belongs to user 1000"),
        (FILE, 0, 0o775, f"{FILE} is writable by group 0 (mode 0775)"),
        (FOLDER, 0, 0o777, f"{FOLDER} is writable by every user (mode 0777)"),
        (FOLDER, 1000, 0o755, f"{FOLDER} belongs to user 1000"),
    ],
)
def test_no_unit_starts_what_others_can_change(path: str, uid: int, mode: int, why: str) -> None:
    host = installed()
    host.chown(path, uid, 0)
    host.chmod(path, mode)
    called = qatprep("bootstrap", "--no-smoke", host=host)
    assert why in called.out
    assert host.tree.find(persist.APPLY) is None
    (found,) = qatprep("doctor", "--only", "QP-PERS-001", "-o", "json", host=host).json["findings"]
    assert found["status"] == "warn" and found["evidence"][0]["value"] == why
    assert "/usr/local/bin" in found["fix"][0]


def test_a_unit_whose_program_others_can_change_by_now_is_a_failure() -> None:
    host = installed()
    assert qatprep("bootstrap", "--no-smoke", host=host).code == ExitCode.OK
    host.chmod(PROGRAM, 0o757)
    (found,) = qatprep("doctor", "--only", "QP-PERS-002", "-o", "json", host=host).json["findings"]
    assert found["status"] == "fail" and "writable by every user" in found["evidence"][1]["value"]


def test_a_capture_tells_what_the_host_told() -> None:
    host = installed()
    assert isinstance(host, SimulatedHost)
    host.chmod(PROGRAM, 0o757)
    assert f"program-doubt = {PROGRAM} is writable by every user" in qatprep("capture", host=host).out


@ROOT
@pytest.mark.parametrize("part", ["program", "folder", "package"])
def test_of_this_machine_the_interpreter_and_the_packages_count(tmp_path: Path, part: str) -> None:
    """As for a virtual environment: the program, its folder, and a folder that Python takes code from."""
    folder, package = tmp_path / "bin", tmp_path / "packages"
    folder.mkdir()
    package.mkdir()
    program = folder / "qatprep"
    program.write_text("#!/usr/bin/python3\n")
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from qatprep.host.launcher import program_doubt; from qatprep.host.linux import LinuxHost\n"
        "print(program_doubt(LinuxHost(), (sys.argv[2],)))"
    )

    def ask() -> str:
        command = [sys.executable, "-c", code, str(package), str(program)]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.strip()

    if ask():
        pytest.skip(f"this checkout is not root's alone: {ask()}")
    changed = {"program": program, "folder": folder, "package": package}[part]
    os.chown(changed, 65534, 65534)
    assert ask() == f"{changed} belongs to user 65534"


@ROOT
def test_root_loads_no_library_that_others_can_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libqat.so.4"
    library.write_bytes(b"")
    library.chmod(0o666)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    for name in (str(library), library.name):
        native.require_trusted.cache_clear()
        with pytest.raises(QatprepError, match="writable by every user"):
            native.require_trusted(name)
    library.chmod(0o644)
    native.require_trusted.cache_clear()
    native.require_trusted(library.name)
    native.require_trusted("libnone-of-this-name.so")
    native.require_trusted.cache_clear()
