"""All VFs of a node: which are proved, which are left alone, and what the counters say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from qatprep.crypto import smoke_direct
from qatprep.crypto.smoke_direct import DirectReport
from qatprep.direct.prove import prove
from qatprep.direct.prover import Keep, Prover
from qatprep.direct.result import Cause, Proof
from qatprep.facts.base import Unknown
from qatprep.host.select import open_host
from tests.direct import faults
from tests.direct.device import Device, Dma
from tests.direct.model import BDF, Model


class Here:
    """A Prover whose VFs are models: `devices` by BDF, all others behave."""

    def __init__(self, devices: dict[str, Callable[[Dma], Device]] | None = None) -> None:
        self.devices = devices or {}
        self.asked: list[str] = []
        self.busy: set[str] = set()

    def prove(self, bdf: str, number: int, keep: Keep | None = None) -> Proof:
        self.asked.append(bdf)
        model = Model(self.devices.get(bdf, Device))
        proof = prove(BDF, number, kernel=model)
        if bdf in self.busy:
            proof = replace(proof, cause=Cause.HELD)
        return replace(proof, bdf=bdf)


def run(name: str, here: Here | None = None, *, every: bool = True) -> DirectReport:
    return smoke_direct.run(open_host(simulate=name), every=every, prover=cast("Prover", here or Here()))


@pytest.mark.parametrize(
    ("name", "every", "states", "ok"),
    [
        ("spr-2s-ready", False, {"signs": 1}, True),
        ("spr-2s-ready", True, {"signs": 128}, True),
        ("spr-2s-cdev", True, {"signs": 128}, True),
        ("vm-vfs", True, {"left alone": 4}, False),
        ("half-bound", True, {"signs": 120, "left alone": 8}, True),
        ("vf-held", True, {"signs": 127, "left alone": 1}, True),
        ("spr-2s-no-vfs", True, {}, False),
        ("pf-down", True, {"signs": 112}, True),
        ("no-qat", True, {}, False),
    ],
)
def test_nodes(name: str, every: bool, states: dict[str, int], ok: bool) -> None:
    report = run(name, every=every)
    assert Counter(result.state for result in report.results) == states
    assert report.ok == ok


def test_each_signature_is_checked_by_another_implementation() -> None:
    report = run("spr-2s-ready", every=False)
    assert "cryptography" in report.results[0].checked_by


def test_a_bad_vf_is_named_and_the_others_sign() -> None:
    bad = "0000:6b:00.3"
    report = run("spr-2s-ready", Here({bad: faults.Wrong}))
    assert [(r.bdf, r.verdict.code) for r in report.of("fails")] == [(bad, "wrong")]
    assert len(report.of("signs")) == 127
    assert not report.ok


def test_one_vf_means_one_that_may_have_asym() -> None:
    """Of PFs with other services only where there is none with asym."""
    here = Here()
    report = run("mixed-generations", here, every=False)
    assert len(here.asked) <= 1
    assert all(result.state == "signs" for result in report.results)


def test_a_vf_that_is_taken_meanwhile_is_left_alone() -> None:
    here = Here()
    first = run("spr-2s-ready", here, every=False).results[0].bdf
    here.busy.add(first)
    report = run("spr-2s-ready", here, every=False)
    assert [result.state for result in report.results] == ["left alone", "signs"]


def test_held_and_given_to_pods() -> None:
    here = Here()
    report = run("vf-held", here)
    (left,) = report.of("left alone")
    assert left.verdict.code == "held"
    assert "process" in left.verdict.summary
    assert left.bdf not in here.asked


def test_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here()
    report = run("k8s-as-the-paper-says", here)
    given = [result for result in report.of("left alone") if result.verdict.code == "allocated"]
    assert given
    assert not {result.bdf for result in given} & set(here.asked)


def test_pfs_without_vfs_are_named() -> None:
    assert run("pf-down").without_vfs


@pytest.mark.parametrize(
    ("counted", "text"),
    [
        (2, "fw_counters: 2 responses for 2 requests"),
        (5, "fw_counters: 5 responses for 2 requests; others use these PFs meanwhile"),
        (Unknown("root only"), "fw_counters: unknown (root only)"),
    ],
)
def test_counters(counted: int | Unknown, text: str) -> None:
    assert DirectReport((), (), counted, 2, 0.0).evidence == text
