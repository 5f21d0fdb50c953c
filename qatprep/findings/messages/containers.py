"""Kubernetes, container runtimes, systemd, AppArmor and SELinux: sources in docs/mesh.md and docs/containers.md."""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Message, Source

ROWS = (
    # -- Kubernetes
    Message(
        "resource-insufficient",
        Source.KUBERNETES,
        r"Insufficient qat\.intel\.com/[a-z-]+",
        "QP-K8S-010",
        "no node has enough of the QAT resource that the pod asks for",
        "The name is not one a node has, or all VFs are taken.",
        ("kubectl describe node NODE", "qatprep doctor --only kubernetes"),
    ),
    Message(
        "resource-unavailable",
        Source.KUBERNETES,
        r"requested number of devices unavailable for qat\.intel\.com/[a-z-]+",
        "QP-K8S-010",
        "the kubelet had fewer VFs than the pod asks for",
        "The device plugin was not ready when the pod came, as after a reboot, or VFs are gone.",
        ("Delete the pod; make the VFs before the kubelet starts.",),
    ),
    Message(
        "limit-missing",
        Source.KUBERNETES,
        r"Limit must be set for non overcommitable resources",
        "QP-K8S-008",
        "the pod has requests without limits",
        "Extended resources need limits; the manifest in Intel's guide has requests alone.",
        ("Set resources.limits; requests may be left out.",),
    ),
    Message(
        "resource-name",
        Source.KUBERNETES,
        r'ResourceName "qat\.intel\.com/[^"]{0,60}" is invalid',
        "QP-K8S-005",
        "the device plugin gave a name that Kubernetes does not take",
        "Some plugin releases pass on services with ; in them.",
        ("Use a newer plugin, or services sym;asym.",),
    ),
    # -- AppArmor and SELinux
    Message(
        "apparmor",
        Source.AUDIT,
        r'apparmor="DENIED".{0,300}(?:vfio|qat|new_id)',
        "QP-K8S-006",
        "AppArmor denied access",
        "A plugin before 0.30 writes new_id, which AppArmor's default profile forbids.",
        ("Use a newer plugin; no overlay is needed then.",),
    ),
    Message(
        "selinux",
        Source.AUDIT,
        r"avc: +denied.{0,300}(?:vfio|qat)",
        "QP-K8S-006",
        "SELinux denied access",
        "The container's type may not use VFIO devices.",
        ("setsebool -P container_use_devices on", "The plugin's DaemonSet needs the type container_device_plugin_t."),
    ),
    # -- systemd
    Message(
        "limit-ignored",
        Source.SYSTEMD,
        r"Failed to parse resource value, ignoring: \S{1,40}",
        "QP-MEM-004",
        "systemd ignores a limit",
        "Sizes are bytes, or a number with one capital letter.",
        ("Write LimitMEMLOCK=134217728 or LimitMEMLOCK=128M.",),
    ),
    # -- containerd
    Message(
        "ownership-on",
        Source.CONTAINERD,
        r"DeviceOwnershipFromSecurityContext:true|device_ownership_from_security_context\W{1,4}true",
        "QP-RT-001",
        "containerd started with device ownership on",
        status=Status.OK,
    ),
    Message(
        "ownership-off",
        Source.CONTAINERD,
        r"DeviceOwnershipFromSecurityContext:false|device_ownership_from_security_context\W{1,4}false",
        "QP-RT-001",
        "containerd started with device ownership off",
        "Pods that do not run as root cannot open their VFs.",
        ("qatprep explain QP-RT-001",),
    ),
    Message(
        "containerd-refuses",
        Source.CONTAINERD,
        r"containerd config version `\d+` is not supported|unsupported config version"
        r"|invalid plugin key URI \"cri\""
        r"|drop-in config version \d+ higher than root config version \d+|Can't convert \S{1,20} to bool"
        r"|cannot decode TOML string into struct field config\.RuntimeConfig\.DeviceOwnership"
        r"|failed to (?:load|unmarshal) TOML",
        "QP-RT-002",
        "containerd refuses its configuration",
        "Its version, its syntax or the type of a value is wrong.",
        ("containerd config dump", "qatprep explain QP-RT-002"),
    ),
    Message(
        "ownership-ignored",
        Source.CONTAINERD,
        r"Ignoring unknown key in TOML for plugin.{0,200}device_ownership",
        "QP-RT-005",
        "containerd ignores the key for device ownership",
        "It is in the table of another config version, or is misspelled.",
        ("qatprep doctor --only runtime",),
    ),
    Message(
        "table-twice",
        Source.CONTAINERD,
        r"toml: table \S{1,120} already exists",
        "QP-RT-005",
        "a k3s template names a table twice",
        "Its base template has the table already.",
        ("Use the option nonroot-devices instead: qatprep explain QP-RT-001",),
    ),
)
