"""doctor --prove: what a proof does to the findings and to the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import pytest

from qatprep.assess import State
from qatprep.cli.open_host import open_host
from qatprep.crypto import prove, smoke
from qatprep.crypto.result import ProviderResult
from qatprep.direct.result import Cause
from qatprep.exits import ExitCode
from qatprep.facts import pci, proof
from qatprep.facts.proof import Proof
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.direct import faults
from tests.direct.device import Device, Dma
from tests.direct.test_smoke_direct import Here

READY = "spr-2s-ready"


class Context(Here):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("device", "cause", "state", "first"),
    [
        (Device, None, State.READY, ""),
        (faults.Wrong, None, State.NOT_READY, "QP-PROOF-003"),
        (faults.Silent, None, State.NOT_READY, "QP-PROOF-002"),
        (Device, Cause.IOMMU_REFUSED, State.NOT_READY, "QP-PROOF-001"),
        (Device, Cause.HELD, State.UNKNOWN, "QP-PROOF-003"),
    ],
)
def test_verdicts(
    device: Callable[[Dma], Device], cause: Cause | None, state: State, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = open_host(simulate=READY)
    assert isinstance(host, SimulatedHost)
    host.simulated = False
    names = [vf.bdf for vf in pci.gather(host).all_vfs]
    here = Context(dict.fromkeys(names, device), dict.fromkeys(names, cause) if cause else {})
    no_libqat = ProviderResult("qat", "unavailable", "libqat.so.4 is not installed", code="no-library")
    monkeypatch.setattr(smoke, "run", lambda provider, host: smoke.SmokeReport("auto", "", (no_libqat,), "", True))
    monkeypatch.setattr(smoke, "elsewhere", lambda _: "")
    monkeypatch.setattr(prove, "Prover", lambda: here)
    called = qatprep("doctor", "--prove", "-o", "json", host=host)
    verdict = called.json["verdicts"][0]
    assert (verdict["state"], verdict["first"]) == (str(state), first)
    assert verdict["text"].startswith("signed on 8 of 8 PFs") == (state is State.READY)
    assert called.code == (ExitCode.FINDINGS if state is State.NOT_READY else ExitCode.OK)


@pytest.mark.parametrize(
    ("device", "cause", "state", "proven"),
    [
        (Device, None, State.READY, 8),
        (faults.Wrong, None, State.NOT_READY, 1),
        (Device, Cause.HELD, State.CONFIGURED, 1),
    ],
)
def test_what_libqat_did_not_reach_signs_without_it(
    device: Callable[[Dma], Device], cause: Cause | None, state: State, proven: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libqat takes one VF (QAT_POLICY=1), and 6 at most of itself: the proof is of each PF."""
    host = open_host(simulate=READY)
    assert isinstance(host, SimulatedHost)
    host.simulated = False
    found = pci.gather(host)
    names = [vf.bdf for vf in found.all_vfs]
    here = Context(dict.fromkeys(names, device), dict.fromkeys(names, cause) if cause else {})
    first = found.pfs[0].bdf
    libqat = ProviderResult("qat", "passed", "64 right", library="libqat", devices=((first, 64, 64),), code="passed")
    monkeypatch.setattr(smoke, "run", lambda provider, host: smoke.SmokeReport("qat", "", (libqat,), "", True))
    monkeypatch.setattr(smoke, "elsewhere", lambda _: "")
    monkeypatch.setattr(prove, "Prover", lambda: here)
    called = qatprep("smoke", "--provider", "qat", "-o", "json", host=host)
    assert called.code == (ExitCode.FINDINGS if state is State.NOT_READY else ExitCode.OK)
    (line,) = called.json["providers"]
    assert line["summary"].startswith(f"64 right; without libqat: {proven - 1} of 7 signed RSA-2048")
    written = proof.gather(host)
    assert isinstance(written, Proof)
    kept = written.devices
    assert len(kept) == proven
    assert {bdf: entry.provider for bdf, entry in kept.items() if bdf == first} == {first: "libqat"}
    assert {entry.provider for bdf, entry in kept.items() if bdf != first} <= {"VFIO, without libqat"}
    verdict = qatprep("doctor", "--prove", "-o", "json", host=host).json["verdicts"][0]
    assert verdict["state"] == str(state)


def test_only_on_the_running_machine() -> None:
    called = qatprep("doctor", "--prove", host=open_host(simulate=READY))
    assert called.code == ExitCode.USAGE
    assert "running machine" in called.err
