"""Public key requests: what the device's engines answer.

A request has 64 bytes, an answer 32. Operands are big-endian numbers in memory of their own, right-aligned; the request
points at two lists of their addresses. Their sizes follow from the function's number alone. Source: QL
quickassist/lookaside/firmware/include/icp_qat_fw_{pke,mmp,mmp_ids}.h.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qat_emulator import curves, numbers
from qat_emulator.faults import Faults
from qat_emulator.memory import AddressSpace

REQUEST = struct.Struct("<2xBB16xIQQQBB6xQ")
"""Service, flags, function, opaque, address of the inputs' list and of the outputs', numbers of both, next request."""
ANSWER = struct.Struct("<2xBBBBHQQQ")
"""Service, flags, error, flags, reserved, opaque, the two addresses."""
SERVICE, VALID = 3, 0x80
FAILED, UNSUPPORTED = 1 << 6, 1 << 2

Results = Sequence[int]
Function = Callable[..., Results | bool | None]
"""Operands -> results; True or False where a function only says yes or no; None where it fails."""


class Entry(NamedTuple):
    """A function in one size."""

    name: str
    function: Function
    inputs: list[int]
    outputs: list[int]
    """Sizes of the operands in quad words."""


def encrypt(m: int, e: int, n: int) -> Results:
    """RSA with exponent and modulus; every modular power."""
    return (numbers.power(m % n, e, n),)


def decrypt_crt(c: int, p: int, q: int, dp: int, dq: int, qinv: int) -> Results:
    """RSA with the second form of a private key (RFC 8017, 5.1.2)."""
    second = numbers.power(c % q, dq, q)
    return (second + q * (qinv * (numbers.power(c % p, dp, p) - second) % p),)


def inverse(a: int, b: int) -> Results:
    """1 / a mod b. ValueError where there is none."""
    return (pow(a, -1, b),)


def make_key(p: int, q: int, e: int) -> Results:
    """RSA: n and d."""
    return p * q, pow(e, -1, math.lcm(p - 1, q - 1))


def make_key_crt(p: int, q: int, e: int) -> Results:
    """RSA: n, d, and what decrypt_crt takes."""
    n, d = make_key(p, q, e)
    return n, d, d % (p - 1), d % (q - 1), pow(q, -1, p)


def _witness(x: int, m: int) -> bool:
    return numbers.miller_rabin(m, x % m or 2)


class Family(NamedTuple):
    """One function in several sizes. `inputs` and `outputs` name the operands' sizes: n as many bits, h half of it."""

    name: str
    function: Function
    inputs: str
    outputs: str
    numbers: dict[int, int]
    """Function number by bits."""


def _by_bits(text: str) -> dict[int, int]:
    return {int(bits): int(number, 16) for bits, number in (word.split(":") for word in text.split())}


FAMILIES = (
    Family("RSA_EP", encrypt, "nnn", "n", _by_bits(
        "512:1c161b21 1024:35111bf7 1536:4d111cdc 2048:6e111dba 3072:7d111ea3 4096:a5101f7e 8192:c31335c6")),
    Family("RSA_DP1", encrypt, "nnn", "n", _by_bits(
        "512:1c161b3c 1024:35111c12 1536:4d111cf7 2048:6e111dda 3072:7d111ebe 4096:a5101f98 8192:c31335e6")),
    Family("RSA_DP2", decrypt_crt, "nhhhhh", "n", _by_bits(
        "512:1c131b57 1024:26131c2d 1536:45111d12 2048:59121dfa 3072:81121ed9 4096:b1111fb2 8192:c9133606")),
    Family("RSA_KP1", make_key, "hhn", "nn", _by_bits(
        "512:191d1a9a 1024:36181b71 1536:531d1c46 2048:72181d2e 3072:60191e16 4096:7d1f1ef6")),
    Family("RSA_KP2", make_key_crt, "hhn", "nnhhh", _by_bits(
        "512:19401acc 1024:40451b9e 1536:32391c78 2048:42341d5b 3072:68331e45 4096:91251f27")),
    Family("MODEXP", encrypt, "nnn", "n", _by_bits(
        "512:150c2327 1024:2d0c233e 1536:410c2355 2048:5e12236c 2560:60162388 3072:650c23a9 3584:801623c0"
        " 4096:850c23e1 8192:c50c3646")),
    Family("DH", encrypt, "nnn", "n", _by_bits(
        "768:210c1a1b 1024:290c1a32 1536:390c1a49 2048:4d0c1a60 3072:510c1a77 4096:690c1a8e 8192:cd0d3636")),
    Family("DH_G2", lambda e, m: encrypt(2, e, m), "nn", "n", _by_bits(
        "768:1c0b1a10 1024:220b1a27 1536:2e0b1a3e 2048:3e0b1a55 3072:3a0b1a6c 4096:4a0b1a83 8192:8d0b3626")),
    Family("MODINV_ODD", inverse, "nn", "n", _by_bits(
        "128:090623f8 192:0a0623fe 256:0a062404 384:0b06240a 512:0c062410 768:0e062416 1024:1006241c 1536:18062422"
        " 2048:20062428 3072:3006242e 4096:40062434 8192:88073656")),
    Family("MODINV_EVEN", inverse, "nn", "n", _by_bits(
        "128:0906243a 192:0a062440 256:0a062446 384:0e0b244c 512:110b2457 768:170b2462 1024:1d0b246d 1536:290b2478"
        " 2048:350b2483 3072:4d0b248e 4096:650b2499 8192:c80d3666")),
    Family("PRIME_GCD", numbers.no_small_factor, "n", "", _by_bits(
        "192:19201fcd 256:19201ff7 384:19202021 512:1b1b204b 768:170c2070 1024:130f2085 1536:1d0c2094 2048:210c20a5"
        " 3072:290c20b6 4096:310c20c7")),
    Family("PRIME_FERMAT", numbers.probable_prime, "n", "", _by_bits(
        "160:0e1120d8 512:121120ee 511:19162104 768:19112124 1024:1f11213a 1536:2b112150 2048:3b112166 3072:3a11217c"
        " 4096:4a112192")),
    Family("PRIME_LUCAS", numbers.probable_prime, "n", "", _by_bits(
        "160:0e0c227e 512:110c228f 768:130c22a0 1024:150c22b1 1536:190c22c2 2048:1d0c22d3 3072:250c22e4 4096:661522f5"
        " 511:1617230a")),
    Family("PRIME_MILLER_RABIN", _witness, "nn", "", _by_bits(
        "160:0e1221a8 512:111221bf 768:1d0d21d6 1024:250d21ed 1536:350d2204 2048:490d221b 3072:4d0d2232 4096:650d2249"
        " 511:18182260")),
    Family("P_POINT", curves.point_of(curves.P256), "nnn", "nn", _by_bits("256:0a083546")),
    Family("P_GENERATOR", curves.generator_of(curves.P256), "n", "nn", _by_bits("256:12073556")),
    Family("P_SIGN", curves.ecdsa_of(curves.P256), "nnn", "nn", _by_bits("256:18133566")),
    Family("P_POINT", curves.point_of(curves.P384), "nnn", "nn", _by_bits("384:0b083586")),
    Family("P_GENERATOR", curves.generator_of(curves.P384), "n", "nn", _by_bits("384:0b073596")),
    Family("P_SIGN", curves.ecdsa_of(curves.P384), "nnn", "nn", _by_bits("384:1a1335a6")),
    Family("GFP_POINT", curves.any_curve, "nnnnnnn", "nn", _by_bits("256:432033a6 512:41253419")),
    Family("X_POINT", lambda u, k: (curves.ladder(curves.X25519, u, k),), "nn", "n", _by_bits("25519:0a0634c6")),
    Family("X_GENERATOR", lambda k: (curves.ladder(curves.X25519, 9, k),), "n", "n", _by_bits("25519:0a0634d6")),
    Family("X_POINT", lambda u, k: (curves.ladder(curves.X448, u, k),), "nn", "n", _by_bits("448:0c063506")),
    Family("X_GENERATOR", lambda k: (curves.ladder(curves.X448, 5, k),), "n", "n", _by_bits("448:0c063516")),
)  # fmt: skip
_QUAD_WORDS = {25519: 4, 448: 8, 511: 8}
"""Operands that are not as long as the bits of their function say."""


def _table() -> dict[int, Entry]:
    table = {}
    for family in FAMILIES:
        for bits, number in family.numbers.items():
            size = {"n": _QUAD_WORDS.get(bits, -(-bits // 64))}
            size["h"] = size["n"] // 2
            operands = [[size[letter] for letter in letters] for letters in (family.inputs, family.outputs)]
            table[number] = Entry(f"{family.name}_{bits}", family.function, *operands)
    return table


FUNCTIONS = _table()


def refuse(request: bytes) -> tuple[str, bytes]:
    """The answer to what the device does not do, or not on this ring pair."""
    service, _, _, opaque, source, target, *_ = REQUEST.unpack_from(request)
    return "refused", ANSWER.pack(service, VALID, 0, FAILED | UNSUPPORTED, 0, opaque, source, target)


def perform(memory: AddressSpace, request: bytes, faults: Faults) -> tuple[str, bytes]:
    """Do a request: the name of its function ("refused" where the device has none), and the answer."""
    service, flags, number, opaque, source, target, outputs, inputs, following = REQUEST.unpack_from(request)

    def answer(flags: int = 0) -> bytes:
        return ANSWER.pack(service, VALID, 0, flags, 0, opaque, source, target)

    entry = FUNCTIONS.get(number)
    if service != SERVICE or not flags & VALID or following or entry is None or faults.take("unsupported"):
        return refuse(request)
    try:
        addresses = struct.unpack(f"<{inputs}Q", memory.read(source, 8 * inputs))
        operands = [
            int.from_bytes(memory.read(address, 8 * size), "big")
            for address, size in zip(addresses, entry.inputs, strict=True)
        ]
        results = entry.function(*operands)
        if results is None or results is False or faults.take("failed"):
            return entry.name, answer(FAILED)
        if results is True or faults.take("unwritten"):
            return entry.name, answer()
        places = struct.unpack(f"<{outputs}Q", memory.read(target, 8 * outputs))
        for address, size, value in zip(places, entry.outputs, results, strict=True):
            if faults.take("wrong"):
                value ^= 1 << 77
            memory.write(address, value.to_bytes(8 * size, "big"))
    except (ValueError, ArithmeticError, LookupError):
        # Operands without a result, of the wrong count, or not mapped.
        return entry.name, answer(FAILED)
    return entry.name, answer()
