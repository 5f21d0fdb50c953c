"""What is rendered, as a person would use it; real Envoy and protobuf messages judge it in their own modules."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import qatprep
from qatprep.errors import InputError
from qatprep.mesh import durations
from qatprep.mesh.provider import Kind, choose
from qatprep.mesh.render.kubernetes import Workload
from tests.mesh.cli import qatprep_


def rendered(*argv: str) -> Any:
    ran = qatprep_("render", *argv)
    assert ran.code == 0, ran.err
    return yaml.safe_load(ran.out)


def certificate(config: Any) -> Any:
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    return chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0]


def test_envoy_qat_has_the_key_inside_the_provider() -> None:
    assert certificate(rendered("envoy", "-p", "qat")) == {
        "certificate_chain": {"filename": "/etc/ssl/cert.pem"},
        "private_key_provider": {
            "provider_name": "qat",
            "typed_config": {
                "@type": (
                    "type.googleapis.com/envoy.extensions.private_key_providers.qat.v3alpha.QatPrivateKeyMethodConfig"
                ),
                "poll_delay": "0.005s",
                "private_key": {"filename": "/etc/ssl/key.pem"},
            },
        },
    }


def test_envoy_fallback_has_the_key_outside_the_provider_too() -> None:
    made = certificate(rendered("envoy", "-p", "cryptomb", "--fallback"))
    assert made["private_key"] == {"filename": "/etc/ssl/key.pem"}
    assert made["private_key_provider"]["fallback"] is True
    assert made["private_key_provider"]["typed_config"]["poll_delay"] == "0.010s"


def test_envoy_admin_is_on_loopback_and_outside_static_resources() -> None:
    config = rendered("envoy", "-p", "plain", "--no-resumption")
    assert config["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9001}
    tls = config["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"]["typed_config"]
    assert tls["disable_stateless_session_resumption"] is True


def test_cryptomb_queue_sizes_have_a_bucket_each() -> None:
    setting = rendered("envoy", "-p", "cryptomb")["stats_config"]["histogram_bucket_settings"][0]
    assert setting["buckets"] == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    made = rendered("istio", "-p", "cryptomb", "--as", "envoy-filter")
    assert made["spec"]["configPatches"][0]["patch"]["value"]["stats_config"]["histogram_bucket_settings"] == [setting]


@pytest.mark.parametrize(
    ("given", "envoy", "istio"),
    [("5ms", "0.005s", "5ms"), ("0.005s", "0.005s", "5ms"), ("1000us", "0.001s", "1ms"), ("999ms", "0.999s", "999ms")],
)
def test_each_in_its_own_dialect(given: str, envoy: str, istio: str) -> None:
    delay = durations.parse(given)
    assert (durations.for_envoy(delay), durations.for_istio(delay)) == (envoy, istio)


def test_a_second_is_fine_for_envoy_and_nothing_through_istio() -> None:
    assert durations.for_envoy(durations.parse("1s")) == "1s"
    assert durations.for_envoy(durations.parse("1.005s")) == "1.005s"
    for text in ("1s", "1.005s"):
        with pytest.raises(InputError, match="below a second"):
            durations.for_istio(durations.parse(text))


@pytest.mark.parametrize(
    "text", ["5", "", "ms", "-5ms", "5m", "1e3ms", "5 ms x", "0ms", "500us", "5.5ms", "9" * 30 + "s"]
)
def test_delays_that_would_go_wrong_are_refused(text: str) -> None:
    ran = qatprep_("render", "envoy", "-p", "qat", f"--poll-delay={text}")
    assert ran.code == (0 if not text else 2)
    if text:
        assert ran.out == ""
        assert "fix:" in ran.err


def test_istio_annotation_and_values() -> None:
    values = rendered("istio", "-p", "qat", "--devices", "2", "--cpus", "4", "--resource", "asym")
    proxy = yaml.safe_load(values["podAnnotations"]["proxy.istio.io/config"])
    assert proxy == {"privateKeyProvider": {"qat": {"pollDelay": "5ms"}}, "concurrency": 4}
    assert values["resources"]["limits"] == {"cpu": "4", "memory": "1Gi", "qat.intel.com/asym": "2"}
    assert values["resources"]["requests"] == values["resources"]["limits"]
    assert values["containerSecurityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert values["containerSecurityContext"]["runAsUser"] == values["containerSecurityContext"]["runAsGroup"] == 1337
    assert rendered("istio", "-p", "cryptomb", "--as", "mesh-config") == {
        "meshConfig": {"defaultConfig": {"privateKeyProvider": {"cryptomb": {"pollDelay": "10ms"}}}}
    }


def test_istio_refuses_to_promise_fallback() -> None:
    ran = qatprep_("render", "istio", "-p", "qat", "--fallback")
    assert ran.code == 2
    assert "very probably does not fall back" in ran.err


@pytest.mark.parametrize(("release", "code"), [("1.16", 2), ("1.16.9", 2), ("1.17", 0), ("1.30.3", 0), ("new", 2)])
def test_istio_releases(release: str, code: int) -> None:
    assert qatprep_("render", "istio", "-p", "qat", "--istio", release).code == code


def test_pod_has_what_schemas_miss() -> None:
    pod = rendered("kubernetes", "--as", "pod", "--devices", "2")
    container = pod["spec"]["containers"][0]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert {"name": "QAT_POLICY", "value": "1"} in container["env"]
    assert container["securityContext"]["runAsUser"] == container["securityContext"]["runAsGroup"] == 101
    assert container["args"][-2:] == ["--concurrency", "2"] and container["resources"]["limits"]["cpu"] == "2"
    assert pod["spec"]["volumes"][1]["secret"]["defaultMode"] == 0o440


def test_cryptomb_pod_asks_for_no_device() -> None:
    container = rendered("kubernetes", "-p", "cryptomb")["spec"]["template"]["spec"]["containers"][0]
    assert "env" not in container
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert "add" not in container["securityContext"]["capabilities"]


def test_device_plugin() -> None:
    made = rendered("kubernetes", "--as", "device-plugin")
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == [
        "-allocation-policy=balanced",
        "-max-num-devices=512",
        "-kernel-vf-drivers=4xxxvf,420xxvf,6xxxvf",
    ]
    assert made["metadata"]["namespace"] == "kube-system"

    spec = made["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "seLinuxOptions": {"type": "container_device_plugin_t"},
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["resources"]["limits"] == {"cpu": "140m", "memory": "30Mi"}


def test_device_plugin_for_the_operator() -> None:
    made = rendered("kubernetes", "--as", "device-plugin-operator", "--allocation-policy", "packed")
    assert made["kind"] == "QatDevicePlugin" and "namespace" not in made["metadata"]
    assert made["spec"]["kernelVfDrivers"] == ["4xxxvf", "420xxvf", "6xxxvf"]
    assert made["spec"]["preferredAllocationPolicy"] == "packed" and made["spec"]["dpdkDriver"] == "vfio-pci"
    assert "initImage" not in made["spec"]


def gateway(*argv: str) -> tuple[Any, Any]:
    """The Gateway, and the overlay of its Deployment."""
    ran = qatprep_("render", "istio", "--as", "gateway-api", *argv)
    assert ran.code == 0, ran.err
    options, made = yaml.safe_load_all(ran.out)
    reference = made["spec"]["infrastructure"]["parametersRef"]
    assert reference == {"group": "", "kind": "ConfigMap", "name": options["metadata"]["name"]}
    assert made["metadata"]["namespace"] == options["metadata"]["namespace"]
    return made, yaml.safe_load(options["data"]["deployment"])


def test_gateway_api() -> None:
    made, overlay = gateway("-p", "qat", "--devices", "2", "--name", "edge", "-n", "ingress")
    assert made["apiVersion"] == "gateway.networking.k8s.io/v1" and made["metadata"]["name"] == "edge"
    template = overlay["spec"]["template"]
    proxy = yaml.safe_load(template["metadata"]["annotations"]["proxy.istio.io/config"])
    assert proxy["privateKeyProvider"] == {"qat": {"pollDelay": "5ms"}}
    container = template["spec"]["containers"][0]
    assert container["name"] == "istio-proxy" and container["resources"]["limits"]["qat.intel.com/cy"] == "2"


# Pod Security Standards, level restricted, field by field: kubernetes.io/docs/concepts/security/pod-security-standards
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def not_restricted(spec: Any) -> list[str]:
    """What keeps the pod out of a namespace that enforces restricted."""
    wrong = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    wrong += [f"volume {v['name']}" for v in spec.get("volumes", []) if not _VOLUMES & set(v)]
    for container in spec["containers"]:
        context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
        capabilities = context.get("capabilities", {})
        checks = {
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "privileged": not context.get("privileged"),
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser") != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "capabilities.drop": "ALL" in capabilities.get("drop", []),
            "capabilities.add": not set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"},
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        wrong += [name for name, held in checks.items() if not held]
    return wrong


@pytest.mark.parametrize("provider", ["qat", "cryptomb"])
def test_pod_security_restricted_admits_what_is_rendered(provider: str) -> None:
    _, overlay = gateway("-p", provider)
    values = rendered("istio", "-p", provider)
    for spec in (
        rendered("kubernetes", "--as", "pod", "-p", provider)["spec"],
        rendered("kubernetes", "-p", provider)["spec"]["template"]["spec"],
        overlay["spec"]["template"]["spec"],
        {"containers": [{"securityContext": values["containerSecurityContext"]}]},
    ):
        assert not_restricted(spec) == []


def test_the_device_plugin_needs_a_privileged_namespace() -> None:
    """And its notes say so."""
    ran = qatprep_("render", "kubernetes", "--as", "device-plugin")
    assert "volume devdir" in not_restricted(yaml.safe_load(ran.out)["spec"]["template"]["spec"])
    assert "Pod Security level privileged" in ran.err


def test_nfd_file() -> None:
    ran = qatprep_("render", "kubernetes", "--as", "nfd")
    assert ran.out.splitlines()[1:] == ["intel.feature.node.kubernetes.io/qat=true"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["kubernetes", "--resource", "dc"], "no asymmetric crypto"),
        (["kubernetes", "--resource", "sym-dc"], "no asymmetric crypto"),
        (["kubernetes", "--resource", "sym;asym"], "no resource"),
        (["kubernetes", "--resource", "nvidia.com/gpu"], "no resource"),
        (["kubernetes", "--name", "Envoy_1"], "no Kubernetes name"),
        (["kubernetes", "--name", "a" * 64], "no Kubernetes name"),
        (["kubernetes", "--gid", "0"], "non-zero"),
        (["kubernetes", "--uid", "0"], "runAsNonRoot"),
        (["kubernetes", "--uid", "0", "-p", "cryptomb"], "runAsNonRoot"),
        (["istio", "-p", "qat", "--as", "gateway-api", "--istio", "1.25"], "parametersRef"),
        (["kubernetes", "--as", "device-plugin-operator", "--max-devices", "0"], "out of range"),
        (["kubernetes", "--cpus", "0"], "out of range"),
        (["kubernetes", "--memory", "lots"], "not a quantity"),
        (["kubernetes", "--image", "a b"], "no image"),
        (["kubernetes", "--as", "device-plugin", "--allocation-policy", "best"], "no allocation policy"),
        (["kubernetes", "--as", "device-plugin", "-p", "cryptomb"], "cryptomb needs no device plugin"),
        (["kubernetes", "--as", "nfd", "-p", "plain"], "no label"),
        (["envoy", "-p", "qat", "--port", "70000"], "not a port"),
        (["envoy", "-p", "qat", "--address", "localhost"], "no IP address"),
        (["envoy", "-p", "qat", "--key", "key.pem"], "no absolute path"),
        (["envoy", "-p", "qat", "--key", "/a\nb: c"], "no absolute path"),
        (["envoy", "-p", "plain", "--fallback"], "no provider"),
        (["envoy", "-p", "rdrand"], "rdrand"),
        (["istio", "-p", "plain"], "by itself"),
        (["istio", "-p", "qat", "--as", "envoy-filter"], "queues"),
    ],
)
def test_wrong_values_are_named(argv: list[str], words: str) -> None:
    ran = qatprep_("render", *argv)
    assert ran.code == 2
    assert words in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


# -- keys -------------------------------------------------------------------------------------------------------------


def pem(key: Any, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return data


@pytest.mark.parametrize("key_type", ["rsa2048", "p256"])
def test_generated_pair_belongs_together(key_type: str, tmp_path: Path) -> None:
    ran = qatprep_(
        "render", "envoy", "-p", "cryptomb", "--generate", str(tmp_path), "--key-type", key_type,
        "--host", "gateway.example.com", "--host", "127.0.0.1",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    cert = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    assert key.public_key() == cert.public_key()
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gateway.example.com"]
    assert "PRIVATE KEY" not in ran.out + ran.err


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").symlink_to("elsewhere")
    ran = qatprep_("render", "envoy", "-p", "qat", "--generate", str(tmp_path))
    assert (ran.code, ran.out) == (2, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cert.pem"]


def test_generate_where_nothing_can_be_written(tmp_path: Path) -> None:
    ran = qatprep_("render", "envoy", "-p", "qat", "--generate", str(tmp_path / "absent"))
    assert ran.code == 2
    assert "absent" in ran.err


def test_qat_does_not_take_an_ec_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    assert "RSA keys only" in qatprep_("render", "envoy", "-p", "qat", "--check-key", str(path)).err
    assert qatprep_("render", "envoy", "-p", "cryptomb", "--check-key", str(path)).code == 0
    refused = qatprep_("render", "envoy", "-p", "qat", "--generate", str(tmp_path / "x"), "--key-type", "p256")
    assert "RSA keys only" in refused.err


@pytest.mark.parametrize("provider", ["qat", "cryptomb", "plain"])
def test_envoy_takes_no_rsa_key_below_2048_bits(provider: str, tmp_path: Path) -> None:
    path = tmp_path / "small.pem"
    path.write_bytes(pem(rsa.generate_private_key(65537, 1024)))
    ran = qatprep_("render", "envoy", "-p", provider, "--check-key", str(path))
    assert ran.code == 2
    assert "2048 bits and more, and this is RSA 1024" in ran.err


@pytest.mark.parametrize("form", ["mesh-config", "istio-operator"])
@pytest.mark.parametrize(("provider", "lacking"), [("cryptomb", "CPU lacks the instructions"), ("qat", "QAT VF")])
def test_mesh_wide_is_warned_of(form: str, provider: str, lacking: str) -> None:
    ran = qatprep_("render", "istio", "-p", provider, "--as", form)
    assert "mesh-wide" in ran.err and lacking in ran.err and "QP-ISTIO-005" in ran.err
    assert "mesh-wide" not in qatprep_("render", "istio", "-p", provider).err


def test_fips_is_said() -> None:
    for argv in (["envoy", "-p", "qat"], ["envoy", "-p", "cryptomb"], ["istio", "-p", "cryptomb"]):
        assert "FIPS" in qatprep_("render", *argv).err
    assert "FIPS" not in qatprep_("render", "envoy", "-p", "plain").err


def test_cryptomb_selects_nodes_by_all_that_its_code_executes() -> None:
    values = rendered("istio", "-p", "cryptomb")
    assert set(values["nodeSelector"]) == {
        f"feature.node.kubernetes.io/cpu-cpuid.AVX512{name}"
        for name in ("F", "DQ", "BW", "VL", "IFMA", "VBMI", "VBMI2")
    }


def test_cryptomb_key_rules(tmp_path: Path) -> None:
    for name, key, code in (
        ("p384", ec.generate_private_key(ec.SECP384R1()), 2),
        ("rsa1536", rsa.generate_private_key(65537, 1536), 2),
        ("e3", rsa.generate_private_key(3, 2048), 2),
        ("rsa2048", rsa.generate_private_key(65537, 2048), 0),
    ):
        path = tmp_path / name
        path.write_bytes(pem(key))
        assert qatprep_("render", "envoy", "-p", "cryptomb", "--check-key", str(path)).code == code, name


@pytest.mark.parametrize("data", [b"", b"not a key", b"\xff\xfe\x00secret", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_no_key_at_all(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    ran = qatprep_("render", "envoy", "-p", "qat", "--check-key", str(path))
    assert ran.code == 2
    assert "secret" not in ran.err and "AAAA" not in ran.err


def test_encrypted_key_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(rsa.generate_private_key(65537, 2048), b"pw"))
    assert "encrypted" in qatprep_("render", "envoy", "-p", "qat", "--check-key", str(path)).err


# -- tune -------------------------------------------------------------------------------------------------------------


def tune(tmp_path: Path, **recommendation: Any) -> str:
    path = tmp_path / "tune.json"
    path.write_text(json.dumps({"schema": "qatprep.tune/1", "recommendation": recommendation}))
    return str(path)


def advice(provider: str, delay: Any) -> dict[str, Any]:
    return {"provider": provider, "poll_delay_ms": delay, "at_rate": 500.0, "reason": "measured", "warnings": []}


def test_tune_result_gives_the_delay(tmp_path: Path) -> None:
    recommendation = advice("cryptomb", 3)
    schema = json.loads((Path(qatprep.__file__).parent / "schema" / "tune.json").read_text())
    fastjsonschema.compile(schema["properties"]["recommendation"])(recommendation)
    path = tune(tmp_path, **recommendation)
    made = certificate(rendered("envoy", "-p", "cryptomb", "--tune", path))
    assert made["private_key_provider"]["typed_config"]["poll_delay"] == "0.003s"
    assert "measured on this node" in choose(Kind.CRYPTOMB, tune=path).source


@pytest.mark.parametrize(
    ("recommendation", "words"),
    [
        (advice("none", None), "not to accelerate"),
        (advice("qat", 5), "the provider 'qat'"),
        (advice("cryptomb", None), "without a poll delay"),
        (advice("cryptomb", True), "without a poll delay"),
        (advice("cryptomb", 0), "without a poll delay"),
        (advice("cryptomb", "3"), "without a poll delay"),
    ],
)
def test_tune_results_that_do_not_fit(recommendation: dict[str, Any], words: str, tmp_path: Path) -> None:
    ran = qatprep_("render", "envoy", "-p", "cryptomb", "--tune", tune(tmp_path, **recommendation))
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "qatprep.tune/2"}', "[" * 100000, "\x00"])
def test_tune_files_that_are_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text(text)
    ran = qatprep_("render", "envoy", "-p", "cryptomb", "--tune", str(path))
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_workload_checks_are_used_by_the_pod() -> None:
    with pytest.raises(InputError):
        Workload(choose(Kind.QAT), name="No Good").check()
