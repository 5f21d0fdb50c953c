"""The memlock limit that containers of a node get: by systemd's files, by the running daemon, by the runtime's own."""

from __future__ import annotations

import pytest

from qatprep.facts.systemd import UnitLimit
from qatprep.findings import Status
from tests.checks.hosts import facts, judge
from tests.runtime.test_node import BASE, ENOUGH, MANAGER, MIB, OWNED, Node, file, findings, process, short

UNIT_FILES = "/usr/lib/systemd/system/containerd.service.d"
UNLIMITED = "Limit\nMax locked memory         unlimited            unlimited            bytes"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/systemd/system.conf", MANAGER),
        ("/usr/lib/systemd/system.conf", MANAGER),
        ("/usr/lib/systemd/system.conf.d/10-oem.conf", MANAGER),
        ("/run/systemd/system.conf.d/10-cloud.conf", MANAGER),
        ("/etc/systemd/system.control/containerd.service.d/50-LimitMEMLOCK.conf", "[Service]\nLimitMEMLOCK=infinity"),
        ("/run/systemd/transient/containerd.service.d/50-x.conf", "[Service]\nLimitMEMLOCK=infinity"),
        ("/etc/systemd/system/service.d/all.conf", "[Service]\nLimitMEMLOCK=infinity"),
        (f"{UNIT_FILES}/a.conf", "[Service]\nLimitMEMLOCK=\\\n  infinity"),
        (f"{UNIT_FILES}/a.conf", "[Service]\nLimitMEMLOCK=infinity:infinity"),
    ],
)
def test_a_limit_is_found_wherever_systemd_reads_it(path: str, text: str) -> None:
    node = Node(drop_ins=(), more=file(path, text) + file("/proc/900/limits", UNLIMITED))
    assert short(node) == []
    unit = facts(BASE, node.text()).runtime.unit
    assert isinstance(unit, UnitLimit) and unit.source == path


def test_a_byte_order_mark() -> None:
    path = f"{UNIT_FILES}/a.conf"
    mark = f'{path} == "\\u00ef\\u00bb\\u00bf[Service]\\nLimitMEMLOCK=infinity\\n"\n'
    assert short(Node(drop_ins=(), more=mark + file("/proc/900/limits", UNLIMITED))) == []


def test_a_drop_in_of_the_manager_overrules_its_main_file() -> None:
    more = file("/etc/systemd/system.conf", MANAGER)
    more += file("/usr/lib/systemd/system.conf.d/a.conf", "[Manager]\nDefaultLimitMEMLOCK=8M")
    assert short(Node(drop_ins=(), daemon=8 * MIB, more=more)) == ["QP-MEM-001 fail"]
    reset = file("/etc/systemd/system.conf.d/b.conf", "[Manager]\nDefaultLimitMEMLOCK=")
    assert short(Node(drop_ins=(), daemon=8 * MIB, more=file("/etc/systemd/system.conf", MANAGER) + reset)) == [
        "QP-MEM-001 fail"
    ]


def test_what_containers_get_is_what_the_running_daemon_has() -> None:
    found = {f.id: f for f in judge(BASE, Node(drop_ins=(), daemon=24 * MIB).text()).findings}["QP-MEM-001"]
    assert "may lock 24M of memory" in found.title
    assert [e.value for e in found.evidence][:2] == ["Max locked memory 24M", "LimitMEMLOCK=8M"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("memlock", "[Service]\nLimitMEMLOCK=infinity", "end in .conf"),
        ("memlock.conf", "LimitMEMLOCK=infinity", "above the first section"),
        ("memlock.conf", "[Unit]\nLimitMEMLOCK=infinity", r"below [Unit]"),
        ("memlock.conf", "[Service]\nLimitMEMLOCK=infinity # for QAT", "no size systemd knows"),
        ("memlock.conf", "[Service]\nLimitMEMLOCK=-1", "no size systemd knows"),
        ("memlock.conf", "[Service]\nLimitMEMLOCK=50%", "no size systemd knows"),
        ("memlock.conf", "[Service]\nLimitMEMLOCK=unlimited", "no size systemd knows"),
    ],
)
def test_what_systemd_ignores_is_named(name: str, text: str, why: str) -> None:
    node = Node(drop_ins=((f"containerd.service.d/{name}", text),), daemon=8 * MIB)
    assert short(node) == ["QP-MEM-001 fail", "QP-MEM-004 warn"]
    ignored = next(f for f in findings(node) if f.id == "QP-MEM-004")
    assert why in ignored.cause.replace("It is", "it is") and ignored.title.endswith(f"/{name}")


@pytest.mark.parametrize(
    ("text", "daemon", "found"),
    [
        ("LimitMEMLOCK=infinity\nLimitMEMLOCK=64M", 64 * MIB, ["QP-MEM-001 fail"]),
        ("LimitMEMLOCK=infinity\nLimitMEMLOCK=", 8 * MIB, ["QP-MEM-001 fail"]),
        ("LimitMEMLOCK=8M:infinity", 8 * MIB, ["QP-MEM-001 fail"]),
        ("LimitMEMLOCK=8M", ENOUGH, ["QP-MEM-002 warn"]),
    ],
    ids=["the last one wins", "reset", "only the hard limit is high", "the daemon has more than its files say"],
)
def test_the_limit_in_force(text: str, daemon: int, found: list[str]) -> None:
    node = Node(drop_ins=(("containerd.service.d/10-a.conf", f"[Service]\n{text}"),), daemon=daemon)
    assert short(node) == found


SPEC = '{"process": {"rlimits": [{"type": "RLIMIT_MEMLOCK", "soft": 65536, "hard": 65536}]}}'
WITH_SPEC = OWNED + (
    '  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n'
    '    base_runtime_spec = "/etc/containerd/cri-base.json"\n'
)


def test_a_base_runtime_spec_overrules_the_unit() -> None:
    node = Node(config=WITH_SPEC, more=file("/etc/containerd/cri-base.json", SPEC))
    assert short(node) == ["QP-MEM-001 fail"]
    found = findings(node)[0]
    assert found.title.startswith("base_runtime_spec in /etc/containerd/cri-base.json lets containers lock 64K")
    assert "changes nothing" in found.cause
    enough = Node(
        config=WITH_SPEC,
        drop_ins=(),
        daemon=8 * MIB,
        more=file("/etc/containerd/cri-base.json", SPEC.replace("65536", "18446744073709551615")),
    )
    assert short(enough) == []
    silent = Node(config=WITH_SPEC, drop_ins=(), daemon=8 * MIB, more=file("/etc/containerd/cri-base.json", "{}"))
    assert short(silent) == ["QP-MEM-001 fail"]
    assert any("LimitMEMLOCK" in e.value for e in findings(silent)[0].evidence)
    broken = Node(config=WITH_SPEC, more=file("/etc/containerd/cri-base.json", "{"))
    assert short(broken) == ["QP-MEM-001 unknown"]


def crio_node(ulimits: str, unit: str = "") -> str:
    return (
        file("/usr/lib/systemd/system/crio.service", f"[Service]\n{unit}")
        + process(900, "crio", "/system.slice/crio.service", argv="/usr/bin/crio")
        + process(960, "kubelet", "/system.slice/kubelet.service", argv="/usr/bin/kubelet")
        + file("/etc/crio/crio.conf.d/70-own.conf", f'[crio.runtime]\ndefault_ulimits = ["{ulimits}"]')
    )


def test_crio_ulimits_overrule_the_unit() -> None:
    """Both ways: enough below a small unit, and too little below an unlimited one."""
    small = judge(BASE, crio_node("memlock=65536:65536", "LimitMEMLOCK=infinity"))
    found = next(f for f in small.findings if f.id == "QP-MEM-001")
    assert found.status == "fail"
    assert found.title.startswith("default_ulimits in /etc/crio/crio.conf.d/70-own.conf lets containers lock 64K")
    enough = judge(BASE, crio_node("memlock=4294967296:4294967296"))
    assert "QP-MEM-001" not in enough.ids(Status.FAIL) + enough.ids(Status.WARN)
