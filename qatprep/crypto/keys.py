"""Throw-away keys and what is signed with them, with results from an independent implementation to compare with.

Keys are made in memory and never written. The native copies are wiped, and so is the DER they come from; what
`cryptography` keeps is freed by OpenSSL, which wipes private numbers (BN_clear_free).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from qatprep.crypto import native

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from qatprep import _native


class KeyKind(StrEnum):
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P_256 = "p-256"

    @property
    def bits(self) -> int:
        """Of the modulus, or of the curve."""
        return int(self.value.partition("-")[2])

    @property
    def is_rsa(self) -> bool:
        return self.value.startswith("rsa")


SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER of DigestInfo before a SHA-256 digest: RFC 8017, 9.2, note 1."""


def pkcs1_padded(digest: bytes, size: int) -> bytes:
    """EMSA-PKCS1-v1_5 of a SHA-256 digest, `size` bytes long (RFC 8017, 9.2)."""
    tail = SHA256_PREFIX + digest
    return b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail


@dataclass(eq=False)
class Work:
    """One key and messages to sign with it."""

    kind: KeyKind
    key: RSAPrivateKey | EllipticCurvePrivateKey
    """The independent implementation's."""
    messages: tuple[bytes, ...]

    @cached_property
    def inputs(self) -> tuple[bytes, ...]:
        """What the engines sign: padded messages as long as the modulus (RSA), or SHA-256 digests."""
        digests = [hashlib.sha256(message).digest() for message in self.messages]
        return tuple(pkcs1_padded(d, self.kind.bits // 8) if self.kind.is_rsa else d for d in digests)

    @cached_property
    def expected(self) -> tuple[bytes, ...]:
        """What the results must be: the signatures of `cryptography` for RSA, bit by bit.

        Empty for P-256, where a signature differs with its nonce: sign once, verify, expect that.
        """
        return tuple(self.sign(n) for n in range(len(self.messages))) if self.kind.is_rsa else ()

    def der(self) -> bytes:
        """A new copy of the key: PKCS#1 or SEC1. To be wiped by whoever asks for it: _native.wipe, _native.Key."""
        from cryptography.hazmat.primitives import serialization

        return self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )

    @cached_property
    def native_key(self) -> _native.Key:
        """The key for an engine in this process."""
        from qatprep import _native

        return _native.Key(self.der())

    @cached_property
    def jobs(self) -> _native.Jobs:
        """All of it for an engine in this process."""
        from qatprep import _native

        jobs = _native.Jobs(self.native_key, self.inputs)
        if self.expected:
            jobs.expect(self.expected)
        return jobs

    def wrong_among(self, results: Sequence[bytes | None]) -> list[int]:
        """Which of the results that are there are wrong, where the engine could not compare them itself."""
        if self.kind.is_rsa:
            return []
        return [n for n, result in enumerate(results) if result is not None and not self.right(n, result)]

    def wrong(self, results: Sequence[bytes | None]) -> list[int]:
        """Which results `cryptography` does not accept with the public key. None counts as wrong."""
        return [n for n, result in enumerate(results) if result is None or not self.right(n, result)]

    def right(self, number: int, result: bytes) -> bool:
        """Whether `cryptography` accepts it as the signature of message `number`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

        message = self.messages[number]
        try:
            if isinstance(self.key, rsa.RSAPrivateKey):
                self.key.public_key().verify(result, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                r, s = int.from_bytes(result[:32], "big"), int.from_bytes(result[32:], "big")
                signature = utils.encode_dss_signature(r, s)
                self.key.public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def sign(self, number: int) -> bytes:
        """The signature as `cryptography` makes it, in the form of the native results."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

        message = self.messages[number]
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def make(kind: KeyKind, count: int = 16) -> Work:
    """A fresh key and `count` messages. QatprepError where there is no native module or no `cryptography`."""
    native.require()
    native.require_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key: RSAPrivateKey | EllipticCurvePrivateKey
    key = rsa.generate_private_key(65537, kind.bits) if kind.is_rsa else ec.generate_private_key(ec.SECP256R1())
    return Work(kind, key, messages(count))


def messages(count: int) -> tuple[bytes, ...]:
    return tuple(b"qatprep %d" % n for n in range(count))
