"""Bad input: a message that says what, where and what to do, the documented exit status, and nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from tests.conftest import qatprep

CASES = [
    # arguments, exit status, words that must stand in the message
    (["doctr"], ExitCode.USAGE, ["doctr"]),
    (["plan", "--simulate", "spr-2"], ExitCode.USAGE, ["'spr-2'", "spr-2s"]),
    (["plan", "--simulate", "spr-2s@banana"], ExitCode.USAGE, ["banana"]),
    (["plan", "--root", "/nowhere/at/all"], ExitCode.USAGE, ["/nowhere/at/all"]),
    (["plan", "--simulate", "spr-2s", "--root", "/x"], ExitCode.USAGE, ["--root", "--simulate"]),
    (["plan", "--simulate", "spr-2s", "--set", "devices.servces=dc"], ExitCode.USAGE, ["servces", "services"]),
    (["plan", "--simulate", "spr-2s", "--set", "devices.services=rsa"], ExitCode.USAGE, ["'rsa'", "asym"]),
    (["plan", "--simulate", "spr-2s", "--set", "devices.vfs=8"], ExitCode.USAGE, ["devices.vfs", "8", "true or false"]),
    (["plan", "--simulate", "spr-2s", "--set", "nodes.mode=0999"], ExitCode.USAGE, ["0999", "octal"]),
    (["plan", "--simulate", "spr-2s", "--config", "/nowhere.yaml"], ExitCode.USAGE, ["/nowhere.yaml"]),
    (["bootstrap", "--simulate", "spr-2s", "-d", "6c:00.0"], ExitCode.USAGE, ["'6c:00.0'", "0000:6b:00.0"]),
    (["device", "bind", "--simulate", "spr-2s", "6b:99.9"], ExitCode.USAGE, ["'6b:99.9'", "PCI address"]),
    (["device", "reset", "--simulate", "spr-2s", "6b:00.9"], ExitCode.USAGE, ["'6b:00.9'", "functions 0 to 7"]),
    (["device", "services", "--simulate", "spr-2s", "asym;dcc", "6b:00.0"], ExitCode.USAGE, ["asym or dcc"]),
    (["device", "bind", "--simulate", "spr-2s", "99:00.0"], ExitCode.USAGE, ["0000:99:00.0"]),
    (["device", "bind", "--simulate", "spr-2s", "6b:00.0"], ExitCode.USAGE, ["is a PF", "--force"]),
    (["device", "bind", "--simulate", "spr-2s-ready", "--mode", "8", "6b:00.1"], ExitCode.USAGE, ["'8'", "octal"]),
    (["device", "services", "--simulate", "spr-2s", "tls", "6b:00.0"], ExitCode.USAGE, ["'tls'"]),
    (["device", "services", "--simulate", "spr-2s-ready", "dc", "6b:00.1"], ExitCode.USAGE, ["is a VF"]),
    (["device", "vfs", "--simulate", "spr-2s", "make", "6b:00.0"], ExitCode.USAGE, ["'make'", "create"]),
    (["device", "vfs", "--simulate", "spr-2s", "create", "6b:00.0", "--count", "8"], ExitCode.USAGE, ["16", "8"]),
    (["device", "vfs", "--simulate", "spr-2s", "create", "6b:00.0", "--count", "99"], ExitCode.USAGE, ["16", "99"]),
    (["plan", "--simulate", ""], ExitCode.USAGE, ["--simulate ''", "leave --simulate out"]),
    (["bootstrap", "--simulate="], ExitCode.USAGE, ["--simulate ''"]),
    (["plan", "--simulate", "spr-2s", "--config", ""], ExitCode.USAGE, ["--config ''"]),
    (["plan", "--simulate", "spr-2s", "--set", "nodes.group=a b"], ExitCode.USAGE, ["'a b'", "a-z"]),
    (["rollback", "--simulate", "spr-2s", "20990101T000000Z-0001"], ExitCode.USAGE, ["20990101T000000Z-0001"]),
]


@pytest.mark.parametrize(("arguments", "code", "words"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_message_and_status(arguments: list[str], code: ExitCode, words: list[str]) -> None:
    called = qatprep(*arguments)
    assert called.code == code, called.err
    assert "Traceback" not in called.err and "internal error" not in called.err
    for word in words:
        assert word in called.err
    assert called.out == ""


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("devices:\n  services: [\n", ":3:1"),
        ("devices:\n  vfs: 8\n", ":2:3"),
        ("devcies: {}\n", ":1:1"),
        ("- a\n", ":1:1"),
        ("overrides:\n- match: {}\n", ":2:3"),
        ("overrides:\n- services: dc\n", ":2:3"),
        ("nodes:\n  mode: 0660\n", ":2:3"),
        ("\tx: 1\n", ":1:1"),
        ("devices: {}\nnodes: {}\ndevices: {}\n", ":3:1"),
        ("overrides:\n- match: {numa_node: 0}\n  vfs: true\n  vfs: false\n", ":4:3"),
        ("devices:\n", ":1:1"),
    ],
)
def test_a_wrong_config_is_told_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    called = qatprep("bootstrap", "--simulate", "spr-2s", "--config", str(config))
    assert called.code == ExitCode.USAGE
    assert f"{config}{where}" in called.err


def test_a_config_that_is_not_text(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_bytes(b"\xff\xfe\x00")
    called = qatprep("plan", "--simulate", "spr-2s", "--config", str(config))
    assert called.code == ExitCode.USAGE
    assert "UTF-8" in called.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 20_000, "nested too deeply"),
        ("a: " + "{a: " * 5_000, "nested too deeply"),
        ("#" * (1 << 20) + "\n", "has 1048577 bytes"),
        ("smoke: 2026-99-99\n", "not YAML"),
        ("smoke: " + "1" * 5_000 + "\n", "not YAML"),
        ("b: {<<: {a: 1}}\n", ":1:5: merge keys"),
        ("devices:\n  services: " + "x" * 500 + "\n", "xxx"),
        ("a: &a [*a]\n", ":1:8: aliases"),
        ("--- {}\n--- {}\n", "not YAML"),
        ("devices: {vfs: null}\n", "devices.vfs is empty, not true or false"),
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_config(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    for arguments in (["--config", str(config)], []):
        host = open_host("/", "spr-2s")
        if not arguments:
            host.tree.file("/etc/qatprep.yaml", text.encode())  # type: ignore[attr-defined]
        called = qatprep("bootstrap", *arguments, host=host)
        assert called.code == ExitCode.USAGE
        assert words in called.err and "mistake" not in called.err
        assert host.operations == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a qatprep host file"),
        ("# qatprep host 1\n/sys/x\n", ":2"),
        ("# qatprep host 1\n/sys/x !EWHAT\n", "EWHAT"),
        ("# qatprep host 1\n@include missing.txt\n", "missing.txt"),
        ("# qatprep host 1\n/sys/x = 1\n/sys/x/y = 2\n", ":3"),
    ],
)
def test_a_malformed_capture(tmp_path: Path, text: str, words: str) -> None:
    capture = tmp_path / "host.txt"
    capture.write_text(text)
    called = qatprep("plan", "--root", str(capture))
    assert called.code == ExitCode.USAGE
    assert words in called.err


VALUES = {
    "euid": "root",
    "machine": "x86 64",
    "cpuid": "0x7 0x0: 0x0 0xf1bfb7af 0x1b415f6e",
    "xcr0": "0x" + "f" * 17,
    "time": "2026-13-02T08:00:00Z",
    "modified": "yesterday /etc/group",
    "programs": '{"argv": ["kubectl"], "rc": 0, "stdout": null, "stderr": ""}',
}
"""What no file of a host tells, each with a value that is none."""


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("verb", [["doctor"], ["status"], ["device", "list"], ["capture"]], ids=" ".join)
def test_a_value_that_no_file_tells(tmp_path: Path, name: str, verb: list[str]) -> None:
    capture = tmp_path / "host.txt"
    capture.write_text(f"# qatprep host 1\n@include spr-2s\n/.qatprep/{name} = {VALUES[name]}\n")
    called = qatprep(*verb, "--root", str(capture))
    assert (called.code, called.out) == (ExitCode.USAGE, "")
    assert f"host file {capture}: /.qatprep/{name} is not " in called.err and len(called.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/x [0644 99999999999:0] = 1", "none of =, ==, <<"),
        ("@include a\0b", "cannot be included"),
        (f"/x == {'[' * 9999}", "nested too deeply"),
    ],
)
def test_odd_metadata_of_a_host_file(tmp_path: Path, line: str, said: str) -> None:
    capture = tmp_path / "host.txt"
    capture.write_text(f"# qatprep host 1\n{line}\n")
    called = qatprep("doctor", "--root", str(capture))
    assert called.code == ExitCode.USAGE and f"{capture}:2: " in called.err and said in called.err


def test_a_size_that_no_memory_holds(tmp_path: Path) -> None:
    """Content that was not recorded is not made up either."""
    capture = tmp_path / "host.txt"
    capture.write_text("# qatprep host 1\n@include spr-2s\n/proc/sys/kernel/random/boot_id ~ 999999999999999\n")
    assert qatprep("status", "--root", str(capture)).code in (ExitCode.OK, ExitCode.FINDINGS)


def test_an_empty_directory_is_no_host(tmp_path: Path) -> None:
    called = qatprep("plan", "--root", str(tmp_path))
    assert called.code == ExitCode.USAGE
    assert "does not look like a host" in called.err


@pytest.mark.parametrize("verb", [["bootstrap"], ["device", "vfs", "create", "6b:00.0"]])
def test_a_capture_cannot_be_changed(verb: list[str], tmp_path: Path) -> None:
    from qatprep.host import manifest
    from qatprep.host.capture import Capture

    host = open_host("/", "spr-2s")
    capture = Capture(manifest.parse(manifest.dump(host.tree), "x"), "x")  # type: ignore[attr-defined]
    called = qatprep(*verb, host=capture)
    assert called.code == ExitCode.ERROR
    assert "picture of a host" in called.err


def test_an_ordinary_user_is_told_that_it_needs_root() -> None:
    called = qatprep("bootstrap", "--simulate", "spr-2s-as-user")
    assert called.code == ExitCode.NEEDS_ROOT
    assert "root" in called.err


def test_a_second_run_while_one_is_running() -> None:
    host = open_host("/", "spr-2s")
    with host.lock("/run/qatprep.lock"):
        called = qatprep("bootstrap", host=host)
    assert called.code == ExitCode.LOCKED
    assert "/run/qatprep.lock" in called.err
