"""Lines of logs that are known, of Envoy, qatlib, kernel, kubelet, containerd and Docker, each with cause and cure.

Words are from the sources named in docs/mesh.md; those of contrib Envoy and qatlib never came out of a run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from qatprep.mesh.inspect.source import shown


class Rule(NamedTuple):
    id: str
    pattern: str
    """What is looked for; it never reaches into what may be secret."""
    title: str
    cause: str
    fix: str
    good: bool = False
    """Good news: nothing to mend."""


_PROVIDERS = r"(?:qat|cryptomb|kae)"

RULES = (
    # -- good news
    Rule("QP-ENVOY-006", r"initialized QAT private key provider", "QAT works in this Envoy", "", "", good=True),
    Rule("QP-ENVOY-006", r"found \d+ QAT instances", "Envoy found QAT instances", "", "", good=True),
    Rule(
        "QP-RT-001",
        r"DeviceOwnershipFromSecurityContext:true|device_ownership_from_security_context\W{1,4}true",
        "containerd started with device ownership on", "", "", good=True,
    ),
    # -- the device is not in the container (appendix 1, 1a)
    Rule(
        "QP-K8S-010",
        r"/dev/vfio/[0-9]+['\": ].{0,40}no such file or directory|open(?:ing)? /dev/vfio/\S+.{0,20}no such file",
        "a VF's device file is not there",
        "No VF was given to the container, or the IOMMU group's number has changed (it may at every boot).",
        "resources.limits with the node's exact resource name; with Docker --device, once for each node",
    ),
    Rule(
        "QP-K8S-010",
        r"Insufficient qat\.intel\.com/[a-z-]+",
        "no node has enough of the QAT resource that the pod asks for",
        "The name is not one a node has, or all VFs are taken.",
        "kubectl describe node NODE, qatprep doctor --only kubernetes on the node",
    ),
    Rule(
        "QP-K8S-010",
        r"requested number of devices unavailable for qat\.intel\.com/[a-z-]+",
        "the kubelet had fewer VFs than the pod asks for",
        "The device plugin was not ready when the pod came, as after a reboot, or VFs are gone.",
        "Delete the pod; make the VFs before the kubelet starts",
    ),
    Rule(
        "QP-K8S-010",
        r"No device found|no QAT device|QAT_HW device not available",
        "qatlib found no device",
        "The container has no VF, or one process has taken all: without QAT_POLICY=1 the first takes one of each PF.",
        "resources.limits, and QAT_POLICY=1 in every container",
    ),
    # -- it may not be opened (1b)
    Rule(
        "QP-K8S-011",
        r"(?:open|access)\w* (?:vfio file )?/dev/vfio/\S+.{0,60}(?:permission denied|EACCES|errno=13)"
        r"|/dev/vfio/\S+: permission denied|Open vfio file /dev/vfio/\S+ failed",
        "the container's user may not open its VF",
        "The node in the container belongs to root.",
        "Device ownership in the runtime, runAsUser and runAsGroup in the pod (not 0): qatprep explain QP-RT-001",
    ),
    # -- memory (1c)
    Rule(
        "QP-MEM-005",
        r"RLIMIT_MEMLOCK \(\d+\) exceeded",
        "memory could not be locked: the limit is too low",
        "A VF pins 16 MiB, and the kernel counts it against the process's limit.",
        "Raise LimitMEMLOCK of the unit that runs containers, restart it, recreate the pod: qatprep explain QP-MEM-001",
    ),
    Rule(
        "QP-MEM-005",
        r"VFIO_IOMMU_MAP_DMA failed.{0,60}errno[= ]12|VFIO_IOMMU_MAP_DMA.{0,40}(?:Cannot allocate memory|ENOMEM)",
        "mapping memory for the VF failed with ENOMEM",
        "The memlock limit is too low. IPC_LOCK does not help a process that is not root.",
        "Raise LimitMEMLOCK of the unit that runs containers, restart it, recreate the pod: qatprep explain QP-MEM-001",
    ),
    Rule(
        "QP-IOMMU-002",
        r"VFIO_IOMMU_MAP_DMA failed.{0,60}errno[= ](?!12\b)\d+|VFIO_SET_IOMMU failed|No IOMMU"
        r"|IOMMU is not (?:enabled|supported)",
        "VFIO cannot use the IOMMU",
        "The IOMMU is off in the BIOS or the kernel, or another driver has functions of the same group.",
        "qatprep doctor --only iommu",
    ),
    # -- the wrong kind of instance (1d)
    Rule(
        "QP-K8S-003",
        r"Failed to start QAT\.(?!\w)|Failed to initialise all service instances|No (?:asym|crypto|cy) instances",
        "QAT has no instance that can sign",
        "The VF is of a PF that offers only dc or sym; or an instance did not start, as for too little memlock.",
        "A resource with cy or asym; qatprep doctor --only services",
    ),
    Rule(
        "QP-ENVOY-006",
        r"Failed to start QAT device\.",
        "qatlib could not start",
        "No device in the container, no permission to open it, or too little memlock: lines before this tell which.",
        "qatprep explain QP-ENVOY-006",
    ),
    Rule(
        "QP-CPU-001",
        r"Multi-buffer CPU instructions not available|illegal instruction.{0,40}crypto_mb",
        "the CPU lacks an instruction set that CryptoMB needs",
        "crypto_mb needs BMI2 and AVX-512 F, DQ, BW, IFMA and VBMI2, and registers the OS has switched on.",
        "qatprep doctor --profile cryptomb; a node selector on feature.node.kubernetes.io/cpu-cpuid.AVX512IFMA",
    ),
    # -- keys
    Rule(
        "QP-ENVOY-003",
        r"Only RSA keys are supported\.",
        "the QAT provider was given a key that is not RSA", "It takes RSA alone.", "Use an RSA certificate",
    ),
    Rule(
        "QP-ENVOY-003",
        r"Only RSA keys of 1024, 2048, 3072,? and 4096 bits are supported|Only P-256 ECDSA keys are supported"
        r"|Not supported key type, only EC and RSA are supported|Only RSA keys with public exponent value 65537",
        "CryptoMB was given a key it does not take",
        "It takes RSA of 1024, 2048, 3072 and 4096 bits with e=65537, and ECDSA P-256.",
        "qatprep render envoy --provider cryptomb --check-key FILE",
    ),
    # -- Envoy's configuration
    Rule(
        "QP-ENVOY-002",
        r"could not find @type 'type\.googleapis\.com/envoy\.extensions\.private_key_providers\.[\w.]{0,80}'",
        "Envoy does not know the provider's message",
        "This image has no contrib extensions, or the type is misspelt (QatPrivateKeyMethodConfig, not QAT...). "
        "Envoy has written its whole configuration into the log beside it, inline keys included.",
        "Envoy's contrib image, or Istio's proxyv2",
    ),
    Rule(
        "QP-ENVOY-002",
        rf"Failed to load private key provider: {_PROVIDERS}",
        "Envoy could not load the provider",
        "It is not built in, or could not start and there is no fallback: lines before this one tell which.",
        "qatprep explain QP-ENVOY-002, qatprep explain QP-ENVOY-006",
    ),
    Rule(
        "QP-ENVOY-004",
        r"Failed to load incomplete private key from path",
        "fallback has no key to fall back to",
        "Envoy's fallback uses private_key beside private_key_provider; Istio does not send that.",
        "qatprep render envoy --fallback; with Istio leave fallback out",
    ),
    Rule(
        "QP-ENVOY-005",
        r"PollDelay: value must be greater than or equal to|poll_delay.{0,80}(?:illegal duration|must end with)"
        r"|[Ii]llegal duration format",
        "the poll delay is not one Envoy takes",
        "Envoy wants 0.005s, 1 ms or more. Istio turns 1s and more into what is left below a second.",
        "qatprep render envoy, qatprep render istio",
    ),
    Rule(
        "QP-ENVOY-004",
        r"Didn't find a registered implementation for 'envoy\.filters\.http\.router' with type URL: ''",
        "the router filter has no type",
        "The paper's samples have typed_config: {} there, which newer Envoys refuse.",
        "qatprep render envoy",
    ),
    Rule(
        "QP-ENVOY-004",
        r"no such field: '(?:poll_delay|private_key|filters|admin|private_key_provider)'",
        "a field stands in the wrong place",
        "As in the paper's samples: poll_delay and private_key belong into typed_config, filters beside "
        "transport_socket, admin at the top.",
        "qatprep render envoy",
    ),
    Rule(
        "QP-ENVOY-002",
        r"X86_64 architecture is required for (?:cryptomb provider|QAT)",
        "the providers are for x86-64 only", "", "Use nodes with such a CPU: kubernetes.io/arch: amd64",
    ),
    # -- Kubernetes
    Rule(
        "QP-K8S-008",
        r"Limit must be set for non overcommitable resources",
        "the pod has requests without limits",
        "Extended resources need limits; the paper's manifest has requests alone.",
        "resources.limits; requests may be left out",
    ),
    Rule(
        "QP-K8S-005",
        r'ResourceName "qat\.intel\.com/[^"]{0,60}" is invalid',
        "the device plugin gave a name that Kubernetes does not take",
        "Some plugin releases pass on services with ; in them.",
        "A newer plugin, or services sym;asym",
    ),
    Rule(
        "QP-K8S-006",
        r'apparmor="DENIED".{0,300}(?:vfio|qat|new_id)',
        "AppArmor denied access",
        "A plugin before 0.30 writes new_id, which AppArmor's default profile forbids.",
        "A newer plugin; no overlay is needed then",
    ),
    Rule(
        "QP-K8S-006",
        r"avc: +denied.{0,300}(?:vfio|qat)",
        "SELinux denied access",
        "The container's type may not use VFIO devices.",
        "setsebool -P container_use_devices on; the plugin's DaemonSet needs container_device_plugin_t",
    ),
    # -- runtimes
    Rule(
        "QP-MEM-004",
        r"Failed to parse resource value, ignoring: \S{1,40}",
        "systemd ignores a limit",
        "Sizes are bytes, or a number with one capital letter.",
        "LimitMEMLOCK=134217728",
    ),
    Rule(
        "QP-RT-002",
        r"containerd config version `\d+` is not supported|unsupported config version"
        r"|invalid plugin key URI \"cri\""
        r"|drop-in config version \d+ higher than root config version \d+|Can't convert \S{1,20} to bool"
        r"|cannot decode TOML string into struct field config\.RuntimeConfig\.DeviceOwnership"
        r"|failed to (?:load|unmarshal) TOML",
        "containerd refuses its configuration",
        "Its version, its syntax or the type of a value.",
        "containerd config dump; qatprep explain QP-RT-002",
    ),
    Rule(
        "QP-RT-005",
        r"Ignoring unknown key in TOML for plugin.{0,200}device_ownership",
        "containerd ignores the key for device ownership",
        "It stands in the table of another config version, or is misspelt.",
        "qatprep doctor --only runtime",
    ),
    Rule(
        "QP-RT-005",
        r"toml: table \S{1,120} already exists",
        "a k3s template names a table twice",
        "Its base template has the table already.",
        "The option nonroot-devices instead: qatprep explain QP-RT-001",
    ),
    Rule(
        "QP-RT-001",
        r"DeviceOwnershipFromSecurityContext:false|device_ownership_from_security_context\W{1,4}false",
        "containerd started with device ownership off",
        "Pods that do not run as root cannot open their VFs.",
        "qatprep explain QP-RT-001",
    ),
    Rule(
        "QP-VFIO-003",
        r"group \d+ is not viable",
        "the VF's IOMMU group is not viable",
        "Another driver has a function of the same group.",
        "qatprep doctor --only binding",
    ),
)  # fmt: skip

_WORDS = (
    *("vfio", "qat", "cryptomb", "crypto_mb", "memlock", "private key", "multi-buffer", "rsa keys", "ecdsa keys"),
    *("key type", "toml", "config version", "deviceownership", "device_ownership", "overcommit", "resource value"),
    *("iommu", "router'", "duration", "polldelay", "poll_delay", "such field", "x86_64 arch", "plugin key", "to bool"),
    *("instances", "no device found", "viable", "avc:"),
)
"""A line without any of these is none of ours, and most lines of a log are not."""
_COMPILED = [(rule, re.compile(rule.pattern, re.IGNORECASE)) for rule in RULES]


@dataclass
class Hit:
    rule: Rule
    line: int
    """The first line, 1-based."""
    text: str
    """What matched on it, and nothing around."""
    count: int = 1


@dataclass
class Log:
    hits: list[Hit] = field(default_factory=list)
    lines: int = 0


def read(lines: Iterable[tuple[int, str]]) -> Log:
    """Go through numbered lines. Memory does not grow with the log."""
    log = Log()
    by_rule: dict[str, Hit] = {}
    for number, line in lines:
        log.lines = number
        low = line.lower()
        if not any(word in low for word in _WORDS):
            continue
        for rule, pattern in _COMPILED:
            match = pattern.search(line)
            if match is None:
                continue
            known = by_rule.get(rule.pattern)
            if known is not None:
                known.count += 1
            else:
                by_rule[rule.pattern] = Hit(rule, number, shown(match[0][:200]))
    log.hits = list(by_rule.values())
    return log
