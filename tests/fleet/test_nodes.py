"""Playbooks over real sshd hosts, each standing for another simulated node. QATPREP_FLEET=10 for ten of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.lab import ALL_AT_ONCE, STATE, Lab, missing

NODES = {
    "node01": "srf-1s",
    "node02": "fw-missing",
    "node03": "spr-2s",
    "node04": "emr-2s",
    "node05": "gnr-d-420xx",
    "node06": "half-bound",
    "node07": "nodes-root-only",
    "node08": "module-not-loaded",
    "node09": "domain-0001",
    "node10": "spr-2s-no-vfs",
}
BROKEN, KILLED = "node02", "node03"
LEFT_BEHIND = "ls /usr/local/bin /etc/qatprep.yaml /tmp /var/lib 2>/dev/null | grep qatprep | grep -v lock; true"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    if why := missing():
        pytest.skip(why)
    number = int(os.environ.get("QATPREP_FLEET", "3"))
    with Lab(tmp_path, dict(list(NODES.items())[:number])) as lab:
        yield lab


def test_a_fleet_from_the_first_look_to_putting_it_back(lab: Lab, pyz: Path) -> None:
    before = {path: path.exists() for path in (Path("/usr/local/bin/qatprep"), Path(STATE))}
    bring = ("-e", f"qatprep_pyz={pyz}")
    well = [name for name in lab.nodes if name != BROKEN]

    check = lab.play("bootstrap", "--check", "--diff", *bring, *ALL_AT_ONCE)
    assert check.code == 2, check.out
    assert {name: check.node(name)["status"] for name in well} == dict.fromkeys(well, "planned")
    assert check.node(BROKEN)["failed"]
    assert {"-0000:6b:00.0 VFs: 0", "+0000:6b:00.0 VFs: 16"} <= set(check.out.splitlines())
    assert {name: lab.on(name, LEFT_BEHIND) for name in lab.nodes} == dict.fromkeys(lab.nodes, "")

    killed: list[bool] = []
    killer = threading.Thread(target=lambda: killed.append(lab.kill_in_the_middle(KILLED)))
    killer.start()
    first = lab.play("bootstrap", *bring, *ALL_AT_ONCE)
    killer.join()
    assert killed == [True]
    for name in well:
        if name != KILLED:
            assert (first.node(name)["status"], first.node(name)["changed"]) == ("applied", True), first.out
            assert lab.on(name, "test -x /usr/local/bin/qatprep && echo there") == "there\n"
    assert first.node("node01")["changes"] == check.node("node01")["changes"] > 0
    assert "ended by signal 9" in first.node(KILLED)["message"]
    assert "QP-FW-001" in first.node(BROKEN)["message"]
    assert [(f["id"], f["nodes"]) for f in first.report["findings"]] == [("QP-FW-001", [BROKEN])]
    assert {name for name in lab.nodes if first.recap(name)["failed"]} == {BROKEN, KILLED}

    again = lab.play("bootstrap", *ALL_AT_ONCE)  # with the tool that is there by now
    assert {name: again.node(name)["status"] for name in well} == {
        name: "applied" if name == KILLED else "unchanged" for name in well
    }, again.out
    assert {name: again.recap(name)["changed"] for name in well} == {name: int(name == KILLED) for name in well}
    assert again.recap(BROKEN)["failed"] == 1

    # Putting back and looking again: one node where there are few, all of them in the long run.
    some = list(lab.nodes) if len(lab.nodes) > 3 else ["node01"]
    limit = ("--limit", ",".join(some))
    back = lab.play("rollback", *ALL_AT_ONCE, *limit)
    assert back.code == 0, back.out
    assert {name: back.node(name)["status"] for name in some} == {
        name: "unchanged" if name == BROKEN else "rolled back" for name in some
    }
    look = lab.play("doctor", "-e", "qatprep_profile=qat", *limit)
    assert look.code == 0, look.out
    assert {name: look.node(name)["status"] for name in some} == dict.fromkeys(some, "fail")
    assert "QATPREP BY NODE" in look.out and "QATPREP BY FINDING" in look.out
    assert {path: path.exists() for path in before} == before, "the machine itself was touched"
