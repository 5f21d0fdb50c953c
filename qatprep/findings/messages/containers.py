"""Kubernetes, container runtimes, systemd, AppArmor and SELinux: sources in docs/mesh.md and docs/containers.md."""

from __future__ import annotations

from qatprep.findings import Status
from qatprep.findings.messages.row import Message, Source, rows_of
from qatprep.hardware import PLUGIN_VF_DRIVERS

_k8s = rows_of(Source.KUBERNETES)
_plugin = rows_of(Source.PLUGIN)
_audit = rows_of(Source.AUDIT)
_systemd = rows_of(Source.SYSTEMD)

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
    _k8s(
        "resource-unhealthy",
        r"no healthy devices present|cannot allocate unhealthy devices|allocation request with unhealthy device",
        "QP-K8S-010",
        "the device plugin calls all VFs unhealthy",
        "Their PF is down, its heartbeat is lost, or two programs ask for the heartbeat at the same time.",
        "qatprep doctor --only driver",
    ),
    _k8s(
        "pod-security",
        r'violates PodSecurity "\S{1,60}"',
        "QP-K8S-008",
        "Pod Security does not admit the pod",
        "Level restricted forbids IPC_LOCK and wants seccompProfile RuntimeDefault. A container that is not root has "
        "no use of IPC_LOCK: its memlock limit decides.",
        "qatprep render kubernetes",
        "qatprep explain QP-MEM-006",
    ),
    _k8s(
        "plugin-resource",
        r'The QatDevicePlugin "[^"]{1,80}" is invalid',
        "QP-K8S-005",
        "the API server does not take the QatDevicePlugin",
        "A value is none of those it knows. kernelVfDrivers names drivers, not devices: one driver serves several of "
        "them.",
        f"Write kernelVfDrivers: [{', '.join(PLUGIN_VF_DRIVERS)}].",
    ),
    # -- the device plugin
    _plugin(
        "plugin-new-id",
        r"Device scan failed: open \S{1,120}new_id|write to driver failed: 8086 4",
        "QP-K8S-006",
        "the device plugin may not write new_id",
        "A plugin before 0.30 gives the ids of the VFs to vfio-pci, which AppArmor's default profile forbids.",
        "Use a newer plugin; or bind the VFs before it starts: qatprep bootstrap",
    ),
    _plugin(
        "plugin-scan",
        r"Device scan failed: (?!open \S{1,120}new_id)",
        "QP-K8S-001",
        "the device plugin could not read the devices",
        "It cannot read sysfs, or a VF is of a PF whose services it cannot read.",
        "qatprep doctor --only driver,services",
    ),
    _plugin(
        "plugin-register",
        r"Cannot register to kubelet service|Socket \S{1,200} is already in use|Failed to listen to plugin socket",
        "QP-K8S-001",
        "the device plugin could not register with the kubelet",
        "The kubelet does not run, its directory is not mounted into the plugin, or another plugin serves the "
        "resource.",
        "qatprep doctor --only kubernetes",
    ),
    _plugin(
        "plugin-services",
        r"failed to read (?:services config|device state|dev_cfg) for|cannot determine device capabilities",
        "QP-SVC-002",
        "the device plugin cannot read the services of a PF",
        "The container does not see sysfs or debugfs of the PF, or its driver does not have it.",
        "qatprep doctor --only services",
    ),
    # -- AppArmor and SELinux, by what was denied
    _audit(
        "apparmor-new-id",
        r'apparmor="DENIED".{0,300}new_id"',
        "QP-K8S-006",
        "AppArmor forbids the device plugin to write new_id",
        "A plugin before 0.30 gives the ids of the VFs to vfio-pci, which AppArmor's default profile forbids.",
        "Use a newer plugin; no overlay is needed then.",
    ),
    _audit(
        "apparmor-sysfs",
        r'apparmor="DENIED".{0,300}name="/sys/\S{1,200}(?:sriov_numvfs|cfg_services|state|driver_override|bind)"',
        "QP-K8S-006",
        "AppArmor forbids the init container to set up the devices",
        "It writes into sysfs, which AppArmor's default profile forbids.",
        "Give the init container appArmorProfile: Unconfined, or set the node up without it: qatprep bootstrap",
    ),
    _audit(
        "apparmor-vfio",
        r'apparmor="DENIED".{0,300}name="/dev/vfio',
        "QP-K8S-006",
        "AppArmor forbids a program to open its VF",
        "The profile of the container or the service does not name /dev/vfio.",
        "Add /dev/vfio/** rw to the profile that the line names.",
    ),
    _audit(
        "selinux-container",
        r"avc: +denied.{0,300}:container_t:.{0,100}vfio_device_t",
        "QP-K8S-006",
        "SELinux forbids a container to open its VF",
        "Containers may use devices of type vfio_device_t only when container_use_devices is on.",
        "setsebool -P container_use_devices on",
    ),
    _audit(
        "selinux-label",
        r"avc: +denied.{0,300}tcontext=\S{1,80}:device_t:",
        "QP-K8S-006",
        "SELinux sees a device node without its label",
        "The node of a VF is device_t until udev relabels it; qatlib's script changes its owner before. Some nodes are "
        "left to root then, although the service is green.",
        "qatprep doctor --only nodes",
        "Update selinux-policy.",
    ),
    _audit(
        "selinux",
        r"avc: +denied(?!.{0,300}:container_t:.{0,100}vfio_device_t).{0,300}(?:vfio_device_t|qat_t|qatlib_t|sysfs_t"
        r"(?=.{0,100}qat))(?!.{0,200}:device_t:)",
        "QP-K8S-006",
        "SELinux denied access",
        "The type of the process (scontext) may not use what the line names.",
        "The plugin's DaemonSet needs the type container_device_plugin_t.",
        "Ask for the rule: ausearch -m avc -ts boot | audit2allow",
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
    _systemd(
        "limit-outside",
        r"Assignment outside of section",
        "QP-MEM-004",
        "systemd ignores a line before the first section",
        "LimitMEMLOCK belongs below [Service].",
        "Write [Service] above it, then: systemctl daemon-reload",
    ),
    _systemd(
        "qat-service",
        r"qat\.service: (?:Control process exited|Main process exited|Failed with result)",
        "QP-LOG-002",
        "qatlib's service did not start",
        "Lines of qat_init.sh and qatmgr before it say why.",
        "journalctl -b -u qat",
        leading=True,
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
        r"|invalid (?:plugin key|disabled plugin) URI \"cri\""
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
