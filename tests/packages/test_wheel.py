"""The wheel and the source distribution."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packages.conftest import ROOT, bare_python, make, needs
from tests.packages.hardening import weaknesses


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("gcc", "gcc")
    return next(make("wheel.py", tmp_path_factory.mktemp("wheel")).glob("*.whl"))


def test_auditwheel_agrees_with_the_tag(wheel: Path) -> None:
    beside = Path(sys.executable).parent / "auditwheel"
    auditwheel = str(beside) if beside.exists() else shutil.which("auditwheel")
    if auditwheel is None:
        pytest.skip("auditwheel is not installed (pip install auditwheel)")
    python, abi, platform = wheel.stem.split("-")[2:]
    assert (python, abi) == ("cp311", "abi3")
    assert platform.startswith("manylinux_2_")
    shown = subprocess.run([auditwheel, "show", wheel], capture_output=True, text=True, check=True).stdout
    assert f'"{platform}"' in shown


def test_it_installs_and_has_everything(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, with pip checking RECORD; the dependencies are those of this environment."""
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", target, wheel], check=True, capture_output=True)
    code = (
        "import json, qatprep._native, qatprep.simulator.scenarios as s; print(json.dumps([qatprep._native.__file__, "
    )
    code += "len(s.scenarios())]))"
    env = {"PYTHONPATH": f"{target}:{next(p for p in sys.path if p.endswith('site-packages'))}"}
    done = subprocess.run([bare_python(), "-c", code], env=env, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    native, hosts = json.loads(done.stdout)
    assert native.startswith(str(target))
    assert hosts == len(list((ROOT / "fixtures" / "sysfs").glob("*/scenario.yaml")))


def test_nothing_in_it_knows_the_machine_it_was_built_on(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        native = archive.read("qatprep/_native.abi3.so")
        names = archive.namelist()
    assert weaknesses(native) == []
    assert not [name for name in names if name.startswith(("tests", "fixtures", "benchmarks")) or name.endswith(".c")]


def test_the_source_distribution_builds(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("build")
    if spec is None or spec.origin is None:  # a directory of that name is none
        pytest.skip("build is not installed (pip install build)")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.so", "__pycache__"))
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {str(p.relative_to(ROOT)) for p in (ROOT / "qatprep").rglob("*.[ch]")}
    wanted |= {str(p.relative_to(ROOT)) for p in (ROOT / "fixtures" / "sysfs").glob("*/host.txt")}
    wanted |= {"LICENSE", "README.md", "pyproject.toml", "setup.py"}
    assert wanted <= names
