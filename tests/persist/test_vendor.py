"""The files judged by systemd's own tools, and the udev helper by the shells of distributions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qatprep.config import parse
from qatprep.persist import files
from tests import tools

CONFIGS = {
    "default": "{}",
    "other": "devices: {driver: qat_vfio_pci}\nnodes: {group: tls-accel, mode: '0640'}\n"
    "metrics: /var/lib/node_exporter/q.prom",
}
EXPOSURE = 4.0
"""systemd-analyze security: below this is what it calls OK."""
PROGRAM = (sys.executable, "-m", "qatprep")
needs_tools = pytest.mark.skipif(not tools.made("systemd"), reason="no systemd tools: python3 -m tests.tools systemd")


@pytest.fixture(params=list(CONFIGS))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    """Name -> path of every file for a configuration, the group being one that this machine has."""
    found = {}
    for file in files(parse(CONFIGS[request.param], "config"), PROGRAM):
        found[file.path.rsplit("/", 1)[-1]] = path = tmp_path / file.path.rsplit("/", 1)[-1]
        path.write_text(file.text)
    return found


def units(written: dict[str, Path]) -> list[str]:
    return [str(path) for name, path in written.items() if name.endswith((".service", ".timer"))]


def exposure(said: str) -> float:
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert match, said
    return float(match[1])


@needs_tools
def test_units_of_systemd_257(written: dict[str, Path]) -> None:
    done = tools.systemd("systemd-analyze", "verify", "--man=no", *units(written))
    assert (done.returncode, done.stderr) == (0, "")
    for path in units(written):
        if path.endswith(".service"):
            done = tools.systemd("systemd-analyze", "security", "--offline=true", "--no-pager", path)
            assert exposure(done.stdout) < EXPOSURE


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_units_of_this_machines_systemd(written: dict[str, Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units(written)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_tools
def test_a_unit_with_a_mistake_is_found(tmp_path: Path) -> None:
    """The judge is awake."""
    path = tmp_path / "x.service"
    path.write_text(f"[Service]\nExecStart={sys.executable}\nProtectSistem=strict\n")
    assert "ProtectSistem" in tools.systemd("systemd-analyze", "verify", str(path)).stderr


@needs_tools
def test_rules(written: dict[str, Path]) -> None:
    done = tools.systemd("udevadm", "verify", "--resolve-names=never", str(written["90-qatprep.rules"]))
    assert done.returncode == 0, done.stdout + done.stderr
    bad = written["90-qatprep.rules"].with_name("91-bad.rules")
    bad.write_text(written["90-qatprep.rules"].read_text().replace("PROGRAM", "PROGRM"))
    assert tools.systemd("udevadm", "verify", str(bad)).returncode == 1


@needs_tools
def test_the_group(written: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = tools.systemd("systemd-sysusers", f"--root={tmp_path}", str(written["qatprep.conf"]))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(qat|tls-accel):x:\d+:$", (tmp_path / "etc/group").read_text(), re.MULTILINE)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize(
    ("functions", "answer"),
    [
        ({"0000:6b:00.1": ("0x8086", "0x4941", "0x0b4000")}, 0),
        ({"0000:6b:00.1": ("0x8086", "0x4949", "0x0b4000"), "0000:6a:00.0": ("0x1b36", "0x000c", "0x060400")}, 0),
        ({"0000:6b:00.1": ("0x8086", "0x4941", "0x0b4000"), "0000:17:00.0": ("0x8086", "0x1592", "0x020000")}, 1),
        ({"0000:6b:00.0": ("0x8086", "0x4940", "0x0b4000")}, 1),
        ({"0000:17:00.0": ("0x8086", "0x1592", "0x020000")}, 1),
        ({"0000:6a:00.0": ("0x1b36", "0x000c", "0x060400")}, 1),
        ({"0000:3d:01.0": ("0x8086", "0x37c9", "0x0b4000")}, 1),
        ({}, 1),
    ],
    ids=["vf", "vf-bridge", "vf-nic", "pf", "nic", "bridge", "gen2", "empty"],
)
def test_the_helper_knows_a_group_of_qat_vfs(
    tmp_path: Path, shell: str, functions: dict[str, tuple[str, str, str]], answer: int
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    for bdf, values in functions.items():
        directory = tmp_path / "sys/kernel/iommu_groups/12/devices" / bdf
        directory.mkdir(parents=True)
        for name, value in zip(("vendor", "device", "class"), values, strict=True):
            (directory / name).write_text(f"{value}\n")
    script = tmp_path / "helper"
    helper = files(parse("", "config"), PROGRAM)[2]
    script.write_text(helper.text.replace("/sys/", f"{tmp_path}/sys/"))
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    for number, expected in (("12", answer), ("13", 1), ("vfio", 1), ("", 1), ("../12", 1)):
        done = subprocess.run([*argv, str(script), number], capture_output=True, text=True, check=False)
        assert done.returncode == expected, (number, done.stderr)
