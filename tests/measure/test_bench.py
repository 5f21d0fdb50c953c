"""Benchmarks: what they measure, how they read other programs' output, and what they must not leave unsaid."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from qatprep.cli.open_host import open_host
from qatprep.crypto import library
from qatprep.crypto.keys import KeyKind, Work
from qatprep.crypto.load import Measured
from qatprep.crypto.signer import BUNDLED, Signer
from qatprep.errors import QatprepError
from qatprep.exits import ExitCode
from qatprep.host.base import CpuidResult, RunResult
from qatprep.host.linux import LinuxHost
from qatprep.measure import aes, bench, peers
from qatprep.measure.bench import Row, RsaBench
from qatprep.report import charts
from qatprep.text import Foreign
from tests.conftest import qatprep
from tests.crypto.conftest import valid

K = KeyKind
can_mb = pytest.mark.skipif(bool(library.missing()), reason="crypto_mb cannot run on this machine")


def row(key: KeyKind, provider: str, peer: str, *rates: float) -> Row:
    return Row(key, 1, peer, provider, f"{peer} 1.0", rates)


def rsa_bench(*rows: Row, baseline: str = "BoringSSL") -> RsaBench:
    return RsaBench("CPU", 2, 3, 0.1, baseline, rows, (), False)


def test_rsa_measures_every_library_of_this_machine() -> None:
    called = qatprep("bench", "rsa", "--key", "rsa-2048", "--rounds", "2", "--seconds", "0.03", "--output", "json")
    assert called.code == ExitCode.OK, called.err
    document = valid(called.json)
    assert document["schema"] == "qatprep.bench-rsa/1"
    providers = {result["provider"] for result in document["results"]}
    assert {"openssl", "python"} <= providers
    assert ("cryptomb" in providers) == (not library.missing())
    for result in document["results"]:
        assert len(result["rates"]) == 2
        assert result["median"] > 0
        assert result["trouble"] == ""
    assert any("QAT" in reason for reason in document["absent"])


def test_the_table_names_libraries_and_ratios() -> None:
    out = qatprep("bench", "rsa", "--key", "rsa-2048", "--rounds", "1", "--seconds", "0.03").out
    assert "RSA-2048" in out
    assert "cryptography" in out
    assert "x is against" in out


def test_ratios_are_against_the_baseline() -> None:
    found = rsa_bench(
        row(K.RSA_2048, "cryptomb", "crypto_mb", 400.0, 500.0, 600.0),
        row(K.RSA_2048, "boringssl", "BoringSSL", 90.0, 100.0, 110.0),
        row(K.RSA_3072, "cryptomb", "crypto_mb", 50.0),
    )
    assert [found.ratio(r) for r in found.rows] == [5.0, 1.0, None]
    assert found.rows[0].spread == pytest.approx(0.2)


def test_a_crypto_mb_that_loses_to_openssl_is_named() -> None:
    found = rsa_bench(
        row(K.RSA_2048, "cryptomb", "crypto_mb", 700.0),
        row(K.RSA_2048, "openssl", "OpenSSL", 400.0),
        row(K.RSA_3072, "cryptomb", "crypto_mb", 100.0),
        row(K.RSA_3072, "openssl", "OpenSSL", 60.0),
        row(K.RSA_3072, "python", "cryptography", 140.0),
    )
    assert found.notes == ("rsa-3072, 1 worker: crypto_mb (100/s) is slower than cryptography 1.0 (140/s)",)


def test_ctrl_c_gives_what_is_known() -> None:
    def interrupt(done: int, of: int, what: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    found = bench.rsa(LinuxHost("/"), [K.RSA_2048], [1], rounds=50, seconds=0.02, progress=interrupt)
    assert found.interrupted
    assert 1 <= sum(len(r.rates) for r in found.rows) <= 3


def test_wrong_results_are_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    works = peers.Works()
    work = works[K.RSA_2048]
    work.expected = (bytes(256),) * 16
    peer = peers.NativePeer(library.openssls()[0], works)
    with pytest.raises(QatprepError, match="WRONG rsa-2048 signatures"):
        peer.rate(K.RSA_2048, 1, 0.02)


def test_a_library_that_is_not_there_is_named() -> None:
    called = qatprep("bench", "rsa", "--library", "/nowhere/libcrypto_mb.so")
    if library.missing():
        assert "cannot run here" in called.err
    else:
        assert called.code == ExitCode.USAGE
        assert "/nowhere/libcrypto_mb.so" in called.err


def test_another_host_cannot_be_measured() -> None:
    called = qatprep("bench", "queue", host=open_host("/", "spr-2s-ready"))
    assert called.code == ExitCode.USAGE
    assert "only the running machine" in called.err


SPEED = [
    ("+DTP:2048:public:rsa:1\n+R2:84766:2048:1.00\n+F2:2:2048:5117.000000:84766.000000\n", 5117.0),
    ("+F4:3:256:76140.000000:25992.000000\n", 76140.0),
    ("Forked child 0\n+F2:2:2048:9876.5:123.4\n", 9876.5),
    ("+R1:4784:2048:0.99\n+F2:2:2048:4937.4:80828.0:74697.0:4779.8\n+F9:2:32.6:72497.9:4872.7\n", 4937.4),
    ("", None),
    ("+F:25:AES-128-GCM:55703127.27\n", None),
]


@pytest.mark.parametrize(("text", "rate"), SPEED)
def test_what_openssl_speed_says_of_signing(text: str, rate: float | None) -> None:
    assert peers.speed_rate(text) == rate


class EngineHost(LinuxHost):
    """This machine with an openssl that has qatengine."""

    def __init__(self, rate: float, stderr: str = "") -> None:
        super().__init__("/")
        self.rate = rate
        self.stderr = stderr

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if argv[1] == "engine":
            return RunResult(
                tuple(argv),
                0,
                Foreign("(qatengine) Reference implementation of QAT crypto engine v2.0.0\n"),
                Foreign(""),
            )
        rate, stderr = (self.rate, self.stderr) if "-engine" in argv else (5000.0, "")
        return RunResult(tuple(argv), 0, Foreign(f"+F2:2:2048:{rate}:80000.0\n"), Foreign(f"Engine set.\n{stderr}\n"))


def test_qatengine_that_accelerates_is_a_peer() -> None:
    host = EngineHost(40000.0)
    assert peers.EnginePeer.installed(host)
    assert peers.EnginePeer(host).rate(K.RSA_2048, 1, 0.2) == 40000.0


def test_qatengine_that_falls_back_to_openssl_is_no_peer() -> None:
    """As Debian 13's does on a machine without QAT: one line in passing, then OpenSSL's own rate as its own."""
    host = EngineHost(4937.4, "Cannot open /dev/vfio")
    with pytest.raises(QatprepError, match=r"fallen back to OpenSSL \(Cannot open /dev/vfio\): 4937/s with it, 5000/s"):
        peers.EnginePeer(host).rate(K.RSA_2048, 1, 0.2)


def test_what_openssl_speed_says_of_aes() -> None:
    text = "+DT:AES-128-GCM:1:16\n+R:3446631:AES-128-GCM:0.99\n+H:16\n+F:25:AES-128-GCM:55703127.27\n"
    assert aes.speed_bytes(text) == 55703127.27
    assert aes.speed_bytes("speed: unknown algorithm") is None


class SpeedHost(LinuxHost):
    """This machine with another openssl: vector AES doubles its speed where it has it."""

    def __init__(self, version: str, ecx: int, *, installed: bool = True) -> None:
        super().__init__("/")
        self.version = version
        self.ecx = ecx
        self.installed = installed
        self.runs: list[list[str]] = []

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        return CpuidResult(7, 0, self.ecx, 0)

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        self.runs.append(argv)
        if not self.installed:
            return RunResult(tuple(argv), 127, Foreign(""), Foreign(""))
        if argv[1] == "version":
            return RunResult(tuple(argv), 0, Foreign(f"{self.version} (Library: {self.version})\n"), Foreign(""))
        rate = 1e9 if argv[0] == "env" else 2e9
        return RunResult(tuple(argv), 0, Foreign(f"+F:25:{argv[-1].upper()}:{rate}\n"), Foreign(""))


BOTH = 1 << 9 | 1 << 10


def test_aes_masks_vector_aes_for_the_second_column() -> None:
    host = SpeedHost("OpenSSL 3.5.9 1 Jan 2026", BOTH)
    found = aes.aes(host, rounds=2, ciphers=["aes-128-gcm"], sizes=[16, 1350])
    assert [cell.speedup for cell in found.cells] == [2.0, 2.0]
    assert found.notes == ()
    masked = [argv for argv in host.runs if argv[0] == "env"]
    assert len(masked) == 4
    assert all(argv[1] == "OPENSSL_ia32cap=:~0x60000000000" for argv in masked)


@pytest.mark.parametrize(
    ("version", "ecx", "words"),
    [
        ("OpenSSL 3.0.19 27 Jan 2026", BOTH, "came with OpenSSL 3.1"),
        ("OpenSSL 1.1.1w 11 Sep 2023", BOTH, "came with OpenSSL 3.1"),
        ("OpenSSL 3.5.9 1 Jan 2026", 1 << 9, "VPCLMULQDQ missing"),
        ("OpenSSL 3.5.9 1 Jan 2026", 0, "VAES, VPCLMULQDQ missing"),
    ],
)
def test_aes_says_when_both_columns_are_the_same_code(version: str, ecx: int, words: str) -> None:
    (note,) = aes.aes(SpeedHost(version, ecx), rounds=1, sizes=[16]).notes
    assert words in note


def test_aes_without_openssl() -> None:
    with pytest.raises(QatprepError, match="'openssl' is needed"):
        aes.aes(SpeedHost("", BOTH, installed=False))


def test_aes_document_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qatprep.cli.bench.this_machine", lambda _: SpeedHost("OpenSSL 3.5.9 1 Jan 2026", BOTH))
    document = valid(qatprep("bench", "aes", "--rounds", "1", "--output", "json").json)
    assert document["schema"] == "qatprep.bench-aes/1"
    assert len(document["results"]) == len(aes.CIPHERS) * len(aes.SIZES)
    out = qatprep("bench", "aes", "--rounds", "1").out
    assert "2.00x" in out
    assert "16384" in out


def test_a_choice_of_libraries_is_made_by_measuring(standin_mb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same library twice: no more than the margin faster, so the one that is linked in stays."""

    def both(wanted: str = "") -> list[Signer]:
        signers = [Signer("cryptomb", standin_mb), Signer("cryptomb", standin_mb)]
        signers[0].library = BUNDLED
        return signers

    work = peers.Works()[K.RSA_2048]
    monkeypatch.setattr(library, "crypto_mbs", both)
    monkeypatch.setattr(library, "rates", lambda *_: [[100.0], [102.0]])
    assert library.choose(work).signer.library == BUNDLED
    monkeypatch.setattr(library, "rates", lambda *_: [[100.0], [150.0]])
    choice = library.choose(work)
    assert choice.signer.library == standin_mb
    assert "150/s" in choice.reason


def test_a_wrong_library_is_refused_and_the_other_one_signs(standin_mb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(wanted: str = "") -> list[Signer]:
        monkeypatch.setenv("QP_STANDIN_MB", "wrong=3072")
        wrong = Signer("cryptomb", standin_mb)
        monkeypatch.delenv("QP_STANDIN_MB")
        return [wrong, Signer("cryptomb", standin_mb)]

    monkeypatch.setattr(library, "crypto_mbs", both)
    work = peers.Works()[K.P_256]
    choice = library.choose(work)
    assert choice.refused == (f"crypto_mb 0.0.0 ({standin_mb}): 11 of 11 rsa-3072 signatures are WRONG",)
    assert work.wrong(choice.signer.sign(work)) == []


@pytest.mark.parametrize("behaviour", ["wrong=256", "die=4"])
def test_a_wrong_library_costs_no_other_row(only_standin: str, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    monkeypatch.setenv("QP_STANDIN_MB", behaviour)
    called = qatprep("bench", "rsa", "--key", "p-256", "--rounds", "1", "--seconds", "0.02", "--output", "json")
    assert called.code == ExitCode.FINDINGS
    results = {result["provider"]: result for result in valid(called.json)["results"]}
    assert "SIGILL" in results["cryptomb"]["trouble"] or "WRONG" in results["cryptomb"]["trouble"]
    assert results["cryptomb"]["rates"] == []
    assert results["openssl"]["rates"]
    assert results["openssl"]["trouble"] == ""


# -- charts ------------------------------------------------------------------------------------------------------------


def test_another_kind_of_chart_is_refused_before_anything_is_measured() -> None:
    called = qatprep("bench", "rsa", "--chart", "chart.pdf")
    assert called.code == ExitCode.USAGE
    assert "'chart.pdf' is neither .svg nor .png" in called.err


def test_without_matplotlib_charts_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    called = qatprep("bench", "aes", "--chart", "chart.svg")
    assert called.code == ExitCode.ERROR
    assert "qatprep[charts]" in called.err


def test_charts_hold_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = rsa_bench(
        row(K.RSA_2048, "cryptomb", "crypto_mb", 400.0, 500.0), row(K.RSA_2048, "boringssl", "BoringSSL", 100.0, 110.0)
    )
    svg = charts.rsa(found, "chart.svg").decode()
    ElementTree.fromstring(svg)
    for text in ("RSA-2048", "crypto_mb", "BoringSSL", "signatures per second"):
        assert text in svg
    assert charts.rsa(found, "chart.png").startswith(b"\x89PNG")
    found_aes = aes.aes(SpeedHost("OpenSSL 3.5.9 1 Jan 2026", BOTH), rounds=1)
    svg = charts.aes(found_aes, "chart.svg").decode()
    assert "AES-256-GCM" in svg
    assert "2.00" in svg


def test_a_chart_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    called = qatprep(
        "bench", "rsa", "--rounds", "1", "--seconds", "0.02", "--key", "p-256", "--chart", f"{tmp_path}/no/chart.svg"
    )
    assert called.code == ExitCode.ERROR
    assert "cannot write" in called.err


def test_queue_document(only_standin: str) -> None:
    called = qatprep("bench", "queue", "--rounds", "3", "--seconds", "0.02", "--output", "json")
    assert valid(called.json)["schema"] == "qatprep.bench-queue/1"
    assert called.json["cpu_share"] > 0


def measured(completed: int, cpu_seconds: float) -> Measured:
    return Measured(completed, 0, 0, 0.1, cpu_seconds, (0,) * 9, None)


def test_a_round_without_cpu_is_left_out_of_the_queue_s_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a turn may end before its thread ran at all."""
    turns = iter([measured(0, 0.0), measured(100, 0.1), measured(100, 0.1), measured(50, 0.1)])
    monkeypatch.setattr(library, "choose", lambda work, wanted: SimpleNamespace(signer=Turns(turns)))
    found = bench.queue(KeyKind.P_256, 1, rounds=2)
    assert (len(found.engine), len(found.bare), found.share, found.cpu_share) == (1, 1, 2.0, 2.0)


def test_a_queue_that_never_signed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([measured(0, 0.0)] * 4)
    monkeypatch.setattr(library, "choose", lambda work, wanted: SimpleNamespace(signer=Turns(turns)))
    with pytest.raises(QatprepError, match="nothing was measured"):
        bench.queue(KeyKind.P_256, 1, rounds=2)


class Turns:
    """A signer whose turns were written down."""

    title = "written"

    def __init__(self, turns: Iterator[Measured]) -> None:
        self.turns = turns

    def run(self, work: Work, **_: object) -> SimpleNamespace:
        return SimpleNamespace(measured=next(self.turns))
