"""The Debian package: made, judged by lintian, installed and removed by dpkg."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.packages.conftest import ROOT, make, needs
from tests.packages.hardening import weaknesses


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("dpkg-deb", "dpkg")
    return next(make("deb.py", tmp_path_factory.mktemp("deb")).glob("*.deb"))


def test_lintian_has_nothing_against_it(deb: Path) -> None:
    lintian = needs("lintian", "lintian")
    done = subprocess.run([lintian, "--allow-root", str(deb)], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if line.startswith(("E:", "W:"))] == []
    assert done.returncode == 0, done.stderr


def test_the_same_input_gives_the_same_package(deb: Path, tmp_path: Path) -> None:
    again = next(make("deb.py", tmp_path).glob("*.deb"))
    assert again.read_bytes() == deb.read_bytes()


def test_its_native_module_is_hardened(deb: Path, tmp_path: Path) -> None:
    subprocess.run([needs("dpkg-deb", "dpkg"), "-x", str(deb), str(tmp_path)], check=True)
    modules = list(tmp_path.rglob("_native.abi3.so"))
    if not modules:
        pytest.skip("the native module is not built here (no C compiler)")
    assert [weaknesses(module.read_bytes()) for module in modules] == [[]]


def test_dpkg_installs_it_and_takes_it_away(deb: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a mount namespace")
    if subprocess.run(["unshare", "-m", "-p", "-f", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    known = Path("/usr/lib/qatprep").exists(), Path("/usr/bin/qatprep").exists()
    script = Path(__file__).with_name("install.sh")
    command = ["unshare", "-m", "-p", "-f", "--kill-child", "sh", str(script), str(tmp_path), str(deb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert told["version"].startswith("qatprep ")
    assert told["walk"].startswith("Done: ")
    if (ROOT / "qatprep" / "_native.abi3.so").exists():
        assert told["native"] == "/usr/lib/qatprep/qatprep/_native.abi3.so"
    assert {key: told[key] for key in ("compiled", "completions", "left", "purged")} == {
        "compiled": "1",
        "completions": "3",
        "left": "0",
        "purged": "0",
    }
    assert told["man"] == "/usr/share/man/man1/qatprep.1.gz"
    assert told["journals"] == "/var/lib/qatprep/runs"
    assert (Path("/usr/lib/qatprep").exists(), Path("/usr/bin/qatprep").exists()) == known
