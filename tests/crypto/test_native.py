"""The native module: what it takes, what it refuses, and that its signatures are right."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import platform
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from qatprep import _native, instruction_sets
from qatprep.crypto import keys, library
from qatprep.crypto.keys import KeyKind
from qatprep.crypto.signer import BUNDLED
from qatprep.instruction_sets import Bit, gate
from tests.conftest import some
from tests.crypto.conftest import HERE, SOURCES, being_signed, gcc, has_header, interrupted

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 only")


def der_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.fixture(scope="module")
def rsa_der() -> bytes:
    return der_of(rsa.generate_private_key(65537, 2048))


def in_process() -> Iterator[_native.Signer]:
    for name in (*library.OPENSSL, *library.BORINGSSL):
        with contextlib.suppress(OSError):
            yield _native.ssl_open(name)
    for name in (BUNDLED, *library.SYSTEM_MB):
        paths = gate(library.paths(name))
        with contextlib.suppress(OSError):
            yield _native.mb_bundled(paths) if name == BUNDLED else _native.mb_open(name, paths)


@pytest.fixture(scope="module")
def signers(standin_mb: str) -> list[_native.Signer]:
    """Every library of this machine, and the stand-in for crypto_mb."""
    return [*in_process(), _native.mb_open(standin_mb, ())]


@pytest.fixture(scope="module")
def openssl() -> _native.Signer:
    return _native.ssl_open("libcrypto.so.3")


@x86
def test_cpuid_says_what_the_kernel_says() -> None:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        flags = next(line for line in f if line.startswith("flags")).split()
    _, ebx, ecx, _ = _native.cpuid(7) if _native.cpuid(0)[0] >= 7 else (0, 0, 0, 0)
    assert ("bmi2" in flags) == bool(ebx >> 8 & 1)
    assert ("avx512f" in flags) == bool(ebx >> 16 & 1)
    assert ("vaes" in flags) == bool(ecx >> 9 & 1)


@x86
def test_a_register_that_does_not_exist_is_an_error_and_no_fault() -> None:
    with pytest.raises(OSError) as caught:
        _native.xgetbv(7)
    assert caught.value.errno == errno.ENOTSUP


@x86
def test_crypto_mb_is_linked_in() -> None:
    assert _native.BUNDLED, "built without the wheels ipp-crypto-static and ipp-crypto-include"


@x86
@pytest.mark.skipif(bool(library.missing()), reason="crypto_mb cannot run on this machine")
def test_the_linked_in_library_says_that_it_is_not_quite_the_wheels() -> None:
    """mul52x30.c stands in for an internal function of one release: with another, setup.py leaves it out."""
    import importlib.metadata

    try:
        release = importlib.metadata.version("ipp-crypto-static")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ipp-crypto-static is not installed: which release was linked in is not known")
    assert _native.mb_bundled(gate(library.paths(BUNDLED))).version.endswith("+mul52x30") == release.startswith(
        "2026.2."
    )


def test_a_key_takes_its_der_and_wipes_it(rsa_der: bytes) -> None:
    copy = bytearray(rsa_der)
    key = _native.Key(copy)
    assert (key.kind, key.bits) == ("rsa", 2048)
    assert not any(copy)


def test_a_refused_key_is_wiped_too(rsa_der: bytes) -> None:
    copy = bytearray(rsa_der[:-1])
    with pytest.raises(ValueError, match="DER"):
        _native.Key(copy)
    assert not any(copy)


@pytest.mark.parametrize(
    ("der", "words"),
    [
        (lambda: der_of(rsa.generate_private_key(65537, 1024)), "2048, 3072 and 4096"),
        (lambda: der_of(rsa.generate_private_key(3, 2048)), "65537"),
        (lambda: der_of(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (lambda: b"", "DER"),
        (lambda: b"not a key at all", "DER"),
    ],
    ids=["1024 bits", "exponent 3", "P-384", "empty", "text"],
)
def test_other_keys_are_refused_by_name(der: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _native.Key(der())  # type: ignore[operator]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 1200), value=st.integers(0, 255), cut=st.integers(0, 1300))
def test_a_broken_key_is_an_error_or_a_key_but_never_a_crash(
    rsa_der: bytes, openssl: _native.Signer, at: int, value: int, cut: int
) -> None:
    broken = bytearray(rsa_der)
    broken[at % len(broken)] = value
    try:
        key = _native.Key(broken[: max(cut, 1)])
    except ValueError:
        return
    _native.sign(openssl, _native.Jobs(key, [b"\x00" * (key.bits // 8)]))


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_engine_signs_as_cryptography_does(signers: list[_native.Signer], kind: KeyKind) -> None:
    work = keys.make(kind, 17)  # two queues of eight and one of one
    for signer in signers:
        results = _native.sign(signer, work.jobs)
        assert work.wrong(results) == [], signer.library
        if kind.is_rsa:
            assert results == [work.sign(n) for n in range(17)]


@pytest.mark.parametrize("bits", some((2048, 3072, 4096), 3))
def test_numbers_of_every_size_are_right(signers: list[_native.Signer], bits: int) -> None:
    """Raw RSA of the extremes and of random numbers below the modulus, against Python's own arithmetic,
    by the Chinese remainder theorem."""
    private = rsa.generate_private_key(65537, bits)
    numbers = private.private_numbers()
    n, size = numbers.public_numbers.n, bits // 8
    chosen = random.Random(bits)
    inputs = [0, 1, 2, n - 1, n - 2, numbers.p, numbers.q, numbers.p * (numbers.q - 1), 2 ** (bits - 1)]
    inputs += [chosen.randrange(n) for _ in range(64)]
    inputs += [(1 << chosen.randrange(bits - 1)) - 1 for _ in range(7)]
    key = _native.Key(der_of(private))
    jobs = _native.Jobs(key, [number.to_bytes(size, "big") for number in inputs])
    by_p = [pow(number, numbers.dmp1, numbers.p) for number in inputs]
    by_q = [pow(number, numbers.dmq1, numbers.q) for number in inputs]
    expected = [
        (q + numbers.q * ((p - q) * numbers.iqmp % numbers.p)).to_bytes(size, "big")
        for p, q in zip(by_p, by_q, strict=True)
    ]
    for signer in signers:
        assert _native.sign(signer, jobs) == expected, signer.library


@pytest.mark.parametrize("count", range(1, 9))
def test_a_queue_that_is_not_full_is_right_too(signers: list[_native.Signer], count: int) -> None:
    work = keys.make(KeyKind.RSA_2048, count)
    for signer in signers:
        assert work.wrong(_native.sign(signer, work.jobs)) == []


def test_inputs_of_the_wrong_length_are_refused(rsa_der: bytes) -> None:
    key = _native.Key(bytearray(rsa_der))
    with pytest.raises(ValueError, match="256 bytes are needed, not 32"):
        _native.Jobs(key, [hashlib.sha256(b"").digest()])
    with pytest.raises(ValueError, match="nothing to sign"):
        _native.Jobs(key, [])
    with pytest.raises(ValueError, match="one result a job"):
        _native.Jobs(key, [bytes(256)]).expect([bytes(256)] * 2)


def test_arguments_of_the_wrong_type_are_refused(rsa_der: bytes) -> None:
    with pytest.raises(TypeError, match="Key"):
        _native.Jobs("key", [b""])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Signer"):
        _native.sign(None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _native.Signer()


def test_a_library_that_is_none_is_named(tmp_path: object) -> None:
    with pytest.raises(OSError, match=r"libc\.so\.6 has no d2i_RSAPrivateKey"):
        _native.ssl_open("libc.so.6")
    with pytest.raises(OSError, match="cannot open shared object"):
        _native.ssl_open(f"{tmp_path}/libcrypto.so")
    with pytest.raises(OSError, match=r"libc\.so\.6 has no mbx_rsa_private_crt_mb8"):
        _native.mb_open("libc.so.6", ())


# -- misuse: nothing below Python guards the native module -------------------------------------------------------------


def test_what_cannot_be_wiped_is_not_taken(tmp_path: Path, rsa_der: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(rsa_der)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        with pytest.raises(BufferError):
            _native.Key(mapping)  # type: ignore[arg-type]
        with pytest.raises(BufferError):
            _native.wipe(mapping)  # type: ignore[arg-type]
        assert bytes(mapping) == rsa_der


def test_the_interpreters_own_bytes_are_left_alone() -> None:
    """Of each bytes object of length one there is one in the whole process: it is no key, and not for us to wipe."""
    for wrong in (b"0", b""):
        with pytest.raises(ValueError, match="DER"):
            _native.Key(bytes(wrong))
        with pytest.raises(ValueError, match="DER"):
            _native.wipe(bytes(wrong))
    assert bytes([48]) == b"\x30"


class Lying(list[bytes]):
    """A sequence that says it is longer than it is."""

    def __len__(self) -> int:
        return self.said

    said = 0


@pytest.mark.parametrize(("said", "error"), [(2**56, ValueError), (2**62, ValueError), (100, IndexError)])
def test_a_sequence_that_lies_about_its_length(
    rsa_der: bytes, openssl: _native.Signer, said: int, error: type[Exception]
) -> None:
    key = _native.Key(bytearray(rsa_der))
    lying = Lying([bytes(256)] * 2)
    lying.said = said
    with pytest.raises(error):
        _native.Jobs(key, lying)
    jobs = _native.Jobs(key, [bytes(256)] * 2)
    with pytest.raises(error):
        jobs.expect(lying)
    with pytest.raises(error):
        _native.run(openssl, jobs, lying)


def test_what_is_expected_cannot_change_below_a_run(openssl: _native.Signer) -> None:
    work = keys.make(KeyKind.RSA_2048, 8)
    with interrupted(lambda: being_signed(work)):
        _native.run(openssl, work.jobs, workers=2, duration_ns=10**12)
    work.jobs.expect(work.expected)


# -- the gate before crypto_mb -----------------------------------------------------------------------------------------

THERE = ("SSE2", 1, 0, 3, 26)
"""CPUID.1:EDX: every x86-64 CPU has it."""
NOT_THERE = ("a bit of a leaf that no CPU has", 0x7FFF, 0, 0, 0)
NO_SUBLEAF = ("a bit of a subleaf that no CPU has", 7, 999, 0, 0)
NO_XCR0 = ("a state that no CPU has", 0, 0, 4, 63)


@x86
@pytest.mark.parametrize("absent", [NOT_THERE, NO_SUBLEAF, NO_XCR0])
def test_one_missing_bit_closes_the_gate(standin_mb: str, absent: tuple[str, int, int, int, int]) -> None:
    """A library looks for less than it executes: what it does not look for must be there as well."""
    paths = (("first", (THERE,), (THERE, absent)),)
    assert _native.missing(paths) == ("first", absent[0])
    with pytest.raises(OSError, match=absent[0]):
        _native.mb_open(standin_mb, paths)
    with pytest.raises(OSError, match=absent[0]):
        _native.mb_bundled(paths)


@x86
@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([("first", [THERE], [THERE]), ("second", [THERE], [THERE])], ("first", "")),
        ([("first", [NOT_THERE], [NOT_THERE]), ("second", [THERE], [THERE])], ("second", "")),
        ([("first", [THERE], [NOT_THERE]), ("second", [THERE], [THERE])], ("first", NOT_THERE[0])),
        ([("first", [NOT_THERE], [THERE, NOT_THERE]), ("second", [NO_XCR0], [NO_XCR0])], ("", NOT_THERE[0])),
    ],
    ids=["the first is taken", "the second is", "the first is taken and would die", "none is taken"],
)
def test_the_gate_takes_the_path_that_the_library_takes(paths: instruction_sets.Gate, said: tuple[str, str]) -> None:
    assert _native.missing(paths) == said


@x86
def test_the_gate_says_what_the_table_says_of_this_cpu() -> None:
    def has(bit: Bit) -> bool:
        if bit.register == "xcr0":
            try:
                return bool(_native.xgetbv(0) >> bit.bit & 1)
            except OSError:
                return False
        registers = dict(zip(instruction_sets.REGISTERS, _native.cpuid(bit.leaf, bit.subleaf), strict=False))
        return _native.cpuid(0)[0] >= bit.leaf and bool(registers[bit.register] >> bit.bit & 1)

    for paths in (instruction_sets.WHEEL, *(release.paths for release in instruction_sets.RELEASES)):
        path, missing = instruction_sets.judge(paths, has)
        assert _native.missing(gate(paths)) == (
            path.name if path else "",
            ", ".join(bit.name for bit in missing),
        )


def test_the_gate_refuses_what_is_no_table() -> None:
    for wrong in ((("first", 1, ()),), (("first", ("bit",), ()),), 5):
        with pytest.raises(TypeError):
            _native.missing(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("bundled", [(), ("-DQP_BUNDLED_MB",)], ids=["without crypto_mb", "with it"])
def test_the_sources_have_no_warnings(bundled: tuple[str, ...]) -> None:
    import importlib.metadata
    import sysconfig

    include = [f"-I{sysconfig.get_paths()['include']}"]
    if bundled:
        try:
            files = importlib.metadata.files("ipp-crypto-include") or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip("ipp-crypto-include is not installed")
        header = next(f for f in files if str(f).endswith("crypto_mb/rsa.h"))
        include.append(f"-I{Path(str(header.locate())).resolve().parent.parent}")
    for source in sorted(SOURCES.glob("*.c")):
        done = gcc("-fsyntax-only", "-Wall", "-Wextra", "-Wshadow", "-Werror", *bundled, *include, str(source))
        assert done.returncode == 0, f"{source.name}: {done.stderr}"


def test_the_abi_of_libqat_is_the_real_one() -> None:
    """Against the headers of libqat-dev and libusdm-dev, where they are installed."""
    if not has_header("qat/cpa.h"):
        pytest.skip("qat/cpa.h (libqat-dev) is not installed")
    done = gcc("-fsyntax-only", "-Werror", "-I/usr/include/qat", str(HERE / "abi_check.c"))
    assert done.returncode == 0, done.stderr
