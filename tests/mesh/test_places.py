"""inspect manifest: where each finding is, what was recognised, and why it matters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from qatprep.mesh.provider import TYPE_URLS, Kind
from tests.mesh.cli import qatprep_

# The line that a finding must name ends in "# here": a comment in YAML, and in YAML within a text.
CASES: dict[str, tuple[str, str, str]] = {
    "the second container": (
        """\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web, namespace: shop}
        spec:
          template:
            spec:
              containers:
              - name: app
              - name: istio-proxy
                resources:
                  limits:
                    qat.intel.com/dc: 1  # here
        """,
        "Deployment shop/web",
        'spec.template.spec.containers[1] "istio-proxy" resources.limits["qat.intel.com/dc"]',
    ),
    "an item of a List": (
        """\
        kind: List
        items:
        - {kind: Secret}
        - kind: Pod
          metadata: {name: a}
          spec: {containers: [{resources: {limits: {
            qat.intel.com/dc: 1 # here
          }}}]}
        """,
        "Pod a",
        'spec.containers[0].resources.limits["qat.intel.com/dc"]',
    ),
    "the third document": (
        """\
        kind: Secret
        ---
        # nothing
        ---
        kind: Pod
        spec: {containers: [{name: a, resources: {limits: {qat.intel.com/dc: 1}}}]} # here
        """,
        "Pod",
        'spec.containers[0] "a" resources.limits["qat.intel.com/dc"]',
    ),
    "an annotation": (
        """\
        kind: Gateway
        metadata:
          name: g
          annotations:
            proxy.istio.io/config: |

              concurrency: 2
              privateKeyProvider:
                cryptomb:
                  pollDelay: 1s # here
        """,
        "Gateway g",
        'metadata.annotations["proxy.istio.io/config"] > privateKeyProvider.cryptomb.pollDelay',
    ),
    "an annotation in quotes": (
        """\
        kind: Gateway
        metadata:
          annotations:
            proxy.istio.io/config: "privateKeyProvider: # here\\n\\n\\n  cryptomb: {pollDelay: 1s}\\n"
        """,
        "Gateway",
        'metadata.annotations["proxy.istio.io/config"] > privateKeyProvider.cryptomb.pollDelay',
    ),
    "an annotation whose lines are folded": (
        """\
        kind: Gateway
        metadata:
          annotations:
            proxy.istio.io/config: > # here
              {privateKeyProvider:
                {cryptomb: {pollDelay: 1s}}}
        """,
        "Gateway",
        'metadata.annotations["proxy.istio.io/config"] > privateKeyProvider.cryptomb.pollDelay',
    ),
    "Envoy's file in a ConfigMap": (
        """\
        kind: ConfigMap
        metadata: {name: envoy}
        data:
          envoy.yaml: |
            staticResources:
              listeners:
              - name: https
                filterChains:
                - transportSocket:
                    typedConfig:
                      commonTlsContext:
                        tlsCertificates:
                        - privateKeyProvider:
                            providerName: cryptomb
                            typedConfig:
                              "@type": CRYPTOMB
                              pollDelay: 5 # here
        """,
        "ConfigMap envoy",
        'data["envoy.yaml"] > staticResources.listeners[0] "https" filterChains[0].transportSocket.typedConfig.'
        "commonTlsContext.tlsCertificates[0].privateKeyProvider.typedConfig.pollDelay",
    ),
    "a text in a text": (
        """\
        kind: ConfigMap
        data:
          outer: |
            # one
            inner: |2
                defaultConfig:
                  privateKeyProvider: {sgx: {}} # here
        """,
        "ConfigMap",
        "data.outer > inner > defaultConfig.privateKeyProvider.sgx",
    ),
    "a text in a quoted text": (
        """\
        kind: ConfigMap
        data:
          outer: "# here\\ninner: |\\n  # two\\n  defaultConfig: {privateKeyProvider: {sgx: {}}}\\n"
        """,
        "ConfigMap",
        "data.outer > inner > defaultConfig.privateKeyProvider.sgx",
    ),
    "what an alias stands for": (
        """\
        x: &limits
          limits:
            qat.intel.com/dc: 1 # here
        kind: Pod
        spec: {containers: [{name: a, resources: *limits}]}
        """,
        "Pod",
        'spec.containers[0] "a" resources.limits["qat.intel.com/dc"]',
    ),
    "what was merged": (
        """\
        x: &base
          resources:
            limits: {qat.intel.com/dc: 1} # here
        kind: Pod
        spec: {containers: [{name: a, <<: *base}]}
        """,
        "Pod",
        'spec.containers[0] "a" resources.limits["qat.intel.com/dc"]',
    ),
    "what overrides what was merged": (
        """\
        x: &base
          resources: {}
        kind: Pod
        spec:
          containers:
          - <<: *base
            resources:
              limits: {qat.intel.com/dc: 1} # here
        """,
        "Pod",
        'spec.containers[0].resources.limits["qat.intel.com/dc"]',
    ),
    "an EnvoyFilter's patch": (
        """\
        kind: EnvoyFilter
        metadata: {name: f, namespace: istio-system}
        spec:
          configPatches:
          - applyTo: LISTENER
          - patch:
              value:
                provider_name: qta # here
                typed_config: {poll_delay: 0.005s}
        """,
        "EnvoyFilter istio-system/f",
        "spec.configPatches[1].patch.value.provider_name",
    ),
    "services in a text": (
        """\
        kind: ConfigMap
        data:
          qat.conf: |
            # of the init container
            ServicesEnabled=rsa # here
        """,
        "ConfigMap",
        'data["qat.conf"]',
    ),
    "values of a chart": (
        """\
        # values
        resources:
          limits:
            qat.intel.com/dc: 1 # here
        """,
        "",
        'resources.limits["qat.intel.com/dc"]',
    ),
}


def inspect(tmp_path: Path, text: str, *more: str) -> Any:
    path = tmp_path / "m.yaml"
    path.write_bytes(text.encode())
    return json.loads(qatprep_("inspect", "manifest", str(path), "--output", "json").out)


def dedented(text: str) -> str:
    text = text.replace("CRYPTOMB", TYPE_URLS[Kind.CRYPTOMB])
    return "".join(line[8:] if line.strip() else "\n" for line in text.splitlines(keepends=True))


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CR LF"])
@pytest.mark.parametrize("case", CASES)
def test_where_a_finding_is(case: str, newline: str, tmp_path: Path) -> None:
    text, name, path = CASES[case]
    text = dedented(text)
    here = next(number for number, line in enumerate(text.splitlines(), 1) if "# here" in line)
    document = text[: text.index("# here")].split("---\n")
    found = inspect(tmp_path, text.replace("\n", newline))["findings"]
    places = [
        (f["location"]["object"] or "", f["location"]["path"], f["location"]["line"], f["location"]["document"])
        for f in found
        if f["status"] == "fail"
    ]
    # What an anchor names is judged where it is written as well.
    assert places[-1] == (name, path, here, len(document)) and {line for _, _, line, _ in places} == {here}


@pytest.mark.parametrize("indent", ["  ", "\t"], ids=["blanks", "tabs"])
def test_json_has_lines_too(indent: str, tmp_path: Path) -> None:
    pod = {"kind": "Pod", "spec": {"containers": [{"name": "a", "resources": {"limits": {"qat.intel.com/dc": 1}}}]}}
    text = json.dumps({"kind": "List", "items": [{"kind": "Secret"}, pod]}, indent=indent)
    here = next(number for number, line in enumerate(text.splitlines(), 1) if "/dc" in line)
    location = next(f for f in inspect(tmp_path, text)["findings"] if f["status"] == "fail")["location"]
    assert (location["line"], location["item"], location["object"]) == (here, 1, "Pod")


HELM = """\
---
# Source: gateway/templates/serviceaccount.yaml
kind: ServiceAccount
---
# Source: gateway/templates/deployment.yaml
kind: Pod
metadata: {name: g}
spec: {containers: [{name: a, resources: {requests: {qat.intel.com/cy: 1}}}]}
"""


def test_the_screen_names_file_line_object_document_and_template(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HELM)
    out = " ".join(qatprep_("inspect", "manifest", str(path), columns=200).out.split())
    assert f"where {path}:8 Pod g (document 2, rendered from gateway/templates/deployment.yaml)" in out
    assert 'seen spec.containers[0] "a" resources.requests["qat.intel.com/cy"]: limits not set, requests 1' in out


def test_a_pipe_has_lines(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "qatprep", "inspect", "manifest", "-"]
    ran = subprocess.run(argv, input=HELM, capture_output=True, text=True, check=False)
    assert ran.returncode == 3 and "standard input:8  Pod g" in ran.stdout


# -- what was recognised ----------------------------------------------------------------------------------------------

SEEN = {
    "kubernetes": ["Deployment default/envoy-tls", "1 container", "qat.intel.com/cy: 1", "runAsUser 101",
                   "QAT_POLICY 1", "memlock limit of 128M", "intel.feature.node.kubernetes.io/qat"],
    "kubernetes --devices 8": ["qat.intel.com/cy: 8", "memlock limit of 192M"],
    "kubernetes -p cryptomb": ["1 container", "feature.node.kubernetes.io/cpu-cpuid.AVX512"],
    "kubernetes --as device-plugin": ["DaemonSet kube-system/", "Intel's QAT device plugin"],
    "kubernetes --as device-plugin-operator": ["QatDevicePlugin", "QAT device plugin of Intel's operator, image"],
    "istio -p qat": ["podAnnotations", "Istio's private key provider: qat pollDelay 5ms", "qat.intel.com/cy: 1"],
    "istio -p cryptomb --as gateway-api": ["ConfigMap istio-system/tls-gateway-options", "data.deployment > spec",
                                           "cryptomb pollDelay 10ms", "in: Gateway istio-system/tls-gateway"],
    "envoy -p cryptomb": ["an Envoy configuration, private key provider: cryptomb poll_delay 0.010s",
                          "admin on 127.0.0.1"],
    "envoy -p plain": ["no private key provider: it signs in software"],
}  # fmt: skip


@pytest.mark.parametrize("argv", SEEN)
def test_what_was_recognised_is_said(argv: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(qatprep_("render", *argv.split()).out)
    out = " ".join(qatprep_("inspect", "manifest", str(path)).out.split())
    assert "no mistake in what was recognised" in out
    assert [words for words in SEEN[argv] if words not in out] == []


@pytest.mark.parametrize(
    "text",
    [
        "kind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: nginx}]}}}\n",
        "kind: ConfigMap\ndata: {a: b}\n",
        "replicas: 2\n",
        "kind: List\nitems: []\n",
    ],
)
def test_nothing_recognised_is_not_the_same_as_no_mistake(text: str, tmp_path: Path) -> None:
    assert inspect(tmp_path, text)["result"] == "unknown"
    ran = qatprep_("inspect", "manifest", str(tmp_path / "m.yaml"))
    assert ran.code == 0 and "no mistake" not in ran.out
    assert "nothing about QAT, CryptoMB or Envoy in it" in " ".join(ran.out.split()) and "Looked for: " in ran.out


# -- why, and what to do ----------------------------------------------------------------------------------------------


def everything_wrong() -> list[str]:
    data = Path(__file__).parent
    field = yaml.safe_load((data / "field.yaml").read_text())["manifest"]
    return [*(case["text"] for case in field.values()), (data / "data/paper-qat.yaml").read_text(),
            *(dedented(text) for text, _, _ in CASES.values())]  # fmt: skip


def test_each_finding_has_a_cause_and_a_fix_that_can_be_pasted(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    for text in everything_wrong():
        path = tmp_path / "m.yaml"
        path.write_text(text)
        out = qatprep_("inspect", "manifest", str(path), "-o", "json").out
        found += json.loads(out)["findings"] if out else []
    assert len({f["title"] for f in found}) > 40
    for f in found:
        assert f["cause"].endswith(".") and f["fix"], f
        assert not any(step.startswith(("did you", "one of")) for step in f["fix"]), f
