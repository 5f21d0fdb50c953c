"""What the tests of the engines use: the stand-in for libqat, and a way to call a verb."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from qatprep import _native
from qatprep.crypto import library
from qatprep.crypto.keys import Work
from qatprep.crypto.qat import Libraries
from qatprep.crypto.signer import BUNDLED, Signer
from qatprep.instruction_sets import gate

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


def build(source: str, target: Path, *arguments: str) -> str:
    """A C file of this directory, compiled without a warning; the path of what came of it."""
    built = gcc("-O1", "-Wall", "-Wextra", "-Werror", str(HERE / source), *arguments, "-o", str(target))
    assert built.returncode == 0, built.stderr
    return str(target)


def build_standin(source: str, target: Path) -> str:
    if not has_header("openssl/bn.h"):
        pytest.skip("the stand-ins need openssl/bn.h (libssl-dev)")
    return build(source, target, "-shared", "-fPIC", "-lcrypto")


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """libqat and libusdm in one, by software: standin.c says how it can be made to misbehave."""
    return build_standin("standin.c", tmp_path_factory.mktemp("standin") / "libqat_standin.so")


@pytest.fixture(scope="session")
def standin_mb(tmp_path_factory: pytest.TempPathFactory) -> str:
    """libcrypto_mb by software, for every CPU: standin_mb.c says how it can be made to misbehave."""
    return build_standin("standin_mb.c", tmp_path_factory.mktemp("standin") / "libcrypto_mb_standin.so")


@pytest.fixture(scope="session", params=["stand-in", "crypto_mb"])
def mb(request: pytest.FixtureRequest) -> _native.Signer:
    """A signer eight wide in this process: the stand-in everywhere, crypto_mb where the CPU has what it takes."""
    if request.param == "stand-in":
        return _native.mb_open(request.getfixturevalue("standin_mb"), ())
    if missing := library.missing():
        pytest.skip(f"crypto_mb cannot run on this machine: {missing} missing")
    return _native.mb_bundled(gate(library.paths(BUNDLED)))


@pytest.fixture
def only_standin(standin_mb: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in as the only crypto_mb of this machine."""
    monkeypatch.setattr(library, "missing", lambda library="": "")
    monkeypatch.setattr(library, "crypto_mbs", lambda wanted="": [Signer("cryptomb", standin_mb)])
    return standin_mb


@pytest.fixture
def libraries(standin_library: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Libraries]:
    """The stand-in, behaving well unless a test sets QP_STANDIN."""
    monkeypatch.delenv("QP_STANDIN", raising=False)
    yield Libraries(standin_library, standin_library)


def being_signed(work: Work) -> bool:
    """Whether a run has these jobs now: what they expect cannot be changed then."""
    try:
        work.jobs.expect(work.expected)
    except RuntimeError as e:
        assert "are being signed" in str(e)
        return True
    return False


@contextlib.contextmanager
def interrupted(begun: Callable[[], bool]) -> Iterator[None]:
    """SIGINT as soon as `begun`, asked on another thread, says so. KeyboardInterrupt must come out of the block."""

    def wait() -> None:
        while not begun():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    # A process started in the background ignores SIGINT, and so does its Python.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        thread.join(60)
        signal.signal(signal.SIGINT, before)


def valid(document: Any) -> Any:
    """The document, once its own schema has accepted it."""
    name = document["schema"].removeprefix("qatprep.").removesuffix("/1")
    text = files("qatprep.schema").joinpath(f"{name}.json").read_text(encoding="utf-8")
    fastjsonschema.compile(json.loads(text))(document)
    return document
