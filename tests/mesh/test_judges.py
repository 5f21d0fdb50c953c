"""Rendered files before their judges: Envoy's protobuf messages, Kubernetes' schemas, and a real Envoy that serves."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mesh.cli import qatprep_

JUDGE = Path(__file__).with_name("protobuf_judge.py")


def render(path: Path, *argv: str) -> Path:
    ran = qatprep_("render", *argv)
    assert ran.code == 0, ran.err
    path.write_text(ran.out)
    return path


def judged(tools: Path, *files: Path) -> list[str]:
    argv = [str(part) for part in (tools / "python", JUDGE, *files)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_providers_fit_the_protobuf_messages(tools: Path, tmp_path: Path) -> None:
    files = [
        render(tmp_path / f"{provider}{number}.yaml", "envoy", "-p", provider, *more)
        for provider in ("qat", "cryptomb")
        for number, more in enumerate(((), ("--fallback", "--no-resumption"), ("--poll-delay", "1s")))
    ]
    files.append(render(tmp_path / "plain.yaml", "envoy", "-p", "plain"))
    assert judged(tools, *files) == ["ok"] * 7


def test_the_judge_finds_the_papers_mistakes(tools: Path, tmp_path: Path) -> None:
    """So that "ok" above means something."""
    good = render(tmp_path / "good.yaml", "envoy", "-p", "qat").read_text()
    wrong = {
        "type": good.replace("QatPrivateKey", "QATPrivateKey"),
        "duration": good.replace("0.005s", "5ms"),
        "name": good.replace("poll_delay", "polldelay_"),
    }
    for name, text in wrong.items():
        (tmp_path / name).write_text(text)
    for words in judged(tools, *(tmp_path / name for name in wrong)):
        assert words != "ok"


@pytest.mark.parametrize("version", ["1.25.0", "1.28.0", "1.31.0", "1.34.0", "1.37.0"])
def test_manifests_fit_kubernetes_schemas(tools: Path, version: str, tmp_path: Path) -> None:
    files = [
        render(tmp_path / "deployment.yaml", "kubernetes", "--devices", "4"),
        render(tmp_path / "pod.yaml", "kubernetes", "--as", "pod", "-p", "cryptomb"),
        render(tmp_path / "plugin.yaml", "kubernetes", "--as", "device-plugin"),
    ]
    argv = [str(tools / "kubernetes-validate"), "-k", version, "--strict", *map(str, files)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("passed") == 3, said


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextmanager
def envoy(tools: Path, config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real Envoy on loopback with one worker, ended afterwards."""
    program = next(tools.parent.glob("lib/python3.*/site-packages/envoy/_bin/envoy"))
    argv = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with log.open("w") as stream:
        daemon = subprocess.Popen(argv, stdout=stream, stderr=stream)
    try:
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait(timeout=120)


def wait_for(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and daemon.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text()[-3000:])


@pytest.fixture(scope="module", params=["resumption", "no resumption"])
def served(
    request: pytest.FixtureRequest, tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What is rendered for CryptoMB, with the provider swapped for the plain key: there is no contrib Envoy here."""
    home = tmp_path_factory.mktemp("envoy")
    port, admin = free_port(), free_port()
    more = ["--no-resumption"] if request.param == "no resumption" else []
    made = render(
        home / "envoy.yaml", "envoy", "-p", "cryptomb", "--fallback", "--generate", str(home), "--host", "localhost",
        "--cert", str(home / "cert.pem"), "--key", str(home / "key.pem"), "--address", "127.0.0.1",
        "--port", str(port), "--admin-port", str(admin), *more,
    )  # fmt: skip
    config = yaml.safe_load(made.read_text())
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    cert = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0]
    del cert["private_key_provider"]  # what is left is what fallback uses
    made.write_text(yaml.safe_dump(config))
    log = home / "log"
    with envoy(tools, made, log) as daemon:
        wait_for(port, daemon, log)
        yield {
            "resumes": request.param == "resumption",
            "home": home,
            "port": port,
            "admin": f"http://127.0.0.1:{admin}",
            "pid": daemon.pid,
        }


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each resumed handshake waits 40 ms for an ACK
    return made


def handshake(served: dict[str, Any], session: ssl.SSLSession | None = None) -> tuple[str, ssl.SSLSession | None]:
    """One request on one new connection: the status line, and the TLS session."""
    context = served.setdefault("context", ssl.create_default_context(cafile=str(served["home"] / "cert.pem")))
    with (
        _connected(served["port"]) as raw,
        context.wrap_socket(raw, server_hostname="localhost", session=session) as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        first = tls.recv(4096).split(b"\r\n", 1)[0].decode()
        return first, tls.session


def test_a_tls_client_gets_200(served: dict[str, Any]) -> None:
    assert handshake(served)[0] == "HTTP/1.1 200 OK"


def test_your_load_test_reuses_sessions(served: dict[str, Any]) -> None:
    """Clients that offer their session again: resumed where the server allows it, and inspect says so; else not."""
    context = ssl.create_default_context(cafile=str(served["home"] / "cert.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    served["context"] = context
    session = None
    for _ in range(120):
        _, session = handshake(served, session)
    time.sleep(0.2)
    ran = qatprep_("inspect", "stats", served["admin"], "--output", "json")
    document = json.loads(ran.out)
    resumed = document["tls"][0]["resumed"]
    assert (resumed >= 110) is served["resumes"], document["tls"]
    assert ("QP-ENVOY-009" in [f["id"] for f in document["findings"]]) is served["resumes"]


def test_inspect_reads_a_running_envoy(served: dict[str, Any]) -> None:
    for _ in range(20):
        handshake(served)
    time.sleep(0.2)
    ran = qatprep_("inspect", "stats", served["admin"], "--output", "json")
    document = json.loads(ran.out)
    assert document["workers"] == 1
    assert document["tls"][0]["handshakes"] >= 20
    ran = qatprep_("inspect", "config-dump", served["admin"], "--output", "json")
    document = json.loads(ran.out)
    assert document["listeners"][0]["listener"] == "https"
    assert document["listeners"][0]["resumption"] is served["resumes"]
    assert [f["id"] for f in document["findings"]] == ["QP-ENVOY-001"]


def test_inspect_makes_handshakes_with_a_running_envoy(served: dict[str, Any]) -> None:
    ran = qatprep_(
        "inspect", "handshake", f"localhost:{served['port']}", "--ca", str(served["home"] / "cert.pem"),
        "--count", "4", "--resume", "--admin", served["admin"], "--output", "json",
    )  # fmt: skip
    document = json.loads(ran.out)
    assert [h["resumed"] for h in document["handshakes"]] == [False, *[served["resumes"]] * 3]
    assert document["answer"] == "HTTP/1.1 200 OK" and document["certificate"]["verified"]
    assert document["signed"] == {
        "by": "worker", "provider": None, "why": "the listener's certificate has no private_key_provider"
    }  # fmt: skip
    assert (ran.code, [f["id"] for f in document["findings"]]) == (3, ["QP-ENVOY-001"])


def test_facts_see_its_workers(served: dict[str, Any]) -> None:
    """The names of Envoy's threads are what facts/runtime.py counts."""
    tasks = Path(f"/proc/{served['pid']}/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    assert sum(name.startswith("wrk:worker_") for name in names) == 1


def test_plain_envoy_says_that_the_provider_is_missing(tools: Path, tmp_path: Path) -> None:
    """Envoy's words for a contrib extension it does not have, fed to `inspect log`, which must name the cause."""
    made = render(tmp_path / "qat.yaml", "envoy", "-p", "qat")
    program = next(tools.parent.glob("lib/python3.*/site-packages/envoy/_bin/envoy"))
    argv = [str(program), "-c", str(made), "--mode", "validate"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    log = tmp_path / "log"
    log.write_text(done.stderr + done.stdout)
    ran = qatprep_("inspect", "log", str(log), "--output", "json")
    assert "QP-ENVOY-002" in [finding["id"] for finding in json.loads(ran.out)["findings"]], ran.out + ran.err
