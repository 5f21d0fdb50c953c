"""tune: the sweep through the real engines, what it says and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatprep.cli.open_host import open_host
from qatprep.crypto import library
from qatprep.crypto.keys import KeyKind, Work
from qatprep.crypto.qat import Libraries, QatSession
from qatprep.crypto.signer import Signer, SignerRun
from qatprep.exits import ExitCode
from qatprep.host.linux import LinuxHost
from qatprep.measure import tune
from qatprep.measure.advise import Goal
from qatprep.mesh.provider import Kind, choose
from qatprep.report import charts
from tests.conftest import qatprep
from tests.crypto.conftest import valid

HERE = LinuxHost("/")


@pytest.fixture(autouse=True, params=["stand-in", "crypto_mb"])
def what_signs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it with the stand-in on every CPU, and with crypto_mb where that can run."""
    monkeypatch.setattr(tune, "CALIBRATION_SECONDS", 0.05)
    if request.param == "stand-in":
        request.getfixturevalue("only_standin")
    elif missing := library.missing():
        pytest.skip(f"crypto_mb cannot run on this machine: {missing} missing")


QUICK = ("--seconds", "0.12", "--workers", "1", "--poll-delay", "2", "--poll-delay", "20")


def test_the_document_has_the_points_and_the_advice_and_can_be_rendered_from(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    saved, chart = tmp_path / "tune.json", tmp_path / "tune.svg"
    called = qatprep(
        "tune", *QUICK, "--load", "300", "--load", "3000", "--save", str(saved), "--chart", str(chart), "-o", "json"
    )
    assert called.code == ExitCode.OK, called.err
    document = valid(called.json)
    assert json.loads(saved.read_text()) == document
    assert document["schema"] == "qatprep.tune/1"
    assert len(document["points"]) == 2 * 3
    assert {p["provider"] for p in document["points"]} == {"sync", "cryptomb"}
    assert document["recommendation"]["provider"] in ("none", "cryptomb")
    for point in document["points"]:
        assert point["completed"] > 0
        assert point["latency_ms"]["p50"] <= point["latency_ms"]["p99"]
    assert "cryptomb 20 ms" in chart.read_text()
    if document["recommendation"]["provider"] == "cryptomb":
        provider = choose(Kind.CRYPTOMB, tune=str(saved))
        assert provider.delay == document["recommendation"]["poll_delay_ms"] * 1_000_000


def test_each_setting_is_measured_with_its_own_delay_and_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float, int, bool]] = []
    right = Signer.run

    def run(self: Signer, work: Work, **load: Any) -> SignerRun:
        if load.get("rate"):
            asked.append((self.provider, load["poll_delay"], load["queues"], load["check"]))
        return right(self, work, **load)

    monkeypatch.setattr(Signer, "run", run)
    tuning = tune.tune(HERE, KeyKind.RSA_2048, workers=1, certificates=24, delays_ms=[2, 60], loads=[300], seconds=0.06)
    assert set(asked) == {("openssl", 0.0, 1, True), ("cryptomb", 0.002, 24, True), ("cryptomb", 0.06, 24, True)}
    assert {point.setting.label for point in tuning.points} == {"no provider", "cryptomb 2 ms", "cryptomb 60 ms"}


def test_the_table_and_the_sentence() -> None:
    called = qatprep("tune", *QUICK, "--rate", "300", "--certificates", "2")
    assert called.code == ExitCode.OK
    assert "no provider" in called.out
    assert "cryptomb 20 ms" in called.out
    assert "HZ=" in called.out
    assert "2 certificates, a queue each on every worker" in " ".join(called.out.split())


def test_ctrl_c_gives_the_advice_of_what_is_known() -> None:
    seen = 0

    def interrupt(done: int, of: int, what: str) -> None:
        nonlocal seen
        seen += "/s," in what
        if seen == 8:  # the first load has three settings in three rounds: one round is not complete
            raise KeyboardInterrupt

    tuning = tune.tune(
        HERE, KeyKind.RSA_2048, workers=1, delays_ms=[2, 20], loads=[300, 900], seconds=0.12, progress=interrupt
    )
    assert tuning.interrupted
    assert 0 < len(tuning.points) < 3
    assert tuning.advice.reason


def test_ctrl_c_on_the_command_line_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "_calibrate", stop)
    called = qatprep("tune", *QUICK)
    assert called.code == ExitCode.INTERRUPTED
    assert "interrupted" in called.out
    assert "nothing was measured" in called.out


def test_ecdsa_is_tuned_without_qat() -> None:
    tuning = tune.tune(HERE, KeyKind.P_256, workers=1, delays_ms=[2], loads=[500], seconds=0.09)
    assert len(tuning.points) == 2
    assert any("RSA keys only" in reason for reason in tuning.absent)


def test_qat_is_tuned_as_well(libraries: Libraries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QP_STANDIN", "instances=2 delay_us=500")
    monkeypatch.setattr(tune, "QatSession", lambda: QatSession(libraries))
    tuning = tune.tune(HERE, KeyKind.RSA_2048, workers=1, delays_ms=[1, 20], loads=[200], seconds=0.3)
    found = {point.setting.label: point for point in tuning.points}
    assert found["qat 1 ms"].result.completed > 20
    assert {"qat 1 ms", "qat 20 ms"} <= set(found)
    assert {engine.provider for engine in tuning.engines} == {"sync", "cryptomb", "qat"}
    assert tuning.failed == ()


LATE = [
    ("drop=1", "everything was lost: none of"),
    ("delay_us=2500000", "everything was lost: none of"),
    ("drop=5", "operations never came back"),
    ("wrong=3", "operations failed or gave WRONG results"),
]


@pytest.mark.parametrize(("behaviour", "words"), LATE, ids=[case[0] for case in LATE])
def test_qat_that_loses_or_spoils_operations_is_left_out(
    libraries: Libraries, monkeypatch: pytest.MonkeyPatch, behaviour: str, words: str
) -> None:
    """It has no capacity of so many a second, not even of 0: the reason is told, and the others are compared."""
    monkeypatch.setenv("QP_STANDIN", behaviour)
    right = QatSession.run
    monkeypatch.setattr(QatSession, "run", lambda self, kind, **load: right(self, kind, patience=0.2, **load))
    monkeypatch.setattr(tune, "QatSession", lambda: QatSession(libraries))
    called = qatprep("tune", *QUICK, "--load", "200", "--output", "json")
    assert called.code == ExitCode.FINDINGS, called.err
    document = valid(called.json)
    (said,) = document["failed"]
    assert said.startswith("QAT: ")
    assert words in said
    assert {engine["provider"] for engine in document["engines"]} == {"sync", "cryptomb"}
    assert {point["provider"] for point in document["points"]} == {"sync", "cryptomb"}


def test_the_chart_has_a_line_a_setting() -> None:
    pytest.importorskip("matplotlib")
    tuning = tune.tune(HERE, KeyKind.RSA_2048, workers=1, delays_ms=[2], loads=[300, 900], seconds=0.06, goal=Goal(300))
    svg = charts.tune(tuning, "x.svg").decode()
    for text in ("no provider", "cryptomb 2 ms", "p99 latency", "offered operations per second"):
        assert text in svg


def test_the_sweeps_own_loads_cover_both_engines() -> None:
    engines = [tune.Engine("sync", "", 1000.0), tune.Engine("cryptomb", "", 5000.0)]
    loads = tune._loads(engines, Goal(), ())
    assert loads == sorted(loads)
    assert loads[0] <= 20
    assert 700 in loads
    assert max(loads) > 4000
    assert tune._loads(engines, Goal(rate=800), ()) == [200, 400, 600, 800, 1000]
    assert tune._loads(engines, Goal(), [7, 3]) == [3, 7]


def test_a_delay_that_envoy_does_not_take_is_a_usage_error() -> None:
    called = qatprep("tune", "--poll-delay", "0")
    assert called.code == ExitCode.USAGE
    assert "--poll-delay '0' is not a whole number from 1 to 999" in called.err


def test_another_host_cannot_be_tuned() -> None:
    called = qatprep("tune", host=open_host("/", "spr-2s-ready"))
    assert called.code == ExitCode.USAGE
