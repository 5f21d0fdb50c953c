"""Every task of ./dev and every command in the documents does what it says, or is marked there as not run.

A block of commands that cannot be run has a comment before it: <!-- not run by the tests: WHY -->. Verbs that would
look at the machine or change it are given a simulated host.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks, dead_marks, mistakes, named

ROOT = Path(__file__).parents[1]
TASKS = {
    "try": "",  # installs from a package index
    "test": "",  # this test would run itself; lint and pytest are its parts
    "lint": "lint",
    "pytest": "pytest --version",
    "golden": "golden --collect-only -q",
    "faults": "faults --help",
    "bench": "bench startup 1",
    "docs": "",  # tests/docs builds the site
    "emulator": "",  # fetches Debian packages and starts namespaces; tests/emulated runs the same
    "fuzz": "",  # installs atheris from a package index; tests/fuzz replays what it finds
    "vm": "vm --help",
}
"""A task and how it is run here, "" for those that cannot be."""
QATPREP = f"""\
#!{sys.executable}
import os
import sys
sys.path.insert(0, {str(ROOT)!r})
from qatprep.__main__ import console
HOSTED = ("doctor", "plan", "bootstrap", "rollback", "status", "device", "gen-conf", "metrics", "features", "capture",
          "report")
if sys.argv[1] in HOSTED and not {{"--simulate", "--root"}} & set(sys.argv):
    sys.argv += ["--simulate", "spr-2s"]
if "QATPREP_STATE" not in os.environ and "--simulate" in sys.argv:
    os.environ["QATPREP_STATE"] = os.environ["STATES"] + "/" + sys.argv[sys.argv.index("--simulate") + 1]
console()
"""
JQ = shutil.which("jq")
STRICT_JQ = f'#!/bin/sh\nexec {JQ} -e "$@"\n'
"""A jq that fails where it prints nothing, or ends with null: a filter that finds nothing is a mistake in the page."""


def test_every_task_is_known() -> None:
    usage = subprocess.run([ROOT / "dev"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^\./dev (\S+)", usage, re.M)) == set(TASKS)


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task])
def test_a_task(task: str) -> None:
    if not (ROOT / ".venv-dev" / "done").exists():
        pytest.skip("./dev has made no environment here, and this test does not install one")
    done = subprocess.run([ROOT / "dev", *task.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


ELSEWHERE = ("./dev ", "pip install ", "qat-emulator ", "python3 tests/vm/rig.py ")
"""Commands that are not run here: test_a_task runs the tasks, pip installs from a package index, tests/emulated runs a
page's commands on emulated devices, tests/vm the rig."""


def runs(block: Block) -> bool:
    return not (block.why_not or block.commands[0].startswith(ELSEWHERE))


def checked(block: Block) -> str:
    """A script that ends at the first command whose status is neither 0 nor 3."""
    failed = {line: shlex.quote(f"FAILED in {block.name}: {line}") for line in block.commands}
    return "\n".join(f"{line} || [ $? = 3 ] || {{ echo {failed[line]} >&2; exit 1; }}" for line in block.commands)


@pytest.mark.parametrize("document", sorted({block.document for block in blocks() if runs(block)}))
def test_the_commands_of_a_document(document: str, tmp_path: Path) -> None:
    """All of a page in their order, in one shell as a reader would; each block begins in the same folder."""
    mine = [block for block in blocks() if block.document == document and runs(block)]
    ansible = any(line.startswith("ansible-playbook") for block in mine for line in block.commands)
    if ansible and shutil.which("ansible-playbook", path=path()) is None:
        pytest.skip("ansible-core is not installed (pip install ansible-core)")
    if not JQ and any("jq " in line for block in mine for line in block.commands):
        pytest.skip("jq is not installed (apt-get install jq)")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("qatprep", QATPREP), ("kubectl", "#!/bin/sh\ncat >/dev/null\n"), ("jq", STRICT_JQ)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    (work / "playbooks").symlink_to(ROOT / "playbooks")
    env = {
        **os.environ, "PATH": f"{programs}:{path()}", "HOME": str(tmp_path), "STATES": str(tmp_path),
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }  # fmt: skip
    script = "\n".join(f'cd "{work}"\n{checked(block)}' for block in mine)
    done = subprocess.run(["bash", "-c", script], cwd=work, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_no_command_hides_behind_one_that_is_run_elsewhere() -> None:
    mixed = [block.name for block in blocks() if not block.why_not and not runs(block)
             and not all(line.startswith(ELSEWHERE) for line in block.commands)]  # fmt: skip
    assert mixed == []


@pytest.mark.parametrize("block", [block for block in blocks() if block.why_not], ids=lambda block: block.name)
def test_commands_that_are_not_run_exist(block: Block) -> None:
    assert [mistake for line in block.commands for mistake in mistakes(line)] == []


def test_filters_of_jq_that_are_not_run_are_understood() -> None:
    if not JQ:
        pytest.skip("jq is not installed (apt-get install jq)")
    lines = [line for block in blocks() if block.why_not for line in block.commands if re.search(r"\bjq ", line)]
    assert lines
    for line in lines:
        words = shlex.split(line[re.search(r"\bjq ", line).start() :])  # type: ignore[union-attr]
        program = next(word for word in words[1:] if not word.startswith("-"))
        done = subprocess.run([JQ, program], input="", capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_commands_that_a_sentence_names_exist() -> None:
    assert [f"{document}: {mistake}" for document, line in named() for mistake in mistakes(line)] == []


def test_every_mark_is_before_a_block_of_commands() -> None:
    assert dead_marks() == []


def path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"
