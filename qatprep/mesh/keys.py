"""Keys and certificates: does the provider take this key, and a fresh pair for those who have none."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qatprep.errors import InputError, QatprepError
from qatprep.host.user_files import read_file
from qatprep.mesh.provider import Kind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import GeneralName

_LIMIT = 1 << 20

CRYPTOMB_RSA = (2048, 3072, 4096)
"""Bits that sign through CryptoMB, with the exponent 65537 (cryptomb_private_key_provider.cc). The provider takes 1024
as well, but Envoy does not."""
SMALLEST_RSA = 2048
"""Envoy takes no certificate with a smaller RSA key (source/common/tls/context_impl.cc)."""

TYPES = {"rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096, "p256": 0}


@dataclass(frozen=True)
class KeyKind:
    """What a key is, as far as providers care."""

    name: str
    """RSA, EC or what else."""
    bits: int = 0
    curve: str = ""
    exponent: int = 0

    def __str__(self) -> str:
        return f"RSA {self.bits}" if self.name == "RSA" else f"EC {self.curve}" if self.name == "EC" else self.name


def kind_of(key: PublicKeyTypes) -> KeyKind:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPublicKey):
        return KeyKind("RSA", key.key_size, exponent=key.public_numbers().e)
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        return KeyKind("EC", key.key_size, names.get(key.curve.name, key.curve.name))
    return KeyKind(type(key).__name__.removesuffix("PublicKey").lstrip("_"))


def trouble(key: KeyKind, provider: Kind) -> str:
    """Why Envoy does not take such a key, or the provider does not accelerate it; "" when it does.

    Every Envoy: "only RSA certificates with 2048-bit or larger keys are supported" (context_impl.cc). QAT: "Only RSA
    keys are supported." (qat_private_key_provider.cc). CryptoMB: RSA of CRYPTOMB_RSA with e=65537, and since Envoy 1.30
    ECDSA P-256 as well; Intel's guide knows RSA only.
    """
    if key.name == "RSA" and key.bits < SMALLEST_RSA:
        return f"Envoy takes RSA keys of {SMALLEST_RSA} bits and more, and this is {key}"
    if provider is Kind.PLAIN:
        return ""
    if provider is Kind.QAT:
        return "" if key.name == "RSA" else f"the QAT provider takes RSA keys only, and this is {key}"
    if key.name == "RSA":
        if key.bits not in CRYPTOMB_RSA:
            return f"the CryptoMB provider takes RSA of 2048, 3072 and 4096 bits, and this is {key}"
        return (
            ""
            if key.exponent in (0, 65537)
            else f"the CryptoMB provider wants e=65537, and this key has {key.exponent}"
        )
    if key.name == "EC" and key.curve == "P-256":
        return ""
    return f"the CryptoMB provider takes RSA and ECDSA P-256, and this is {key}"


def check_key_file(path: str, provider: Kind) -> KeyKind:
    """What the private key in a PEM file is. InputError when it is none, or none for this provider.

    Nothing of the file's content is ever put into a message.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    try:
        key = load_pem_private_key(data, None)
    except TypeError as e:
        raise InputError(
            f"the key in {path!r} is encrypted: Envoy's providers have no password", "decrypt it first"
        ) from e
    except Exception as e:
        # cryptography raises ValueError, UnsupportedAlgorithm and more; its words may quote the input.
        raise InputError(f"{path!r} holds no private key in PEM form") from e
    found = kind_of(key.public_key())
    wrong = trouble(found, provider)
    if wrong:
        raise InputError(f"{path!r}: {wrong}", "make one with --generate DIR --key-type rsa2048")
    return found


def certificate_kind(pem: bytes) -> KeyKind | None:
    """What key the first certificate of a PEM chain is for; None when there is no certificate in it."""
    from cryptography import x509

    try:
        return kind_of(x509.load_pem_x509_certificate(pem).public_key())
    except Exception:
        # Whatever a hostile dump makes cryptography raise: it says nothing about the key.
        return None


def _read(path: str) -> bytes:
    return read_file(path, _LIMIT, "the key or certificate")


def generate(directory: str, key_type: str, hosts: list[str], days: int = 365) -> tuple[str, str]:
    """Make key.pem (0600) and a self-signed cert.pem for `hosts` in a directory; the two paths.

    Nothing is overwritten: InputError when one is there. Unlike Intel's, the certificate has subject alternative
    names, without which today's clients refuse it.
    """
    key_path, cert_path = os.path.join(directory, "key.pem"), os.path.join(directory, "cert.pem")
    for path in (key_path, cert_path):
        if os.path.lexists(path):
            raise InputError(f"{path!r} is there already, and is not overwritten", "choose another directory")
    key_pem, cert_pem = _pair(key_type, hosts, days)
    _create(key_path, key_pem, 0o600)
    try:
        _create(cert_path, cert_pem, 0o644)
    except QatprepError:
        os.unlink(key_path)
        raise
    return key_path, cert_path


def _pair(key_type: str, hosts: list[str], days: int) -> tuple[bytes, bytes]:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    if key_type not in TYPES:
        raise InputError(f"{key_type!r} is no key type", f"one of {', '.join(TYPES)}")
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if TYPES[key_type]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=TYPES[key_type])
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, certificate.public_bytes(serialization.Encoding.PEM)


def _alternative(host: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _create(path: str, data: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError as e:
        raise InputError(f"{path!r} is there already, and is not overwritten") from e
    except OSError as e:
        raise InputError(f"cannot create {path!r}: {e.strerror}") from e
    try:
        with os.fdopen(fd, "wb") as f:
            os.fchmod(f.fileno(), mode)
            f.write(data)
    except OSError as e:
        os.unlink(path)
        raise QatprepError(f"cannot write {path!r}: {e.strerror}") from e
