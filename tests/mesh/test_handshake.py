"""inspect handshake against TLS servers on loopback, and against an admin interface that answers as Envoy's does."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qatprep.errors import InputError
from qatprep.mesh import keys
from qatprep.mesh.inspect import handshake
from tests.mesh.cli import Ran, qatprep_

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on loopback; each connection is handled in turn."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def loop() -> None:
            while not stop.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                client.settimeout(10)
                with client, suppress(OSError):  # the client has gone
                    handle(client)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join()


@contextmanager
def tls_server(
    home: Path, key_type: str = "rsa2048", version: str = "TLSv1_3", answer: bytes = ANSWER
) -> Iterator[int]:
    key, cert = keys.generate(str(home), key_type, ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.maximum_version = ssl.TLSVersion[version]

    def handle(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as tls:
            if tls.recv(4096):
                tls.sendall(answer)

    with serving(handle) as port:
        yield port


def inspect(port: int, *more: str) -> tuple[Ran, Any]:
    ran = qatprep_("inspect", "handshake", f"localhost:{port}", *more, "--output", "json")
    return ran, json.loads(ran.out) if ran.out else None


@pytest.mark.parametrize(
    ("key_type", "version", "key"),
    [("rsa2048", "TLSv1_3", "RSA 2048"), ("p256", "TLSv1_3", "EC P-256"), ("rsa3072", "TLSv1_2", "RSA 3072")],
)
def test_what_a_server_shows(key_type: str, version: str, key: str, tmp_path: Path) -> None:
    with tls_server(tmp_path, key_type, version) as port:
        ran, found = inspect(port, "--ca", str(tmp_path / "cert.pem"), "--count", "3")
    assert ran.code == 0, ran.out
    assert (found["certificate"]["key"], found["certificate"]["names"]) == (key, ["localhost"])
    assert found["certificate"]["verified"] is True
    assert found["answer"] == "HTTP/1.1 200 OK"
    assert [h["version"] for h in found["handshakes"]] == [version.replace("_", ".")] * 3
    assert [h["resumed"] for h in found["handshakes"]] == [False] * 3
    assert found["signed"] is None and found["findings"] == []


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_resumed_only_when_asked(version: str, tmp_path: Path) -> None:
    with tls_server(tmp_path, version=version) as port:
        _, found = inspect(port, "--count", "3", "--resume")
    assert [h["resumed"] for h in found["handshakes"]] == [False, True, True]


def test_for_people_it_says_that_nothing_was_verified(tmp_path: Path) -> None:
    with tls_server(tmp_path, answer=b"SSH-2.0-x\r\n") as port:
        ran = qatprep_("inspect", "handshake", f"127.0.0.1:{port}", "--count", "1")
    assert ran.code == 0, ran.err
    for words in ("RSA 2048 for localhost", "not verified: give --ca FILE", "1 full handshake", "none by HTTP/1.1"):
        assert words in ran.out


@pytest.mark.parametrize(
    ("more", "words"), [(("--server-name", "other.example"), "mismatch"), ((), "self-signed certificate")]
)
def test_a_certificate_that_does_not_verify(more: tuple[str, ...], words: str, tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    ca.mkdir()
    keys.generate(str(ca), "p256", ["localhost"])
    with tls_server(tmp_path) as port:
        ran, found = inspect(port, "--ca", str((tmp_path if more else ca) / "cert.pem"), *more)
    assert ran.code == 3
    assert [f["id"] for f in found["findings"]] == ["QP-ENVOY-016"]
    assert words in found["findings"][0]["title"].lower()
    assert found["handshakes"] == [] and found["certificate"] is None


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_server_that_does_not_speak_tls(said: bytes) -> None:
    def handle(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(said)

    with serving(handle) as port:
        ran, found = inspect(port)
    assert ran.code == 3 and "Traceback" not in ran.err
    assert "handshake 1 failed" in found["findings"][0]["title"]


def test_a_server_that_wants_a_certificate_of_the_client(tmp_path: Path) -> None:
    """With TLS 1.3 it says so after the client's side of the handshake is done."""
    key, cert = keys.generate(str(tmp_path), "rsa2048", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cert)

    def handle(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as tls:
            with suppress(ssl.SSLError):
                tls.do_handshake()
            socket.socket.recv(tls, 4096)  # the request: what is not read would become a reset that hides the alert

    with serving(handle) as port:
        ran, found = inspect(port)
    assert ran.code == 3
    assert "handshake 1 failed" in found["findings"][0]["title"]
    assert "mutual TLS" in found["findings"][0]["cause"]


def test_a_server_that_never_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "DEADLINE", 0.2)
    done = threading.Event()

    def handle(_: socket.socket) -> None:
        done.wait(10)

    with serving(handle) as port:
        ran, found = inspect(port)
        done.set()
    assert ran.code == 3
    assert "did not finish the handshake in time" in found["findings"][0]["title"]


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ran, found = inspect(port)
    assert (ran.code, found) == (1, None)
    assert "refused" in ran.err and "fix:" in ran.err


@pytest.mark.parametrize(
    "argv",
    [
        ["localhost"], ["localhost:0"], ["localhost:99999"], [":9000"], ["a b:1"], ["x/y:1"], ["localhost:9"],
        ["localhost:9", "--count", "0"], ["localhost:9", "--count", "1001"], ["localhost:9", "--ca", "/absent"],
        ["localhost:9", "--admin", "127.0.0.1:9001"], ["localhost:9", "--server-name", "ü"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_values_are_named(argv: list[str]) -> None:
    ran = qatprep_("inspect", "handshake", *argv)
    assert ran.code == (1 if argv == ["localhost:9"] else 2)
    assert ran.out == "" and "Traceback" not in ran.err


def test_addresses() -> None:
    assert str(handshake.target("[::1]:9000")) == "[::1]:9000"
    assert handshake.target("https://localhost:9000/", "gateway").name == "gateway"
    with pytest.raises(InputError):
        handshake.target("localhost:9000/path")


# -- who signed -------------------------------------------------------------------------------------------------------


def config_dump(port: int, provider: str, fallback: bool) -> str:
    certificate: dict[str, Any] = {"certificate_chain": {"filename": "/cert.pem"}}
    if provider:
        certificate["private_key_provider"] = {"provider_name": provider, "fallback": fallback}
    chain = {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [certificate]},
            },
        }
    }
    listener = {
        "name": "https",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
    section = {
        "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
        "static_listeners": [{"listener": listener}],
    }
    return json.dumps({"configs": [section]})


@contextmanager
def admin(port: int, provider: str, fallback: bool, batch: int) -> Iterator[str]:
    """Counts five more handshakes, and `batch` more batches, between the first reading and the others."""
    readings = iter([0])

    class Admin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/config_dump":
                body = config_dump(port, provider, fallback)
            else:
                later = next(readings, 1)
                body = f"listener.127.0.0.1_{port}.ssl.handshake: {7 + 5 * later}\n"
                if provider == "cryptomb":
                    body += f"listener.127.0.0.1_{port}.cryptomb.rsa_queue_sizes:\n  totals=1,0.1:{3 + batch * later}\n"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("provider", "fallback", "batch", "signer", "code", "finding"),
    [
        ("qat", False, 0, "provider", 0, []),
        ("qat", True, 0, "unknown", 0, ["QP-ENVOY-007"]),
        ("cryptomb", True, 5, "provider", 0, []),
        ("cryptomb", True, 0, "worker", 3, ["QP-ENVOY-007"]),
        ("cryptomb", False, 0, "provider", 0, []),
        ("", False, 0, "worker", 3, ["QP-ENVOY-001"]),
    ],
)
def test_who_signed(
    provider: str, fallback: bool, batch: int, signer: str, code: int, finding: list[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("qatprep.cli.inspect._FLUSH", 0.0)
    with tls_server(tmp_path) as port, admin(port, provider, fallback, batch) as url:
        ran, found = inspect(port, "--admin", url)
    assert found["signed"]["by"] == signer, found["signed"]
    assert [f["id"] for f in found["findings"]] == finding
    assert ran.code == code


def test_an_admin_interface_of_another_envoy(tmp_path: Path) -> None:
    """Its only listener counted fewer handshakes than were made."""
    with tls_server(tmp_path) as port, admin(port, "", False, 0) as url:
        ran, found = inspect(port, "--admin", url, "--count", "6")
    assert found["signed"]["by"] == "unknown" and "another Envoy" in found["signed"]["why"]
    assert (ran.code, found["findings"][0]["status"]) == (0, "unknown")
