"""Every task of ./dev and every command in README.md and docs/ does what it says, or is marked there as not run.

A block of commands that cannot be run has a comment before it: <!-- not run by the tests: WHY -->. Verbs that would
look at the machine or change it are given a simulated host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import qatprep

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"(?:<!-- not run by the tests: (?P<why>[^>]+) -->\n+)?^```(?:sh)?\n(?P<text>.*?)^```", re.M | re.S)
_COMMAND = re.compile(r"(\$ |sudo |cd |export |\./dev|qatprep |pip |python |ansible-|kubectl |podman |QATPREP_\w+=)")
TASKS = {
    "try": "",  # installs from a package index
    "test": "",  # this test would run itself; lint and pytest are its parts
    "lint": "lint",
    "pytest": "pytest --version",
    "golden": "golden --collect-only -q",
    "bench": "bench startup 1",
    "emulator": "",  # fetches Debian packages and starts namespaces; tests/emulated runs the same
    "vm": "vm --help",
}
"""A task and how it is run here, "" for those that cannot be."""
QATPREP = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from qatprep.__main__ import console
HOSTED = ("doctor", "plan", "bootstrap", "rollback", "status", "device", "gen-conf", "metrics", "features", "capture")
if sys.argv[1] in HOSTED and not {{"--simulate", "--root"}} & set(sys.argv):
    sys.argv += ["--simulate", "spr-2s"]
console()
"""


def blocks() -> dict[str, list[str]]:
    """document:line -> the commands of a block that is to be run."""
    found = {}
    for document in DOCUMENTS:
        text = document.read_text()
        for block in _BLOCK.finditer(text):
            lines = block["text"].splitlines()
            if lines and _COMMAND.match(lines[0]) and block["why"] is None:
                name = f"{document.name}:{text[: block.start()].count(chr(10)) + 1}"
                found[name] = [line for line in map(command, lines) if line]
    return found


def command(line: str) -> str:
    """A line without its prompt, sudo, and the words that explain it."""
    return re.split(r"\s{2,}|\s#\s", re.sub(r"^(\$ )?(sudo )?", "", line.strip()))[0]


def test_every_task_is_known() -> None:
    usage = subprocess.run([ROOT / "dev"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^\./dev (\S+)", usage, re.M)) == set(TASKS)


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task])
def test_a_task(task: str) -> None:
    if not (ROOT / ".venv-dev" / "done").exists():
        pytest.skip("./dev has made no environment here, and this test does not install one")
    done = subprocess.run([ROOT / "dev", *task.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks())
def test_the_commands_of_a_document(block: str, tmp_path: Path) -> None:
    lines = blocks()[block]
    if lines[0].startswith("./dev") or lines == ["pip install ."]:
        pytest.skip("test_a_task runs the tasks; pip and ./dev try install from a package index")
    if (
        any(line.startswith("ansible-playbook") for line in lines)
        and shutil.which("ansible-playbook", path=path()) is None
    ):
        pytest.skip("ansible-core is not installed (pip install ansible-core)")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("qatprep", QATPREP), ("kubectl", "#!/bin/sh\ncat >/dev/null\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    (work / "playbooks").symlink_to(ROOT / "playbooks")
    env = {
        **os.environ, "PATH": f"{programs}:{path()}", "HOME": str(tmp_path), "QATPREP_STATE": str(tmp_path / "node"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }  # fmt: skip
    script = "\n".join(f"{line} || [ $? = 3 ] || {{ echo 'FAILED: '{line!r} >&2; exit 1; }}" for line in lines)
    done = subprocess.run(["bash", "-c", script], cwd=work, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_screen_is_what_qatprep_prints() -> None:
    shown = (
        (ROOT / "README.md").read_text().split("$ qatprep doctor --short --simulate spr-2s\n", 1)[1].split("```", 1)[0]
    )
    assert qatprep("doctor", "--short", "--simulate", "spr-2s", env={"COLUMNS": "110"}).out == shown


def path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"
