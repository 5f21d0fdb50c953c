"""The version is in one place: qatprep/version.py. Everything that names it names that one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

from qatprep.version import VERSION
from tests.conftest import qatprep
from tests.packages.conftest import bare_python

ROOT = Path(__file__).parents[2]
IMAGE = re.compile(r"qatprep:([0-9][\w.]*)")


def test_the_command_line_and_the_metadata_say_it() -> None:
    assert qatprep("--version").out == f"qatprep {VERSION}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "qatprep.version.VERSION"}


def test_images_and_the_collection_have_it() -> None:
    files = [*(ROOT / "packaging" / "kubernetes").iterdir(), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = {v for path in files if path.is_file() and path.suffix != ".pyz" for v in IMAGE.findall(path.read_text())}
    assert named == {VERSION}
    kustomization = yaml.safe_load((ROOT / "packaging" / "kubernetes" / "kustomization.yaml").read_text())
    assert {image["newTag"] for image in kustomization["images"]} == {VERSION}
    galaxy = yaml.safe_load(
        (ROOT / "playbooks" / "ansible_collections" / "qatprep" / "host" / "galaxy.yml").read_text()
    )
    assert galaxy["version"] == VERSION


def test_no_other_file_of_ours_spells_it_out() -> None:
    places = [*(ROOT / "qatprep").rglob("*.py"), *(ROOT / "packaging").glob("*.py"), ROOT / "setup.py", ROOT / "dev"]
    spelled = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w.])")
    assert [str(p.relative_to(ROOT)) for p in places if spelled.search(p.read_text())] == ["qatprep/version.py"]


def test_packages_carry_it(pyz: Path) -> None:
    done = subprocess.run(
        [bare_python(), "-I", "-S", str(pyz), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"qatprep {VERSION}\n"
