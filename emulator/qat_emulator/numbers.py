"""Big numbers: powers by libcrypto where there is one (other threads run meanwhile), else by Python."""

from __future__ import annotations

import ctypes
import ctypes.util
import math

_SIGNATURES = (
    ("BN_CTX_new", ctypes.c_void_p, ()),
    ("BN_CTX_free", None, (ctypes.c_void_p,)),
    ("BN_new", ctypes.c_void_p, ()),
    ("BN_clear_free", None, (ctypes.c_void_p,)),
    ("BN_bin2bn", ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)),
    ("BN_bn2binpad", ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)),
    ("BN_mod_exp", ctypes.c_int, (ctypes.c_void_p,) * 5),
)
SMALL = 256
"""Bits below which Python is as fast."""


def _load() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
        for name, result, arguments in _SIGNATURES:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library


_crypto = _load()


def power(base: int, exponent: int, modulus: int) -> int:
    """base ** exponent mod modulus. ZeroDivisionError or ValueError where there is none."""
    if modulus == 0:
        raise ZeroDivisionError("modulus 0")
    if _crypto is None or modulus.bit_length() < SMALL:
        return pow(base, exponent, modulus)
    context = _crypto.BN_CTX_new()
    numbers = [_number(_crypto, value) for value in (base, exponent, modulus)]
    result = _crypto.BN_new()
    try:
        if not _crypto.BN_mod_exp(result, *numbers, context):
            raise ValueError("libcrypto refuses the operands")
        out = ctypes.create_string_buffer((modulus.bit_length() + 7) // 8)
        _crypto.BN_bn2binpad(result, out, len(out.raw))
        return int.from_bytes(out.raw, "big")
    finally:
        for each in (*numbers, result):
            _crypto.BN_clear_free(each)
        _crypto.BN_CTX_free(context)


def _number(library: ctypes.CDLL, value: int) -> int:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    number: int = library.BN_bin2bn(data, len(data), None)
    return number


def miller_rabin(m: int, base: int) -> bool:
    """Whether m, odd and above 3, passes one round."""
    odd, twos = m - 1, 0
    while not odd & 1:
        odd, twos = odd >> 1, twos + 1
    x = power(base % m, odd, m)
    if x in (1, m - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % m
        if x == m - 1:
            return True
    return False


_FEW = (2, 3, 5, 7, 11, 13)
_PRIMES_BELOW_256 = math.prod(p for p in range(3, 256) if all(p % d for d in range(2, p)))


def probable_prime(m: int) -> bool:
    """Whether m passes Miller-Rabin to a few small bases."""
    return m > 3 and m & 1 == 1 and all(m == base or miller_rabin(m, base) for base in _FEW)


def no_small_factor(m: int) -> bool:
    """Whether no prime below 256 divides m."""
    return math.gcd(m, _PRIMES_BELOW_256) in (1, m)
