"""The single file, on a machine with nothing but Python: no environment, no site-packages."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.conftest import some
from tests.packages.conftest import ROOT, bare_python, make
from tests.packages.hardening import weaknesses


def call(pyz: Path, *arguments: str, cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
    command = [bare_python(), "-I", "-S", str(pyz), *arguments]
    return subprocess.run(command, env={}, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    some(
        [
            (("--version",), 0, "qatprep "),
            (("doctor", "--simulate", "dmar-absent", "--profile", "qat"), 3, "QP-IOMMU-001"),
            (("plan", "--simulate", "spr-2s"), 3, "dc -> sym;asym"),
            (("bootstrap", "--simulate", "spr-2s", "--diff"), 0, "each read back"),
            (("rollback", "--list", "--simulate", "spr-2s"), 0, "remembers no runs"),
            (("status", "--simulate", "spr-2s-ready"), 0, "the host matches it"),
            (("status", "--simulate", "spr-2s-ready", "--as-config"), 0, "services: "),
            (("device", "list", "--simulate", "spr-2s-ready"), 0, "vfio-pci"),
            (("explain", "QP-SVC-001"), 0, "QP-SVC-001"),
            (("report", "--html", "-", "--simulate", "spr-2s"), 3, "</html>"),
            (("hosts", "spr-2s"), 0, "Sapphire Rapids"),
            (("plan", "--simulate", "spr-2s", "--set", "nodes.mood=1"), 2, ""),
            (("frobnicate",), 2, ""),
        ],
        2,
    ),
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_it_works_alone(pyz: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    got = call(pyz, *arguments)
    assert got.returncode == code, got.stderr
    assert says in got.stdout
    assert "internal error" not in got.stderr


def test_it_judges_the_machine_it_is_on(pyz: Path) -> None:
    got = call(pyz, "doctor", "--output", "json")
    assert got.returncode in (0, 3), got.stderr
    assert json.loads(got.stdout)["host"]["label"] == "this machine"


def test_the_native_module_is_loaded_out_of_the_file(pyz: Path, tmp_path: Path) -> None:
    if not (ROOT / "qatprep" / "_native.abi3.so").exists():
        pytest.skip("the native module is not built here (no C compiler)")
    code = f"import sys; sys.argv = ['x', '--version']; sys.path.insert(0, {str(pyz)!r})\n"
    code += "import runpy\ntry: runpy.run_path(sys.path[0], run_name='__main__')\nexcept SystemExit: pass\n"
    code += "from qatprep import _native; print(_native.__spec__.origin, len(_native.cpuid(0, 0)))"
    got = subprocess.run([bare_python(), "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert "/proc/self/fd/" in got.stdout and got.stdout.split()[-1] == "4", got.stderr
    # Without it, as on another architecture, everything else works.
    plain = tmp_path / "qatprep.pyz"
    with zipfile.ZipFile(pyz) as old, zipfile.ZipFile(plain, "w") as new:
        for info in old.infolist():
            if not info.filename.endswith(".so"):
                new.writestr(info, old.read(info))
    got = call(plain, "doctor", "--output", "json")
    assert got.returncode in (0, 3), got.stderr
    got = call(plain, "smoke", "--provider", "cryptomb")
    assert "this qatprep.pyz has no native module that runs here" in " ".join(got.stdout.split())
    assert "pip install" not in got.stdout


def test_its_native_module_is_hardened(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        modules = [archive.read(name) for name in archive.namelist() if name.endswith("_native.abi3.so")]
    if not modules:
        pytest.skip("the native module is not built here (no C compiler)")
    assert [weaknesses(module) for module in modules] == [[]]


def test_what_it_cannot_bring_is_missed_in_words(pyz: Path) -> None:
    smoke = call(pyz, "smoke", "--provider", "openssl")
    assert "cryptography" in smoke.stdout
    assert "Traceback" not in smoke.stderr and "internal error" not in smoke.stderr


def test_an_old_python_is_told(pyz: Path) -> None:
    """On the version that is there, with the number of an old one put in: old ones are rarely installed."""
    with zipfile.ZipFile(pyz) as archive:
        start = archive.read("__main__.py").decode()
    head = start[: start.index("ARCHIVE = ")].replace("sys.version_info", "(3, 9)").replace("import importlib.abc", "")
    got = subprocess.run([bare_python(), "-I", "-c", head], capture_output=True, text=True, check=False)
    assert got.returncode == 1
    assert got.stderr.startswith("qatprep needs Python 3.11 or newer; this is ")


def test_the_same_input_gives_the_same_bytes(pyz: Path, tmp_path: Path) -> None:
    assert make("pyz.py", tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()


def test_what_is_in_it(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        names = archive.namelist()
    for package in ("typer", "rich", "pyyaml", "tomlkit", "pyudev", "sh"):
        licence = [n for n in names if n.startswith(f"{package}-") and ("LICENSE" in n or "COPYING" in n)]
        assert licence, f"the licence of {package} is missing"
    assert not [n for n in names if n.startswith("tests/") or n.endswith((".c", ".pyc"))]
    assert pyz.stat().st_size < 4 << 20
