"""inspect manifest: the same mistakes wherever they are, and a word on what was not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.cli import qatprep_

DC = "[{name: a, image: b, resources: {limits: {qat.intel.com/dc: 1}, requests: {qat.intel.com/dc: 1}}}]"
"""Containers that ask for a VF which cannot sign; as root and without QAT_POLICY, of which they are warned."""
WRONG = "{qat: {pollDelay: 2s}}"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
TYPE = "type.googleapis.com/envoy.extensions.private_key_providers.qat.v3alpha.QatPrivateKeyMethodConfig"


def document(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    return json.loads(qatprep_("inspect", "manifest", str(path), "--output", "json").out)


def failures(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    """Of each failure the id and where it is."""
    findings = document(tmp_path, text)["findings"]
    return [(f["id"], f["evidence"][0]["path"]) for f in findings if f["status"] == "fail"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("kind: CronJob\nmetadata: {name: x}\nspec: {jobTemplate: {spec: {template: {spec: {containers: %s}}}}}",
         'spec.jobTemplate.spec.template.spec.containers[0] "a"'),
        ("kind: Pod\nmetadata: {name: x}\nspec: {initContainers: %s, containers: [{name: z}]}",
         'spec.initContainers[0] "a"'),
        ("kind: Rollout\nmetadata: {name: x}\nspec: {template: {spec: {containers: %s}}}",
         'spec.template.spec.containers[0] "a"'),
        ("kind: Whatever\nspec: {deep: [{er: {spec: {containers: %s}}}]}", 'spec.deep[0].er.spec.containers[0] "a"'),
        ("kind: IstioOperator\nspec: {components: {ingressGateways: [{k8s: %s}]}}",
         'spec.components.ingressGateways[0].k8s[0] "a"'),
        ("kind: ConfigMap\nmetadata: {name: x}\ndata:\n  deployment: |\n"
         "    spec: {template: {spec: {containers: %s}}}",
         'data.deployment > spec.template.spec.containers[0] "a"'),
    ],
)  # fmt: skip
def test_pods_and_resources_anywhere(text: str, where: str, tmp_path: Path) -> None:
    path = where + ' resources.limits["qat.intel.com/dc"]'
    assert failures(tmp_path, "apiVersion: x/v1\n" + text % DC) == [("QP-K8S-003", path)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("kind: Gateway\nmetadata: {name: g}\n"
         "spec: {infrastructure: {annotations: {proxy.istio.io/config: 'privateKeyProvider: %s'}}}",
         'spec.infrastructure.annotations["proxy.istio.io/config"] > privateKeyProvider'),
        ("kind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n    defaultConfig: {privateKeyProvider: %s}",
         "data.mesh > defaultConfig.privateKeyProvider"),
        ("kind: IstioOperator\nspec: {meshConfig: {defaultConfig: {privateKeyProvider: %s}}}",
         "spec.meshConfig.defaultConfig.privateKeyProvider"),
        ("kind: Istio\nspec: {values: {meshConfig: {defaultConfig: {privateKeyProvider: %s}}}}",
         "spec.values.meshConfig.defaultConfig.privateKeyProvider"),
    ],
)  # fmt: skip
def test_proxy_configs_anywhere(text: str, where: str, tmp_path: Path) -> None:
    path = f"{where}.qat.pollDelay"
    assert failures(tmp_path, "apiVersion: x/v1\n" + text % WRONG) == [("QP-ISTIO-001", path)]


@pytest.mark.parametrize(
    "provider",
    [
        f"private_key_provider: {{provider_name: qat, typed_config: {{'@type': {TYPE}, poll_delay: 5ms}}}}",
        f"privateKeyProvider: {{providerName: qat, typedConfig: {{'@type': {TYPE}, pollDelay: 5ms}}}}",
    ],
    ids=["snake_case", "camelCase"],
)
@pytest.mark.parametrize(
    "around",
    [
        "kind: EnvoyFilter\nspec: {configPatches: [{patch: {value: {transport_socket: {typed_config: {'@type': %s, "
        "common_tls_context: {tls_certificates: [{%s}]}}}}}}]}",
        "kind: EnvoyFilter\nspec: {configPatches: [{patch: {value: {transportSocket: {typedConfig: {'@type': %s, "
        "commonTlsContext: {tlsCertificates: [{%s}]}}}}}}]}",
        "kind: EnvoyPatchPolicy\nspec: {jsonPatches: [{type: %s, operation: {value: {%s}}}]}",
        "staticResources: {listeners: [{typedConfig: {'@type': %s, commonTlsContext: {tlsCertificates: [{%s}]}}}]}",
    ],
    ids=["EnvoyFilter", "EnvoyFilter in camelCase", "EnvoyPatchPolicy", "static"],
)
def test_envoy_anywhere_in_both_spellings(around: str, provider: str, tmp_path: Path) -> None:
    assert [id for id, _ in failures(tmp_path, around % (TLS, provider))] == ["QP-ENVOY-005"]


def test_a_patch_that_is_the_provider_itself(tmp_path: Path) -> None:
    value = f"{{provider_name: cryptomb, typed_config: {{'@type': {TYPE}, poll_delay: 0.005s}}}}"
    text = f"kind: EnvoyPatchPolicy\nmetadata: {{name: p}}\nspec: {{jsonPatches: [{{operation: {{value: {value}}}}}]}}"
    assert failures(tmp_path, text) == [("QP-ENVOY-004", "spec.jsonPatches[0].operation.value.typed_config.@type")]


GATEWAY = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: g}
spec:
  template:
    metadata: {annotations: {proxy.istio.io/config: 'privateKeyProvider: %s'}}
    spec:
      nodeSelector: {pool: icelake}
      containers: [{name: %s, image: auto}]
"""


@pytest.mark.parametrize(
    ("provider", "container", "expected"),
    [
        ("{qat: {pollDelay: 5ms}}", "istio-proxy", ["QP-K8S-008 fail"]),
        ("{qat: {pollDelay: 5ms}}", "app", ["QP-K8S-008 warn"]),
        ("{cryptomb: {pollDelay: 5ms}}", "istio-proxy", []),
        ("{cryptomb: {poll_delay: 5ms}}", "istio-proxy", []),
        ("{cryptomb: {pollDelay: 5ms, pool: 3}}", "istio-proxy", ["QP-ISTIO-001 warn"]),
        ("{cryptomb: {polldelay: 5ms}}", "istio-proxy", ["QP-ISTIO-001 warn", "QP-ISTIO-001 fail"]),
        ("{cryptomb: {pollDelay: 5ms}, qat: {pollDelay: 5ms}}", "app", ["QP-ISTIO-001 fail", "QP-K8S-008 warn"]),
    ],
)
def test_a_provider_and_what_it_needs(provider: str, container: str, expected: list[str], tmp_path: Path) -> None:
    found = document(tmp_path, GATEWAY % (provider, container))["findings"]
    assert sorted(f"{f['id']} {f['status']}" for f in found) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("intel.com/qat", "no name of Intel's QAT device plugin"),
        ("qat.intel.com/CY", "no resource with CY"),
        ("qat.intel.com/cy1_dc0", "no resource with cy1_dc0"),
    ],
)
def test_names_that_no_plugin_offers(name: str, words: str, tmp_path: Path) -> None:
    text = f"kind: Pod\nspec: {{containers: [{{name: a, resources: {{limits: {{{name}: 1}}}}}}]}}"
    titles = [f["title"] for f in document(tmp_path, text)["findings"] if f["status"] == "fail"]
    assert len(titles) == 1 and words in titles[0]


def test_half_a_vf(tmp_path: Path) -> None:
    text = 'kind: Pod\nspec: {containers: [{name: a, resources: {limits: {qat.intel.com/cy: "1.5"}}}]}'
    assert failures(tmp_path, text) == [("QP-K8S-008", 'spec.containers[0] "a" resources.limits["qat.intel.com/cy"]')]


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ("{kernelVfDrivers: [4xxxvf, 420xxvf], dpdkDriver: vfio-pci, maxNumDevices: 64}", ""),
        ("{kernelVfDrivers: [402xxvf]}", "fail"),
        ("{dpdkDriver: vfio_pci}", "fail"),
        ("{preferredAllocationPolicy: spread}", "fail"),
        ("{maxNumDevices: 0}", "fail"),
        ("{maxNumDevices: 1}", "warn"),
        ("{maxDevices: 4}", "fail"),
        ("{initImage: x, provisioningConfig: y}", "warn"),
    ],
)
def test_the_operators_own_fields(spec: str, status: str, tmp_path: Path) -> None:
    text = f"apiVersion: deviceplugin.intel.com/v1\nkind: QatDevicePlugin\nmetadata: {{name: q}}\nspec: {spec}"
    found = [f"{f['id']} {f['status']}" for f in document(tmp_path, text)["findings"]]
    assert found == ([f"QP-K8S-013 {status}"] if status else [])


@pytest.mark.parametrize(
    ("services", "status"), [("sym;asym", ""), ("sym;asym;dc", "warn"), ("rsa", "fail"), ("dcc;sym", "fail")]
)
def test_services_of_the_init_container(services: str, status: str, tmp_path: Path) -> None:
    text = f"kind: ConfigMap\nmetadata: {{name: q}}\ndata: {{qat.conf: 'ServicesEnabled={services}'}}"
    assert [f["status"] for f in document(tmp_path, text)["findings"]] == ([status] if status else [])


def test_what_was_not_judged_is_named(tmp_path: Path) -> None:
    text = (
        "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, resources: {limits: {qat.intel.com/cy: 1}}}]}\n"
        "---\nkind: Pod\nmetadata: {name: b, namespace: n}\nspec: {containers: [{name: c}]}\n---\n"
        "kind: ResourceClaimTemplate\nmetadata: {name: qat}\n---\nkind: Secret\n---\nfoo: 1\nbar: 2\n"
    )
    found = document(tmp_path, text)
    assert found["documents"] == 5 and [row["object"] for row in found["recognised"]] == ["Pod a"]
    assert found["not_judged"] == ["Pod n/b", "ResourceClaimTemplate qat", "Secret", "foo, bar"]
    out = qatprep_("inspect", "manifest", str(tmp_path / "m.yaml")).out
    assert "in: Pod n/b, ResourceClaimTemplate qat, Secret, foo, bar" in out


def test_a_template_is_told_from_broken_yaml(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("kind: Pod\nmetadata:\n  name: {{ .Values.name }}\n")
    ran = qatprep_("inspect", "manifest", str(path))
    assert ran.code == 2 and "helm template" in ran.err
