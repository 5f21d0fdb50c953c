"""What smoke says of the real libqat: every set of services, and everything that a device can do wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import SMOKE, Run, tree_of

SERVICES = [
    # Services, instances, code, summary, requests of each ring pair.
    ("asym", 4, "passed", "libqat, 4 instances: 64 RSA-2048 signatures, all right", [16, 16, 16, 16]),
    ("sym;asym", 2, "passed", "libqat, 2 instances: 64 RSA-2048 signatures, all right", [32, 0, 32, 0]),
    ("asym;dc", 2, "passed", "libqat, 2 instances: 64 RSA-2048 signatures, all right", [0, 32, 0, 32]),
    ("sym", 4, "no-rsa", "libqat has 4 instances, but none does RSA: the VF has no asym service", [0] * 4),
    ("sym;dc", 2, "no-rsa", "libqat has 2 instances, but none does RSA: the VF has no asym service", [0] * 4),
    ("dc", 0, "no-rsa", "libqat started but has no crypto instance: the VF has neither asym nor sym", [0] * 4),
]


@pytest.mark.parametrize(("services", "instances", "code", "summary", "pairs"), SERVICES, ids=[s[0] for s in SERVICES])
def test_each_set_of_services(
    suite: Path, run: Run, services: str, instances: int, code: str, summary: str, pairs: list[int]
) -> None:
    ran = run(suite, SMOKE, "--services", services)
    assert (ran.status, ran.provider["code"]) == (0 if code == "passed" else 3, code), ran.out
    assert ran.provider["summary"].startswith(summary)
    (vf,) = ran.counts.values()
    assert vf["pairs"] == pairs, "libqat's instances took turns, and those of RSA alone"
    assert vf["functions"] == ({"RSA_DP2_2048": 64} if sum(pairs) else {})
    assert vf["answers"] == sum(pairs)


def test_no_device(suite: Path, run: Run) -> None:
    ran = run(suite, SMOKE, "--vfs", "0", ours=False)
    assert (ran.status, ran.provider["code"], ran.provider["state"]) == (3, "no-device", "unavailable")
    assert "libqat: No device found" in " ".join(ran.provider["evidence"])


FAULTS = [
    # Fault, code, summary after the name of the library, requests that were taken, answers.
    ("wrong=1", "wrong", "64 RSA-2048 signatures, 1 WRONG", 64, 64),
    ("failed=7", "wrong", "64 RSA-2048 signatures, 7 WRONG", 64, 64),
    ("lost=1", "lost", "1 of 64 operations never came back", 64, 63),
    ("unsupported=5", "refused", "5 of 64 operations ended with status -6", 64, 64),
    ("stalled=60000", "lost", "64 of 64 operations never came back", 64, 0),
    ("full=3", "lost", "61 of 64 operations never came back", 3, 3),
    ("restarting=10", "lost", "54 of 64 operations never came back", 10, 10),
    ("fatal=10", "lost", "54 of 64 operations never came back", 10, 10),
    ("gone=10", "lost", "", 10, None),
]


@pytest.mark.parametrize(("fault", "code", "summary", "taken", "answers"), FAULTS, ids=[f[0] for f in FAULTS])
def test_each_fault_of_the_device(
    suite: Path, run: Run, fault: str, code: str, summary: str, taken: int, answers: int | None
) -> None:
    ran = run(suite, SMOKE, "--services", "sym;asym", "--fault", fault)
    assert (ran.status, ran.provider["code"]) == (3, code), ran.out
    assert summary in ran.provider["summary"]
    (vf,) = ran.counts.values()
    assert vf["requests"] == taken
    assert answers is None or vf["answers"] == answers


def test_a_vf_without_an_interrupt_is_not_called_held(run: Run) -> None:
    """26.08 needs one; 24.02 polls."""
    ran = run(tree_of("sid"), SMOKE, "--fault", "nointerrupt", ours=False)
    assert (ran.status, ran.provider["code"]) == (3, "refused"), ran.out
    assert "doesn't support eventfd" in ran.provider["summary"]


def test_an_answer_that_takes_libqat_down_is_a_verdict(suite: Path, run: Run) -> None:
    """libqat follows the pointer in an answer; qatprep lets it do so in a process of its own."""
    ran = run(suite, SMOKE, "--services", "sym;asym", "--fault", "opaque")
    assert (ran.status, ran.provider["code"]) == (3, "died")
    assert "ended by SIGSEGV" in ran.provider["summary"]
