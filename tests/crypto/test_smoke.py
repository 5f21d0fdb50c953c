"""qatprep smoke: one honest line a provider, nothing passed off as anything else, exit codes for CI."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from qatprep.cli.open_host import open_host
from qatprep.crypto import library, smoke
from qatprep.exits import ExitCode
from qatprep.facts import cpu
from qatprep.host.linux import LinuxHost
from tests.conftest import qatprep
from tests.crypto.conftest import valid

can_mb = pytest.mark.skipif(bool(library.missing()), reason="crypto_mb cannot run on this machine")


def lines(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {line["provider"]: line for line in document["providers"]}


@can_mb
def test_auto_signs_with_all_that_is_here() -> None:
    called = qatprep("smoke", "--output", "json")
    document = valid(called.json)
    assert document["schema"] == "qatprep.smoke/1"
    assert (called.code, called.err) == (ExitCode.OK, "")
    found = lines(document)
    assert list(found) == ["qat", "cryptomb", "openssl"]
    assert found["cryptomb"]["state"] == found["openssl"]["state"] == "passed"
    assert found["cryptomb"]["signatures"] == 64
    assert "crypto_mb" in found["cryptomb"]["library"]
    assert "OpenSSL" in found["openssl"]["library"]
    assert found["cryptomb"]["checked_by"] != found["cryptomb"]["library"]
    assert document["accelerated"] == ["cryptomb"]


def test_a_provider_that_is_not_here_is_a_finding() -> None:
    called = qatprep("smoke", "--provider", "qat")
    assert called.code == ExitCode.FINDINGS
    assert "no QAT device on this machine" in called.out
    assert "OpenSSL" not in called.out, "nothing else steps in"


def test_openssl_alone() -> None:
    called = qatprep("smoke", "--provider", "openssl")
    assert called.code == ExitCode.OK
    assert called.out.splitlines()[-1].strip() == "openssl works"


def test_a_wrong_word_is_a_usage_error() -> None:
    from tests.conftest import qatprep

    called = qatprep("smoke", "--provider", "cryptombb")
    assert called.code == ExitCode.USAGE
    assert "cryptombb" in called.err


@pytest.mark.parametrize("provider", list(smoke.Provider))
def test_nothing_is_signed_for_a_simulated_host(provider: smoke.Provider) -> None:
    report = smoke.run(provider, open_host("/", "spr-2s-ready"))
    assert not report.ran
    assert {result.state for result in report.results} == {"not run"}
    assert "simulated host" in report.verdict
    assert report.ok == (provider is smoke.Provider.auto)


def test_nothing_is_signed_for_another_root(tmp_path: Any) -> None:
    (tmp_path / "sys" / "bus").mkdir(parents=True)
    report = smoke.run("auto", LinuxHost(str(tmp_path)))
    assert not report.ran
    assert str(tmp_path) in report.verdict


def test_signing_in_batches_of_eight(only_standin: str) -> None:
    called = qatprep("smoke", "--provider", "cryptomb", "--output", "json")
    assert called.code == ExitCode.OK, called.out
    found = lines(valid(called.json))["cryptomb"]
    assert (found["state"], found["signatures"], found["wrong"]) == ("passed", 64, 0)
    assert only_standin in found["library"]


WRONG = [
    ("wrong=2048 each=11", "1 of 11 rsa-2048 signatures are WRONG"),
    ("wrong=3072", "11 of 11 rsa-3072 signatures are WRONG"),
    ("wrong=256 each=4", "2 of 11 p-256 signatures are WRONG"),
    ("die=4", "ended by SIGILL"),
    ("refuse=2048", "does not sign with rsa-2048 here"),
]


@pytest.mark.parametrize(("behaviour", "words"), WRONG, ids=[case[0] for case in WRONG])
def test_a_library_that_signs_wrongly_fails(
    only_standin: str, monkeypatch: pytest.MonkeyPatch, behaviour: str, words: str
) -> None:
    """With any kind of key: what is wrong for RSA-3072 is not trusted with RSA-2048."""
    monkeypatch.setenv("QP_STANDIN_MB", behaviour)
    called = qatprep("smoke", "--provider", "cryptomb", "--output", "json")
    assert called.code == ExitCode.FINDINGS
    found = lines(valid(called.json))["cryptomb"]
    assert found["state"] == "failed"
    assert words in found["summary"]
    assert "--library" in found["fix"]


def test_a_kind_of_key_that_a_library_does_not_offer_is_none_of_smokes_business(
    only_standin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """crypto_mb 1.0 on a CPU with AVX-IFMA alone: RSA is signed, P-256 is not."""
    monkeypatch.setenv("QP_STANDIN_MB", "refuse=256")
    assert qatprep("smoke", "--provider", "cryptomb").code == ExitCode.OK


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without a compiler: OpenSSL still signs, the others say why they do not."""
    monkeypatch.setitem(sys.modules, "qatprep._native", None)
    monkeypatch.delattr("qatprep._native", raising=False)
    called = qatprep("smoke", "--output", "json")
    found = lines(valid(called.json))
    assert found["openssl"]["state"] == "passed"
    assert found["cryptomb"]["state"] == found["qat"]["state"] == "unavailable"
    assert "C compiler" in found["cryptomb"]["summary"]
    assert "install gcc" in found["cryptomb"]["fix"]
    assert called.json["verdict"].startswith("software only")


CPUS = [
    ("cpu-no-ifma", "AVX512IFMA", "Ice Lake"),
    ("cpu-no-vbmi2", "AVX512VBMI2", "Ice Lake"),
    ("cpu-masked-in-vm", "virtual CPU lacks", "who can change that"),
    ("cpu-no-xcr0", "XCR0", "kernel argument"),
    ("cpu-arm64", "aarch64", ""),
]


@pytest.mark.parametrize(("host", "words", "fix"), CPUS, ids=[c[0] for c in CPUS])
def test_why_crypto_mb_cannot_run(host: str, words: str, fix: str) -> None:
    said = smoke.why_no_cryptomb(cpu.gather(open_host("/", host)))
    assert words in said[0]
    assert fix in said[1]


def test_a_cpu_that_has_all() -> None:
    assert smoke.why_no_cryptomb(cpu.gather(open_host("/", "cpu-amd-zen4"))) == ("", "")
