"""The verbs as people use them: what they print and what they return."""

from __future__ import annotations

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from tests.conftest import qatprep


def test_the_whole_walk() -> None:
    host = open_host("/", "spr-2s")
    planned = qatprep("plan", "-o", "json", host=host)
    assert planned.code == ExitCode.FINDINGS
    first = qatprep("bootstrap", "-o", "json", host=host)
    assert first.code == ExitCode.OK
    assert first.json["status"] == "applied" and first.json["changed"] is True
    assert {change["subject"] for change in first.json["made"]} >= {
        change["subject"] for lane in planned.json["lanes"] for change in lane["changes"]
    }
    second = qatprep("bootstrap", "-o", "json", host=host)
    assert second.code == ExitCode.OK
    assert second.json["status"] == "unchanged" and second.json["changed"] is False
    assert qatprep("status", host=host).code == ExitCode.OK
    back = qatprep("rollback", "-o", "json", host=host)
    assert back.code == ExitCode.OK and back.json["status"] == "rolled back"
    assert qatprep("rollback", host=host).out == "Nothing to undo.\n"
    assert qatprep("plan", "-o", "json", host=host).json["lanes"] == planned.json["lanes"]


def test_check_and_diff_change_nothing() -> None:
    host = open_host("/", "spr-2s")
    called = qatprep("bootstrap", "--check", "--diff", "-o", "json", host=host)
    assert called.code == ExitCode.FINDINGS
    assert called.json["changed"] is True and called.json["check"] is True
    assert "0000:70:00.0 services: dc\n" in called.json["diff"]["before"]
    assert "0000:70:00.0 services: sym;asym\n" in called.json["diff"]["after"]
    assert host.operations == []  # type: ignore[attr-defined]


def test_status_as_config_is_a_config_for_the_same_host() -> None:
    host = open_host("/", "spr-2s")
    text = qatprep("status", "--as-config", host=host).out
    from qatprep import config, facts
    from qatprep.assess import assess
    from qatprep.plan.node import make_plan

    assert make_plan(assess(facts.gather(host), config.parse(text, "status"))).lanes == {}


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])
def test_low_level_verbs(kernel: str) -> None:
    host = open_host("/", f"spr-2s@{kernel}")
    assert qatprep("device", "services", "dc", "0000:6b:00.0", host=host).code == ExitCode.OK
    assert qatprep("device", "vfs", "create", "6b:00.0", host=host).code == ExitCode.OK
    bound = qatprep("device", "bind", "0000:6b:0*", host=host)
    assert bound.code == ExitCode.OK, bound.err
    shown = qatprep("device", "list", "-o", "json", host=host).json
    pf = next(pf for pf in shown["pfs"] if pf["device"] == "0000:6b:00.0")
    assert pf["services"] == ["dc"] and pf["num_vfs"] == 16
    assert {vf["driver"] for vf in pf["vfs"]} == {"vfio-pci"}
    assert qatprep("device", "bind", "0000:6b:0*", host=host).out == "Nothing to do: already as requested.\n"
    assert qatprep("device", "unbind", "6b:00.1", host=host).code == ExitCode.OK
    assert qatprep("device", "vfs", "remove", "6b:00.0", "--yes", host=host).code == ExitCode.OK
    shown = qatprep("device", "list", "-o", "json", host=host).json
    assert next(pf for pf in shown["pfs"] if pf["device"] == "0000:6b:00.0")["num_vfs"] == 0


def test_services_of_a_ready_pf_keep_its_vfs_bound() -> None:
    host = open_host("/", "spr-2s-ready")
    before = qatprep("device", "list", "-o", "json", host=host).json["pfs"][0]["vfs"]
    called = qatprep("device", "services", "asym", "6b:00.0", "--yes", host=host)
    assert called.code == ExitCode.OK
    assert "16 VFs are destroyed" in called.out
    after = qatprep("device", "list", "-o", "json", host=host).json["pfs"][0]
    assert after["services"] == ["asym"]
    kept = ("device", "driver")
    assert [{k: vf[k] for k in kept} for vf in after["vfs"]] == [{k: vf[k] for k in kept} for vf in before]
    assert {(vf["node"]["group"], vf["node"]["mode"]) for vf in after["vfs"]} == {("qat", "0660")}


def test_version() -> None:
    assert qatprep("--version").out.startswith("qatprep ")


@pytest.mark.parametrize("columns", ["80", "160"])
def test_plan_fits_the_screen(columns: str) -> None:
    out = qatprep("plan", "--simulate", "spr-8s", env={"COLUMNS": columns}).out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= int(columns)
    assert len(out.splitlines()) < 40


def test_addresses_stay_whole_on_a_narrow_screen() -> None:
    out = qatprep("device", "list", "--simulate", "spr-2s-ready", env={"COLUMNS": "40"}).out
    assert "…" not in out
    assert out.count("0000:6b:00.1 ") == 1
