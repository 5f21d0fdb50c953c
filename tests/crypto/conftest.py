"""What the tests of the engines use: the stand-in for libqat, and a way to call a verb."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import typer

from qatprep.cli.session import Session
from qatprep.crypto.qat import Libraries
from qatprep.errors import QatprepError
from qatprep.host.base import Host
from tests.conftest import Called

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "qatprep" / "native"


def gcc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run gcc; skip the test where there is none."""
    program = shutil.which("gcc")
    if program is None:
        pytest.skip("gcc is not installed")
    return subprocess.run([program, "-std=c11", *arguments], capture_output=True, text=True, check=False)


def has_header(name: str) -> bool:
    return gcc("-E", "-include", name, "-x", "c", os.devnull, "-o", os.devnull).returncode == 0


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """libqat and libusdm in one, by software: standin.c says how it can be made to misbehave."""
    if not has_header("openssl/bn.h"):
        pytest.skip("the stand-in for libqat needs openssl/bn.h (libssl-dev)")
    path = str(tmp_path_factory.mktemp("standin") / "libqat_standin.so")
    built = gcc(
        "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(HERE / "standin.c"), "-o", path, "-lcrypto"
    )
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture
def libraries(standin_library: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Libraries]:
    """The stand-in, behaving well unless a test sets QP_STANDIN."""
    monkeypatch.delenv("QP_STANDIN", raising=False)
    yield Libraries(standin_library, standin_library)


def call(verb: str, *args: str, host: Host | None = None) -> Called:
    """Call one verb's module as the command line does, errors turned into words and codes as there."""
    module = importlib.import_module(f"qatprep.cli.{verb}")
    out, err = StringIO(), StringIO()
    session = Session(out=out, err=err, env={}, given_host=host)
    command = typer.main.get_command(module.app)
    try:
        code = command.main(list(args), standalone_mode=False, obj=session)
    except QatprepError as e:
        err.write(f"{e.message}\n{e.hint}\n")
        code = e.code
    return Called(int(code or 0), out.getvalue(), err.getvalue())


def valid(document: Any) -> Any:
    """The document, once its own schema has accepted it."""
    name = document["schema"].removeprefix("qatprep.").removesuffix("/1")
    text = files("qatprep.schema").joinpath(f"{name}.json").read_text(encoding="utf-8")
    fastjsonschema.compile(json.loads(text))(document)
    return document
