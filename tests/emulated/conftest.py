"""Debian's own libqat on an emulated VF (emulator/), driven by qatprep as a user starts it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import tools

DEADLINE = 90.0
"""Seconds after which a run counts as hung."""
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str
    counts: dict[str, Any]
    """What each VF did, by address; see `qat-emulator run --counts`."""

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def provider(self) -> dict[str, Any]:
        """The one provider of `smoke --output json`."""
        (provider,) = self.json["providers"]
        return dict(provider)


Run = Callable[..., Ran]
QATPREP = (sys.executable, "-m", "qatprep")
SMOKE = (*QATPREP, "smoke", "--provider", "qat", "--output", "json")


@cache
def obstacle() -> str:
    """Why this machine lets nobody cover its files; empty where it does."""
    probe = [sys.executable, "-m", "qat_emulator", "run", "--", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.stderr.strip() if re.search(r"no user namespace|cannot be (made private|covered)", done.stderr) else ""


@cache
def libqat(tree: Path) -> str:
    """The hash of the libqat that Debian ships in this suite."""
    (library,) = (path for path in (tree / LIBRARIES).glob("libqat.so.4.*") if not path.is_symlink())
    return hashlib.sha256(library.read_bytes()).hexdigest()


@pytest.fixture(params=tools.LIBQAT)
def suite(request: pytest.FixtureRequest) -> Path:
    """An unpacked Debian with libqat."""
    return tree_of(request.param)


def tree_of(suite: str) -> Path:
    name = f"libqat-{suite}"
    found = tools.made(name)
    if found is None:
        pytest.skip(f"no libqat of {suite}: python3 -m tests.tools {name}")
    if obstacle():
        pytest.skip(obstacle())
    return found / "root"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on emulated VFs with a suite's libqat; it must be that libqat and no other that opens them."""

    def start(tree: Path, command: tuple[str, ...], *options: str, ours: bool = True, **environment: str) -> Ran:
        counts = tmp_path / "counts"
        words = ["-m", "qat_emulator", "run", "--tree", str(tree), "--counts", str(counts), *options, "--", *command]
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=DEADLINE, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert counts.exists(), done.stderr
        ran = Ran(done.returncode, done.stdout, done.stderr, json.loads(counts.read_text()))
        opened = [one for vf in ran.counts.values() for one in vf["opened"]]
        assert opened or not ours, done.stderr
        assert {one["libqat"]["sha256"] for one in opened} <= {libqat(tree)}
        return ran

    return start
