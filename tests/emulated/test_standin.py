"""The stand-in for libqat (tests/crypto/standin.c) is held to the real one: the same fault, the same verdict."""

from __future__ import annotations

import pytest

from qatprep.crypto import smoke_qat
from qatprep.crypto.qat import Libraries
from qatprep.host.linux import LinuxHost
from tests.crypto.conftest import libraries as libraries
from tests.crypto.conftest import standin_library as standin_library

from .conftest import SMOKE, Run, tree_of

SAME = [
    # What the device does, what the stand-in is told.
    (("--services", "sym;asym"), "instances=2"),
    (("--services", "sym;asym", "--fault", "wrong=64"), "instances=2 wrong=1"),
    (("--services", "sym;asym", "--fault", "failed=64"), "instances=2 fail=1"),
    (("--services", "sym;asym", "--fault", "lost=64"), "instances=2 drop=1"),
    (("--services", "sym"), "instances=4 sym_only=1"),
]


@pytest.mark.parametrize(("options", "told"), SAME, ids=[told for _, told in SAME])
def test_both_get_the_same_verdict(
    run: Run, libraries: Libraries, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], told: str
) -> None:
    real = run(tree_of("sid"), SMOKE, *options).provider
    monkeypatch.setenv("QP_STANDIN", told)
    stand_in = smoke_qat.sign(LinuxHost("/"), libraries)
    assert (real["state"], real["code"], real["signatures"], real["wrong"]) == (
        stand_in.state,
        stand_in.code,
        stand_in.signatures,
        stand_in.wrong,
    )
    # On a machine without QAT the stand-in has no VF; what follows says so.
    assert real["summary"].partition(":")[0] == stand_in.summary.partition(":")[0]
