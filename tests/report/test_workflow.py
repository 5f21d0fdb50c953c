"""The example workflow: every command of it, on simulated hosts and captures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from qatprep.simulator.scenarios import scenarios
from tests.conftest import qatprep, some

ROOT = Path(__file__).parents[2]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "ci-workflow.yaml").read_text())
JOBS = WORKFLOW["jobs"]
MATRIX: list[str] = JOBS["configuration"]["strategy"]["matrix"]["host"]


def commands(job: str, host: str = "") -> str:
    """The steps of a job as one script, as a runner would call each."""
    steps = [step["run"].replace("${{ matrix.host }}", host) for step in JOBS[job]["steps"] if "run" in step]
    assert steps[0] == "pip install ./qatprep"
    return "\n".join(f"( {step}\n) || exit" for step in steps[1:])


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    programs.mkdir()
    tool = programs / "qatprep"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qatprep "$@"\n')
    tool.chmod(0o755)
    summary = folder / "summary.md"
    env = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(summary), **JOBS["configuration"]["env"],
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("host", some(MATRIX, 3))
def test_a_configuration_on_a_simulated_host(host: str, tmp_path: Path) -> None:
    (tmp_path / "qatprep.yaml").write_text("devices: {services: asym;sym}\n")
    done = run(commands("configuration", host), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("doctor.xml", "report.html", "summary.md"):
        assert (tmp_path / name).stat().st_size > 1000


def test_captures_of_nodes(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "qatprep.yaml").write_text("devices: {services: asym;sym}\n")
    for name in ("half-bound", "iommu-staged", "spr-2s-ready"):  # ends with 3, 6 and 0
        assert qatprep("capture", str(tmp_path / "nodes" / f"{name}.txt"), "--simulate", name).code == 0
    done = run(commands("nodes"), tmp_path)
    assert done.returncode == 6, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{kind}" for name in ("half-bound", "iommu-staged", "spr-2s-ready") for kind in ("xml", "html")
    }


def test_no_captures(tmp_path: Path) -> None:
    done = run(commands("nodes"), tmp_path)
    assert (done.returncode, "no captures in nodes/" in done.stdout) == (2, True), done.stderr


def test_its_hosts_exist() -> None:
    assert set(MATRIX) <= {scenario.name for scenario in scenarios()}
