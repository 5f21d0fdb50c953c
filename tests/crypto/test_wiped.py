"""Nothing of a key is left in a process that has given it up: its whole memory is searched, from outside."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from qatprep.crypto.qat import Libraries

CHILD = """
import gc, os, sys
from array import array
from qatprep import _native, instruction_sets
size, forget, standin = int(sys.argv[1]), sys.argv[2] == "forget", sys.argv[3]
der = bytearray(size)
assert os.readv(0, [der]) == size  # no buffer of Python's in between
key = _native.Key(der)
jobs = _native.Jobs(key, [bytes(key.bits // 8)] * 9)
signers = [_native.ssl_open("libcrypto.so.3")]
paths = instruction_sets.gate(instruction_sets.WHEEL)
if not _native.missing(paths)[1]:
    signers.append(_native.mb_bundled(paths))
for signer in signers:
    _native.sign(signer, jobs)
    _native.run(signer, jobs, [array("Q", [0] * 9)] * 2)
if key.kind == "rsa":
    qat = _native.Qat(standin, standin)
    qat.start("SSL")
    qat.run(jobs, [array("Q", [0] * 9)])
    qat.stop()
if forget:
    del key, jobs
    gc.collect()
os.write(1, b"ready\\n")
os.read(0, 1)
"""

PARENT = """
import gc, os, sys
from cryptography.hazmat.primitives.serialization import load_der_private_key
from qatprep import _native
from qatprep.crypto.keys import KeyKind, Work, messages
from qatprep.crypto.signer import Signer
size, forget = int(sys.argv[1]), sys.argv[2] == "forget"
der = bytearray(size)
assert os.readv(0, [der]) == size
work = Work(KeyKind.RSA_2048, load_der_private_key(der, None), messages(9))
_native.wipe(der)
signer = Signer("openssl", "libcrypto.so.3")
assert work.wrong(signer.sign(work)) == []
signer.run(work, seconds=0.01)
if forget:
    del work
    signer.close()
    del signer
    gc.collect()
os.write(1, b"ready\\n")
os.read(0, 1)
"""
"""Hands a key to a process of its own, as all verbs do."""


def memory_of(pid: int) -> bytes:
    """Everything the process can write to."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                found.append(memory.read(end - start))
            except (OSError, OverflowError, ValueError):
                continue
    return b"".join(found)


def secrets_left(der: bytes, secrets: dict[str, int], standin: str, *, forget: bool, program: str = CHILD) -> set[str]:
    """Names of the secrets that a process which signed with the key still holds, in either byte order."""
    argv = [sys.executable, "-c", program, str(len(der)), "forget" if forget else "keep", standin]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(der)
        child.stdin.flush()
        assert b"ready\n" in iter(child.stdout.readline, b""), "the child has ended early"
        try:
            memory = memory_of(child.pid)
        except PermissionError:
            pytest.skip("the memory of another process may not be read here")
        finally:
            child.stdin.close()
    left = set()
    for name, number in secrets.items():
        size = (number.bit_length() + 7) // 8
        # Half of it is enough, and a half also finds what was overwritten at one end only.
        for text in (number.to_bytes(size, "big"), number.to_bytes(size, "little")):
            if text[: size // 2] in memory or text[size // 2 :] in memory:
                left.add(name)
    return left


def der_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.mark.parametrize("forget", [True, False], ids=["given up", "kept: the search finds it"])
def test_rsa_keys(libraries: Libraries, forget: bool) -> None:
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.private_numbers()
    secrets = {"p": numbers.p, "q": numbers.q, "d": numbers.d, "dp": numbers.dmp1, "dq": numbers.dmq1}
    left = secrets_left(der_of(key), secrets, libraries.libqat, forget=forget)
    assert left == (set() if forget else set(secrets))


@pytest.mark.parametrize("forget", [True, False], ids=["given up", "kept: the search finds it"])
def test_keys_that_are_handed_over(forget: bool) -> None:
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.private_numbers()
    secrets = {"p": numbers.p, "q": numbers.q, "d": numbers.d, "dp": numbers.dmp1, "dq": numbers.dmq1}
    left = secrets_left(der_of(key), secrets, "", forget=forget, program=PARENT)
    assert (left == set()) == forget


@pytest.mark.parametrize("forget", [True, False], ids=["given up", "kept: the search finds it"])
def test_p256_keys(libraries: Libraries, forget: bool) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    secrets = {"scalar": key.private_numbers().private_value}
    left = secrets_left(der_of(key), secrets, libraries.libqat, forget=forget)
    assert left == (set() if forget else {"scalar"})
