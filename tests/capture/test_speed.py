"""The largest host, with attributes that block in the kernel: one deadline is waited for, not one for each PF."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.host import child, linux, manifest
from qatprep.host.capture import Capture
from qatprep.host.tree import Tree
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep

STUCK = ("0000:0b:00.0/sriov_numvfs", "0000:0b:00.1/driver_override")
"""Of an 8-socket host whose first PF waits for the holder of a VF."""


def materialize(tree: Tree, top: Path) -> None:
    """Lay a tree down as real files and links. Modes and owners are not needed."""
    for path, node in tree.walk():
        if path.startswith(("/.qatprep", "/proc/")) or node.error or node.kind == "char":
            continue
        place = f"{top}{path}"
        if node.kind == "dir":
            os.mkdir(place)
        elif node.kind == "link":
            os.symlink(node.target, place)
        elif node.size is None:
            Path(place).write_bytes(node.content())


def test_an_eight_socket_host_with_attributes_that_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = open_host("/", "spr-8s-ready")
    assert isinstance(host, SimulatedHost)
    (tmp_path / "root").mkdir()
    materialize(host.tree, tmp_path / "root")
    real = child.read

    def read(path: str, limit: int) -> bytes:
        if path.endswith(STUCK):
            time.sleep(60)  # in the child that reads for us: as long as somebody holds the VF
        return real(path, limit)

    for module in (child, linux):
        monkeypatch.setattr(module, "read", read)
    forks = []
    fork = child._fork

    def counted() -> int:
        forks.append(fork())
        return forks[-1]

    monkeypatch.setattr(child, "_fork", counted)
    called = qatprep("capture", str(tmp_path / "node.txt"), "--root", str(tmp_path / "root"))
    assert called.code == ExitCode.OK, called.err
    assert len(forks) == 1 + len(STUCK), "a child reads on until it blocks; then the next one does"
    text = (tmp_path / "node.txt").read_text()
    for path in STUCK:
        bdf, name = path.split("/")
        assert any(line.endswith(f"{bdf}/{name} !ETIMEDOUT") for line in text.splitlines()), path
    copy = Capture(manifest.parse(text, "x"), "x")
    shown = qatprep("device", "list", "-o", "json", host=copy).json["pfs"]
    assert len(shown) == 32 and all(len(pf["vfs"]) == 16 for pf in shown)
    assert shown[0]["device"] == "0000:0b:00.0"
    assert shown[0]["num_vfs"] == {"unknown": f"/sys/bus/pci/devices/{STUCK[0]}: blocked in the kernel"}
