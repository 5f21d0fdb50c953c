"""Commands for many devices name every one of them, in any shell (tests/vm/test_shell_fixes.py runs them for real)."""

from __future__ import annotations

import subprocess

import pytest

from qatprep.checks.text import for_each
from tests.conftest import qatprep


def said(command: str) -> list[str]:
    """The words that a POSIX shell prints."""
    return subprocess.run(["sh", "-c", command], capture_output=True, check=True, text=True).stdout.split()


def vfs(buses: str) -> list[str]:
    return [f"0000:{bus}:{n >> 3:02x}.{n & 7}" for bus in buses.split() for n in range(1, 17)]


@pytest.mark.parametrize(
    ("bdfs", "commands"),
    [
        (vfs("6b")[:1], 1),
        (vfs("6b")[:8], 1),
        (vfs("6b 70 75 7a e8 ed f2 f7"), 1),
        (vfs("6b 70 75")[:-1], 2),
        ([*vfs("6b"), "0001:6b:00.1"], 2),
    ],
    ids=["one", "few", "all of 8 PFs", "one missing", "another domain"],
)
def test_each_device_is_named_once(bdfs: list[str], commands: int) -> None:
    loops = for_each(bdfs, "echo $vf", "vf")
    assert len(loops) == commands
    assert [word for loop in loops for word in said(loop)] == bdfs


@pytest.mark.parametrize(("name", "count"), [("nodes-root-only", 11), ("vf-ids", 128)])
def test_each_device_node_is_named_once(name: str, count: int) -> None:
    (found,) = qatprep("doctor", "--only", "QP-NODE-001", "--simulate", name, "-o", "json").json["findings"]
    chgrp, chmod = (step for step in found["fix"] if step.startswith("ch"))
    names = said(chgrp.replace("chgrp qat", "echo"))
    assert len(names) == count and names == said(chmod.replace("chmod 0660", "echo"))
    assert {item["path"] for item in found["evidence"]} == set(names)


@pytest.mark.parametrize(("name", "count"), [("spr-2s", 8), ("spr-8s", 32)])
def test_vfs_are_made_by_hand_on_every_pf_that_lacks_them(name: str, count: int) -> None:
    """Also on those whose services are set by hand first: the finding says that none has VFs."""
    findings = qatprep("doctor", "--only", "QP-SRIOV-001", "--simulate", name, "-o", "json").json["findings"]
    (found,) = (f for f in findings if f["status"] == "fail")
    (loop,) = found["fix"][-1:]
    assert f"none of the {count} PFs" in found["title"]
    assert len(set(said(loop.replace("cat $q/sriov_totalvfs > $q/sriov_numvfs", "echo $pf")))) == count
