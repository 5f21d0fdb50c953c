"""The direct proof against qat-emulator: a device written by other people's hands, in another process.

Each test is skipped where the emulator cannot run (no user namespaces, not x86-64).
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from qatprep.direct.result import Cause, Proof, Step
from tests.conftest import some
from tests.direct.sequence import RECORDINGS, lines, of_one_pair, without_ring_map
from tests.emulated.conftest import obstacle, tree_of

FIRST = "0000:01:00.0"
HERE = (sys.executable, "-m", "tests.direct.here")


def emulate(options: list[str], *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "qat_emulator", "run", *options, "--", *command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(autouse=True)
def runs() -> None:
    if text := obstacle():
        pytest.skip(text)


def proved(*options: str, times: int = 1) -> Proof:
    """The last of so many proofs."""
    once = " ".join((*HERE, FIRST))
    fields = json.loads(emulate(list(options), "sh", "-c", "; ".join([once] * times)).stdout.splitlines()[-1])
    fields.pop("entries")
    return Proof.from_dict(fields)


SIGNS = (Step.CLOSE, None)
VERDICTS: dict[str, tuple[Step, Cause | None]] = {
    "wrong": (Step.SIGN, Cause.WRONG),
    "lost": (Step.SIGN, Cause.NO_ANSWER),
    "failed": (Step.SIGN, Cause.REFUSED),
    "unsupported": (Step.SIGN, Cause.REFUSED),
    "unwritten": (Step.SIGN, Cause.WRONG),
    "stalled=200": SIGNS,
    "stalled=3000": (Step.SIGN, Cause.NO_ANSWER),
    "full": (Step.SIGN, Cause.NOT_TAKEN),
    "twice": SIGNS,
    "opaque": (Step.SIGN, Cause.STRAY_ANSWER),
    "noise": (Step.SIGN, Cause.STRAY_ANSWER),
    "zero": (Step.SIGN, Cause.STRAY_ANSWER),
    "torn=20": (Step.SIGN, Cause.STRAY_ANSWER),
    "otherring": (Step.SIGN, Cause.NO_ANSWER),
    "silent": (Step.MAILBOX, Cause.PF_SILENT),
    "acknowledged": (Step.MAILBOX, Cause.PF_NO_ANSWER),
    "unacknowledged": (Step.MAILBOX, Cause.PF_SILENT),
    "garbage": (Step.MAILBOX, Cause.PF_NONSENSE),
    "late=600": (Step.MAILBOX, Cause.DEADLINE),
    "half": (Step.MAILBOX, Cause.PF_SILENT),
    "incompatible": (Step.MAILBOX, Cause.VERSION_REFUSED),
    "unknowing": SIGNS,
    "version=1": (Step.MAILBOX, Cause.VERSION_REFUSED),
    "version=4": SIGNS,
    "checksum": (Step.MAILBOX, Cause.PF_NONSENSE),
    "noblocks": (Step.MAILBOX, Cause.PF_NONSENSE),
    "longblocks": (Step.MAILBOX, Cause.PF_NONSENSE),
    "zeroblocks": (Step.MAILBOX, Cause.PF_NONSENSE),
    "randomblocks": (Step.MAILBOX, Cause.PF_NONSENSE),
    "stuckclosing": SIGNS,
    "restarting=0": (Step.MAILBOX, Cause.PF_RESTARTING),
    "restarting=1": (Step.SIGN, Cause.PF_RESTARTING),
    "fatal=0": (Step.MAILBOX, Cause.PF_FATAL),
    "fatal=1": (Step.SIGN, Cause.PF_FATAL),
    "gone=0": (Step.MAILBOX, Cause.FUNCTION_GONE),
    "gone=1": (Step.SIGN, Cause.FUNCTION_GONE),
    "unviable": (Step.OPEN, Cause.NOT_VIABLE),
    "smallbars": (Step.DEVICE, Cause.WRONG_REGISTERS),
    "memlock=16": SIGNS,
    "nointerrupt": SIGNS,
}


AFTER_ONE = ("restarting=1", "fatal=1", "gone=1")
"""These happen once a request was answered: at the doorbell of the second proof."""


NOT_UNDONE = {
    "stuckclosing": ("registration at the PF (pf-silent)",),
    "gone=1": ("registration at the PF (function-gone)",),
}


@pytest.mark.parametrize("fault", some(VERDICTS, 2))
def test_verdicts(fault: str) -> None:
    proof = proved("--fault", fault, times=2 if fault in AFTER_ONE else 1)
    assert (proof.step, proof.cause) == VERDICTS[fault], proof.evidence
    assert proof.not_undone == NOT_UNDONE.get(fault, ())


def test_answers_that_come_again() -> None:
    """3 ms later: taken for the next answer, and refused by its CRC or its type, or too early to be noticed."""
    assert proved("--fault", "repeated").cause in (Cause.PF_NONSENSE, None)


@pytest.mark.parametrize("services", ["sym", "dc", "sym;dc"])
def test_no_asym(services: str) -> None:
    proof = proved("--services", services)
    assert proof.cause is Cause.NO_ASYM
    assert set(proof.evidence["services"]) == set(services.split(";"))


@pytest.mark.parametrize("services", ["sym;asym", "asym;dc"])
def test_the_pair_with_asym_is_taken(services: str) -> None:
    proof = proved("--services", services)
    assert proof.seen.services[proof.seen.pair] == "asym"


def test_memory_limit() -> None:
    proof = proved("--fault", "memlock=8")
    assert (proof.step, proof.cause) in ((Step.MEMORY, Cause.MEMLOCK), (Step.MEMORY, Cause.MAP_REFUSED))


def test_the_writes_are_those_of_libqat(tmp_path: Path) -> None:
    """All of them, in the order of 26.08. 24.02 writes no mask and does not ask for the ring map (block 3)."""
    record = tmp_path / "record"
    assert proved("--record", str(record)).signs
    ours = of_one_pair(lines(record), 0)
    assert ours == of_one_pair((RECORDINGS / "libqat-26.08.txt").read_text().splitlines(), 0)
    older = of_one_pair((RECORDINGS / "libqat-24.02.txt").read_text().splitlines(), 0)
    assert without_ring_map(ours) == older


def test_killed_anywhere() -> None:
    """SIGKILL at places all over the trace; after each death the next run signs (test_prove.py: at every call)."""
    entries = json.loads(emulate([], *HERE, FIRST).stdout)["entries"]
    places = [1, 5, 20, entries // 2, *range(entries - 45, entries, 6), entries]
    once = f"{' '.join(HERE)} {FIRST}"
    script = "\n".join(f"{once} {place} > /dev/null; [ $? = 137 ] || exit 9; {once}" for place in places)
    results = [json.loads(line) for line in emulate([], "sh", "-c", script).stdout.splitlines()]
    assert len(results) == len(places)
    assert [result["cause"] for result in results] == [None] * len(places)


def smoke(options: list[str], *arguments: str) -> tuple[int, Any]:
    argv = (sys.executable, "-m", "qatprep", "smoke", "--direct", "-o", "json", *arguments)
    done = emulate(options, *argv, check=False)
    document = json.loads(done.stdout)
    fastjsonschema.validate(json.loads(files("qatprep.schema").joinpath("smoke-direct.json").read_text()), document)
    return done.returncode, document


def test_all_vfs(tmp_path: Path) -> None:
    counts, record = tmp_path / "counts", tmp_path / "record"
    code, document = smoke(["--vfs", "16", "--counts", str(counts)], "--all", "--record", str(record))
    assert code == 0
    assert document["verdict"] == "16 of 16 VFs sign"
    assert {vf["requests"] for vf in json.loads(counts.read_text()).values()} == {1}
    entries = [json.loads(line) for line in record.read_text().splitlines()]
    schema = json.loads(files("qatprep.schema").joinpath("direct-record.json").read_text())
    for entry in entries[:500]:
        fastjsonschema.validate(schema, entry)
    assert entries[0]["schema"] == "qatprep.direct-record/1"
    assert len({entry["bdf"] for entry in entries[1:]}) == 16
    assert record.stat().st_mode & 0o777 == 0o600


def test_a_vf_that_libqat_cannot_use() -> None:
    _, document = smoke(["--fault", "nointerrupt"])
    assert document["notes"] == ["libqat will not start: the VF has no MSI (this proof needs none)"]


def test_a_vf_that_fails() -> None:
    code, document = smoke(["--fault", "failed"])
    assert code == 3
    assert [(vf["state"], vf["code"]) for vf in document["vfs"]] == [("fails", "refused")]


@pytest.mark.parametrize(("suite", "version"), [("trixie", "24.02"), ("sid", "26.08")])
def test_with_the_real_libqat(suite: str, version: str, tmp_path: Path) -> None:
    """libqat, direct, libqat, a death in the middle, libqat: all sign; and libqat's writes are still those recorded."""
    qat, record, counts = f"{sys.executable} -m qatprep smoke --provider qat", tmp_path / "record", tmp_path / "counts"
    options = ["--tree", str(tree_of(suite))]
    here = " ".join(HERE)
    script = f"{qat} && {here} {FIRST} && {qat} && {{ {here} {FIRST} 100; [ $? = 137 ]; }} && {qat} && {here} {FIRST}"
    done = emulate([*options, "--counts", str(counts)], "sh", "-c", script)
    assert done.stdout.count("64 RSA-2048 signatures, all right") == 3
    assert done.stdout.count('"cause": null') == 2
    assert json.loads(counts.read_text())[FIRST]["requests"] in (194, 195)  # the dead one may have sent its own
    emulate([*options, "--record", str(record)], *qat.split())
    recorded = (RECORDINGS / f"libqat-{version}.txt").read_text().splitlines()
    assert of_one_pair(lines(record), 0) == of_one_pair(recorded, 0)
