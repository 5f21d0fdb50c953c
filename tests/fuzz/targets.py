"""The table of every parser that takes text from outside: what it reads, how it is called, what it may refuse with.

A target is called with an input and returns, or raises one of its `refuses`. Whatever else it raises is a bug.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from qatprep.errors import QatprepError
from qatprep.host.base import Host
from qatprep.host.values import META
from tests.fuzz import gatherers, parsers, seeds
from tests.fuzz.node import NEXT, Files, node

ROOT = Path(__file__).resolve().parent.parent.parent
PF = "/sys/bus/pci/devices/0000:6b:00.0"
VF = "/sys/bus/pci/devices/0000:6b:00.1"
DEBUG = "/sys/kernel/debug/qat_4xxx_0000:6b:00.0"
KUBELET = "/var/lib/kubelet"
CONTAINERD = "/etc/containerd"
DROP_IN = "/etc/systemd/system/containerd.service.d/x.conf"


class Target(NamedTuple):
    name: str
    reads: str
    """The text from outside, as docs/reliability.md lists it."""
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    refuses: tuple[type[Exception], ...] = ()

    def attempt(self, data: bytes) -> None:
        """One input; raises what is a bug."""
        self.takes(data)

    def takes(self, data: bytes) -> bool:
        """Whether an input is taken rather than refused."""
        try:
            self.run(data)
        except self.refuses:
            return False
        return True


def given(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


def sources(*patterns: str, most: int = 16384) -> Callable[[], list[bytes]]:
    """Files of the sources by glob, up to `most` bytes of each."""
    return lambda: [path.read_bytes()[:most] for pattern in patterns for path in sorted(ROOT.glob(pattern))][:60]


FORMS = given(
    '# qatprep host 1\n/bin -> usr/bin\n/dev/vfio/12 [0660 0:996] c 239:0\n/etc/empty == ""\n/etc/lines <<\n| a\n|\n',
    "# qatprep host 1\n/etc/odd%20name%25 = one\n/f.bin ~ 425984\n/proc/7/fd [0500] /\n/proc/7/fd [0500] !EACCES\n",
    '# qatprep host 1\n@include no-qat\n- /etc\n/sys/status == "0\\n\\u0000"\n',
)


def manifests() -> list[bytes]:
    """Those of the field, of which the first few reach every judge."""
    import yaml

    field = yaml.safe_load((ROOT / "tests/mesh/field.yaml").read_text())["manifest"]
    return [
        *(case["text"].encode() for case in field.values()),
        *sources("tests/mesh/data/*.yaml", "packaging/kubernetes/*.yaml")(),
    ]


def log_lines() -> list[bytes]:
    from tests.mesh.log_lines import LINES

    return ["\n".join(f"<4>{line}" for line in lines).encode() for lines in LINES.values()]


def kept_state() -> list[bytes]:
    return [node().replace("\n", "\n# the state of the simulated host spr-2s\n", 1).encode()]


def of_files(
    name: str, reads: str, gather: Callable[[Host], object], *paths: str, more: tuple[str, ...] = ()
) -> Target:
    """A target whose input is these files of a node; `more` seeds beside those of the shipped hosts."""
    run = Files(gather, *paths)
    return Target(
        name, reads, run, lambda: [*run.seeds(), *(text.replace("%%", NEXT.decode()).encode() for text in more)]
    )


TARGETS = (
    Target(
        "host-file",
        "host files and captures (`--root FILE`)",
        parsers.host_file,
        lambda: [*sources("fixtures/sysfs/_parts/*.txt", most=2048)(), *FORMS()],
        (QatprepError,),
    ),
    Target(
        "host-values",
        "what a host file says below `/.qatprep`",
        parsers.host_values,
        seeds.host_values,
        (QatprepError,),
    ),
    Target("state-file", "a simulated host's state (`QATPREP_STATE`)", parsers.state_file, kept_state, (QatprepError,)),
    Target("journal", "journals of runs, as `rollback` reads them", parsers.journal, seeds.journal),
    Target(
        "config",
        "the configuration, and the plan made of it",
        parsers.config,
        given(
            "devices: {services: sym;asym, vfs: true}\nnodes: {group: qat, mode: '0660'}\nsmoke: false\n",
            "overrides:\n- match: {device: '6b:*', numa_node: 0}\n  services: dc\n  driver: none\n",
            "containers: {memlock: 128M, device_ownership: true, restart: containerd.service}\nmetrics: /x/q.prom\n",
            "containers: {memlock: null}\nenvoy: '1.36'\npersist: false\nversion: 1\n",
        ),
        (QatprepError,),
    ),
    Target(
        "settings",
        "`--set KEY=VALUE`",
        parsers.settings,
        given("devices.services=dc\nnodes.mode=0660", "devices@6b:00.0@numa0.services=asym", "containers.memlock=128M"),
        (QatprepError,),
    ),
    Target(
        "words",
        "addresses, durations, services, versions and sizes on the command line",
        parsers.words,
        lambda: [
            bytes([n]) + word
            for n in range(9)
            for word in (b"5ms", b"6b:00.0", b"1.38", b"[::1]:443", b"sym;asym", b"64M:1G")
        ],
        (QatprepError,),
    ),
    Target(
        "config-dump", "Envoy's `/config_dump`", parsers.config_dump, sources("tests/mesh/data/*.json"), (QatprepError,)
    ),
    Target(
        "stats",
        "Envoy's `/stats` in every form",
        parsers.stats,
        sources("tests/mesh/data/stats/*", most=8192),
        (QatprepError,),
    ),
    Target(
        "log", "logs of pods, Envoy, containerd and the kernel (`inspect log`)", parsers.log, log_lines, (QatprepError,)
    ),
    Target(
        "manifest",
        "manifests for Kubernetes, Istio and Envoy",
        parsers.manifest,
        manifests,
        (QatprepError,),
    ),
    Target(
        "tune",
        "a saved tune result",
        parsers.tune,
        given('{"schema": "qatprep.tune/1", "recommendation": {"provider": "cryptomb", "poll_delay_ms": 5}}'),
        (QatprepError,),
    ),
    Target(
        "measurement",
        "results of `bench` and `tune` that `report` draws",
        parsers.measurement,
        seeds.measurement,
        (QatprepError,),
    ),
    Target("key-file", "private keys and certificates in PEM", parsers.key_file, seeds.key_file, (QatprepError,)),
    of_files(
        "kernel",
        "kernel command line, release, build options, cpuinfo, modprobe.d, modules.dep",
        gatherers.kernel,
        "/proc/cmdline",
        "/proc/sys/kernel/osrelease",
        "/proc/cpuinfo",
        "/etc/modprobe.d/x.conf",
        "/sys/kernel/security/lockdown",
        "/proc/config.gz",
        "/lib/modules/6.12.117/modules.dep",
        "/sys/devices/system/cpu/vulnerabilities/gather_data_sampling",
        more=(
            'intel_iommu=on,sm_on clearcpuid=304,avx512f module_blacklist=qat_4xxx vfio-pci.ids="8086:4941"%%6.12.0%%',
        ),
    ),
    of_files(
        "boot-loader",
        "grub.cfg, /etc/default/grub, loader entries, os-release, LoaderInfo",
        gatherers.kernel,
        "/boot/grub/grub.cfg",
        "/etc/default/grub",
        "/boot/loader/entries/a.conf",
        "/etc/kernel/cmdline",
        "/etc/os-release",
        "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        "/etc/default/grub.d/x.cfg",
        "/proc/cmdline",
    ),
    Target("kernel-log", "the kernel log (dmesg)", parsers.kernel_log, log_lines),
    of_files(
        "devices",
        "sysfs and debugfs of a PF and a VF, /etc/group",
        gatherers.devices,
        *(f"{PF}/{name}" for name in ("sriov_numvfs", "sriov_totalvfs", "sriov_offset", "numa_node", "qat/state")),
        *(f"{PF}/{name}" for name in ("qat/cfg_services", "qat_ras/errors_fatal", "device", "driver_override")),
        *(f"{VF}/{name}" for name in ("driver_override", "numa_node", "power_state", "device")),
        f"{DEBUG}/dev_cfg",
        f"{DEBUG}/heartbeat/config",
        f"{DEBUG}/heartbeat/queries_sent",
        "/etc/group",
    ),
    of_files(
        "functions",
        "sysfs of any PCI function, modules.alias; names of the host and its domains",
        gatherers.functions,
        "/proc/sys/kernel/osrelease",
        "/lib/modules/6.12.117/modules.alias",
        *(f"{PF}/{name}" for name in ("modalias", "class", "vendor", "device", "driver_override", "sriov_totalvfs")),
        "/etc/hostname",
        "/etc/resolv.conf",
        more=(
            "6.12.117%%alias pci:v00008086d00004940sv*sd*bc*sc*i* qat_4xxx%%pci:v00008086d00004940sv00008086sd00000000"
            "bc0Bsc40i00%%0x0b4000%%0x8086%%0x4940%%(null)%%16%%node1.example.org%%search example.org\ndomain x",
        ),
    ),
    of_files(
        "setters",
        "driverctl, udev rules, units and their scripts, rc.local, qatlib's settings, sriov-operator",
        gatherers.setters,
        "/etc/driverctl.d/pci-0000:6b:00.0",
        "/etc/udev/rules.d/x.rules",
        "/etc/systemd/system/x.service",
        "/etc/rc.local",
        "/etc/sysconfig/qat",
        "/etc/sriov-operator/x",
        "/opt/x.sh",
        "/etc/systemd/system/multi-user.target.wants/x.service",
        "/usr/lib/udev/rules.d/05-driverctl.rules",
        more=(
            'vfio-pci%%ACTION=="add", ATTR{device}=="0x4940", ATTR{sriov_numvfs}="16"\n'
            "%%[Service]\nExecStart=/opt/x.sh\n"
            "%%echo 16 > /sys/bus/pci/devices/0000:6b:00.0/sriov_numvfs\n%%ServicesEnabled=dc\n%%0000:6b:00.0\n"
            "%%echo dc > cfg_services qat\n%%%%",
        ),
    ),
    of_files(
        "own-files",
        "qatprep's own files: unit, rule, configuration, proof, counts",
        gatherers.own,
        "/etc/systemd/system/qatprep-apply.service",
        "/run/qatprep/proof.json",
        "/var/lib/qatprep/kernel-arguments.json",
        "/etc/udev/rules.d/90-qatprep.rules",
        "/etc/qatprep.yaml",
        f"{META}/program",
        f"{META}/program-doubt",
        more=(
            '[Service]\nExecStart=/usr/bin/qatprep bootstrap\n%%{"schema": "qatprep.proof/1", "boot": "b", "devices": {'
            '"0000:6b:00.0": {"provider": "x", "right": 1, "counted": null, "time": "t", "by": "smoke", "seal": {}, '
            '"void": ""}}, "cryptomb": null}%%{"boots": ["b"]}%%',
        ),
    ),
    of_files(
        "memlock",
        "systemd's units, drop-ins and system.conf; /proc/PID/limits; an OCI base specification",
        gatherers.memlock,
        "/etc/systemd/system/containerd.service",
        DROP_IN,
        "/etc/systemd/system.conf",
        "/proc/1201/limits",
        "/etc/containerd/base.json",
        more=(
            "[Service]\nLimitMEMLOCK=64M:infinity\n%%[Service]\nLimitMEMLOCK=\\\n1G\n%%[Manager]\nDefaultLimitMEMLOCK=8M\n"
            "%%Max locked memory         16777216             unlimited             bytes\n"
            '%%{"process": {"rlimits": [{"type": "RLIMIT_MEMLOCK", "soft": 1, "hard": 2}]}}',
        ),
    ),
    of_files(
        "runtime",
        "processes: comm, command line, cgroup, status, limits",
        gatherers.runtime,
        *(f"/proc/1201/{name}" for name in ("comm", "cmdline", "cgroup", "status", "limits")),
        "/proc/1402/cmdline",
        "/proc/3031/cgroup",
        "/proc/3031/status",
        more=tuple(
            f"{comm}\n%%/usr/bin/{comm} --config /etc/x.toml -a /run/x.sock%%0::/system.slice/{comm}.service%%"
            for comm in ("crio", "dockerd", "k3s-server")
        ),
    ),
    of_files(
        "containerd",
        "containerd's configuration with its imports, and the edit of it",
        gatherers.containerd,
        f"{CONTAINERD}/config.toml",
        f"{CONTAINERD}/conf.d/a.toml",
        f"{CONTAINERD}/conf.d/b.toml",
        more=(
            'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n'
            '[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "x"\n'
            '%%version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n device_ownership_from_security_context = false\n',
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  enable_unprivileged_ports = true\n",
            "[plugins.cri]\nsandbox_image = 'x'\n",
            "version = 4\n",
        ),
    ),
    Target(
        "containerd-answers",
        "`containerd config dump` and `containerd --version`",
        parsers.dumps,
        lambda: [
            b'version = 2\nimports = ["a"]\n[plugins.x]\na = 1\n'
            + NEXT
            + b'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n device_ownership_from_security_context = true\n',
            b"containerd x v2.1.9" + NEXT,
        ],
        (QatprepError,),
    ),
    of_files(
        "crio",
        "CRI-O's files; what k3s generated and its templates",
        gatherers.crio,
        "/etc/crio/crio.conf",
        "/etc/crio/crio.conf.d/10-x.conf",
        "/etc/crio/crio.conf.d/90-qatprep.conf",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
        more=(
            '[crio.runtime]\ndevice_ownership_from_security_context = true\ndefault_ulimits = ["memlock=1:2"]\n'
            '%%[crio]\n%%%%version = 3\n%%[plugins."io.containerd.grpc.v1.cri"]\n',
        ),
    ),
    of_files(
        "kubernetes",
        "the kubelet's configuration, checkpoints and CPU state; a node of the API",
        gatherers.kubernetes,
        f"{KUBELET}/config.yaml",
        "/etc/kubelet.d/x.conf",
        f"{KUBELET}/device-plugins/kubelet_internal_checkpoint",
        f"{KUBELET}/cpu_manager_state",
        "/proc/sys/kernel/hostname",
        more=(
            "cpuManagerPolicy: static\nreservedSystemCPUs: 3\n%%topologyManagerPolicy: none\n%%"
            '{"Data": {"PodDeviceEntries": [{"PodUID": "u", "ContainerName": "c", "ResourceName": "qat.intel.com/cy", '
            '"DeviceIDs": {"0": ["0000:6b:00.1"]}}], "RegisteredDevices": {"qat.intel.com/cy": ["0000:6b:00.1"]}}}%%'
            '{"policyName": "static", "defaultCpuSet": "0-3", "entries": {"u": {"c": "1-2"}}}%%n1',
        ),
    ),
    Target(
        "node-answer",
        "what `kubectl get node` answers",
        parsers.node_answer,
        given('{"status": {"allocatable": {"qat.intel.com/cy": "2"}}, "metadata": {"labels": {"qat": "x"}}}'),
    ),
    Target(
        "capture",
        "what `capture` takes out of the files of a host",
        parsers.captured,
        seeds.captured,
        (QatprepError,),
    ),
    Target(
        "native",
        "keys, messages and paths handed to `qatprep._native`",
        parsers.native,
        seeds.native,
        (ValueError, OSError, TypeError),
    ),
    Target(
        "emulator",
        "faults and messages in vfio-user, as `qat-emulator` takes them",
        parsers.emulator,
        seeds.emulator,
    ),
)
BY_NAME = {target.name: target for target in TARGETS}
