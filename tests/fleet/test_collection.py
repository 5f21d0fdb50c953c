"""The collection as a whole: it builds, its judges have nothing to say, and what it declares agrees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.lab import COLLECTION, ROOT, program

ROLE = COLLECTION / "roles" / "qatprep"
TASKS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROLE / "tasks").glob("*.yml")}
KINDS: dict[str, type] = {"str": str, "path": str, "bool": bool, "int": int, "list": list, "dict": dict}


def entry_points() -> set[str]:
    """Files of tasks that no other includes."""
    text = "".join(path.read_text() for path in (ROLE / "tasks").glob("*.yml"))
    return set(TASKS) - set(re.findall(r"(?:include|import)_tasks: (\w+)\.yml", text))


def specs() -> dict[str, dict[str, Any]]:
    read = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    return {name: one["options"] for name, one in read.items()}


def test_every_entry_point_has_its_specs_and_checks_them_first() -> None:
    assert entry_points() == set(specs()) == {"main", "doctor", "rollback"}
    assert {TASKS[name][0]["ansible.builtin.import_tasks"] for name in entry_points()} == {"arguments.yml"}


def test_defaults_and_specs_agree() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    for options in specs().values():
        assert set(options) == set(defaults)
        for name, option in options.items():
            if "{{" in str(defaults[name]):
                assert "default" not in option, name  # the documentation says in words what it comes to
            else:
                assert option["default"] == defaults[name], name
                assert isinstance(defaults[name], KINDS[option["type"]]), name
                assert defaults[name] in option.get("choices", [defaults[name]]), name


def test_every_variable_that_is_used_is_declared() -> None:
    texts = [path.read_text() for path in [*(ROLE / "tasks").glob("*.yml"), *(COLLECTION / "playbooks").glob("*.yml")]]
    used = {name for text in texts for name in re.findall(r"(?<![\w.])qatprep_\w+", text)} - {"qatprep_"}
    assert used <= {*specs()["main"], "qatprep_hosts", "qatprep_serial", "qatprep_max_fail_percentage"}
    page = (ROOT / "docs" / "fleet.md").read_text()
    assert set(re.findall(r"`(qatprep_\w+)`", page)) <= used | set(specs()["main"])


@pytest.mark.usefixtures("ansible")
def test_the_collection_is_one(tmp_path: Path) -> None:
    """It builds, and what is built has everything; ansible-lint's strictest profile has nothing to say."""
    galaxy, lint = program("ansible-galaxy"), program("ansible-lint")
    assert galaxy
    copy = tmp_path / "ansible_collections" / "qatprep" / "host"
    shutil.copytree(COLLECTION, copy, ignore=shutil.ignore_patterns("__pycache__", ".ansible"))
    env = {**os.environ, "HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "NO_COLOR": "1"}
    env.pop("ANSIBLE_CONFIG", None)
    command = [galaxy, "collection", "build", "--output-path", str(tmp_path), str(copy)]
    subprocess.run(command, env=env, check=True, capture_output=True)
    listing = subprocess.run(
        ["tar", "tzf", tmp_path / "qatprep-host-0.1.0.tar.gz"], capture_output=True, text=True, check=True
    )
    wanted = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} - {"galaxy.yml"}
    assert wanted <= set(listing.stdout.split())
    if lint is None:
        pytest.skip("ansible-lint is not installed (pip install ansible-lint)")
    env["PATH"] = f"{Path(lint).parent}:{env['PATH']}"
    done = subprocess.run(
        [lint, "--offline", "--profile", "production"], cwd=copy, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout + done.stderr
