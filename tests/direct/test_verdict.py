"""What people read of each verdict: golden/verdicts.txt holds every sentence and every advice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qatprep.crypto import direct_verdict
from qatprep.direct.result import Cause, Proof, Seen, Step
from tests.direct.model import Model
from tests.direct.test_prove import CDEV_HOSTS, FAULTS, HOSTS, run

GOLDEN = Path(__file__).parent / "golden" / "verdicts.txt"


def proofs() -> dict[str, Proof]:
    found = {name: run(Model(device)) for name, (device, _, cause) in FAULTS.items() if cause}
    for kind, hosts in (("group", HOSTS), ("cdev", CDEV_HOSTS)):
        for name, (change, _, _) in hosts.items():
            model = Model(kind=kind)
            change(model)
            found[f"{name} ({kind})"] = run(model)
    bdf = "0000:6b:00.1"
    found["hung"] = Proof(bdf, Step.DEVICE, Cause.HUNG, {"pid": 4711, "seconds": 75.0}, Seen())
    found["died"] = Proof(bdf, Step.SIGN, Cause.DIED, {"pid": 4711, "how": "ended by SIGKILL"}, Seen())
    return found


def test_every_sentence(golden: Callable[[Path, str], None]) -> None:
    lines = []
    found = proofs()
    for name, proof in found.items():
        verdict = direct_verdict.explain(proof, ["envoy (process 4711)"])
        assert verdict.code == proof.cause
        lines += [f"# {name}", verdict.summary, f"  -> {verdict.fix}", ""]
    assert {proof.cause for proof in found.values()} == set(Cause), "a cause without a case"
    golden(GOLDEN, "\n".join(lines))


def test_what_libqat_needs_more_is_said() -> None:
    """12 KiB and no interrupt are enough here, and libqat still would not start."""
    model = Model()
    model.limit, model.msi = 64 << 10, 0
    proof = run(model)
    assert proof.signs
    assert direct_verdict.libqat_notes(proof) == (
        "libqat will not start: memlock is 64 KiB, it needs 16 MiB a VF (this proof: 12 KiB)",
        "libqat will not start: the VF has no MSI (this proof needs none)",
    )


@pytest.mark.parametrize("limit", [None, 16 << 20])
def test_nothing_to_say_where_libqat_has_what_it_needs(limit: int | None) -> None:
    model = Model()
    model.limit = limit
    assert direct_verdict.libqat_notes(run(model)) == ()
