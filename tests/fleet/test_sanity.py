"""ansible-test's own judges of a collection, each in an environment that `python3 -m tests.tools ansible-test` made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import tools
from tests.fleet.lab import COLLECTION


def test_ansible_test_sanity_has_nothing_to_say(tmp_path: Path) -> None:
    try:
        folder = tools.get("ansible-test")
    except tools.Unavailable as e:
        pytest.skip(f"no ansible-test: {e}")
    copy = tmp_path / "ansible_collections" / "qatprep" / "host"
    shutil.copytree(COLLECTION, copy, ignore=shutil.ignore_patterns("__pycache__", ".ansible", ".ruff_cache"))
    env = {**os.environ, "HOME": str(folder / "home"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    env.pop("ANSIBLE_CONFIG", None)
    argv = ["ansible-test", *tools.SANITY, "--lint"]
    done = subprocess.run(argv, cwd=copy, env=env, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
