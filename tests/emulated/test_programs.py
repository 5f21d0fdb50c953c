"""The other verbs that sign on QAT, other users, and other people's programs, on the real libqat."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DEADLINE, QATPREP, SMOKE, Run, libqat, tree_of

REPOSITORY = Path(__file__).parents[2]
NOBODY = "65534"


def test_operations_take_turns_over_instances_and_vfs(suite: Path, run: Run) -> None:
    ran = run(suite, SMOKE, "--vfs", "2", QAT_POLICY="2")
    assert "8 instances: 64 RSA-2048 signatures, all right" in ran.provider["summary"]
    assert [vf["pairs"] for vf in ran.counts.values()] == [[8] * 4, [8] * 4]


def test_bench_has_a_row_for_qat(run: Run) -> None:
    bench = (*QATPREP, "bench", "rsa", "--key", "rsa-2048", "--rounds", "1", "--seconds", "0.1", "--output", "json")
    ran = run(tree_of("sid"), bench, "--services", "sym;asym")
    assert ran.status == 0, ran.err
    (row,) = (row for row in ran.json["results"] if row["provider"] == "qat")
    assert (row["detail"], row["trouble"], row["median"] > 0) == ("libqat, 2 instances", "", True)
    (vf,) = ran.counts.values()
    assert vf["requests"] == vf["answers"] > 0


def test_tune_weighs_qat(run: Run) -> None:
    tune = (*QATPREP, "tune", "--load", "50", "--poll-delay", "5", "--seconds", "0.2", "--output", "json")
    ran = run(tree_of("trixie"), tune, "--services", "sym;asym")
    assert ran.status == 0, ran.err
    qat = [point for point in ran.json["points"] if point["provider"] == "qat"]
    assert qat
    (vf,) = ran.counts.values()
    assert vf["requests"] == vf["answers"] >= sum(point["completed"] for point in qat) > 0


def test_somebody_elses_program(suite: Path, run: Run) -> None:
    """Intel's own sample: it makes 80 keys and decrypts 80 times on four instances."""
    ran = run(suite, ("cpa_sample_code", "signOfLife=1", "runTests=2"))
    assert (ran.status, "Sample code completed successfully." in ran.out) == (0, True), ran.out + ran.err
    (vf,) = ran.counts.values()
    assert vf["functions"] == {"RSA_KP2_2048": 80, "RSA_DP2_2048": 80}
    assert vf["pairs"] == [40] * 4


def test_that_sample_sees_no_wrong_result(run: Run) -> None:
    """Why it proves nothing, and smoke does: it never looks at what it decrypted."""
    ran = run(tree_of("sid"), ("cpa_sample_code", "signOfLife=1", "runTests=2"), "--fault", "wrong=1000000")
    assert (ran.status, "Sample code completed successfully." in ran.out) == (0, True)


@pytest.fixture(scope="module")
def nobody() -> list[str]:
    """What runs a command as uid 65534 with a Python that this user can start."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become another user")
    python = f"/usr/bin/python3.{sys.version_info.minor}"
    prefix = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "env", "-C", "/"]
    path = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "emulator"), sysconfig.get_paths()["purelib"]))
    command = [*prefix, f"PYTHONPATH={path}", "HOME=/nonexistent", python]
    modules = "import qatprep._native, qat_emulator, typer"
    done = subprocess.run([*command, "-c", modules], capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode:
        pytest.skip(f"uid {NOBODY} cannot run this here: {done.stderr.strip().splitlines()[-1]}")
    probe = [*command, "-m", "qat_emulator", "run", "--", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=DEADLINE, check=False)
    if "namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    return command


@pytest.fixture(scope="module")
def open_tree() -> Iterator[str]:
    """A copy of a tree where every user may read it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["cp", "-a", str(tree_of("trixie")), f"{folder}/root"], check=True)
        yield f"{folder}/root"


@pytest.mark.parametrize(("fault", "status", "words"), [((), 0, "all right"), (("--fault", "wrong=1"), 3, "1 WRONG")])
def test_an_ordinary_user_needs_no_right(
    nobody: list[str], open_tree: str, fault: tuple[str, ...], status: int, words: str
) -> None:
    smoke = [nobody[-1], "-m", "qatprep", "smoke", "--provider", "qat"]
    done = subprocess.run(
        [*nobody, "-m", "qat_emulator", "run", "--tree", open_tree, *fault, "--", *smoke],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (done.returncode, words in done.stdout) == (status, True), done.stdout + done.stderr


def test_the_two_libraries_are_not_the_same() -> None:
    assert libqat(tree_of("trixie")) != libqat(tree_of("sid"))
