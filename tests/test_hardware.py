"""The hardware table alone knows a family: each row reaches every room, and a new family needs no more than a row."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qatprep.findings.messages import BY_KEY
from qatprep.hardware import FAMILIES, SERVICES, SUPPORTED, Family
from qatprep.host.reduce import _LOG_WORDS
from qatprep.mesh.render.kubernetes import device_plugin
from qatprep.persist.host_files import VF_IDS
from qatprep.simulator import services as model
from qatprep.simulator.kernel import Kernel

ROOT = Path(__file__).parent.parent
ROW = """
FAMILIES = (*FAMILIES, Family(
    "9zzz", 0x4E40, 0x4E41, "qat_9zzz", "9zzz", _firmware("9zzz"), "CONFIG_CRYPTO_DEV_QAT_9ZZZ", (6, 9), 9,
    Services(("asym", "sym", "dc"), most=3), 24, "a package that only this test knows", plugin_default=False,
))
"""
STORY = """
import io, json, sys, types
from pathlib import Path
import qatprep

def load(row):
    path = Path(qatprep.__file__).with_name("hardware.py")
    module = types.ModuleType("qatprep.hardware")
    module.__file__ = str(path)
    sys.modules["qatprep.hardware"] = qatprep.hardware = module
    head, rest = path.read_text().split("OTHER = Family(", 1)
    exec(compile(head + row + "OTHER = Family(" + rest, str(path), "exec"), module.__dict__)

load(ROW)
import fixtures.hardware as hw
from fixtures.acts import prepare, started
from qatprep.__main__ import main
from qatprep.cli.session import Session

def machine(*firmware):
    tree = hw.server([("0000:6b:00.0", 0), ("0000:e8:00.0", 1)], 0x4E40)
    release = tree.get("/proc/sys/kernel/osrelease").data.decode().strip()
    dep = tree.get(f"/usr/lib/modules/{release}/modules.dep")
    dep.data += b"kernel/drivers/crypto/intel/qat/qat_9zzz/qat_9zzz.ko.xz: kernel/drivers/crypto/intel/qat/qat_common/"
    dep.data += b"intel_qat.ko.xz\\n"
    for name in firmware:
        tree.file(f"/usr/lib/firmware/{name}").size = 1000
    return started(prepare(tree))

host = machine("qat_9zzz.bin", "qat_9zzz_mmp.bin")
without_firmware = machine()
main(["bootstrap", "--yes"], Session(out=io.StringIO(), err=io.StringIO(), env={}, given_host=without_firmware))

def call(host, *argv):
    out, err = io.StringIO(), io.StringIO()
    code = main([*argv, "--output", "json"], Session(out=out, err=err, env={}, given_host=host))
    return {"code": code, "err": err.getvalue(), "document": json.loads(out.getvalue() or "null")}

print(json.dumps({
    "bare": call(host, "doctor"),
    "blind": call(without_firmware, "doctor"),
    "bootstrap": call(host, "bootstrap", "--yes"),
    "ready": call(host, "doctor"),
    "devices": call(host, "device", "list"),
    "script": call(host, "gen-conf", "--standalone"),
}))
"""


@pytest.fixture(scope="module")
def story() -> dict[str, Any]:
    """What the verbs say in a process whose hardware table has one row more, on a host that has such devices."""
    program = f"ROW = {ROW!r}\n{STORY}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_family_is_one_row_and_one_host(story: dict[str, Any]) -> None:
    assert story["bootstrap"]["code"] == 0, story["bootstrap"]
    assert story["ready"]["code"] == 0
    (verdict,) = [v for v in story["ready"]["document"]["verdicts"] if v["for"] == "qat"]
    assert verdict["state"] == "configured"
    assert "2 PFs with sym;asym, 32 VFs" in verdict["text"]


def test_its_firmware_is_asked_for_with_its_own_note(story: dict[str, Any]) -> None:
    (finding,) = [f for f in story["blind"]["document"]["findings"] if f["id"] == "QP-FW-001"]
    assert "qat_9zzz_mmp.bin and qat_9zzz.bin are missing" in finding["title"]
    assert "a package that only this test knows" in finding["cause"]


def test_its_failed_probe_is_evidence(story: dict[str, Any]) -> None:
    (finding,) = [f for f in story["blind"]["document"]["findings"] if f["id"] == "QP-FW-001"]
    assert any("9zzz 0000:6b:00.0: probe with driver 9zzz failed" in e["value"] for e in finding["evidence"])


def test_the_shell_script_prepares_it(story: dict[str, Any]) -> None:
    text = json.dumps(story["script"]["document"])
    assert "0x4e40) driver=9zzz module=qat_9zzz" in text
    assert "0x4e41" in text


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_log_knows_each_family(family: Family) -> None:
    for release in ("6.1", "6.12"):
        line = Kernel(release).probe_failed(family.driver, "0000:6b:00.0", 14)
        assert re.search(BY_KEY["probe-failed"].pattern, line)
        assert _LOG_WORDS.search(line)
    assert _LOG_WORDS.search(f"pci 0000:6b:00.0: [8086:{family.pf_id:04x}] type 00 class 0x0b4000")


@pytest.mark.parametrize("family", SUPPORTED, ids=lambda family: family.name)
def test_the_plugin_and_the_udev_rule_serve_each_supported_family(family: Family) -> None:
    (drivers,) = [a for a in device_plugin()["spec"]["template"]["spec"]["containers"][0]["args"] if "vf-drivers" in a]
    assert family.vf_driver in drivers.partition("=")[2].split(",")
    assert f"0x{family.vf_id:04x}" in VF_IDS


RULES = [
    ("4xxx", "sym;asym", ""),
    ("4xxx", "dcc", ""),
    ("4xxx", "asym;sym;dc", "offers at most 2 services at the same time"),
    ("4xxx", "decomp", "does not offer decomp, only asym, sym, dc, dcc"),
    ("420xx", "sym;dcc", "offers dcc only by itself"),
    ("6xxx", "asym;sym;dc", ""),
    ("6xxx", "asym;sym;decomp", ""),
    ("6xxx", "dcc", ""),
    ("6xxx", "asym;sym;dc;decomp", "offers at most 3 services at the same time"),
    ("6xxx", "asym;dcc", "offers dcc only by itself"),
]
"""Sources: qat_common/adf_gen4_hw_data.c and qat_6xxx/adf_6xxx_hw_data.c, services_supported."""


@pytest.mark.parametrize(("name", "services", "problem"), RULES)
def test_which_services_a_family_takes(name: str, services: str, problem: str) -> None:
    (family,) = [family for family in FAMILIES if family.name == name]
    assert family.services.problem(frozenset(services.split(";"))) == problem
    assert (model.accept(Kernel("7.2"), family, services) is None) == bool(problem)


def test_no_family_takes_nothing_or_everything() -> None:
    for family in FAMILIES:
        assert family.services.problem(frozenset()) == "needs at least one service"
        assert family.services.problem(frozenset(SERVICES))


def test_nobody_else_knows_a_family() -> None:
    """Only the table and the model of the kernel may name one."""
    named = re.compile("|".join(family.name for family in SUPPORTED))
    elsewhere = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "qatprep").rglob("*.py")
        if path.parent.name != "simulator" and named.search(path.read_text())
    }
    assert elsewhere == {"qatprep/hardware.py"}
