"""The native part of a package: put in from where it is, missed aloud where it is not, and how a copy gets one."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from qatprep.crypto import native
from qatprep.version import VERSION
from tests.packages.conftest import ROOT, needs
from tests.packages.hardening import weaknesses

NAME = "_native.abi3.so"


@pytest.fixture
def pyz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """packaging/pyz.py for sources in which nothing was built, and for an environment without qatprep."""
    monkeypatch.syspath_prepend(ROOT / "packaging")
    import pyz  # type: ignore[import-not-found]

    (tmp_path / "qatprep").mkdir()
    (tmp_path / "qatprep" / "version.py").write_text(f'VERSION = "{VERSION}"\n')
    monkeypatch.setattr(pyz, "ROOT", tmp_path)
    installed(monkeypatch)
    return pyz


def installed(monkeypatch: pytest.MonkeyPatch, version: str = "", *names: str) -> None:
    """What importlib.metadata says of the qatprep installed in the environment; nothing unless there is a version."""

    def distribution(name: str) -> Any:
        if not version:
            raise importlib.metadata.PackageNotFoundError(name)
        files = []
        for each in names:
            file = importlib.metadata.PackagePath(each)
            file.dist = types.SimpleNamespace(locate_file=lambda path: Path("/env") / path)  # type: ignore[assignment]
            files.append(file)
        return types.SimpleNamespace(version=version, files=files)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


def test_one_that_was_built_beside_the_sources(pyz: Any, tmp_path: Path) -> None:
    (tmp_path / "qatprep" / NAME).touch()
    assert pyz.native() == tmp_path / "qatprep" / NAME


def test_that_of_an_installed_qatprep(pyz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, VERSION, "qatprep/errors.py", f"qatprep/{NAME}")
    assert pyz.native() == Path("/env/qatprep") / NAME


@pytest.mark.parametrize(
    ("version", "names", "why"),
    [
        ("", (), "it is not installed here"),
        (VERSION, ("qatprep/errors.py",), "it was installed without a C compiler"),
        ("0.0.1", (f"qatprep/{NAME}",), f"version 0.0.1 is installed here; this is {VERSION}"),
    ],
)
def test_without_one_no_package_is_made(
    pyz: Any, monkeypatch: pytest.MonkeyPatch, version: str, names: tuple[str, ...], why: str
) -> None:
    installed(monkeypatch, version, *names)
    with pytest.raises(SystemExit) as error:
        pyz.native()
    assert why in str(error.value) and "--without-native" in str(error.value)


@pytest.mark.parametrize("script", ["pyz.py", "deb.py"])
def test_the_flag_is_told_by_help(script: str) -> None:
    command = [sys.executable, str(ROOT / "packaging" / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--without-native" in done.stdout


def test_the_module_is_hardened() -> None:
    """As it is built here."""
    module = pytest.importorskip("qatprep._native")
    assert weaknesses(Path(module.__file__).read_bytes()) == []


def test_a_module_that_is_not_is_told(tmp_path: Path) -> None:
    """The opposite of everything that setup.py asks for."""
    gcc = needs("gcc", "gcc")
    source, module = tmp_path / "x.c", tmp_path / "x.so"
    source.write_text("int x(void) { return 1; }\n")
    off = ["-fno-stack-protector", "-U_FORTIFY_SOURCE", "-Wl,-z,norelro,-z,lazy,-z,execstack,-rpath,/tmp"]
    subprocess.run([gcc, "-shared", "-fPIC", *off, "-o", module, source], check=True)
    assert [line.split(" ")[0] for line in weaknesses(module.read_bytes())] == [
        *("no", "the", "no", "DT_RUNPATH:", "no", "no"),
    ]


def test_advice_for_an_installation_by_pip() -> None:
    """Here: the editable one of the development environment, if any; its own interpreter in any case."""
    message, hint = native.missing()
    assert "without a C compiler" in message
    assert f"{sys.executable} -m pip install --force-reinstall --no-deps " in hint
    assert not hint.endswith(" qatprep"), "no index has it"


def test_advice_for_the_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "__file__", "/usr/lib/qatprep/qatprep/crypto/native.py")
    monkeypatch.setattr(os.path, "isfile", lambda path: True)
    message, hint = native.missing()
    assert "Debian package" in message
    assert f"qatprep_{VERSION}_ARCH.deb" in hint and "pip" not in hint
