"""Public key functions against known answers and an independent library."""

from __future__ import annotations

import os
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519

from qat_emulator import curves, pke
from qat_emulator.faults import Faults
from qat_emulator.memory import AddressSpace

LISTS, OPERANDS, SIZE = 0x10000, 0x20000, 0x100000
STALE = 0x5A


def number_of(name: str) -> int:
    (number,) = (number for number, entry in pke.FUNCTIONS.items() if entry.name == name)
    return number


def ask(name: str, *operands: int, faults: Faults | None = None, number: int | None = None) -> tuple[int, list[int]]:
    """Send a request through memory as a driver does: the answer's flags, and what is in the outputs' memory."""
    memory = AddressSpace()
    fd = os.memfd_create("operands")
    os.ftruncate(fd, SIZE)
    memory.map(0, SIZE, fd)
    os.close(fd)
    entry = pke.FUNCTIONS[number_of(name)]
    memory.write(OPERANDS, bytes([STALE]) * (SIZE - OPERANDS))
    inputs, outputs = [OPERANDS + 0x800 * i for i in range(16)], [OPERANDS + 0x800 * i for i in range(32, 48)]
    for address, size, value in zip(inputs, entry.inputs, operands, strict=False):
        memory.write(address, value.to_bytes(8 * size, "big"))
    memory.write(LISTS, struct.pack("<16Q", *inputs) + struct.pack("<16Q", *outputs))
    request = struct.pack(
        "<2xBB16xIQQQBB6xQ", pke.SERVICE, pke.VALID, number or number_of(name), 7, LISTS, LISTS + 128,
        len(entry.outputs), len(entry.inputs), 0,
    )  # fmt: skip
    called, answer = pke.perform(memory, request, faults or Faults())
    service, flags, _, failed, _, opaque, _, _ = pke.ANSWER.unpack(answer)
    assert (service, flags, opaque) == (pke.SERVICE, pke.VALID, 7)
    assert called in (name, "refused")
    sizes = entry.outputs
    return failed, [int.from_bytes(memory.read(a, 8 * s), "big") for a, s in zip(outputs, sizes, strict=False)]


KEY = rsa.generate_private_key(65537, 2048).private_numbers()
N, D = KEY.public_numbers.n, KEY.d


def test_rsa() -> None:
    message = 0x1234567890ABCDEF << 1000
    signature = pow(message, D, N)
    assert ask("RSA_EP_2048", signature, 65537, N) == (0, [message])
    assert ask("RSA_DP1_2048", message, D, N) == (0, [signature])
    assert ask("RSA_DP2_2048", message, KEY.p, KEY.q, KEY.dmp1, KEY.dmq1, KEY.iqmp) == (0, [signature])
    failed, (n, d, dp, dq, qinv) = ask("RSA_KP2_2048", KEY.p, KEY.q, 65537)
    assert (failed, n, dp, dq, qinv) == (0, N, KEY.dmp1, KEY.dmq1, KEY.iqmp)
    assert pow(pow(message, 65537, N), d, N) == message


def test_powers_and_inverses() -> None:
    assert ask("MODEXP_L2048".replace("L", ""), 3, D, N) == (0, [pow(3, D, N)])
    assert ask("DH_G2_2048", D, N) == (0, [pow(2, D, N)])
    assert ask("MODINV_ODD_256", 3, 2**255 - 19) == (0, [pow(3, -1, 2**255 - 19)])


@pytest.mark.parametrize(("name", "curve"), [("256", ec.SECP256R1()), ("384", ec.SECP384R1())])
def test_nist_curves(name: str, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    k, public = key.private_numbers().private_value, key.public_key().public_numbers()
    assert ask(f"P_GENERATOR_{name}", k) == (0, [public.x, public.y])
    peer = ec.generate_private_key(curve)
    point = peer.public_key().public_numbers()
    shared = int.from_bytes(key.exchange(ec.ECDH(), peer.public_key()), "big")
    failed, (x, _) = ask(f"P_POINT_{name}", point.x, point.y, k)
    assert (failed, x) == (0, shared)
    assert ask(f"P_POINT_{name}", point.x, point.y ^ 1, k)[0] == pke.FAILED, "not on the curve"


def test_ecdsa_is_that_of_rfc_6979() -> None:
    """A.2.5: P-256, SHA-256, "sample"; the nonce is given there."""
    d = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    k = 0xA6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60
    digest = 0xAF2BDBE1AA9B6EC1E2ADE1D694F41FC71A831D0268E9891562113D8A62ADD1BF
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert ask("P_SIGN_256", k, digest, d) == (0, [r, s])


def test_montgomery_curves() -> None:
    """Numbers are big-endian here, little-endian in RFC 7748."""
    ours, theirs = x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    k = int.from_bytes(ours.private_bytes_raw(), "little")
    public = int.from_bytes(ours.public_key().public_bytes_raw(), "little")
    u = int.from_bytes(theirs.public_key().public_bytes_raw(), "little")
    shared = int.from_bytes(ours.exchange(theirs.public_key()), "little")
    assert ask("X_GENERATOR_25519", k) == (0, [public])
    assert ask("X_POINT_25519", u, k) == (0, [shared])
    private = x448.X448PrivateKey.generate()
    k = int.from_bytes(private.private_bytes_raw(), "little")
    assert curves.ladder(curves.X448, 5, k) == int.from_bytes(private.public_key().public_bytes_raw(), "little")


def test_primes() -> None:
    for name in ("PRIME_GCD", "PRIME_FERMAT", "PRIME_LUCAS"):
        assert ask(f"{name}_1024", KEY.p)[0] == 0
        assert ask(f"{name}_1024", KEY.p * 0 + 255 * (1 << 900) + 255)[0] == pke.FAILED
    assert ask("PRIME_MILLER_RABIN_1024", 5, KEY.p)[0] == 0


@pytest.mark.parametrize(
    ("fault", "flags", "right"),
    [("wrong", 0, False), ("failed", pke.FAILED, False), ("unwritten", 0, False),
     ("unsupported", pke.FAILED | pke.UNSUPPORTED, False), ("stalled", 0, True)],
)  # fmt: skip
def test_faults_of_results(fault: str, flags: int, right: bool) -> None:
    expected = pow(2, D, N)
    failed, (value,) = ask("DH_G2_2048", D, N, faults=Faults([fault]))
    assert (failed, value == expected) == (flags, right)
    stale = int.from_bytes(bytes([STALE]) * 256, "big")
    assert value in ((expected,) if right else (expected ^ 1 << 77,) if fault == "wrong" else (stale,))


def test_what_the_device_cannot_do_is_refused() -> None:
    assert ask("DH_G2_2048", D, N, number=0x12345678)[0] == pke.FAILED | pke.UNSUPPORTED
    assert ask("MODINV_ODD_256", 0, 7)[0] == pke.FAILED, "0 has no inverse"
    assert ask("DH_G2_2048", 3, 0)[0] == pke.FAILED
