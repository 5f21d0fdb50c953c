"""TLS from end to end: Debian's OpenSSL with qatengine serves, an ordinary client shakes hands, the device counts."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .conftest import DEADLINE, tree_of

HANDSHAKES = 3
SUITE = "TLS_CHACHA20_POLY1305_SHA256"
"""A VF with asym alone has no AES-GCM, and Debian's provider takes that cipher over all the same where the CPU has no
vector AES: "internal error" in the handshake."""

SERVERS = [
    # Suite, how its OpenSSL gets qatengine, what the device does in each handshake. The engine of trixie fails with
    # X25519 ("operation not supported for this keytype"), with a device or without.
    ("trixie", ["-engine", "qatengine", "-groups", "P-256"], ["P_GENERATOR_256", "P_POINT_256", "RSA_DP2_2048"]),
    ("sid", ["-provider", "qatprovider", "-provider", "default", "-groups", "X25519"],
     ["RSA_DP2_2048", "X_GENERATOR_25519", "X_POINT_25519"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert and key of 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulated")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder


@pytest.mark.parametrize(("suite", "options", "functions"), SERVERS, ids=[s[0] for s in SERVERS])
def test_handshakes_are_signed_by_the_device(
    tmp_path: Path, certificate: Path, suite: str, options: list[str], functions: list[str]
) -> None:
    tree, counts = tree_of(suite), tmp_path / "counts"
    server = [
        f"{tree}/usr/bin/openssl", "s_server", *options, "-cert", f"{certificate}/cert", "-key", f"{certificate}/key",
        "-accept", "127.0.0.1:0", "-naccept", str(HANDSHAKES), "-ciphersuites", SUITE,
    ]  # fmt: skip
    command = [sys.executable, "-m", "qat_emulator", "run", "--tree", str(tree), "--counts", str(counts), "--", *server]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "QAT_POLICY": "1"},
    ) as process:  # fmt: skip
        watchdog = threading.Timer(DEADLINE, process.terminate)
        watchdog.start()
        try:
            assert process.stdout is not None
            said = ""
            while not (found := re.search(r"^ACCEPT 127\.0\.0\.1:(\d+)$", said, re.MULTILINE)):
                line = process.stdout.readline()
                assert line, said
                said += line
            for _ in range(HANDSHAKES):
                shake_hands(certificate, int(found[1]))
            said += process.stdout.read()  # it ends after so many connections, with its standard input open
        finally:
            watchdog.cancel()
            process.terminate()
    (vf,) = json.loads(counts.read_text()).values()
    assert vf["functions"] == dict.fromkeys(functions, HANDSHAKES), said


def shake_hands(certificate: Path, port: int) -> None:
    context = ssl.create_default_context(cafile=f"{certificate}/cert")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        assert (connection.version(), connection.cipher()) == ("TLSv1.3", (SUITE, "TLSv1.3", 256))
        connection.sendall(b"hello\n")


def test_qatengine_hides_a_device_that_is_wrong(tmp_path: Path, certificate: Path) -> None:
    """It signs again in software, so that OpenSSL's verdict says nothing about the device; smoke's does."""
    tree, counts = tree_of("sid"), tmp_path / "counts"
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_text("hello")
    sign = [f"{tree}/usr/bin/openssl", "dgst", "-provider", "qatprovider", "-provider", "default", "-sha256"]
    sign += ["-sign", f"{certificate}/key", "-out", str(signature), str(message)]
    options = ["--tree", str(tree), "--counts", str(counts), "--fault", "wrong=1000000"]
    subprocess.run(
        [sys.executable, "-m", "qat_emulator", "run", *options, "--", *sign],
        check=True, capture_output=True, timeout=DEADLINE, env={**os.environ, "QAT_POLICY": "1"},
    )  # fmt: skip
    certified = x509.load_pem_x509_certificate((certificate / "cert").read_bytes()).public_key()
    assert isinstance(certified, rsa.RSAPublicKey)
    certified.verify(signature.read_bytes(), b"hello", padding.PKCS1v15(), hashes.SHA256())
    (vf,) = json.loads(counts.read_text()).values()
    assert vf["functions"] == {"RSA_DP2_2048": 1}, "asked once, answered wrong"
