"""What is advised: in the words of this host, and with the options by which a command works on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatprep.exits import ExitCode
from tests.conftest import qatprep


def test_bootstrap_is_named_where_it_fixes_some_devices_and_not_others() -> None:
    first = qatprep("doctor", "--simulate", "engines-inactive", "-o", "json").json["outcome"]["next"][0]
    assert first == {
        "command": "qatprep bootstrap --simulate engines-inactive",
        "why": "fixes QP-PF-001 on 7 devices",
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dc-only", "Something has set them since the driver was loaded"),  # dc on all, which no driver gives
        ("spr-2s", "They were not set since the driver was loaded"),  # dc on every other
    ],
)
def test_who_has_set_the_services(name: str, why: str) -> None:
    found = qatprep("doctor", "--simulate", name, "-o", "json").json["findings"]
    assert [f["cause"].startswith(why) for f in found if f["id"] == "QP-SVC-001"] == [True]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("driverctl-takes-a-pf", "Nothing is left that bootstrap may change. What is wrong is below."),
        ("no-qat", "has no QAT device to set up."),
        ("spr-2s-ready", "Nothing to do: the host matches its configuration."),
    ],
)
def test_why_bootstrap_does_nothing(name: str, words: str) -> None:
    assert words in qatprep("bootstrap", "--check", "--simulate", name).out


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (("bootstrap", "--simulate", "fw-missing"), "qatprep doctor --only QP-FW-001 --simulate fw-missing shows"),
        (("device", "reset", "6c:00.0", "--simulate", "spr-2s"), "qatprep device list --simulate spr-2s shows"),
        (("gen-conf", "--stage-kernel-arguments", "--simulate", "iommu-off-by-default"), "nothing of it is kept: "),
    ],
)
def test_a_command_that_is_named_works_on_the_same_host(call: tuple[str, ...], command: str) -> None:
    called = qatprep(*call)
    assert command in called.out + called.err
    assert "qatprep rollback" not in called.err


def test_undoing_staged_arguments_of_a_kept_host(tmp_path: Path) -> None:
    kept = {"QATPREP_STATE": str(tmp_path / "state")}
    simulated = ("--simulate", "iommu-off-by-default")
    called = qatprep("gen-conf", "--stage-kernel-arguments", *simulated, env=kept)
    (undo,) = (line for line in called.err.splitlines() if line.startswith("to undo: "))
    assert undo.endswith(" --simulate iommu-off-by-default")
    assert qatprep(*undo.removeprefix("to undo: qatprep ").split(), env=kept).code == ExitCode.OK


def test_config_check_tells_all_that_is_wrong(tmp_path: Path) -> None:
    """Values, devices and what matches none, in one pass; a number where text was meant is told as it was written."""
    file = tmp_path / "qatprep.yaml"
    file.write_text(
        "devices:\n  services: asym;sym;dc\nnodes:\n  mode: 0660\noverrides:\n- match: {numa_node: 7}\n  services: dc\n"
    )
    called = qatprep("config", "check", "--config", str(file), "--simulate", "spr-2s")
    assert called.code == ExitCode.USAGE
    assert f"warning: {file}:6:3: no PF of this host" in called.err
    for words in ("2 mistakes", f"{file}:2:3: devices.services", "432 (0660 without quotes)", 'write "0660"'):
        assert words in called.err
    file.write_text("overrides:\n- match: {numa_node: 7}\n  services: dc\n")
    called = qatprep("config", "check", "--config", str(file), "--simulate", "spr-2s")
    assert (called.code, f"{file}: 1 warning, and" in called.out) == (ExitCode.OK, True)


def test_explain_takes_an_id_without_its_head_and_keeps_lists() -> None:
    called = qatprep("explain", "pf-003")
    assert called.out == qatprep("explain", "QP-PF-003").out
    assert len([line for line in called.out.splitlines() if line.startswith("- ")]) == 3
