"""Every simulated host gives exactly the findings its story promises, before and after bootstrap."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import fastjsonschema
import pytest

from qatprep.assess import assess
from qatprep.checks.base import Profile
from qatprep.checks.registry import evaluate
from qatprep.checks.table import CHECKS
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.exits import ExitCode
from qatprep.facts import gather
from qatprep.findings import Status
from qatprep.simulator.scenarios import Findings, Scenario, scenarios
from tests.checks.hosts import CHAIN, found
from tests.conftest import qatprep, some

HOSTS = scenarios()
KERNELS = ("6.1", "7.2")
"""Beside a host's own kernel, where its findings hold there as well; tests/engine has them all."""


@cache
def schema(name: str) -> Any:
    return fastjsonschema.compile(json.loads(files("qatprep.schema").joinpath(name).read_text(encoding="utf-8")))


def wanted(findings: Findings) -> dict[str, list[str]]:
    lists = {"fail": findings.fail, "warn": findings.warn, "unknown": findings.unknown}
    return {status: sorted(ids) for status, ids in lists.items() if ids}


def kernels_of(host: Scenario) -> list[str]:
    return ["", *(kernel for kernel in KERNELS if host.since and host.holds_under(kernel))]


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_findings_are_exactly_those_of_the_story(host: Scenario) -> None:
    for kernel in kernels_of(host):
        name = f"{host.name}@{kernel}" if kernel else host.name
        called = qatprep("doctor", "--simulate", name, "--profile", host.profile, "-o", "json")
        document = called.json
        schema("doctor.json")(document)
        got: dict[str, list[str]] = {}
        for f in document["findings"]:
            if f["status"] in ("fail", "warn", "unknown"):
                ids = got.setdefault(f["status"], [])
                ids += [] if f["id"] in ids else [f["id"]]
        assert {status: sorted(ids) for status, ids in got.items()} == wanted(host.findings), name
        cleared = ExitCode.REBOOT if document["outcome"]["remaining"] == ["reboot"] else ExitCode.FINDINGS
        assert called.code == (cleared if host.findings.fail else ExitCode.OK)
        assert called.err == ""


def test_a_pod_is_named_as_kubectl_names_it() -> None:
    document = qatprep("doctor", "--simulate", "k8s-as-the-paper-says", "-o", "json").json
    titles = {f["id"]: f["title"] for f in document["findings"]}
    pod = "pod istio-system/istio-ingressgateway-7c86d77d76-qrfbx"
    assert {id for id, title in titles.items() if pod in title} >= {"QP-MEM-003", "QP-MEM-006", "QP-K8S-009"}


@pytest.mark.parametrize("host", some(HOSTS, 2), ids=lambda host: host.name)
def test_people_are_told_the_same(host: Scenario) -> None:
    text = qatprep("doctor", "--simulate", host.name, "--profile", host.profile).out
    told = set(re.findall(r"^    (QP-\S+) (?:FAIL|WARN|UNKNOWN)  ", text, re.MULTILINE))
    assert told == {*host.findings.fail, *host.findings.warn, *host.findings.unknown}


@pytest.mark.parametrize("host", [host for host in HOSTS if host.after is not None], ids=lambda host: host.name)
def test_after_bootstrap(host: Scenario) -> None:
    machine = open_host("/", host.name)
    assert host.after is not None
    assert bootstrap(machine, NodeConfig(smoke=False)).status in ("applied", "unchanged")
    report = evaluate(gather(machine), NodeConfig(), Profile(host.profile))
    assert found(report) == wanted(host.after)


@pytest.mark.parametrize("host", some(HOSTS, 2, 1), ids=lambda host: host.name)
def test_every_trouble_says_what_why_and_what_to_do(host: Scenario) -> None:
    judged = assess(gather(open_host("/", host.name)), NodeConfig(), Profile(host.profile))
    report = judged.report
    blocking = set(report.ids(Status.FAIL))
    for f in report.of(Status.FAIL, Status.WARN):
        assert f.evidence and f.cause and f.fix, f
        assert all(step[0].isupper() or step[0].islower() or step[0] == "/" for step in f.fix), f.fix
        assert len(f.title) <= 100, f.title
    for f in report.of(Status.UNKNOWN):
        assert f.cause, f
    for f in report.of(Status.BLOCKED):
        assert f.blocked_by and set(f.blocked_by) <= blocking, f
    well = all(verdict.well for verdict in judged.verdicts)
    assert well == (not blocking and not [i for i in report.ids(Status.UNKNOWN) if i != "QP-LOG-001"])


def test_each_finding_is_found_somewhere() -> None:
    """Ids that no host shows are those of tests/checks/test_changed.py."""
    from tests.checks.test_changed import CASES

    seen = {id for host in HOSTS for f in (host.findings,) for id in (*f.fail, *f.warn, *f.unknown)}
    seen |= {id for case in CASES for ids in case.finds.values() for id in ids}
    assert {check.id for check in CHECKS if check.stage in CHAIN} - seen == set()


def test_hosts_lists_them_all() -> None:
    listed = qatprep("hosts", "-o", "json")
    schema("hosts.json")(listed.json)
    assert [host["name"] for host in listed.json["hosts"]] == [host.name for host in HOSTS]
    text = qatprep("hosts").out
    assert all(f"\n{host.name} " in f"\n{text}" for host in HOSTS)


def test_one_host_tells_its_story() -> None:
    text = qatprep("hosts", "spr-2s").out
    assert "QP-SVC-001" in text and "6.12" in text and "story" in text
    wrong = qatprep("hosts", "spr-2")
    assert wrong.code == ExitCode.USAGE and "spr-2s" in wrong.err
