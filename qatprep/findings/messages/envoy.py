"""Envoy, its private key providers, and Istio: their sources are named in docs/mesh.md."""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Message, Source, rows_of

_PROVIDERS = r"(?:qat|cryptomb|kae)"
_istio = rows_of(Source.ISTIO)


def _row(
    key: str,
    pattern: str,
    finding: str,
    title: str,
    cause: str = "",
    fix: tuple[str, ...] = (),
    status: Status = Status.FAIL,
) -> Message:
    return Message(key, Source.ENVOY, pattern, finding, title, cause, fix, status)


ROWS = (
    # -- good news
    _row(
        "qat-started",
        r"initialized QAT private key provider",
        "QP-ENVOY-006",
        "QAT works in this Envoy",
        status=Status.OK,
    ),
    _row("qat-found", r"found \d+ QAT instances", "QP-ENVOY-006", "Envoy found QAT instances", status=Status.OK),
    # -- the provider does not start
    _row(
        "qat-not-started",
        r"Failed to start QAT device\.",
        "QP-ENVOY-006",
        "qatlib could not start",
        "No device in the container, no permission to open it, or too little memlock: lines before this say which.",
        ("qatprep explain QP-ENVOY-006",),
    ),
    _row(
        "cpu-lacks",
        r"Multi-buffer CPU instructions not available|illegal instruction.{0,40}crypto_mb",
        "QP-CPU-001",
        "the CPU lacks an instruction set that CryptoMB needs",
        "crypto_mb needs the AVX-512 instruction sets that doctor lists, or AVX-IFMA with a recent Envoy, and its "
        "registers switched on by the OS.",
        (
            "qatprep doctor --profile cryptomb",
            "Select nodes by the label qatprep.feature.node.kubernetes.io/cryptomb=true (qatprep features).",
        ),
    ),
    _row(
        "provider-not-loaded",
        rf"Failed to load private key provider: {_PROVIDERS}",
        "QP-ENVOY-002",
        "Envoy could not load the provider",
        "It is not built in, or could not start and there is no fallback: lines before this one say which.",
        ("qatprep explain QP-ENVOY-002", "qatprep explain QP-ENVOY-006"),
    ),
    _row(
        "provider-unknown",
        r"could not find @type 'type\.googleapis\.com/envoy\.extensions\.private_key_providers\.[\w.]{0,80}'"
        rf"|Didn't find a registered implementation for '{_PROVIDERS}'",
        "QP-ENVOY-002",
        "Envoy does not know the provider's message",
        "This image has no contrib extensions, or the type is misspelled (QatPrivateKeyMethodConfig, not QAT...). "
        "Envoy has written its complete configuration into the log as well, inline keys included.",
        ("Use Envoy's contrib image, or Istio's proxyv2.",),
    ),
    _row(
        "provider-x86",
        r"X86_64 architecture is required for (?:cryptomb provider|QAT)",
        "QP-ENVOY-002",
        "the providers are for x86-64 only",
        fix=("Use nodes with such a CPU: kubernetes.io/arch: amd64",),
    ),
    _row(
        "fips",
        r"Private key method doesn't support FIPS mode",
        "QP-ENVOY-002",
        "this Envoy is a FIPS build, which takes no private key provider",
        "Neither QAT nor CryptoMB is part of the validated module: the build refuses both, always.",
        ("Use an Envoy that is no FIPS build, or leave the provider out.",),
    ),
    # -- keys
    _row(
        "key-unreadable",
        r"Failed to read private key\.",
        "QP-ENVOY-003",
        "the provider could not read its key",
        "private_key holds no PEM of a private key: a path where inline_string was meant, a certificate, or an "
        "encrypted key.",
        ("qatprep render envoy --provider cryptomb --check-key FILE",),
    ),
    _row(
        "key-mismatch",
        r"KEY_VALUES_MISMATCH",
        "QP-ENVOY-003",
        "certificate and key do not belong together",
        "The key of the provider and that of the certificate chain are two: often one of them was renewed alone.",
        ("qatprep render envoy --provider qat --check-key FILE",),
    ),
    _row(
        "key-small",
        r"only RSA certificates with 2048-bit",
        "QP-ENVOY-003",
        "Envoy refuses the RSA certificate for its size",
        "It takes no RSA key below 2048 bits, whatever the provider takes; a FIPS build only 2048, 3072 and 4096.",
        ("Use a certificate of 2048 bits or more.",),
    ),
    _row(
        "operation-failed",
        r"private key operation failed\.",
        "QP-ENVOY-006",
        "a signature failed while Envoy ran",
        "The device or the library gave an error for this one: a PF that was restarted under its programs, a VF that "
        "is gone, or a key of another kind than the client asked for.",
        ("qatprep smoke --provider qat", "qatprep doctor --only driver"),
    ),
    _row(
        "qat-key",
        r"Only RSA keys are supported\.",
        "QP-ENVOY-003",
        "the QAT provider was given a key that is not RSA",
        "It takes RSA alone.",
        ("Use an RSA certificate.",),
    ),
    _row(
        "cryptomb-key",
        r"Only RSA keys of 1024, 2048, 3072,? and 4096 bits are supported|Only P-256 ECDSA keys are supported"
        r"|Not supported key type, only EC and RSA are supported|Only RSA keys with public exponent value 65537"
        r"|Only RSA keys with \"e\" parameter value 65537",
        "QP-ENVOY-003",
        "CryptoMB was given a key it does not take",
        "It takes RSA of 1024, 2048, 3072 and 4096 bits with e=65537, and ECDSA P-256.",
        ("qatprep render envoy --provider cryptomb --check-key FILE",),
    ),
    # -- the configuration
    _row(
        "fallback-no-key",
        r"Failed to load incomplete private key from path",
        "QP-ENVOY-004",
        "fallback has no key to fall back to",
        "Envoy's fallback uses private_key next to private_key_provider; Istio does not send that.",
        ("qatprep render envoy -p qat --fallback", "With Istio leave fallback out."),
    ),
    _row(
        "poll-delay",
        r"PollDelay: value must be greater than or equal to|poll_delay.{0,80}(?:illegal duration|must end with)"
        r"|[Ii]llegal duration format",
        "QP-ENVOY-005",
        "the poll delay is not one Envoy takes",
        "Envoy wants 0.005s, 1 ms or more. Istio turns 1s and more into what remains below a second.",
        ("qatprep render envoy -p qat", "With Istio: qatprep render istio -p qat"),
    ),
    _row(
        "router-type",
        r"Didn't find a registered implementation for 'envoy\.filters\.http\.router' with type URL: ''",
        "QP-ENVOY-004",
        "the router filter has no type",
        "The samples in Intel's guide have typed_config: {} there, which newer Envoys refuse.",
        ("qatprep render envoy -p qat",),
    ),
    _row(
        "field-misplaced",
        r"no such field: '(?:poll_delay|private_key|filters|admin|private_key_provider)'",
        "QP-ENVOY-004",
        "a field is in the wrong place",
        "As in the samples of Intel's guide: poll_delay and private_key belong into typed_config, filters next to "
        "transport_socket, admin at the top.",
        ("qatprep render envoy -p qat",),
    ),
    # -- Istio
    _istio(
        "istio-annotation",
        r"failed to parse proxy\.istio\.io/config annotation",
        "QP-ENVOY-004",
        "Istio does not take the pod's annotation",
        "proxy.istio.io/config is YAML in camelCase: privateKeyProvider, with qat or cryptomb, and pollDelay in it. "
        "Istio ignores an unknown field, and refuses YAML that is broken or a value of another type.",
        "qatprep render istio -p qat --as annotation",
    ),
)
