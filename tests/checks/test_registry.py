"""How findings hang together: what blocks what, what is chosen, what is said when a check itself fails."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from qatprep.assess import State, assess
from qatprep.checks import registry, table
from qatprep.checks.base import Check, Context, Profile
from qatprep.checks.registry import evaluate
from qatprep.config import NodeConfig, PfConfig
from qatprep.errors import InputError
from qatprep.exits import ExitCode
from qatprep.findings import Finding, Status
from qatprep.simulator.scenarios import scenarios
from tests.checks.hosts import assessed, facts, judge
from tests.conftest import qatprep, some

PF = "0000:6b:00.0"
READY = "spr-2s-ready"


def test_what_a_check_needs_stands_before_it() -> None:
    seen: set[str] = set()
    for check in table.CHECKS:
        assert set(check.needs) <= seen, check.id
        seen.add(check.id)


def test_a_broken_pf_blocks_itself_and_its_vfs_alone() -> None:
    report = judge(READY, f"/sys/devices/pci0000:6b/{PF}/qat/state = down")
    assert report.ids(Status.FAIL) == ("QP-PF-002",)
    binding = [f for f in report.findings if f.id == "QP-VFIO-001"]
    assert [f.status for f in binding] == [Status.OK, Status.BLOCKED]
    judged, left = binding
    assert len(judged.subjects) == 7 * 16 and not any(bdf.startswith("0000:6b") for bdf in judged.subjects)
    assert len(left.subjects) == 16 and all(bdf.startswith("0000:6b") for bdf in left.subjects)
    assert left.blocked_by == ("QP-PF-002",)


def test_when_nothing_is_left_everything_behind_is_blocked_by_the_root() -> None:
    report = judge("module-blacklisted")
    assert report.ids(Status.FAIL) == ("QP-MOD-002",)
    for id in ("QP-MOD-003", "QP-PF-001", "QP-PF-002", "QP-SVC-001", "QP-SRIOV-001", "QP-VFIO-001", "QP-NODE-001"):
        (f,) = (f for f in report.findings if f.id == id)
        assert f.status is Status.BLOCKED and f.blocked_by == ("QP-MOD-002",), f
        assert f.subjects, f  # the PFs stand for the VFs they do not have


def test_two_broken_links_are_two_failures() -> None:
    report = judge("fw-missing", "- /sys/firmware/acpi/tables/DMAR\n- /sys/class/iommu")
    assert report.ids(Status.FAIL) == ("QP-IOMMU-001", "QP-FW-001")
    (f,) = (f for f in report.findings if f.id == "QP-SRIOV-001")
    assert f.blocked_by == ("QP-IOMMU-001",)  # of the whole host: it outranks what is about devices


def test_skipping_a_failed_check_lets_the_rest_be_judged() -> None:
    change = f"/sys/devices/pci0000:6b/{PF}/qat/cfg_services = dc"
    assert judge(READY, change).ids(Status.FAIL) == ("QP-SVC-001",)
    judged = assessed(READY, change, skip=["QP-SVC-001"])
    report = judged.report
    assert report.worst is Status.OK
    assert "QP-SVC-001" in report.ids(Status.SKIPPED)
    assert judged.verdicts[0].state is State.PARTIAL  # not "ready": something was left out
    assert report.ids(Status.BLOCKED) == ()


def test_only_tells_what_was_asked_but_knows_what_blocks_it() -> None:
    judged = assessed("dmar-absent", only=["QP-VFIO-001"])
    (f,) = judged.report.findings
    assert f.status is Status.BLOCKED and f.blocked_by == ("QP-IOMMU-001",)
    assert judged.verdicts[0].state is State.NOT_READY and judged.verdicts[0].first == "QP-IOMMU-001"


@pytest.mark.parametrize(
    ("patterns", "ids"),
    [
        (["QP-IOMMU-*"], {f"QP-IOMMU-00{n}" for n in range(1, 7)}),
        (["iommu"], {f"QP-IOMMU-00{n}" for n in range(1, 7)}),
        (["sr-iov"], {"QP-SRIOV-001", "QP-SRIOV-002", "QP-SRIOV-003"}),
        (["Kernel_Log", "qp-pf-001"], {"QP-LOG-001", "QP-PF-001"}),
        (["QP-DEV-001,QP-DEV-002"], {"QP-DEV-001", "QP-DEV-002"}),
    ],
)
def test_selecting(patterns: list[str], ids: set[str]) -> None:
    assert table.select(patterns) == ids


def test_an_id_needs_no_qp() -> None:
    assert table.select(["svc-001", "IOMMU-00?"]) == table.select(["QP-SVC-001", "QP-IOMMU-00?"])


@pytest.mark.parametrize(
    ("pattern", "close"),
    [("QP-SVC-01", "QP-SVC-001"), ("iomu", "iommu"), ("QP-SRIVO-001", "QP-SRIOV-001"), ("xyz", "qatprep explain")],
)
def test_an_unknown_name_is_told_with_what_comes_close(pattern: str, close: str) -> None:
    with pytest.raises(InputError) as caught:
        table.select([pattern])
    assert repr(pattern) in caught.value.message and close in caught.value.hint
    called = qatprep("doctor", "--simulate", "spr-2s", "--only", pattern)
    assert called.code == ExitCode.USAGE and pattern in called.err and called.out == ""


def test_only_that_leaves_nothing_is_an_error() -> None:
    called = qatprep("doctor", "--simulate", "spr-2s", "--profile", "qat", "--only", "cpu")
    assert called.code == ExitCode.USAGE and "--profile" in called.err


def crash(ctx: Context) -> Iterable[Finding]:
    raise KeyError("no such thing")


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(check: Check) -> Check:
        return replace(check, run=crash) if check.id == "QP-PF-002" else check

    monkeypatch.setattr(registry, "CHECKS", tuple(broken(check) for check in table.CHECKS))


@pytest.mark.usefixtures("crashing")
def test_a_check_that_crashes_is_a_finding() -> None:
    report = judge(READY)
    (f,) = report.of(Status.FAIL)
    assert f.id == "QP-CRASH"
    assert "QP-PF-002" in f.title and "KeyError" in f.title and "test_registry.py:" in f.title
    assert "no such thing" in f.evidence[0].value
    assert any("--skip QP-PF-002" in step for step in f.fix)
    assert report.ids(Status.BLOCKED) == ()  # the others go on
    called = qatprep("doctor", "--simulate", READY, "--profile", "qat")
    assert called.code == ExitCode.FINDINGS and "QP-CRASH" in called.out and called.err == ""


def test_an_ordinary_user_is_told_what_could_not_be_seen() -> None:
    called = qatprep("doctor", "--simulate", "spr-2s-as-user")
    assert called.code == ExitCode.OK
    assert "ordinary user" in called.out and "QP-LOG-001" in called.out
    assert qatprep("doctor", "--simulate", "spr-2s-as-user", "--strict").code == ExitCode.FINDINGS
    assert "ordinary user" not in qatprep("doctor", "--simulate", READY).out


def test_an_ordinary_user_and_an_old_kernel() -> None:
    """There only root can read the services, so that half of the chain cannot be judged, and nothing is made up."""
    change = "/.qatprep/euid = 1000\n/sys/kernel/debug [0700] /"
    judged = assessed("spr-2s-old-kernel", change)
    report = judged.report
    assert report.ids(Status.FAIL) == ()
    assert set(report.ids(Status.UNKNOWN)) == {"QP-KRN-003", "QP-LOG-001"}
    assert judged.verdicts[0].state is State.UNKNOWN


def test_auto_judges_what_the_node_has() -> None:
    def verdicts(name: str, change: str = "") -> dict[str, tuple[str, str]]:
        judged = assessed(name, change, Profile.AUTO)
        return {v.subject.value: (v.state.value, v.first) for v in judged.verdicts}

    assert verdicts(READY) == {"qat": ("configured", ""), "cryptomb": ("configured", "")}
    assert verdicts("spr-2s")["qat"] == ("not ready", "QP-MOD-004")
    assert verdicts("cpu-amd-zen4") == {"qat": ("not present", ""), "cryptomb": ("configured", "")}
    assert verdicts("cpu-no-ifma") == {"qat": ("not present", ""), "cryptomb": ("not possible", "QP-CPU-001")}
    assert verdicts("gen2-c62x")["qat"] == ("not possible", "QP-DEV-003")
    assert verdicts("srf-1s")["cryptomb"] == ("configured", "")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (READY, ExitCode.OK),
        ("spr-2s", ExitCode.FINDINGS),
        ("cpu-amd-zen4", ExitCode.OK),  # no QAT, but CryptoMB: nothing is wrong with this node
        ("cpu-no-ifma", ExitCode.FINDINGS),  # neither
        ("gen2-c62x", ExitCode.FINDINGS),  # neither
    ],
)
def test_exit_status_of_auto(name: str, code: ExitCode) -> None:
    assert qatprep("doctor", "--simulate", name).code == code


def test_a_qat_node_whose_cpu_cannot_do_cryptomb_only_warns() -> None:
    report = judge(
        READY, "- /.qatprep/cpuid\n/.qatprep/cpuid <<\n| 0 0: 00000010 0 0 0\n| 1 0: 0 0 08000000 0\n| 7 0: 0 0 0 0"
    )
    assert report.worst is Status.OK  # profile qat does not ask
    auto = judge(
        READY, "/.qatprep/cpuid <<\n| 0 0: 10 0 0 0\n| 1 0: 0 0 08000000 0\n| 7 0: 0 0 0 0", profile=Profile.AUTO
    )
    assert auto.ids(Status.WARN) == ("QP-CPU-001",) and auto.ids(Status.FAIL) == ()


def wrong(name: str, change: str, *bdfs: str) -> list[str]:
    return [f.id for f in assess(facts(name, change), NodeConfig()).wrong(bdfs)]


def test_what_is_still_wrong_with_these_pfs() -> None:
    change = f"/sys/devices/pci0000:6b/{PF}/qat/cfg_services = dc"
    assert wrong(READY, change, PF) == ["QP-SVC-001"]
    assert wrong(READY, change, "0000:70:00.0") == []
    assert wrong(READY, "", PF) == []


def test_what_blocks_these_pfs_is_named() -> None:
    """A failure elsewhere that keeps these PFs from being judged counts, one that does not does not."""
    assert wrong(READY, "- /sys/module/vfio_pci", PF) == ["QP-MOD-004"]
    assert wrong(READY, "/etc/modprobe.d/x.conf = blacklist qat_4xxx", PF) == []


def test_the_eight_socket_host_is_judged_in_no_time() -> None:
    import time

    looked = facts("spr-8s-ready")
    start = time.process_time()
    evaluate(looked, NodeConfig())
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("id", "seen"),
    [
        ("QP-DEV-001", "8 PFs 4xxx: 4 on NUMA node 0, 4 on NUMA node 1"),
        ("QP-PF-002", "8 of 8 PFs bound to their driver, and up"),
        ("QP-SVC-001", "sym;asym on 8 of 8 PFs"),
        ("QP-SRIOV-001", "128 of 128 VFs"),
        ("QP-VFIO-001", "128 of 128 VFs on vfio-pci"),
        ("QP-NODE-001", "128 of 128 device nodes root:qat 0660"),
        ("QP-VFIO-003", "128 of 128 VFs"),  # no words of its own: what it looked at
    ],
)
def test_a_check_that_passed_says_what_it_saw(id: str, seen: str) -> None:
    (f,) = (f for f in judge(READY).findings if f.id == id)
    assert f.status is Status.OK and [e.value for e in f.evidence] == [seen]


def test_what_passed_is_counted_against_the_whole() -> None:
    report = judge(READY, f"/sys/devices/pci0000:6b/{PF}/qat/state = down")
    judged = next(f for f in report.findings if f.id == "QP-VFIO-001" and f.status is Status.OK)
    assert [e.value for e in judged.evidence] == ["112 of 128 VFs on vfio-pci"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("spr-2s", "none of the 8 PFs has VFs"),  # 4 of them are told apart for their services
        ("spr-2s-no-vfs", "none of the 8 PFs has VFs"),
        ("gnr-d-420xx", "PF 0000:01:00.0 has no VFs"),
    ],
)
def test_pfs_without_vfs_are_counted_all(name: str, title: str) -> None:
    told = [f.title for f in judge(name).of(Status.FAIL) if f.id == "QP-SRIOV-001"]
    assert [re.sub(r"PF \S+", "PF 0000:01:00.0", text) for text in told] == [title]


def test_what_is_absent_is_named() -> None:
    causes = {f.id: f.cause for f in judge(READY).of(Status.SKIPPED)}
    assert (
        causes["QP-PERS-001"] == "no qatprep installed on this host" and causes["QP-MEM-001"] == "no container runtime"
    )
    assert causes["QP-K8S-001"] == "no Kubernetes" and causes["QP-LIB-001"] == "no qatlib on the host itself"


@pytest.mark.parametrize("name", some((host.name for host in scenarios()), 3))
def test_what_passed_says_what_it_saw_and_what_is_skipped_what_is_absent(name: str) -> None:
    """Every check on every host, in JSON; and no line of a stage counts checks that passed."""
    findings = judge(name, profile=Profile.AUTO).findings
    assert [f.id for f in findings if f.status is Status.OK and not all(e.value.strip() for e in f.evidence)] == []
    assert [f.id for f in findings if f.status is Status.OK and not f.evidence] == []
    absent = {f.id: f.cause for f in findings if f.status is Status.SKIPPED}
    assert {id: why for id, why in absent.items() if why == registry.NOTHING or not why} == {}
    assert not re.search(r"^\S+ [\w -]{13} .*\b\d+ ok\b", qatprep("doctor", "--simulate", name).out, re.MULTILINE)


def test_a_vm_gives_its_own_reasons() -> None:
    """What runs containers has nothing to do with PFs."""
    causes = {f.id: f.cause for f in judge("vm-with-containers").of(Status.SKIPPED)}
    assert causes["QP-K8S-001"] == "no QAT device plugin on this node"
    assert causes["QP-ENVOY-010"] == "no Envoy in a container"
    assert causes["QP-PF-001"] == "a VM sees VFs without their PF"


def test_a_vf_that_waits_for_its_holder_is_not_bound_by_hand() -> None:
    """device down, reset, a change of services: the VF has lost its driver, and its holder keeps the write waiting."""
    report = judge("vf-held", "- /sys/devices/pci0000:6b/0000:6b:00.3/driver", NodeConfig(devices=PfConfig(None)))
    (f,) = report.of(Status.FAIL)
    assert f.id == "QP-VFIO-001" and f.title.endswith("which waits for envoy (process 4711)")
    assert f.step == "" and f.fix[0].startswith("Stop envoy (process 4711).")


def test_nothing_is_blocked_by_itself() -> None:
    for name in ("spr-2s", "vm-vfs", "dmar-absent", "nodes-world-writable"):
        for line in qatprep("doctor", "--simulate", name).out.splitlines():
            if found := re.match(r"[^\w\s] ([\w -]{13}) .*waits for (.*)$", line):
                ids = re.findall(r"QP-[A-Z0-9]+-\d+", found[2])
                assert found[1].strip() not in {table.BY_ID[id].stage.value for id in ids}, line
