"""inspect manifest: files that are broken, hostile, or no manifest at all. Never a traceback, always the documented
exit status, and a word on what is wrong."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from tests.mesh.cli import qatprep_
from tests.mesh.test_manifest import BILLION, DEEP

POD = "kind: Pod\nmetadata: {name: x}\nspec:\n  securityContext: {runAsUser: 101, runAsGroup: 101}\n"


def container(text: str, key: str = "containers") -> str:
    return f'{POD}  {key}:\n  - {{name: a, env: [{{name: QAT_POLICY, value: "1"}}], {text}}}\n'


def limits(amount: str) -> str:
    return container(f"resources: {{limits: {{qat.intel.com/cy: {amount}}}}}")


ONE = "{qat.intel.com/cy: 1}"
LONG = "x" * 100_000
HOSTILE = '{name: "\\e[2J\\u202e\\r", namespace: "\\x07"}'
OLD = f"kind: Gateway\nmetadata: {{annotations: {{proxy.istio.io/config: '{LONG}'}}}}\n"

# What it is: the text, the exit status, and what is said (on stderr where the status is 2).
ODD: dict[str, tuple[str | bytes, int, tuple[str, ...]]] = {
    # -- not YAML, or not safe to read
    "empty": ("", 2, ("has no mapping in it",)),
    "blanks": ("\n  \n\n", 2, ("has no mapping in it",)),
    "comments alone": ("# Source: a\n---\n# b\n", 2, ("has no mapping in it",)),
    "null documents": ("---\nnull\n---\n~\n", 2, ("has no mapping in it",)),
    "a list": ("- kind: Pod\n", 2, ("has no mapping in it",)),
    "a number": ("42\n", 2, ("has no mapping in it",)),
    "indented by tabs": ("kind: Pod\nspec:\n\tcontainers: []\n", 2, (":3:1: not YAML: a tab",)),
    "binary": (bytes(range(256)), 2, ("not UTF-8",)),
    "NUL": ("kind: Pod\0\n", 2, ("not YAML",)),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 2, ("not UTF-8",)),
    "a byte that is no UTF-8": (b"kind: Pod\nname: \xc3(\n", 2, ("not UTF-8", "byte 16")),
    "duplicate keys": (f"{POD}  containers: []\n  containers: []\n", 2, (":6:3: the key 'containers'", "twice")),
    "a key twice below an anchor": ("a: &a {b: 1, b: 2}\n", 2, (":1:14: the key 'b'",)),
    "an alias without an anchor": ("kind: *pod\n", 2, (":1:7: not YAML",)),
    "an alias of itself": ("kind: Pod\nspec: &s {containers: *s}\n", 2, ("part of what it names",)),
    "billion laughs": (BILLION, 2, ("too large",)),
    "nesting by aliases": (DEEP, 2, ("too deeply",)),
    "nesting": ("{a: " * 5000, 2, ("too deeply",)),
    "a Python object": ("a: !!python/object/apply:os.system [id]\n", 2, ("not YAML",)),
    "a date that is none": ("a: 2026-99-99\n", 2, (":1:4: not YAML",)),
    "a key that is a list": ("? [a]\n: b\n", 2, (":1:3: not YAML",)),
    "cut short": ('kind: Pod\nspec: {containers: [{name: "a', 2, ("not YAML",)),
    "JSON that is cut short": ('{"kind": "Pod", "spec": {', 2, ("not YAML",)),
    "a template of Helm's": ("kind: Pod\nname: {{ .Values.a }}\n", 2, ("template of Helm",)),
    # -- well formed, and odd
    "BOM": (codecs.BOM_UTF8 + limits("2.5").encode(), 3, (":6", "no whole number")),
    "UTF-16": (codecs.BOM_UTF16_LE + limits("2.5").encode("utf-16-le"), 3, (":6", "no whole number")),
    "CR LF": (limits("2.5").replace("\n", "\r\n"), 3, (":6", "no whole number")),
    "no line feed at the end": (limits("2.5").rstrip("\n"), 3, (":6", "no whole number")),
    "JSON with tabs": (json.dumps({"kind": "Pod", "spec": {"containers": "x"}}, indent="\t"), 3, ("is text, not a",)),
    "a List of null": ("kind: List\nitems: [null, 7, [], {}]\n", 0, ("nothing was judged",)),
    "a List without items": ("kind: List\nitems: null\n", 0, ("nothing was judged",)),
    "a List that is a mapping": ("kind: List\nitems: {kind: Pod}\n", 0, ("nothing was judged",)),
    "kind is a list": ("kind: [Pod]\nmetadata: 7\nspec: x\n", 0, ("nothing was judged",)),
    "containers is a mapping": (f"{POD}  containers: {{name: a}}\n", 3, ("containers is a mapping, not a list", ":5")),
    "containers is text": (f"{POD}  containers: a\n", 3, ("containers is text, not a list",)),
    "containers is null": (f"{POD}  containers: null\n", 0, ("nothing was judged",)),
    "a container is text": (f"{POD}  containers: [a]\n", 3, ("an item of containers is text, not a mapping",)),
    "a container is null": (f"{POD}  containers: [null]\n", 0, ("nothing was judged",)),
    "containers of a kind of its own": ("kind: Farm\nspec: {containers: {name: a}}\n", 0, ("nothing was judged",)),
    "resources is text": (container("resources: small"), 3, ("resources is text, not a mapping",)),
    "limits is a list": (container("resources: {limits: [qat.intel.com/cy]}"), 3, ("limits is a list, not a mapping",)),
    "limits is null": (container("resources: {limits: null}"), 0, ("no mistake",)),
    "requests alone": (container("resources: {requests: {qat.intel.com/cy: 1}}"), 3, ("in requests only",)),
    "env is a mapping": (container("").replace('[{name: QAT_POLICY, value: "1"}]', "{QAT_POLICY: 1}"), 3,
                         ("env is a mapping, not a list",)),
    "securityContext is a list": (POD.replace("{runAsUser: 101, runAsGroup: 101}", "[]") + "  containers: []\n", 3,
                                  ("securityContext is a list, not a mapping",)),
    "1.5k VFs": (limits("1.5k"), 0, ("no mistake", "qat.intel.com/cy: 1.5k")),
    "1000m VFs": (limits("1000m"), 0, ("no mistake",)),
    "1e0 VFs": (limits("1e0"), 0, ("no mistake",)),
    "500m VFs": (limits("500m"), 3, ("no whole number",)),
    "half a Ki": (limits("0.0001Ki"), 3, ("no whole number",)),
    "minus one": (limits("-1"), 3, ("no whole number",)),
    "no VFs": (limits("0"), 0, ("0 VFs are asked for",)),
    "null VFs": (limits("null"), 0, ("0 VFs are asked for",)),
    "true VFs": (limits("true"), 3, ("True is no whole number",)),
    "a list of VFs": (limits("[1]"), 3, ("no whole number",)),
    "infinite VFs": (limits(".inf"), 3, ("no whole number",)),
    "VFs with many digits": (limits("9" * 5000), 2, ("not YAML",)),
    "VFs with many digits in quotes": (limits(f"'{'9' * 5000}'"), 3, ("no whole number",)),
    "equal in other words": (container(f"resources: {{limits: {ONE}, requests: {ONE.replace('1', '1000m')}}}"), 0,
                             ("no mistake",)),
    "an init container": (container(f"resources: {{limits: {ONE}}}", "initContainers"), 0,
                          ("init container, qat.intel.com/cy: 1",)),
    "a native sidecar": (container(f"restartPolicy: Always, resources: {{limits: {ONE}}}", "initContainers"), 0,
                         ("sidecar, qat.intel.com/cy: 1",)),
    "an ephemeral container": (container(f"resources: {{limits: {ONE}}}", "ephemeralContainers"), 3,
                               ("an ephemeral container asks for a VF",)),
    "an annotation that is a mapping": ("kind: Gateway\nmetadata: {annotations: {proxy.istio.io/config: {a: b}}}\n", 3,
                                        ("proxy.istio.io/config is a mapping, not text",)),
    "an annotation that is no YAML": ("kind: Gateway\nmetadata: {annotations: {proxy.istio.io/config: 'a: b: c'}}\n", 3,
                                      ("is not YAML", ":1:5")),
    "an annotation that is a word": (OLD, 3, ("proxy.istio.io/config is no mapping",)),
    "an annotation that is empty": ("kind: Gateway\nmetadata: {annotations: {proxy.istio.io/config: ''}}\n", 0, ()),
    "Envoy with wrong types": ("static_resources: [1]\nadmin: x\n", 0, ("an Envoy configuration",)),
    "a provider that is text": ("tls_certificates: {private_key_provider: qat}\n", 3, ("provider_name is missing",)),
    "privateKeyProvider is text": ("privateKeyProvider: qat\n", 0, ()),
    "a very long name": (limits("2.5").replace("name: a,", f"name: {LONG},"), 3, ("xxx...",)),
    "a very long key": (f"resources:\n  limits:\n    ? qat.intel.com/{LONG}\n    : 1\n", 3, ("...",)),
    "control characters in names": (limits("2.5").replace("{name: x}", HOSTILE), 3,
                                    ("Pod \\x07/\\x1b[2J\\u202e\\r",)),
    "control characters in keys": ('kind: Gateway\nspec: {"\\e]0;x\\a": {privateKeyProvider: {"\\e[1m": {}}}}\n', 3,
                                   ("\\x1b]0;x\\x07", "\\x1b[1m")),
    "a name that is a number": (limits("2.5").replace("{name: x}", "{name: 007, namespace: true}"), 3, ("Pod",)),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_an_odd_manifest(case: str, tmp_path: Path) -> None:
    text, code, words = ODD[case]
    path = tmp_path / "m.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ran = qatprep_("inspect", "manifest", str(path), columns=5000)
    assert ran.code == code, ran.out + ran.err
    said = ran.err if code == 2 else ran.out
    assert [w for w in words if w not in " ".join(said.split())] == [], said[:2000]
    assert bool(ran.err) == (code == 2) and len(said) < 10_000
    assert (ran.out + ran.err).replace("\n", "").isprintable()
    document = qatprep_("inspect", "manifest", str(path), "-o", "json")  # held against its schema there
    assert document.code == code and bool(document.out) == (code != 2)
