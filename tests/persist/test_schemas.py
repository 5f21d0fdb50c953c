"""Every JSON document has a schema that ships, and what the verbs print fits it."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from qatprep.cli.open_host import open_host
from qatprep.engine.journal import DIRECTORY
from qatprep.host.base import Host
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.persist.hosts import installed

ROOT = Path(__file__).parent.parent.parent
WRITERS = [*(ROOT / "qatprep").rglob("*.py"), *(ROOT / "playbooks").rglob("*.py")]
KINDS = sorted({kind for path in WRITERS for kind in re.findall(r'"qatprep\.([a-z-]+)/1"', path.read_text())})


@cache
def schema(kind: str) -> Any:
    return fastjsonschema.compile(json.loads(files("qatprep.schema").joinpath(f"{kind}.json").read_text()))


def judge(document: Any, kind: str) -> None:
    assert document["schema"] == f"qatprep.{kind}/1"
    schema(kind)(document)


def said(*arguments: str, host: Host) -> Any:
    called = qatprep(*arguments, "-o", "json", host=host)
    assert called.out, called.err
    return called.json


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_schema(kind: str) -> None:
    text = files("qatprep.schema").joinpath(f"{kind}.json").read_text()
    document = json.loads(text)
    assert document["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$id" not in document  # fastjsonschema would resolve it over the network
    assert f"qatprep.{kind}/1" in text
    schema(kind)


def test_a_finding_has_one_form() -> None:
    """doctor's, in every document that has findings of that kind."""
    forms = {}
    for kind in KINDS:
        document = json.loads(files("qatprep.schema").joinpath(f"{kind}.json").read_text())
        form = document.get("properties", {}).get("findings", {}).get("items", {})
        if "evidence" in form.get("properties", {}):
            forms[kind] = form
    assert [kind for kind, form in forms.items() if form != forms["doctor"]] == []
    assert {"doctor", "inspect-config-dump", "inspect-log", "inspect-manifest", "inspect-stats"} <= set(forms)


HOSTS = (
    "spr-2s", "spr-2s-ready", "spr-2s-as-user", "vf-held", "vm-vfs", "gen2-c62x", "newer-qat", "no-qat", "pf-unbound",
    "iommu-off-argument", "half-bound", "lockdown-old-kernel", "module-not-loaded", "domain-0001", "pf-down",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_what_looks_at_hosts(name: str) -> None:
    host = open_host("/", name)
    judge(said("plan", "--diff", host=host), "plan")
    judge(said("status", host=host), "status")
    judge(said("device", "list", host=host), "devices")
    judge(said("device", "list", "--all", host=host), "functions")
    judge(said("doctor", host=host), "doctor")
    judge(said("bootstrap", "--check", "--diff", host=host), "bootstrap")
    judge(said("rollback", "--list", host=host), "runs")


def test_what_changes_a_host() -> None:
    host = installed()
    judge(said("bootstrap", host=host), "bootstrap")
    judge(said("bootstrap", "--no-smoke", host=host), "bootstrap")
    judge(said("device", "services", "dc", "6b:00.0", "--yes", host=host), "bootstrap")
    judge(said("rollback", "--list", host=host), "runs")
    judge(said("status", host=host), "status")
    judge(said("rollback", "--check", host=host), "rollback")
    judge(said("rollback", "--yes", host=host), "rollback")
    judge(said("bootstrap", "--boot", host=host.reboot()), "bootstrap")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("errno", 1, 5, "write", "*/0000:75:00.0/sriov_numvfs", times=0),
        Fault("errno", 20, 16, "write", "*/vfio-pci/bind", times=0),
    ],
)
def test_what_fails(fault: Fault) -> None:
    host = SimulatedHost(installed().tree, kernel="6.12", faults=Faults(fault))
    document = said("bootstrap", "--no-smoke", host=host)
    assert document["failure"] is not None
    judge(document, "bootstrap")
    judge(said("bootstrap", "--boot", host=host), "bootstrap")
    judge(said("bootstrap", "--no-smoke", host=open_host("/", "vf-held")), "bootstrap")


def test_every_line_of_a_journal() -> None:
    host = SimulatedHost(installed().tree, faults=Faults(Fault("errno", 1, 5, "write", "*/0000:75:00.0/sriov_numvfs")))
    qatprep("bootstrap", "--no-smoke", host=host)
    qatprep("bootstrap", "--no-smoke", host=host)
    qatprep("rollback", "--yes", host=host)
    lines = [
        line for name in host.listdir(DIRECTORY) for line in host.read_text(f"{DIRECTORY}/{name}").raw.splitlines()
    ]
    assert len(lines) > 100
    for line in lines:
        schema("journal")(json.loads(line))


def test_gen_conf_and_capture(tmp_path: Path) -> None:
    host = installed()
    judge(said("gen-conf", host=host), "gen-conf")
    judge(said("gen-conf", "--standalone", "--with-kernel-arguments", host=host), "gen-conf")
    judge(said("capture", str(tmp_path / "node.txt"), host=host), "capture")
    off = open_host("/", "iommu-off-by-default")
    assert isinstance(off, SimulatedHost)
    off.tree.make_dirs("/etc/default/grub.d")
    judge(said("gen-conf", "--stage-kernel-arguments", "--yes", host=off), "bootstrap")
