"""The proof: who may write it, what it makes of a verdict, and when it counts no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from qatprep.assess import State, assess
from qatprep.checks.base import Profile
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.crypto import prove, qat_verdict, smoke, smoke_qat
from qatprep.crypto.result import ProviderResult
from qatprep.crypto.smoke import SmokeReport
from qatprep.exits import ExitCode
from qatprep.facts import gather, proof
from qatprep.facts.base import Unknown
from qatprep.host import manifest
from qatprep.host.capture import Capture
from qatprep.outcome import Outcome, conclude, proof_lines
from qatprep.plan.node import make_plan
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep

READY = "spr-2s-ready"
PF = "0000:6b:00.0"


def machine(name: str = READY) -> SimulatedHost:
    """A simulated host that stands for real hardware: it may be signed on."""
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    host.simulated = False
    return host


def test_a_signature_of_an_emulated_device_is_no_proof_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    signing(monkeypatch, PF)
    for kind, kept in (("tmpfs", False), ("sysfs", True)):
        host = machine()
        mount = f"36 24 0:31 / /sys/bus/pci rw,nosuid shared:9 - {kind} {kind} rw\n"
        host.tree.file("/proc/self/mountinfo", mount.encode())
        done = prove.prove(host, gather(host), "smoke", provider="qat")
        assert (done.kept, host.exists(proof.PATH)) == (kept, kept)
        assert ("tmpfs covers /sys/bus/pci" in done.why_not) == (not kept)


def concluded(host: Any, config: NodeConfig | None = None) -> Outcome:
    judged = assess(gather(host), config or NodeConfig())
    return conclude(judged, make_plan(judged))


def signing(monkeypatch: pytest.MonkeyPatch, *bdfs: str) -> list[str]:
    """An engine that signs on these PFs; the providers that it was asked for."""
    asked: list[str] = []

    def run(provider: str, host: Any) -> SmokeReport:
        asked.append(str(provider))
        qat = ProviderResult(
            "qat", "passed", "", library="libqat", signatures=8 * len(bdfs), devices=tuple((b, 8, 8) for b in bdfs)
        )
        cpu = ProviderResult("cryptomb", "passed", "", library="crypto_mb 2", signatures=64)
        results = {"auto": (qat, cpu), "qat": (qat,), "cryptomb": (cpu,)}[str(provider)]
        return SmokeReport(str(provider), "", results, "", True)

    monkeypatch.setattr(smoke, "run", run)
    monkeypatch.setattr(smoke, "elsewhere", lambda _: "")
    return asked


def every(host: Any) -> list[str]:
    return [pf.bdf for pf in gather(host).pci.pfs]


def proven(monkeypatch: pytest.MonkeyPatch, name: str = READY, only: int = 8) -> SimulatedHost:
    host = machine(name)
    signing(monkeypatch, *every(host)[:only])
    assert prove.prove(host, gather(host), "smoke").kept
    return host


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes a proof")
def test_programs_that_tests_start_leave_no_proof_on_this_machine() -> None:
    """They see a /run/qatprep of this test run's own: a file system that nobody else has."""
    show = [sys.executable, "-c", "print(open('/proc/self/mountinfo').read())"]
    mounts = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert re.search(r" / /run/qatprep \S+ - tmpfs ", mounts)
    assert "shared:" not in re.search(r".* /run/qatprep .*", mounts)[0]  # type: ignore[index]


def test_configured_until_every_pf_has_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert concluded(machine()).state(Profile.QAT) is State.CONFIGURED
    assert concluded(machine()).exit_status(require_proof=True) is ExitCode.FINDINGS
    some = concluded(proven(monkeypatch, only=7))
    assert some.state(Profile.QAT) is State.CONFIGURED and some.state(Profile.CRYPTOMB) is State.READY
    assert "not for 0000:f7:00.0" in proof_lines(some)[0]
    whole = concluded(proven(monkeypatch))
    assert whole.state(Profile.QAT) is State.READY and whole.exit_status(require_proof=True) is ExitCode.OK
    assert proof_lines(whole)[0].endswith("smoke: 128 signatures right")


def test_pfs_of_a_proof_are_in_the_order_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever signed last: libqat's PF and those signed on directly come in any order."""
    host = machine()
    signing(monkeypatch, *reversed(every(host)))
    assert prove.prove(host, gather(host), "smoke").kept
    assert list(concluded(host).standing.holds) == every(host)


@pytest.mark.parametrize(
    ("vfs", "signed"),
    [
        (("0000:6b:00.1", "0000:6b:00.1"), {"0000:6b:00.0": 2}),
        (("0000:6b:00.1", "0000:70:02.0"), {"0000:6b:00.0": 1, "0000:70:00.0": 1}),
        (("0000:6c:00.1",), {}),
    ],
)
def test_who_signed_is_known_without_counters(vfs: tuple[str, ...], signed: dict[str, int]) -> None:
    """By the addresses of libqat's instances; in a VM of the VFs themselves."""
    host = machine()
    instances = [{"rsa": True, "bus": routing(bdf)} for bdf in vfs]
    none = Unknown("no fw_counters")
    found = smoke_qat._devices(qat_verdict.look(host), instances, 64, none, none)
    assert {bdf: number for bdf, number, _ in found} == signed
    in_vm = machine("vm-vfs")
    first = gather(in_vm).pci.vfs[0].bdf
    found = smoke_qat._devices(qat_verdict.look(in_vm), [{"rsa": True, "bus": routing(first)}], 64, none, none)
    assert found == ((first, 1, None),)


def routing(bdf: str) -> int:
    """A PCI routing ID, as libqat's busAddress."""
    bus, slot, function = re.findall(r"[0-9a-f]+", bdf)[1:]
    return int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)


def test_the_file_is_roots_and_all_may_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host = proven(monkeypatch)
    found = host.stat(proof.PATH)
    assert (found.uid, found.gid, found.mode) == (0, 0, 0o644)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda host: host.write(f"/sys/bus/pci/devices/{PF}/qat/state", b"down"), "changed since"),
        (lambda host: host.write("/sys/bus/pci/drivers/vfio-pci/unbind", b"0000:6b:00.1"), "bindings changed since"),
        (lambda host: qatprep("device", "unbind", "6b:00.1", "--yes", host=host), "changed by run"),
        (lambda host: qatprep("device", "services", "asym", "6b:00.0", "--yes", host=host), "changed by run"),
    ],
    ids=["down", "unbound by hand", "device unbind", "device services"],
)
def test_void_for_a_pf_that_changed(monkeypatch: pytest.MonkeyPatch, change: Any, why: str) -> None:
    host = proven(monkeypatch)
    change(host)
    standing = concluded(host).standing
    assert list(standing.void) == [PF] and why in standing.void[PF]
    assert len(standing.holds) == 7


def test_void_even_when_it_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """bootstrap brings the node back, and does not sign where it is told not to."""
    host = proven(monkeypatch)
    host.write("/sys/bus/pci/drivers/vfio-pci/unbind", b"0000:6b:00.1")
    assert qatprep("bootstrap", "--yes", "--no-smoke", host=host).code == ExitCode.OK
    outcome = concluded(host)
    assert outcome.state(Profile.QAT) is State.CONFIGURED and list(outcome.standing.void) == [PF]


def test_gone_with_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    host = proven(monkeypatch)
    document = json.loads(host.read(proof.PATH))
    host.replace(proof.PATH, json.dumps({**document, "boot": "another"}).encode())
    assert concluded(host).state(Profile.QAT) is State.CONFIGURED


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda host: host.chmod(proof.PATH, 0o666), "writable by every user"),
        (lambda host: host.chown(proof.PATH, 1000, 0), "belongs to user 1000"),
        (lambda host: host.replace(proof.PATH, b"{"), "not JSON"),
        (lambda host: host.replace(proof.PATH, b"{}"), "must contain"),
    ],
)
def test_a_proof_that_others_could_write_is_not_believed(monkeypatch: pytest.MonkeyPatch, spoil: Any, why: str) -> None:
    host = proven(monkeypatch)
    spoil(host)
    fact = gather(host).proof
    assert isinstance(fact, Unknown) and why in fact.reason
    outcome = concluded(host)
    assert outcome.state(Profile.QAT) is State.CONFIGURED and why in proof_lines(outcome)[0]


def test_a_capture_carries_its_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    called = qatprep("capture", host=proven(monkeypatch))
    copy = Capture(manifest.parse(called.out, "capture"), "capture")
    assert concluded(copy).state(Profile.QAT) is State.READY


def test_a_simulated_host_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    host = proven(monkeypatch)
    host.simulated = True
    assert concluded(host).state(Profile.QAT) is State.CONFIGURED
    text = qatprep("doctor", host=host).out
    assert "CONFIGURED (simulated)" in text and "READY " not in text


def test_pods_keep_their_vfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """libqat takes whichever VF it finds: where one PF's VFs may be given to pods, it is not started at all."""
    host = machine("k8s-as-the-paper-says")
    facts = gather(host)
    asked = signing(monkeypatch, *every(host))
    assert prove.given(facts)
    done = prove.prove(host, facts, "smoke")
    assert asked == ["cryptomb"] and done.untried
    assert [result.state for result in done.report.results] == ["not run", "passed"]
    assert concluded(host).state(Profile.CRYPTOMB) is State.READY
    done = prove.prove(host, facts, "smoke", named=list(done.untried))
    assert asked == ["cryptomb", "auto"] and not done.untried


def test_a_bootstrap_that_changed_nothing_opens_no_vf(monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine()
    asked = signing(monkeypatch, *every(host))
    assert qatprep("bootstrap", "--yes", host=host).code == ExitCode.OK
    assert asked == []
    host.write("/sys/bus/pci/drivers/vfio-pci/unbind", b"0000:6b:00.1")
    called = qatprep("bootstrap", "--yes", host=host)
    assert asked == ["auto"] and called.code == ExitCode.OK
    assert "READY  " in called.out and "bootstrap: 128 signatures right" in called.out


def test_doctor_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine()
    asked = signing(monkeypatch, *every(host))
    called = qatprep("doctor", "--prove", "--require-proof", "-o", "json", host=host)
    assert called.code == ExitCode.OK and asked == ["auto"]
    assert {v["for"]: v["state"] for v in called.json["verdicts"]} == {"qat": "ready", "cryptomb": "ready"}
    assert qatprep("doctor", "--device", PF, host=host).code == ExitCode.USAGE
    labels = qatprep("features", "-o", "json", host=host).json["labels"]
    assert {key.rpartition("/")[2]: value for key, value in labels.items()}["qat-proven"] == "true"
    metrics = qatprep("metrics", host=host).out
    assert 'qatprep_node_proven{for="qat"} 1' in metrics and "qatprep_proof_timestamp_seconds " in metrics


def test_the_run_at_boot_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine("spr-2s-rebooted")
    asked = signing(monkeypatch, *every(host))
    assert qatprep("bootstrap", "--boot", "--yes", host=host).code == ExitCode.OK
    assert asked == ["auto"] and concluded(host).state(Profile.QAT) is State.READY


@pytest.mark.parametrize("boot", [True, False])
def test_a_signature_that_fails_is_in_the_verdict_and_in_the_status(
    monkeypatch: pytest.MonkeyPatch, boot: bool
) -> None:
    """At boot and at the end of a bootstrap: everything was prepared, and it does not sign."""
    host = machine("spr-2s-rebooted")

    def run(provider: str, host: Any) -> SmokeReport:
        failed = ProviderResult("qat", "failed", "8 of 64 operations never came back", code="lost")
        return SmokeReport(str(provider), "", (failed,), "qat does not work here", False)

    monkeypatch.setattr(smoke, "run", run)
    monkeypatch.setattr(smoke, "elsewhere", lambda _: "")
    called = qatprep("bootstrap", *(["--boot"] if boot else []), "--yes", "-o", "json", host=host)
    assert called.code == ExitCode.FINDINGS and called.json["status"] == "applied"
    assert called.json["exit"] == called.json["outcome"]["exit"] == 3
    qat = called.json["outcome"]["verdicts"][0]
    assert (qat["for"], qat["state"]) == ("qat", "not ready") and qat["first"]


def test_the_status_at_boot_is_that_of_bootstrap() -> None:
    """On every simulated host whose plan at boot is that of any other time."""
    for name in ("k8s-as-the-paper-says", "fw-missing", "iommu-off-by-default", "no-qat", "spr-2s", READY):
        at_boot = qatprep("bootstrap", "--boot", "--yes", "--simulate", name, "-o", "json")
        host = open_host("/", name)
        qatprep("bootstrap", "--boot", "--yes", host=host)
        after = qatprep("doctor", "-o", "json", host=host)
        assert at_boot.code == after.code, name
        assert at_boot.json["outcome"]["verdicts"] == after.json["verdicts"], name


def test_pfs_that_shall_not_sign_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from qatprep.config import parse

    config = parse(f"overrides:\n- match: {{device: '{PF}'}}\n  services: keep\n  vfs: false\n", "a test")
    judged = assess(gather(machine()), config)
    assert PF not in conclude(judged, make_plan(judged)).standing.asked
    assert replace(judged, config=NodeConfig()).config.of(gather(machine()).pci.pfs[0]).vfs
