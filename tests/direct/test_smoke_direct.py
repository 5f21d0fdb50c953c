"""All VFs of a node: which are proved, which are left alone, and what the counters say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from qatprep.cli.open_host import open_host
from qatprep.crypto import smoke_direct
from qatprep.crypto.prover import Keep, Prover
from qatprep.crypto.smoke_direct import DirectReport
from qatprep.direct.prove import prove
from qatprep.direct.result import Cause, Proof, Seen, Step
from qatprep.facts import nodes, pci
from qatprep.facts.base import Unknown
from tests.direct import faults
from tests.direct.device import Device, Dma
from tests.direct.model import BDF, Model


class Here:
    """A Prover whose VFs are models: `devices` by BDF, all others behave; `causes` by BDF end at once."""

    def __init__(
        self, devices: dict[str, Callable[[Dma], Device]] | None = None, causes: dict[str, Cause] | None = None
    ) -> None:
        self.devices, self.causes = devices or {}, causes or {}
        self.asked: list[str] = []

    def prove(self, bdf: str, number: int, keep: Keep | None = None) -> Proof:
        self.asked.append(bdf)
        if bdf in self.causes:
            return Proof(bdf, Step.OPEN, self.causes[bdf], {}, Seen())
        return replace(prove(BDF, number, kernel=Model(self.devices.get(bdf, Device))), bdf=bdf)


def run(name: str, here: Here | None = None, *, every: bool = True) -> DirectReport:
    return smoke_direct.run(open_host(simulate=name), every=every, prover=cast("Prover", here or Here()))


@pytest.mark.parametrize(
    ("name", "every", "signing", "ok"),
    [
        ("spr-2s-ready", False, 1, True),
        ("spr-2s-ready", True, 128, True),
        ("spr-2s-cdev", True, 128, True),
        ("vm-vfs", True, 4, True),
        ("spr-2s-no-vfs", True, 0, False),
        ("pf-down", True, 112, True),
        ("no-qat", True, 0, False),
    ],
)
def test_nodes(name: str, every: bool, signing: int, ok: bool) -> None:
    report = run(name, every=every)
    assert len(report.results) == len(report.of("signs")) == signing
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


def test_held_vfs_are_left_alone_and_their_holder_named() -> None:
    host = open_host(simulate="vf-held")
    (holder,), _ = nodes.holders(host, pci.gather(host).all_vfs)
    report = run("vf-held", Here(causes={holder.vf: Cause.HELD}))
    assert report.ok
    (left,) = report.of("left alone")
    assert left.bdf == holder.vf
    assert re.fullmatch(r"held by \S+ \(process \d+.*\)", left.verdict.summary)


def test_nothing_that_may_be_tried_is_no_success() -> None:
    vfs = pci.gather(open_host(simulate="vm-vfs")).all_vfs
    report = run("vm-vfs", Here(causes=dict.fromkeys((vf.bdf for vf in vfs), Cause.NOT_BOUND)))
    assert not report.ok
    assert {result.state for result in report.results} == {"left alone"}


def test_older_devices_are_not_touched() -> None:
    here = Here()
    report = run("gen2-c62x", here)
    assert here.asked == []
    assert {result.verdict.code for result in report.results} == {"unsupported"}


def test_pods() -> None:
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
        (1, "fw_counters: 1 responses for 2 requests; 1 not counted"),
        (Unknown("root only"), "fw_counters: unknown (root only)"),
    ],
)
def test_counters(counted: int | Unknown, text: str) -> None:
    assert DirectReport((), (), counted, 2, 0.0).evidence == text
