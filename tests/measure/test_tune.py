"""tune: the sweep through the real engines, what it says and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qatprep import _native
from qatprep.cli.open_host import open_host
from qatprep.crypto.keys import KeyKind
from qatprep.crypto.qat import Libraries, QatSession
from qatprep.exits import ExitCode
from qatprep.host.linux import LinuxHost
from qatprep.measure import tune
from qatprep.measure.advise import Goal
from qatprep.mesh.provider import Kind, choose
from qatprep.report import charts
from tests.crypto.conftest import call, valid

HERE = LinuxHost("/")
pytestmark = pytest.mark.skipif(bool(_native.missing()), reason="crypto_mb cannot run on this machine")


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "CALIBRATION_SECONDS", 0.05)


QUICK = ("--seconds", "0.12", "--workers", "1", "--poll-delay", "2", "--poll-delay", "20")


def test_the_document_has_the_points_and_the_advice_and_can_be_rendered_from(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    saved, chart = tmp_path / "tune.json", tmp_path / "tune.svg"
    called = call(
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


def test_a_long_delay_costs_latency_and_fills_queues() -> None:
    """300 operations a second on one worker: some eighteen come in 60 ms, hardly one in 2 ms."""
    tuning = tune.tune(HERE, KeyKind.RSA_2048, workers=1, delays_ms=[2, 60], loads=[300], seconds=0.6)
    found = {point.setting.label: point for point in tuning.points}
    short, long = found["cryptomb 2 ms"], found["cryptomb 60 ms"]
    assert long.p50 > short.p50
    assert long.result.full_batches > short.result.full_batches
    assert long.cpu < short.cpu
    assert found["no provider"].p50 < short.p50


def test_the_table_and_the_sentence() -> None:
    called = call("tune", *QUICK, "--rate", "300", "--p99", "1.2")
    assert called.code == ExitCode.OK
    assert "no provider" in called.out
    assert "cryptomb 20 ms" in called.out
    assert "do not accelerate" in called.out, "a timer of 2 ms cannot stay below 1.2 ms"


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
    called = call("tune", *QUICK)
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
    assert found["qat 20 ms"].p50 > found["qat 1 ms"].p50
    assert {engine.provider for engine in tuning.engines} == {"sync", "cryptomb", "qat"}


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
    from typer.exceptions import TyperException

    with pytest.raises(TyperException, match="0 is not in the range 1<=x<=999"):
        call("tune", "--poll-delay", "0")


def test_another_host_cannot_be_tuned() -> None:
    called = call("tune", host=open_host("/", "spr-2s-ready"))
    assert called.code == ExitCode.USAGE
