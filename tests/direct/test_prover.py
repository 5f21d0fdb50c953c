"""The process that proves VFs: real, and one that hangs or dies."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from qatprep.crypto.prover import Prover
from qatprep.direct.result import Cause, Proof, Seen, Step

NOWHERE = "ffff:ff:1f.7"

CHILD = """
import json, os, signal, sys, time
out = int(sys.argv[3])
def say(number, **more):
    os.write(out, json.dumps({"id": number, **more}).encode() + b"\\n")
for line in sys.stdin:
    asked = json.loads(line)
    say(asked["id"], part={"t": 0.1, "step": "mailbox", "what": "begin"})
    if asked["bdf"] == "hang":
        time.sleep(600)
    if asked["bdf"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked["bdf"] == "leave":
        os._exit(3)
    say(asked["id"], **PROOF)
"""


def test_a_real_process() -> None:
    entries = []
    with Prover() as prover:
        for _ in range(2):
            proof = prover.prove(NOWHERE, 2, lambda bdf, entry: entries.append((bdf, entry["what"])))
            assert (proof.step, proof.cause) == (Step.FIND, Cause.NO_DEVICE)
    assert entries[0] == (NOWHERE, "begin")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    proof = Proof("fine", Step.CLOSE, None, {}, Seen())
    (tmp_path / "child.py").write_text(CHILD.replace("PROOF", repr(json.loads(json.dumps(proof.as_dict())))))
    return [sys.executable, str(tmp_path / "child.py")]


def test_a_process_that_hangs_is_left_behind(command: list[str]) -> None:
    with Prover(command=command, patience=2) as prover:
        assert prover.prove("fine", 2).signs  # it runs: what follows is no slow start
        proof = prover.prove("hang", 2)
        assert (proof.step, proof.cause) == (Step.MAILBOX, Cause.HUNG)
        os.kill(proof.evidence["pid"], signal.SIGKILL)  # it is alive: nobody killed it
        os.waitpid(proof.evidence["pid"], 0)
        assert prover.prove("fine", 2).signs


@pytest.mark.parametrize(("how", "said"), [("die", "ended by SIGKILL"), ("leave", "ended with exit status 3")])
def test_a_process_that_dies(command: list[str], how: str, said: str) -> None:
    with Prover(command=command) as prover:
        proof = prover.prove(how, 2)
        assert (proof.step, proof.cause, proof.evidence["how"]) == (Step.MAILBOX, Cause.DIED, said)
        assert prover.prove(how, 2).cause is Cause.DIED
