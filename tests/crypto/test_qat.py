"""QAT through the stand-in for libqat: what it does when all is well, and its verdict on everything that is not.

No test here has seen a QAT device. tests/emulated asks the real libqat, and holds the stand-in to it.
"""

from __future__ import annotations

import ctypes
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from qatprep import _native
from qatprep.cli.open_host import open_host
from qatprep.crypto import keys, qat, qat_verdict, smoke_qat
from qatprep.crypto.qat import Libraries, QatSession, Trouble
from qatprep.crypto.qat_verdict import QatNode, judge
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import DeviceNode
from qatprep.host.base import Host
from qatprep.host.linux import LinuxHost
from tests.crypto.conftest import interrupted


@pytest.fixture
def here() -> Host:
    return LinuxHost("/")


def test_signatures_come_back_right_from_every_instance(libraries: Libraries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QP_STANDIN", "instances=3 delay_us=300 reorder=1 retry=7")
    with QatSession(libraries) as session:
        assert [i["name"] for i in session.instances] == ["stand-in 0", "stand-in 1", "stand-in 2"]
        run = session.run("rsa-2048", count=60, poll_delay=0.0002)
    assert (run.measured.completed, run.measured.failed, run.checked, run.wrong) == (60, 0, 60, 0)
    assert run.retries >= 8, "every seventh send is refused for a moment and must be sent again"
    assert run.lost == run.spurious == 0


def test_a_full_device_is_waited_for(libraries: Libraries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QP_STANDIN", "capacity=2")
    with QatSession(libraries) as session:
        run = session.run("rsa-2048", workers=2, seconds=0.3, poll_delay=0.0002)
    assert run.retries > 0
    assert run.measured.completed > 0
    assert run.measured.failed == 0


@pytest.mark.parametrize("kind", ["rsa-3072", "rsa-4096"])
def test_longer_keys(libraries: Libraries, kind: str) -> None:
    with QatSession(libraries) as session:
        run = session.run(kind, count=8)
    assert (run.checked, run.wrong, run.measured.failed) == (8, 0, 0)


def test_ecdsa_is_not_sent_to_qat(libraries: Libraries) -> None:
    with QatSession(libraries) as session, pytest.raises(Trouble, match="RSA keys"):
        session.run("p-256", count=8)


def test_the_poll_delay_is_kept(libraries: Libraries) -> None:
    """Results of operations sent after the first poll wait for the next one."""
    with QatSession(libraries) as session:
        slow = session.run("rsa-2048", rate=100, seconds=0.4, poll_delay=0.02, seed=1).measured
    assert slow.latency is not None
    assert slow.latency.worst > 0.015


@pytest.mark.parametrize("behaviour", ["delay_us=1000000", "drop=2"])
def test_after_a_loss_there_is_no_other_run(
    libraries: Libraries, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    """The device may still write to what the lost operations were given: their memory stays, and nothing is added."""
    monkeypatch.setenv("QP_STANDIN", behaviour)
    with QatSession(libraries) as session:
        first = session.run("rsa-2048", count=16, seconds=0.1, patience=0.1)
        assert first.lost
        assert first.measured.completed + first.lost == 16
        with pytest.raises(Trouble, match=f"{first.lost} operations of an earlier run never came back"):
            session.run("rsa-2048", count=16)


def test_a_result_that_comes_late_touches_nothing_of_its_run(
    libraries: Libraries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that are polled for after the run is over. AddressSanitizer (sanitize.sh) sees what they touch."""
    monkeypatch.setenv("QP_STANDIN", "delay_us=200000")
    engine = _native.Qat(libraries.libqat, libraries.libusdm)
    assert engine.start("SSL") == (0, "")
    work = keys.make(keys.KeyKind.RSA_2048, 8)
    report = engine.run(work.jobs, None, workers=2, duration_ns=10_000_000, depth=8, patience_ns=1_000_000)
    assert report["lost"] == 16
    poll = ctypes.CDLL(libraries.libqat).late_polls
    assert poll(1000) == 16, "all sixteen come, with the run, its workers and their buffers gone"
    with pytest.raises(RuntimeError, match="16 operations of an earlier run never came back"):
        engine.run(work.jobs)


def test_a_second_result_is_counted_and_nothing_else(libraries: Libraries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QP_STANDIN", "twice=4")
    with QatSession(libraries) as session:
        run = session.run("rsa-2048", count=16)
        assert run.spurious == 4
        assert run.measured.completed == 16
        assert session.run("rsa-2048", count=16).spurious == 4, "slots of an earlier run serve again"


def test_one_call_at_a_time(libraries: Libraries) -> None:
    engine = _native.Qat(libraries.libqat, libraries.libusdm)
    engine.start("SSL")
    work = keys.make(keys.KeyKind.RSA_2048, 8)

    def at_work() -> bool:
        with pytest.raises(RuntimeError, match=r"another call is at work|started already") as caught:
            engine.start("SSL")
        return "at work" in str(caught.value)

    with interrupted(at_work):
        engine.run(work.jobs, duration_ns=10**12)
    engine.stop()


SMOKE = [
    ("", "passed", "passed", "64 RSA-2048 signatures, all right"),
    ("instances=4 delay_us=200 retry=3 reorder=1", "passed", "passed", "4 instances"),
    ("wrong=5", "failed", "wrong", "12 WRONG"),
    ("fail=9", "failed", "wrong", "64 RSA-2048 signatures, 7 WRONG"),
    ("error=9", "failed", "refused", "7 of 64 operations ended with status -1: fatal error or restart of the device"),
    ("drop=7", "failed", "lost", "never came back"),
    ("refuse=8", "failed", "refused", "8 of 64 operations ended with status -1"),
    ("sym_only=1", "failed", "no-rsa", "none does RSA"),
    ("software=1", "failed", "not-offloaded", "software"),
    ("no_memory=1", "failed", "refused", "no memory for the device"),
    ("die=11", "failed", "died", "ended by SIGSEGV"),
    ("die=6", "failed", "died", "ended by SIGABRT"),
    ("start=-1 say=VFIO_SET_IOMMU_ioctl_failed", "unavailable", "no-device", "no QAT device on this machine"),
    ("instances=0", "unavailable", "no-device", "no QAT device on this machine"),
]


@pytest.mark.parametrize(("behaviour", "state", "code", "words"), SMOKE, ids=[case[0] or "well" for case in SMOKE])
def test_smoke_has_a_verdict_for_each(
    libraries: Libraries, here: Host, monkeypatch: pytest.MonkeyPatch, behaviour: str, state: str, code: str, words: str
) -> None:
    if code == "refused" and "memory" in words:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setenv("QP_STANDIN", behaviour)
    result = smoke_qat.sign(here, libraries)
    assert (result.state, result.code) == (state, code), result
    assert words in result.summary
    assert result.state == "passed" or result.signatures == 0 or result.code in ("wrong", "refused", "lost")


def test_what_the_library_wrote_is_evidence(
    libraries: Libraries, here: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QP_STANDIN", "start=-1 say=it_has_a_headache")
    result = smoke_qat.sign(here, libraries)
    assert "libqat: it has a headache" in result.evidence
    assert capfd.readouterr() == ("", ""), "and is not let through to our own streams"


def test_a_library_that_hangs_is_left_in_time(
    libraries: Libraries, here: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qat, "START_TIME", 0.5)
    monkeypatch.setenv("QP_STANDIN", "hang=60")
    result = smoke_qat.sign(here, libraries)
    assert (result.state, result.code) == ("failed", "hung")


def test_without_libqat_and_without_a_device(here: Host) -> None:
    result = smoke_qat.sign(here, Libraries("libqat-that-is-not.so.4", "libusdm-that-is-not.so.0"))
    assert (result.state, result.code) == ("unavailable", "no-device")


def test_a_library_that_is_not_libqat(here: Host) -> None:
    with pytest.raises(Trouble) as caught, QatSession(Libraries("libc.so.6", "libc.so.6")):
        pass
    assert "libc.so.6 has no icp_sal_userStart" in caught.value.detail
    node = _node("spr-2s-ready")
    assert judge(node, caught.value).code == "library"


class CountingHost(LinuxHost):
    """This machine with the QAT devices and counters of a test."""

    def __init__(self, counters: Path) -> None:
        super().__init__("/")
        self.counters = counters

    def read(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> bytes:
        if path.endswith("/fw_counters"):
            return self.counters.read_bytes()
        return super().read(path, limit=limit, deadline=deadline)


@pytest.mark.parametrize("moves", [True, False])
def test_the_firmwares_counters_prove_the_offload(
    libraries: Libraries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moves: bool
) -> None:
    counters = tmp_path / "fw_counters"
    counters.write_text("AE  Requests  Responses\n 0: 0 0\n")
    host = CountingHost(counters)
    node = _node("spr-2s-ready")
    monkeypatch.setattr(qat_verdict, "look", lambda _: replace(node, pfs=node.pfs[:1]))
    monkeypatch.setenv("QP_STANDIN", f"counters={counters}" if moves else "")
    result = smoke_qat.sign(host, libraries)
    if moves:
        assert result.state == "passed"
        assert "counted 64 responses for 64 operations" in result.evidence[0]
    else:
        assert (result.state, result.code) == ("failed", "not-offloaded")


# -- what a failure means on which node --------------------------------------------------------------------------------


def _node(name: str, **changes: object) -> QatNode:
    """A simulated host's node, as root with unlimited memlock unless changed."""
    node = qat_verdict.look(open_host("/", name))
    plain = replace(node, euid=0, groups=frozenset(), memlock=-1, may_lock=True)
    return replace(plain, **changes)  # type: ignore[arg-type]


def _held(node: QatNode) -> tuple[Holder, ...]:
    return tuple(Holder(4711, "envoy", vf.bdf, "") for vf in node.vfs)


START_FAILED = Trouble("start", "error", "icp_sal_userStart", -1, ("No devices found",))


def test_no_device() -> None:
    assert judge(_node("no-qat"), START_FAILED).code == "no-device"


def test_no_vfs() -> None:
    verdict = judge(_node("spr-2s-no-vfs"), START_FAILED)
    assert verdict.code == "no-vfs"
    assert "bootstrap" in verdict.fix


def test_not_bound() -> None:
    node = _node("spr-2s-ready")
    loose = tuple(vf._replace(driver=None, node=None) for vf in node.vfs)
    assert judge(replace(node, vfs=loose), START_FAILED).code == "not-bound"


def test_no_permission_names_the_node_and_its_owner() -> None:
    node = _node("spr-2s-ready", euid=1000)
    closed = tuple(vf._replace(node=DeviceNode("/dev/vfio/17", 0, 105, 0o660)) for vf in node.vfs)
    verdict = judge(replace(node, vfs=closed), START_FAILED)
    assert verdict.code == "no-permission"
    assert "/dev/vfio/17" in verdict.summary
    assert "0660 0:105" in verdict.summary
    member = replace(node, vfs=closed, groups=frozenset({105}))
    assert judge(member, START_FAILED).code != "no-permission"


def test_held_names_who_holds_it() -> None:
    node = _node("spr-2s-ready")
    verdict = judge(replace(node, holders=_held(node)), START_FAILED)
    assert verdict.code == "held"
    assert "envoy (process 4711)" in verdict.summary


def test_one_free_vf_is_not_held() -> None:
    node = _node("spr-2s-ready")
    assert judge(replace(node, holders=_held(node)[1:]), START_FAILED).code == "refused"


def test_memlock_too_small() -> None:
    verdict = judge(_node("spr-2s-ready", euid=0, memlock=8 << 20, may_lock=False), START_FAILED)
    assert verdict.code == "memlock"
    assert "8192 KiB" in verdict.summary
    assert judge(_node("spr-2s-ready", memlock=8 << 20, may_lock=True), START_FAILED).code == "refused"


def test_memlock_as_libusdm_says_it() -> None:
    words = ("dma_map_slab:240 VFIO_IOMMU_MAP_DMA failed va=7f iova=8 size=200000 -- errno=12",)
    trouble = Trouble("start", "error", "icp_sal_userStart", -1, words)
    assert judge(_node("spr-2s-ready", memlock=64 << 20, may_lock=False), trouble).code == "memlock"


def test_library_missing_on_a_node_with_vfs() -> None:
    detail = "libqat.so.4: cannot open shared object file: No such file or directory"
    verdict = judge(_node("spr-2s-ready"), Trouble("load", "error", detail))
    assert verdict.code == "no-library"
    assert "libqat4" in verdict.fix


def test_library_of_another_distribution() -> None:
    detail = "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by libqat.so.4)"
    verdict = judge(_node("spr-2s-ready"), Trouble("load", "error", detail))
    assert verdict.code == "library"
    assert "GLIBC_2.38" in verdict.summary


def test_dc_only_names_what_the_pf_offers() -> None:
    node = _node("dc-only")
    bound = _node("spr-2s-ready")
    verdict = qat_verdict.no_rsa(replace(bound, pfs=node.pfs), 0)
    assert verdict.code == "no-rsa"
    assert "dc" in verdict.summary
    assert "services" in verdict.fix


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Group is not viable (ie, not all devices bound for vfio)", "not-bound"),
        ("Incompatible PF driver detected", "refused"),
        ("This qatlib v24.2 received response from incompatible qatmgr v23.8", "refused"),
        ("No available devices after trying 16 devices", "held"),
        (
            "err: open_vfio_dev: Device interrupt doesn't support eventfd\nNo available devices after trying 1 devices",
            "refused",
        ),
        ("err: open: Device or resource busy\nNo available devices after trying 1 devices", "held"),
        ("something new", "refused"),
    ],
)
def test_the_librarys_own_words(words: str, code: str) -> None:
    trouble = Trouble("start", "error", "icp_sal_userStart", -1, (words,))
    verdict = judge(_node("spr-2s-ready"), trouble)
    assert verdict.code == code
    assert ("eventfd" in verdict.summary) is ("eventfd" in words)


def test_every_verdict_but_no_device_and_refused_says_what_to_do() -> None:
    node = _node("spr-2s-ready")
    for verdict in (
        judge(_node("spr-2s-no-vfs"), START_FAILED),
        judge(replace(node, holders=_held(node)), START_FAILED),
        judge(_node("spr-2s-ready", memlock=0, may_lock=False), START_FAILED),
        judge(node, Trouble("start", "hung", "no answer in 30 seconds")),
        qat_verdict.no_rsa(node, 2),
    ):
        assert verdict.fix, verdict
