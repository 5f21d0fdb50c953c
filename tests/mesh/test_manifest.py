"""inspect manifest: mistakes that schemas miss, the paper's own among them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from tests.mesh.cli import Ran, qatprep_

DATA = Path(__file__).with_name("data")


def inspect(tmp_path: Path, text: str | bytes, *more: str) -> Ran:
    path = tmp_path / "m.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return qatprep_("inspect", "manifest", str(path), *more)


def found(tmp_path: Path, text: str) -> list[str]:
    document = json.loads(inspect(tmp_path, text, "--output", "json").out)
    return [f"{f['id']} {f['status']}" for f in document["findings"]]


@pytest.mark.parametrize(
    "argv",
    [
        ["kubernetes"], ["kubernetes", "--as", "pod", "-p", "cryptomb"], ["kubernetes", "--as", "device-plugin"],
        ["istio", "-p", "qat"], ["istio", "-p", "cryptomb", "--as", "mesh-config"],
        ["istio", "-p", "qat", "--as", "istio-operator"], ["istio", "-p", "cryptomb"],
        ["istio", "-p", "qat", "--as", "annotation"], ["istio", "-p", "qat", "--as", "gateway-api"],
        ["istio", "-p", "cryptomb", "--as", "gateway-api"], ["kubernetes", "--as", "device-plugin-operator"],
        ["envoy", "-p", "qat", "--fallback"], ["envoy", "-p", "cryptomb"], ["envoy", "-p", "plain"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_qatprep_renders_has_no_mistake(argv: list[str], tmp_path: Path) -> None:
    ran = inspect(tmp_path, qatprep_("render", *argv).out, "--output", "json")
    document = json.loads(ran.out)
    assert len(document["recognised"]) == 1
    # What a mesh-wide provider does to other nodes is said when it is printed as well.
    said = {"QP-ISTIO-005"} if "mesh-config" in argv or "istio-operator" in argv else set()
    assert [f for f in document["findings"] if f["id"] not in said] == []
    assert ran.code == 0


def test_every_mistake_of_the_papers_envoy_sample() -> None:
    """Each was tried on Envoy 1.40, which refuses it."""
    ran = qatprep_("inspect", "manifest", str(DATA / "paper-qat.yaml"), "--output", "json")
    said = " | ".join(f["title"] for f in json.loads(ran.out)["findings"])
    for words in (
        "admin is inside static_resources",
        "others can reach the admin interface on 0.0.0.0",
        "filters is in common_tls_context",
        "poll_delay is next to typed_config",
        "private_key is next to typed_config",
        "QATPrivateKeyMethodConfig, not QatPrivateKeyMethodConfig",
        "the router has no @type",
    ):
        assert words in said
    assert ran.code == 3


POD = """\
apiVersion: v1
kind: Pod
metadata: {name: x}
spec:
  containers:
  - name: envoy
    securityContext: {runAsUser: 101, runAsGroup: 101}
    env: [{name: QAT_POLICY, value: "1"}]
    resources:
      limits: {qat.intel.com/cy: 1}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (POD, []),
        (POD.replace("limits:", "requests:"), ["QP-K8S-008 fail"]),
        (POD.replace("    resources:\n      limits:", "    resources:\n    requests:"), ["QP-K8S-008 fail"]),
        (POD.replace("limits: {", "requests: {qat.intel.com/cy: 2}\n      limits: {"), ["QP-K8S-008 fail"]),
        (POD.replace("/cy", "/dc"), ["QP-K8S-003 fail"]),
        (POD.replace("/cy", "/asym-dc"), []),
        (POD.replace("runAsUser: 101", "runAsUser: 0"), ["QP-K8S-008 warn"]),
        (POD.replace(', runAsGroup: 101', ""), ["QP-K8S-008 warn"]),
        (POD.replace('value: "1"', 'value: "0"'), ["QP-K8S-008 warn"]),
        (POD.replace("runAsGroup: 101", "runAsGroup: 101, capabilities: {add: [IPC_LOCK]}"), ["QP-MEM-006 warn"]),
    ],
    ids=[
        "well", "requests alone", "the paper's indentation", "requests differ", "dc", "asym-dc", "root", "no group",
        "QAT_POLICY=0", "IPC_LOCK without root",
    ],
)  # fmt: skip
def test_pods(text: str, expected: list[str], tmp_path: Path) -> None:
    assert found(tmp_path, text) == expected


def test_lists_and_several_documents(tmp_path: Path) -> None:
    bad = POD.replace("limits:", "requests:")
    indented = "".join(f"  {line}\n" for line in bad.splitlines())
    assert found(tmp_path, f"apiVersion: v1\nkind: List\nitems:\n- {indented.lstrip()}") == ["QP-K8S-008 fail"]
    assert found(tmp_path, f"{POD}---\n{bad}") == ["QP-K8S-008 fail"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("qat: {pollDelay: 5ms}", []),
        ("qat: {pollDelay: 0.005s}", []),
        ("qat: {pollDelay: 1s}", ["QP-ISTIO-001 fail"]),
        ("qat: {pollDelay: 1.005s}", ["QP-ISTIO-001 fail"]),
        ("qat: {pollDelay: 500us}", ["QP-ISTIO-001 fail"]),
        ("qat: {}", ["QP-ISTIO-001 fail"]),
        ("qat: {pollDelay: 5ms, fallback: true}", ["QP-ISTIO-002 warn"]),
        ("rdrand: {pollDelay: 5ms}", ["QP-ISTIO-001 fail"]),
    ],
)
def test_istio(config: str, expected: list[str], tmp_path: Path) -> None:
    mesh = f"meshConfig: {{defaultConfig: {{privateKeyProvider: {{{config}}}}}}}\n"
    wide = ["QP-ISTIO-005 warn"] if config.startswith("qat") else []
    assert found(tmp_path, mesh) == expected + wide
    pod = POD.replace(
        "metadata: {name: x}",
        f"metadata:\n  annotations:\n    proxy.istio.io/config: |\n      privateKeyProvider: {{{config}}}",
    )
    assert found(tmp_path, pod) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("poll_delay: 0.005s", "poll_delay: 5ms", ["QP-ENVOY-005 fail"]),
        ("poll_delay: 0.005s", "poll_delay: 5", ["QP-ENVOY-005 fail"]),
        ("poll_delay: 0.005s", "other: 1", ["QP-ENVOY-005 fail"]),
        ("poll_delay: 0.005s", "poll_delay: 1s", ["QP-ENVOY-005 warn"]),
        ("provider_name: qat", "provider_name: qta", ["QP-ENVOY-004 fail"]),
        ("provider_name: qat\n", "provider_name: qat\n                      fallback: true\n", ["QP-ENVOY-004 fail"]),
    ],
)
def test_envoy(old: str, new: str, expected: list[str], tmp_path: Path) -> None:
    text = qatprep_("render", "envoy", "-p", "qat").out
    assert old in text
    assert found(tmp_path, text.replace(old, new)) == expected


BILLION = b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1) if n else b"lol"] * 9)) for n in range(20)
)
DEEP = b"".join(
    b"a%d: &a%d %s%s%s\n" % (n, n, b"[" * 20, b"*a%d" % (n - 1) if n else b"x", b"]" * 20) for n in range(4)
)


def test_aliases_and_merge_keys_are_read(tmp_path: Path) -> None:
    """What they stand for is judged as if it were written out."""
    text = """
        x-limits: &limits {limits: {qat.intel.com/dc: 1}}
        x-base: &base {resources: *limits}
        apiVersion: v1
        kind: Pod
        metadata: {name: x}
        spec:
          securityContext: {runAsUser: 101, runAsGroup: 101}
          containers:
          - {name: a, image: b, <<: *base, env: [{name: QAT_POLICY, value: "1"}]}
    """
    ran = inspect(tmp_path, textwrap.dedent(text))
    assert "qat.intel.com/dc cannot sign" in ran.out and ran.code == 3


DIRECT = """
    apiVersion: v1
    kind: Pod
    metadata: {name: x}
    spec:
      securityContext: {runAsUser: 101, runAsGroup: 101}
      containers:
      - {name: a, image: b, env: [{name: QAT_POLICY, value: "1"}], volumeMounts: [{name: v, mountPath: /dev/vfio}]
        , resources: RESOURCES, securityContext: {privileged: PRIVILEGED}}
      volumes: [{name: v, hostPath: {path: PATH}}]
"""


@pytest.mark.parametrize(
    ("path", "privileged", "resources", "titles"),
    [
        (
            "/dev/vfio",
            "true",
            "{limits: {qat.intel.com/cy: 1}}",
            [
                "a privileged container can open every VF of the node",
                "hostPath /dev/vfio shows the device nodes of all VFs",
            ],
        ),
        ("/dev/vfio/", "false", "{}", ["all VFs, and does not let the container open them"]),
        ("/dev", "false", "{}", ["hostPath /dev shows"]),
        ("/dev/shm", "false", "{}", []),
        ("/dev/shm", "true", "{}", ["a privileged container"]),
    ],
)
def test_ways_around_the_device_plugin(
    path: str, privileged: str, resources: str, titles: list[str], tmp_path: Path
) -> None:
    text = DIRECT.replace("PATH", path).replace("PRIVILEGED", privileged).replace("RESOURCES", resources)
    lines = " ".join(inspect(tmp_path, textwrap.dedent(text)).out.split())
    assert all(title in lines for title in titles), lines
    assert lines.count("QP-K8S-008 WARN") == len(titles)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no mapping"),
        (b"just words", "no mapping"),
        (b"a: [1,\n", "not YAML"),
        (b"a: b: c", ":1:5: not YAML"),
        (b"\x00\x01", "not YAML"),
        (b"\xff\xff", "not UTF-8"),
        (b"a: &a [*a]\n", ":1:8: *a is part of what it names"),
        (b"a: *b\n", "not YAML"),
        (BILLION, ":6:30: too large, at most 400000 YAML events"),
        (DEEP, "too deeply, at most 60 levels"),
        (b"[" * 5000, "too deeply"),
        (b"a: 1\nb: 2\na: 3\n", ":3:1: the key 'a' stands here twice"),
        (b"!!python/object/apply:os.system ['id']", "not YAML"),
        (b"a: 1\n" * 1_000_000, "has more than 4 MiB"),
    ],
)
def test_broken_yaml_is_told_so(text: bytes, words: str, tmp_path: Path) -> None:
    ran = inspect(tmp_path, text)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_what_is_not_known_is_said_to_be_so(tmp_path: Path) -> None:
    ran = inspect(tmp_path, "apiVersion: v1\nkind: ConfigMap\n")
    assert ran.code == 0
    assert "nothing about QAT, CryptoMB or Envoy in it" in " ".join(ran.out.split())
    assert "no mistake" not in ran.out


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  template:
    metadata:
      annotations:
        proxy.istio.io/config: |
          privateKeyProvider: {cryptomb: {pollDelay: 10ms}}
    spec:
      containers: []
"""


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("", ["QP-ISTIO-005 warn"]),
        ("nodeSelector: {kubernetes.io/os: linux, kubernetes.io/arch: amd64}", ["QP-ISTIO-005 warn"]),
        ("affinity: {podAntiAffinity: {}}", ["QP-ISTIO-005 warn"]),
        ("affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1}]}}",
         ["QP-ISTIO-005 warn"]),
        ('nodeSelector: {qatprep.feature.node.kubernetes.io/cryptomb: "true"}', []),
        ("nodeSelector: {pool: icelake}", []),
        ("nodeName: node-1", []),
        ("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}", []),
    ],
)  # fmt: skip
def test_cryptomb_wants_nodes_that_have_the_instructions(selection: str, expected: list[str], tmp_path: Path) -> None:
    assert found(tmp_path, f"{DEPLOYMENT}      {selection}\n") == expected
    values = "podAnnotations:\n  proxy.istio.io/config: |\n    privateKeyProvider: {cryptomb: {pollDelay: 10ms}}\n"
    assert found(tmp_path, f"{values}{selection}\n") == expected


def test_a_mesh_wide_provider_reaches_nodes_without_the_instructions(tmp_path: Path) -> None:
    wide = "spec: {meshConfig: {defaultConfig: {privateKeyProvider: {cryptomb: {pollDelay: 10ms}}}}}\n"
    ran = inspect(tmp_path, f"apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\n{wide}")
    assert "QP-ISTIO-005 WARN" in ran.out and "whole mesh" in ran.out
