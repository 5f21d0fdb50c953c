"""docs/emulated-qat.md: every command of the page on a device, and what the page says it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.emulated.conftest import tree_of
from tests.tools import LIBQAT

PAGE = "docs/emulated-qat.md"
PAGES = [block for block in blocks() if block.document == PAGE]
COMMANDS = [line for block in PAGES for line in block.commands if line.startswith("qat-emulator run")]
SAYS = {
    "--fault wrong=1 ": "64 RSA-2048 signatures, 1 WRONG",
    "--fault lost ": "1 of 64 operations never came back",
    "--services dc ": "has no crypto instance",
}
"""What is quoted on the page of a command with these options; it ends with 3."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with both programs."""
    folder = tmp_path_factory.mktemp("bin")
    for name, module in (("qatprep", "qatprep"), ("qat-emulator", "qat_emulator")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page(line: str, programs: Path, tmp_path: Path) -> None:
    (tmp_path / "qat").symlink_to(tree_of(LIBQAT[0]))
    env = {**os.environ, "HOME": str(tmp_path), "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, timeout=300, check=False)
    said = next((words for options, words in SAYS.items() if options in line), "")
    assert (done.returncode, said in done.stdout) == (3 if said else 0, True), done.stdout + done.stderr
    assert "qat-emulator: 0000:01:00.0 took " in done.stderr


def test_the_page_has_them() -> None:
    text = (ROOT / PAGE).read_text()
    assert len(COMMANDS) >= 6
    assert [words for words in SAYS.values() if words not in text] == []
