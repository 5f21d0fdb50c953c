"""open_host and scenarios: what they find, and what they say when there is nothing to find."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qatprep.cli.open_host import open_host
from qatprep.errors import InputError
from qatprep.host.capture import Capture
from qatprep.host.linux import LinuxHost
from qatprep.simulator import scenarios as known
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.scenarios import Findings, scenario, scenarios


def test_the_four_kinds_of_host(tmp_path: object) -> None:
    assert isinstance(open_host(), LinuxHost)
    os.makedirs(f"{tmp_path}/proc/sys")
    directory = open_host(str(tmp_path))
    assert isinstance(directory, LinuxHost)
    assert directory.label == str(tmp_path)
    recorded = open_host(scenario("spr-2s").host_file)
    assert isinstance(recorded, Capture)
    assert not recorded.writable
    host = open_host("/", "spr-2s@7.2")
    assert isinstance(host, SimulatedHost)
    assert host.label == "simulated spr-2s, kernel 7.2.13"
    assert host.writable
    assert host.simulated


def test_a_simulated_host_runs_the_kernel_of_its_story() -> None:
    assert open_host("/", "spr-2s-old-kernel").read_text("/proc/sys/kernel/osrelease") == "5.17.15\n"
    assert open_host("/", "spr-2s-erratum").read_text("/proc/sys/kernel/osrelease") == "6.1.120\n"
    assert open_host("/", "debian-kernel@6.12").read_text("/proc/sys/kernel/osrelease") == "6.12.117+deb13-amd64\n"


@pytest.mark.parametrize(
    ("root", "simulate", "message", "hint"),
    [
        ("/nowhere/at/all", "", "--root '/nowhere/at/all': there is no such directory or file", "host file"),
        ("/", "spr-2", "there is no simulated host 'spr-2'", "did you mean spr-2s"),
        ("/", "zzzz", "there is no simulated host 'zzzz'", "qatprep hosts"),
        ("/", "", "", ""),
        ("/", "spr-2s@", "'' is not a kernel version", "6.12"),
        ("/", "spr-2s@new", "'new' is not a kernel version", "6.12"),
        ("/", "spr-2s@6", "'6' is not a kernel version", "6.12"),
        ("/", "spr-2s@6.12.1.2.3 x", "is not a kernel version", "6.12"),
        ("/", "_parts", "there is no simulated host '_parts'", ""),
        ("/", "../sysfs/spr-2s", "there is no simulated host '../sysfs/spr-2s'", ""),
        ("/tmp", "spr-2s", "exclude each other", "one of the two"),
    ],
)
def test_what_cannot_be_opened(root: str, simulate: str, message: str, hint: str) -> None:
    if not message:
        open_host(root, simulate)
        return
    with pytest.raises(InputError) as caught:
        open_host(root, simulate)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_empty_directory_is_no_host(tmp_path: object) -> None:
    with pytest.raises(InputError, match="does not look like a host"):
        open_host(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF\xff", "not UTF-8 text"),
        (b"hello\n", "host.txt:1: "),
        (b"# qatprep host 1\n@include missing.txt\n", "cannot read the host file"),
    ],
)
def test_a_file_that_is_no_host_file(tmp_path: object, data: bytes, message: str) -> None:
    path = f"{tmp_path}/host.txt"
    with open(path, "wb") as f:
        f.write(data)
    with pytest.raises(InputError) as caught:
        open_host(path)
    assert message in caught.value.message


def test_a_file_nobody_may_read(tmp_path: object) -> None:
    path = f"{tmp_path}/host.txt"
    os.mkfifo(path)
    with pytest.raises(InputError):
        open_host(path)


# -- scenario.yaml ------------------------------------------------------------------------------------------

GOOD = """\
title: A host
story: >
  Something
  happened.
source: somewhere
kernel: "6.12"
findings: {fail: [QP-SVC-001]}
after: {}
"""


@pytest.fixture
def folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(known, "hosts_directory", lambda: str(tmp_path))
    os.mkdir(f"{tmp_path}/mine")
    with open(f"{tmp_path}/mine/host.txt", "w", encoding="utf-8") as f:
        f.write("# qatprep host 1\n")
    return f"{tmp_path}/mine"


def write(folder: str, text: str) -> None:
    with open(f"{folder}/scenario.yaml", "w", encoding="utf-8") as f:
        f.write(text)


def test_a_scenario_is_read(folder: str) -> None:
    write(folder, GOOD)
    (mine,) = scenarios()
    assert (mine.name, mine.story, mine.profile) == ("mine", "Something happened.", "qat")
    assert mine.findings == Findings(fail=("QP-SVC-001",))
    assert mine.after == Findings()
    assert (mine.holds_under("5.17"), mine.holds_under("6.1"), mine.holds_under("7.2")) == (False, True, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is empty, not a mapping"),
        ("- title", ":1:1: this is a list, not a mapping"),
        ("title: [", "not YAML"),
        (GOOD.replace("title: A host\n", ""), "lacks the key 'title'"),
        (GOOD.replace("after", "afterwards"), ":8:1: unknown key 'afterwards'"),
        (GOOD.replace('"6.12"', "6.12"), ":6:1: kernel is 6.12, not text"),
        (GOOD.replace("{fail: [QP-SVC-001]}", "[QP-SVC-001]"), "findings is a list, not a mapping"),
        (GOOD.replace("fail:", "fails:"), ":7:12: unknown key 'fails' in findings"),
        (GOOD.replace("[QP-SVC-001]", "QP-SVC-001"), "findings.fail is 'QP-SVC-001', not a list"),
        (GOOD + "profile: gpu\n", ":9:1: profile is 'gpu', not one of qat, cryptomb"),
    ],
)
def test_a_malformed_scenario_is_told_with_its_file(folder: str, text: str, message: str) -> None:
    write(folder, text)
    with pytest.raises(InputError) as caught:
        scenarios()
    assert f"{folder}/scenario.yaml" in caught.value.message
    assert message in caught.value.message


def test_importing_is_cheap() -> None:
    """The module is on the way of every verb: it may not bring the simulated kernel or a YAML parser along."""
    code = "import sys; import qatprep.simulator.scenarios; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    loaded = set(done.stdout.split())
    assert not {name for name in loaded if name.startswith(("yaml", "qatprep.simulator."))} - {
        "qatprep.simulator.scenarios"
    }
