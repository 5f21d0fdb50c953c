"""`qat-emulator run`: VFIO as a program sees it, without libqat; and how the program ends when something is missing."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qat_emulator import VERSION, namespace
from qat_emulator.errors import EmulatorError
from qat_emulator.faults import TABLE
from qat_emulator.run import unpacked

CLIENT = str(Path(__file__).with_name("vfio_client.py"))
DEADLINE = 60


def emulator(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qat_emulator", *arguments],
        capture_output=True, text=True, timeout=DEADLINE, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def namespaces() -> None:
    done = emulator("run", "--", "true")
    if done.returncode and "namespace" in done.stderr:
        pytest.skip(done.stderr.strip())


@pytest.mark.usefixtures("namespaces")
def test_vfio_is_answered_as_linux_answers_it(tmp_path: Path) -> None:
    record = tmp_path / "record"
    done = emulator("run", "--vfs", "2", "--record", str(record), "--", sys.executable, CLIENT)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {
        "second open": "EBUSY",
        "other group": "none",
        "status": 3,
        "other device": "ENODEV",
        "regions": [[7, 0x8000], [0, 0], [7, 0x2000], [0, 0], [0, 0], [0, 0], [0, 0], [3, 0x1000], [0, 0]],
        "beyond": "EINVAL",
        "read back": 0xABCD,
        "pread": "01020304",
        "config": "86804149",
        "odd write": "EINVAL",
        "outside": "EINVAL",
        "map": ["none", "EEXIST", "EINVAL"],
        "memory kept": "hello",
        "unmapped": 8192,
        "busy": "EBUSY",
        "mapped still": "EBUSY",
        "closed": "none",
        "free again": "none",
        "who": [os.getuid(), os.getgid()],
        "core limit": True,
        "devices": ["0000:01:00.0", "0000:02:00.0"],
        "machine": True,
    }
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["offset"], line["size"], line["value"]) for line in lines if line["what"] == "write"] == [
        (0x108, 1, 0x88),
        (0x110, 2, 0x7788),
        (0x120, 4, 0x55667788),
        (0x140, 8, 0x1122334455667788),
        (0x1004, 4, 0xABCD),
        (0x200, 4, 0x04030201),
    ]


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("fault", "what", "seen"),
    [
        ("memlock=4", "map", ["ENOMEM", "ENOMEM", "EINVAL"]),
        ("smallbars", "regions", [[7 * (n in (0, 2)) or 3 * (n == 7), 4096 * (n in (0, 2, 7))] for n in range(9)]),
        ("unviable", "status", None),
    ],
)
def test_faults_of_vfio(fault: str, what: str, seen: object) -> None:
    done = emulator("run", "--vfs", "2", "--fault", fault, "--", sys.executable, CLIENT)
    if seen is None:
        assert "Operation not permitted" in done.stderr, "the group cannot be given a container"
        return
    assert json.loads(done.stdout)[what] == seen


@pytest.mark.usefixtures("namespaces")
def test_an_answer_makes_an_interrupt() -> None:
    done = emulator("run", "--", sys.executable, CLIENT, "calculate")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"interrupt": True, "opaque": 7, "flags": 0, "result": 32}
    assert "took 1 requests, gave 1 answers: 1 DH_G2_768" in done.stderr


@pytest.mark.usefixtures("namespaces")
def test_statuses_are_those_of_the_command() -> None:
    assert emulator("run", "--", "sh", "-c", "exit 7").returncode == 7
    assert emulator("run", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert emulator("run", "--", sys.executable, CLIENT, "segv").returncode == 128 + 11, "its own fault stays its own"


@pytest.mark.usefixtures("namespaces")
def test_the_machine_is_not_changed() -> None:
    before = sorted(os.listdir("/sys/bus")), sorted(os.listdir("/dev")), Path("/proc/self/mounts").read_text()
    assert emulator("run", "--", "true").returncode == 0
    assert before == (sorted(os.listdir("/sys/bus")), sorted(os.listdir("/dev")), Path("/proc/self/mounts").read_text())


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run"], 2, "no command to run"),
        (["run", "--", "a-program-that-is-not"], 1, "a-program-that-is-not cannot be started"),
        (["run", "--fault", "nonsense", "--", "true"], 2, "unknown fault 'nonsense'"),
        (["run", "--fault", "wrong=many", "--", "true"], 2, "'many' is not a number"),
        (["run", "--services", "dcc", "--", "true"], 2, "unknown services 'dcc'"),
        (["run", "--vfs", "17", "--", "true"], 2, "not a number from 0 to 16"),
        (["run", "--tree", "/nonexistent", "--", "true"], 1, "qat-emulator fetch"),
        (["run", "--record", "/nonexistent/file", "--", "true"], 1, "/nonexistent/file"),
        (
            ["run", "--counts", "/nonexistent/counts", "--", "sh", "-c", "echo ran >&2"],
            1,
            "/nonexistent/counts: No such",
        ),
        (["serve", "/nonexistent" + "x" * 100], 1, "too long"),
        (["serve", "--vfs", "0", "/tmp/qat"], 1, "nothing to serve"),
        (["tell", "/nonexistent", "counts"], 1, "nothing is served from /nonexistent"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], status: int, words: str) -> None:
    done = emulator(*arguments)
    if "namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_tree_is_taken_as_fetch_leaves_it(tmp_path: Path) -> None:
    libraries = tmp_path / "root/usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (libraries / "libc.so.6").touch()
    expected = (str(tmp_path / "root"), str(libraries))
    assert unpacked(str(tmp_path)) == unpacked(f"{tmp_path}/root") == expected


def test_without_namespaces_it_says_what_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def unshare(self, flags: int) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(namespace, "_libc", Refusing())
    with pytest.raises(EmulatorError, match="no user namespace for uid") as caught:
        namespace.enter()
    assert "max_user_namespaces" in caught.value.fix


def test_faults_are_listed() -> None:
    listed = [line for line in emulator("faults").stdout.splitlines() if line.startswith(" ")]
    assert [line.split()[0] for line in listed] == list(TABLE)
    assert emulator("--version").stdout.strip() == f"qat-emulator {VERSION}"


def test_devices_can_be_asked_while_they_are_served(tmp_path: Path) -> None:
    folder = str(tmp_path / "s")
    command = [sys.executable, "-m", "qat_emulator", "serve", folder, "--pf", "--vfs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("qemu-system-x86_64"), "then the sockets are there"
        assert sorted(os.listdir(folder)) == ["control", "pf", "vf0"]
        assert json.loads(emulator("tell", folder, "counts").stdout)["pf"] == {"admin": {}, "resets": 0}
        assert json.loads(emulator("tell", folder, "fault", "wrong=2").stdout) == {"fault": "wrong=2"}
        assert "unknown fault 'nonsense'" in emulator("tell", folder, "fault", "nonsense").stderr
        assert "unknown order" in emulator("tell", folder, "sing").stderr
        server.terminate()
    assert server.returncode == 0
    assert os.listdir(folder) == []
