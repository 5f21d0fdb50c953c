"""inspect config-dump: what a person learns of listeners, and what no file, however hostile, can do."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from qatprep.errors import InputError
from qatprep.mesh.inspect import jsonwalk
from qatprep.mesh.inspect.config_dump import parse
from qatprep.mesh.inspect.judge.config_dump import judge
from qatprep.mesh.inspect.source import Input
from qatprep.mesh.provider import TYPE_URLS, Kind
from qatprep.report.console import console
from qatprep.report.inspect import dump_document, print_dump
from tests.conftest import at_most
from tests.mesh.cli import Ran, qatprep_
from tests.mesh.shapes import chain, cluster, dump, tls_certificate

DATA = Path(__file__).with_name("data")
PAPER_TYPE = "type.googleapis.com/envoy.extensions.private_key_providers.qat.v3alpha.QATPrivateKeyMethodConfig"


def inspect(tmp_path: Path, data: bytes, *more: str) -> Ran:
    path = tmp_path / "dump.json"
    path.write_bytes(data)
    return qatprep_("inspect", "config-dump", str(path), *more)


def told(tmp_path: Path, data: bytes, *more: str) -> tuple[int, dict[str, Any]]:
    ran = inspect(tmp_path, data, *more, "--output", "json")
    assert ran.out, ran.err
    return ran.code, json.loads(ran.out)


def ids(document: dict[str, Any]) -> list[str]:
    return [f"{f['id']} {f['status']}" for f in document["findings"]]


def test_real_dump_of_envoy_1_40() -> None:
    ran = qatprep_("inspect", "config-dump", str(DATA / "config_dump-1.40.json"), "--output", "json")
    document = json.loads(ran.out)
    assert [(row["listener"], row["state"], row["provider"], row["key"]) for row in document["listeners"]] == [
        ("https", "active", None, "RSA 2048"),
        ("dyn", "active", None, "RSA 2048"),
        ("refused", "refused", "qat", None),
    ]
    assert document["envoy"] == {"version": "1.40", "build": "RELEASE", "key_providers": [], "admin": "127.0.0.1:9001"}
    assert ids(document) == ["QP-ENVOY-002 fail", "QP-ENVOY-001 warn", "QP-ENVOY-001 warn"]
    assert ran.code == 3


def test_gateway_with_cryptomb_is_well(tmp_path: Path) -> None:
    data = dump(chain(secrets=("kubernetes://gw",)), secrets={"kubernetes://gw": tls_certificate(Kind.CRYPTOMB)})
    code, document = told(tmp_path, data, "--expect", "cryptomb")
    assert (code, document["result"], document["findings"]) == (0, "ok", [])
    assert document["listeners"][0]["secret"] == "kubernetes://gw"
    ran = inspect(tmp_path, data)
    assert "every TLS listener signs through a provider" in ran.out


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (dump(chain(tls_certificate(None))), ["QP-ENVOY-001 fail"]),
        (dump(chain(tls_certificate(Kind.CRYPTOMB))), ["QP-ENVOY-001 fail"]),
        (dump(chain(tls_certificate(Kind.QAT))), []),
        (dump(chain(tls_certificate(Kind.QAT, key="p256"))), ["QP-ENVOY-003 fail"]),
        (dump(chain(tls_certificate(Kind.QAT, spelling=PAPER_TYPE))), ["QP-ENVOY-004 fail"]),
        (dump(chain(tls_certificate(Kind.QAT)), providers=()), ["QP-ENVOY-002 fail"]),
        (dump(chain(tls_certificate(Kind.QAT)), providers=None), []),
        (dump(chain(tls_certificate(Kind.QAT, fallback=True, beside=True))), ["QP-ENVOY-007 warn"]),
        (dump(chain(tls_certificate(Kind.QAT, fallback=True))), ["QP-ISTIO-002 warn"]),
        (dump(chain(tls_certificate(Kind.QAT)), admin="0.0.0.0"), ["QP-ENVOY-013 warn"]),
        (dump(chain(tls_certificate(Kind.QAT)), build="DEBUG"), ["QP-ENVOY-012 warn"]),
        (dump(chain(secrets=("gw",)), warming=("gw",)), ["QP-ENVOY-001 fail"]),
        (dump(chain(secrets=("gw",))), ["QP-ENVOY-001 unknown"]),
        (dump(), ["QP-ENVOY-001 warn"]),
    ],
    ids=[
        "no provider", "another provider", "well", "EC key", "paper's type", "plain Envoy", "extensions not shown",
        "fallback", "Istio's fallback", "admin for all", "debug build", "secret awaited", "no secret", "no TLS",
    ],
)  # fmt: skip
def test_what_is_found(data: bytes, expected: list[str], tmp_path: Path) -> None:
    assert ids(told(tmp_path, data, "--expect", "qat")[1]) == expected


def test_cryptomb_takes_p256_and_not_rsa_1536(tmp_path: Path) -> None:
    assert ids(told(tmp_path, dump(chain(tls_certificate(Kind.CRYPTOMB, key="p256"))))[1]) == []
    found = ids(told(tmp_path, dump(chain(tls_certificate(Kind.CRYPTOMB, key="rsa1536"))))[1])
    assert found == ["QP-ENVOY-003 fail"]


def test_provider_that_reached_only_istios_own_certificate(tmp_path: Path) -> None:
    secrets = {"default": tls_certificate(Kind.CRYPTOMB), "kubernetes://shop": tls_certificate(None)}
    data = dump(
        chain(secrets=("default",)), chain(secrets=("kubernetes://shop",), names=("shop.example",)), secrets=secrets
    )
    assert "QP-ISTIO-003 warn" in ids(told(tmp_path, data)[1])


def test_sections_by_themselves(tmp_path: Path) -> None:
    whole = json.loads(dump(chain(secrets=("gw",)), secrets={"gw": tls_certificate(Kind.QAT)}))
    for section in whole["configs"][2:]:
        code, document = told(tmp_path, json.dumps(section).encode())
        assert document["schema"] == "qatprep.inspect-config-dump/1"
        assert code == 0
    resource = whole["configs"][2]["dynamic_listeners"][0]
    resource["@type"] = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener"
    assert told(tmp_path, json.dumps({"configs": [resource]}).encode())[1]["listeners"][0]["secret"] == "gw"


def test_powershell_writes_utf16(tmp_path: Path) -> None:
    text = dump(chain(tls_certificate(Kind.QAT))).decode()
    for data in (text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode()):
        assert told(tmp_path, data)[1]["listeners"][0]["provider"] == "qat"


def test_secrets_are_never_echoed(tmp_path: Path) -> None:
    certificate = tls_certificate(Kind.QAT)
    certificate["private_key"] = {"inline_string": "-----BEGIN PRIVATE KEY-----SECRETSECRET"}
    data = dump(chain(certificate))
    for form in ("json", "human"):
        ran = inspect(tmp_path, data, "--output", form)
        assert "QP-ENVOY-015" in ran.out
        assert "SECRET" not in ran.out + ran.err
    for cut in range(len(data) // 2, len(data), 997):
        ran = inspect(tmp_path, data[:cut])
        assert "SECRETSECRET" not in ran.out + ran.err


def test_no_escape_sequence_reaches_the_terminal(tmp_path: Path) -> None:
    data = dump(chain(tls_certificate(None))).replace(b'"0.0.0.0_8443"', rb'"\u001b[2Jgone\nQP-OK"')
    for form in ("json", "human"):
        assert "\x1b" not in inspect(tmp_path, data, "--output", form).out


# -- hostile and broken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"   \n", "is empty"),
        (b"not json", "no Envoy config_dump"),
        (b"[1, 2]", "no Envoy config_dump"),
        (b"{}", "no section of it is known"),
        (b'{"configs": []}', "no section of it is known"),
        (b'{"configs": 7}', "no section of it is known"),
        (b'{"configs": [{"@type": 7}]}', "no section of it is known"),
        (b'{"configs": [', "ends in the middle"),
        (b'{"configs": [{"@type": "type.goo', "ends in the middle"),
        (b'{"configs": [}', "was expected"),
        (b'{"a" "b"}', "':' was expected"),
        (b'{"a": tru}', "a value was expected"),
        (b'{"a": 1} {', "something follows"),
        (b'{"a": 1}\0', "something follows"),
        (b'{"a": "\xff\xfe"}', "not UTF-8"),
        (b"\xff\xfe{\x00\x00\xd8", "not UTF-16"),
        (b'{"a": ' + b"[" * 100_000, "nested more than 256 deep"),
        (b'{"a": ' + b'{"b":' * 100_000, "nested more than 256 deep"),
        (dump(chain(tls_certificate(Kind.QAT)))[:-40], "ends in the middle"),
        (
            dump(chain(tls_certificate(None))).replace(b'"filter_chains": [', b'"filter_chains": [no,'),
            "a value was expected",
        ),
    ],
)
def test_broken_dumps_are_told_so(data: bytes, words: str, tmp_path: Path) -> None:
    ran = inspect(tmp_path, data)
    assert ran.code == 2, ran.out + ran.err
    assert words in ran.err
    assert ran.out == "" and "Traceback" not in ran.err


@pytest.mark.parametrize("wrong", [None, 7, "text", [], {}, [7], {"a": 1}, [[]], True], ids=json.dumps)
def test_wrong_shapes_anywhere_are_survived(wrong: Any) -> None:
    """Every value of a real dump replaced by another kind, one after the other: read, judged and shown, or refused."""
    whole = json.loads(dump(chain(tls_certificate(Kind.QAT)), secrets={"gw": tls_certificate(Kind.QAT)}))

    def places(value: Any) -> Iterator[tuple[Any, Any]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in list(items):
            yield value, key
            yield from places(inner)

    for holder, key in list(places(whole)):
        kept = holder[key]
        holder[key] = wrong
        with suppress(InputError):
            found = parse(Input("x", json.dumps(whole).encode()))
            findings = judge(found, None)
            dump_document("x", found, findings)
            print_dump(console(StringIO(), {}), found, findings)
        holder[key] = kept


def test_a_large_dump_takes_little_time() -> None:
    """20 MB here, a hundred by hand: time is linear, and only one listener is in memory at a time."""
    unit = json.dumps({"cluster": {"name": "x" * 200, "endpoints": [{"a": [1, 2, {"b": 3}]}] * 3}}).encode()
    inner = json.loads(dump(chain(tls_certificate(Kind.QAT))))
    text = json.dumps(inner).encode()
    marker = b'"static_clusters": ['
    data = text.replace(marker, marker + (unit + b",") * (20_000_000 // len(unit)))
    with at_most():
        assert len(parse(Input("big", data)).chains) == 1


def test_too_many_brackets_are_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonwalk, "MOST_VALUES", jsonwalk.MOST_VALUES // 60)
    with at_most(), pytest.raises(InputError, match="too many values"):
        parse(Input("evil", b'{"a": [' + b"{}," * 700_000 + b"{}]}"))


def test_no_file_no_directory(tmp_path: Path) -> None:
    for place in (str(tmp_path), str(tmp_path / "absent")):
        ran = qatprep_("inspect", "config-dump", place)
        assert ran.code == 2
        assert place in ran.err


# -- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """A web server on loopback: path -> (status, body)."""
    pages: dict[str, tuple[int, bytes]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(self.path.split("?")[0], (404, b"invalid path"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body.decode())
                body = b""
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", pages
        httpd.shutdown()
        thread.join()


def test_address_of_the_admin_interface_is_enough(server: tuple[str, dict[str, tuple[int, bytes]]]) -> None:
    url, pages = server
    pages["/config_dump"] = (200, dump(chain(tls_certificate(Kind.QAT))))
    for place in (url, url + "/", url + "/config_dump"):
        assert qatprep_("inspect", "config-dump", place).code == 0


def test_errors_over_http(server: tuple[str, dict[str, tuple[int, bytes]]]) -> None:
    url, pages = server
    ran = qatprep_("inspect", "config-dump", url)
    assert (ran.code, "404: invalid path" in ran.err) == (1, True)
    pages["/config_dump"] = (302, b"file:///etc/passwd")
    ran = qatprep_("inspect", "config-dump", url)
    assert ran.code == 1 and "root:" not in ran.out + ran.err
    assert qatprep_("inspect", "config-dump", "http://127.0.0.1:1").code == 1
    assert qatprep_("inspect", "config-dump", "http://").code == 2
    assert "credentials" in qatprep_("inspect", "config-dump", "http://u:p@127.0.0.1").err


def test_clusters_sign_too(tmp_path: Path) -> None:
    data = dump(
        chain(secrets=("default",)),
        clusters=(cluster("outbound|443||a", secrets=("default",)), cluster("b", tls_certificate(None))),
        secrets={"default": tls_certificate(Kind.CRYPTOMB)},
    )
    code, document = told(tmp_path, data, "--expect", "cryptomb")
    assert (code, document["findings"]) == (0, [])
    assert [(c["cluster"], c["secret"], c["provider"], c["key"]) for c in document["clusters"]] == [
        ("outbound|443||a", "default", "cryptomb", "RSA 2048"),
        ("b", None, None, "RSA 2048"),
    ]
    assert "1 listener certificate and 1 cluster: each has a queue" in " ".join(inspect(tmp_path, data).out.split())


def test_a_cluster_s_provider_is_judged(tmp_path: Path) -> None:
    data = dump(clusters=(cluster("b", tls_certificate(Kind.QAT, key="p256")),), providers=())
    code, document = told(tmp_path, data)
    assert code == 3
    assert {"QP-ENVOY-002 fail", "QP-ENVOY-003 fail"} <= set(ids(document))
    assert any("cluster b" in f["title"] for f in document["findings"])


def test_a_fips_build_takes_no_provider(tmp_path: Path) -> None:
    for kind in (Kind.QAT, Kind.CRYPTOMB):
        code, document = told(tmp_path, dump(chain(tls_certificate(kind)), fips=True))
        assert (code, ids(document)) == (3, ["QP-ENVOY-002 fail"])
        assert "FIPS" in document["findings"][0]["title"]
    assert ids(told(tmp_path, dump(chain(tls_certificate(None)), fips=True))[1]) == ["QP-ENVOY-001 warn"]


# -- what istioctl and egctl print ------------------------------------------------------------------------------------


def camel(value: Any) -> Any:
    """As istioctl prints it."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z0-9])", lambda m: m[1].upper(), key): camel(inner) for key, inner in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


CERTIFICATE = {
    "certificate_chain": {"filename": "/cert.pem"},
    "private_key_provider": {"provider_name": "qat", "typed_config": {"@type": TYPE_URLS[Kind.QAT]}},
}
LISTENER = {
    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "name": "https",
    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
    "filter_chains": [
        {
            "transport_socket": {
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {"tls_certificates": [CERTIFICATE]},
                }
            }
        }
    ],
}
BARE = {key: value for key, value in LISTENER.items() if key != "@type"}
SECTION = {
    "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
    "static_listeners": [{"listener": LISTENER}],
}
SECRETS = {"dynamic_active_secrets": [{"name": "kubernetes://gw", "secret": {"tls_certificate": CERTIFICATE}}]}


@pytest.mark.parametrize(
    "printed",
    [
        {"configs": [SECTION]},
        [LISTENER],
        [BARE],
        {"namespace": {"pod": {"configs": [SECTION]}}},
        {"namespace": {"pod": SECTION}},
    ],
    ids=["all", "listener", "listener without its type", "egctl all", "egctl listener"],
)
@pytest.mark.parametrize("spelling", [camel, lambda value: value], ids=["camelCase", "snake_case"])
def test_other_forms_of_a_dump(spelling: Callable[[Any], Any], printed: Any, tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(spelling(printed)))
    ran = qatprep_("inspect", "config-dump", str(path), "--expect", "qat", "--output", "json")
    document = json.loads(ran.out)
    assert [(row["listener"], row["address"], row["provider"]) for row in document["listeners"]] == [
        ("https", "0.0.0.0:8443", "qat")
    ]
    assert (ran.code, document["findings"]) == (0, [])


@pytest.mark.parametrize(("provider", "code"), [("qat", 0), ("cryptomb", 3)])
def test_secrets_alone(provider: str, code: int, tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps(camel(SECRETS)))
    ran = qatprep_("inspect", "config-dump", str(path), "--expect", provider, "--output", "json")
    assert ran.code == code
    assert [(row["secret"], row["provider"]) for row in json.loads(ran.out)["listeners"]] == [
        ("kubernetes://gw", "qat")
    ]


def test_several_pods_at_once(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"ns": {"one": {"configs": [SECTION]}, "two": {"configs": [SECTION]}}}))
    ran = qatprep_("inspect", "config-dump", str(path))
    assert ran.code == 2 and "several pods" in ran.err
