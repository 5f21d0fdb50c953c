"""Elliptic curves in plain integers: enough for handshakes, not meant to be secret from anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from qat_emulator.numbers import power

Point = tuple[int, int]


class Curve(NamedTuple):
    """y^2 = x^3 + a x + b over the integers mod p, with a generator of prime order."""

    p: int
    a: int
    b: int
    generator: Point
    order: int


# NIST SP 800-186, 3.2.1.3 and 3.2.1.4
P256 = Curve(
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    -3,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
P384 = Curve(
    2**384 - 2**128 - 2**96 + 2**32 - 1,
    -3,
    0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    (
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
)


def multiply(p: int, a: int, k: int, point: Point) -> Point | None:
    """k times a point, in Jacobian coordinates; None at infinity."""
    x, y = point

    def double(jx: int, jy: int, jz: int) -> tuple[int, int, int]:
        if not jy:
            return 0, 1, 0
        yy = jy * jy % p
        s, m = 4 * jx * yy % p, (3 * jx * jx + a * pow(jz, 4, p)) % p
        nx = (m * m - 2 * s) % p
        return nx, (m * (s - nx) - 8 * yy * yy) % p, 2 * jy * jz % p

    def add(jx: int, jy: int, jz: int) -> tuple[int, int, int]:
        if not jz:
            return x, y, 1
        zz = jz * jz % p
        h, r = (x * zz - jx) % p, (y * zz * jz - jy) % p
        if not h:
            return (0, 1, 0) if r else double(jx, jy, jz)
        hh = h * h % p
        hhh, v = h * hh % p, jx * hh % p
        nx = (r * r - hhh - 2 * v) % p
        return nx, (r * (v - nx) - jy * hhh) % p, jz * h % p

    result = (0, 1, 0)
    for bit in f"{k:b}":
        result = double(*result)
        if bit == "1":
            result = add(*result)
    if not result[2]:
        return None
    inverse = pow(result[2], -1, p)
    return result[0] * inverse * inverse % p, result[1] * inverse**3 % p


def point_of(curve: Curve) -> Callable[[int, int, int], Point | None]:
    """(x, y, k) -> k times (x, y); None where that point is not on the curve."""

    def function(x: int, y: int, k: int) -> Point | None:
        on_curve = (y * y - x * x * x - curve.a * x - curve.b) % curve.p == 0
        return multiply(curve.p, curve.a, k, (x, y)) if on_curve else None

    return function


def generator_of(curve: Curve) -> Callable[[int], Point | None]:
    """k -> k times the generator."""
    return lambda k: multiply(curve.p, curve.a, k, curve.generator)


def ecdsa_of(curve: Curve) -> Callable[[int, int, int], Point | None]:
    """(k, e, d) -> the signature (r, s) of the digest e under the key d with the nonce k."""

    def function(k: int, e: int, d: int) -> Point | None:
        point = multiply(curve.p, curve.a, k, curve.generator)
        if point is None:
            return None
        r = point[0] % curve.order
        s = pow(k, -1, curve.order) * (e + r * d) % curve.order
        return (r, s) if r and s else None

    return function


def any_curve(k: int, x: int, y: int, a: int, b: int, q: int, h: int) -> Point | None:
    """k h times (x, y) on y^2 = x^3 + a x + b mod q."""
    return multiply(q, a, k * (h or 1), (x, y))


class Montgomery(NamedTuple):
    """RFC 7748: the prime, (A - 2) / 4, bits of the ladder, low bits of a scalar that are cleared, the base point."""

    p: int
    a24: int
    bits: int
    cleared: int
    base: int


X25519 = Montgomery(2**255 - 19, 121665, 255, 3, 9)
X448 = Montgomery(2**448 - 2**224 - 1, 39081, 448, 2, 5)


def ladder(curve: Montgomery, u: int, k: int) -> int:
    """RFC 7748, section 5. The device cuts the scalar to shape itself."""
    p, a24, bits, cleared, _ = curve
    k = k >> cleared << cleared & (1 << bits) - 1 | 1 << (bits - 1)
    u &= (1 << bits) - 1
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for t in range(bits - 1, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        x3, z3 = (da + cb) ** 2 % p, u * (da - cb) ** 2 % p
        e = aa - bb
        x2, z2 = aa * bb % p, e * (aa + a24 * e) % p
    if swap:
        x2, z2 = x3, z3
    return x2 * power(z2, p - 2, p) % p
