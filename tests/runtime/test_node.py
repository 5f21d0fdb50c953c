"""doctor on Kubernetes nodes: a recorded host with its VFs ready, and what runs containers on it laid beside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from qatprep.checks.base import Profile
from qatprep.checks.registry import Report, evaluate
from qatprep.config import NodeConfig, parse
from qatprep.facts import gather
from qatprep.facts.kubernetes import resource_name
from qatprep.findings import Finding, Status
from qatprep.host.base import RunResult
from qatprep.host.capture import Capture
from qatprep.text import Foreign
from tests.checks.hosts import facts, judge, tree

MIB = 1 << 20
MINE = ("QP-MEM", "QP-RT")
POD = "b9c2b1f2-7d3c-4a30-9b0f-0c7f6f0a1c11"
ID = "ab" * 32
BASE = "spr-2s-ready"
PFS = 8
"""Of that host: each with sym;asym and 16 VFs, the first ones at 0000:6b:00.1 and 0000:70:00.1."""
ENOUGH = 192 * MIB
"""16 MiB for one VF of each PF, and 64 MiB on top."""
OWNED = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  device_ownership_from_security_context = true\n'


def file(path: str, text: str) -> str:
    return f"{path} <<\n" + "".join(f"| {line}\n" for line in text.splitlines())


def process(pid: int, comm: str, cgroup: str, *, memlock: int = 8 * MIB, argv: str = "", status: str = "") -> str:
    limit = f"Max locked memory         {memlock}              {memlock}              bytes"
    more = json.dumps(argv.replace(" ", "\0") + "\0" if argv else "")
    return (
        f"/proc/{pid}/comm = {comm}\n/proc/{pid}/cgroup = 0::{cgroup}\n"
        + file(f"/proc/{pid}/limits", "Limit Soft Limit Hard Limit Units\n" + limit)
        + f"/proc/{pid}/cmdline == {more}\n"
        + (file(f"/proc/{pid}/status", status) if status else "")
    )


def status(uid: int = 101, caps: str = "0000000000000000", cpus: str = "0-63") -> str:
    return f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{caps}\nCpus_allowed_list:\t{cpus}\n"


def container(
    pid: int = 4000, *, memlock: int = ENOUGH, workers: int = 2, cpus: str = "2-3", uid: int = 101, caps: str = "0"
) -> str:
    """An Envoy in a pod that has a VF."""
    cgroup = f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope"
    tasks = f"/proc/{pid}/task/{pid}/comm = envoy\n" + "".join(
        f"/proc/{pid}/task/{pid + 1 + n}/comm = wrk:worker_{n}\n" for n in range(workers)
    )
    return process(pid, "envoy", cgroup, memlock=memlock, status=status(uid, caps.zfill(16), cpus)) + tasks


def checkpoint(registered: dict[str, list[str]], given: list[str] | None = None, resource: str = "cy") -> str:
    data = {
        "Data": {
            "PodDeviceEntries": [
                {
                    "PodUID": POD,
                    "ContainerName": "envoy",
                    "ResourceName": f"qat.intel.com/{resource}",
                    "DeviceIDs": {"0": given},
                }
            ]
            if given
            else None,
            "RegisteredDevices": {f"qat.intel.com/{name}": ids for name, ids in registered.items()},
        },
        "Checksum": 1,
    }
    return file("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", json.dumps(data))


def every_vf() -> list[str]:
    return [vf.bdf for vf in facts(BASE).pci.all_vfs]


@dataclass(frozen=True)
class Node:
    """A node that is right unless told otherwise."""

    config: str | None = OWNED
    drop_ins: tuple[tuple[str, str], ...] = (
        ("containerd.service.d/90-qatprep-memlock.conf", f"[Service]\nLimitMEMLOCK={ENOUGH}"),
    )
    daemon: int = ENOUGH
    kubelet: str = "cpuManagerPolicy: static\n"
    plugin: str = "intel_qat_device_plugin -allocation-policy=balanced -max-num-devices=512"
    registered: dict[str, list[str]] | None = None
    given: list[str] | None = field(default_factory=lambda: ["0000:6b:00.1"])
    envoy: str = container()
    more: str = ""

    def text(self) -> str:
        parts = [
            file("/usr/lib/systemd/system/containerd.service", "[Service]\nExecStart=/usr/bin/containerd"),
            process(
                900, "containerd", "/system.slice/containerd.service", memlock=self.daemon, argv="/usr/bin/containerd"
            ),
            process(950, "containerd-shim", "/system.slice/containerd.service"),
            process(960, "kubelet", "/system.slice/kubelet.service", argv="/usr/bin/kubelet --config=/k.yaml"),
            file("/k.yaml", self.kubelet),
            *(file(f"/etc/systemd/system/{path}", text) for path, text in self.drop_ins),
            checkpoint({"cy": every_vf()} if self.registered is None else self.registered, self.given),
            self.envoy,
            self.more,
        ]
        if self.config is not None:
            parts.append(file("/etc/containerd/config.toml", self.config))
        if self.plugin:
            parts.append(process(970, "intel_qat_devic", "/kubepods.slice/x", argv=self.plugin))
        return "".join(parts)


def findings(node: Node, base: str = BASE) -> list[Finding]:
    report = judge(base, node.text())
    mine = ("QP-MEM-", "QP-RT-", "QP-K8S-", "QP-ENVOY-", "QP-CRASH")
    return [f for f in report.findings if f.id.startswith(mine) and str(f.status) in ("fail", "warn", "unknown")]


def short(node: Node, base: str = BASE) -> list[str]:
    return [f"{f.id} {f.status}" for f in findings(node, base)]


def test_a_node_that_is_right() -> None:
    assert short(Node()) == []


def test_without_containers_nothing_is_said() -> None:
    report = judge(BASE)
    assert not [
        f for f in report.findings if f.id.startswith(("QP-MEM-", "QP-RT-", "QP-K8S-")) and f.status != "skipped"
    ]


MANAGER = "[Manager]\nDefaultLimitMEMLOCK=infinity"
V2_IN_V3 = OWNED.replace("version = 2", "version = 3")
PAPER = (("containerd.service.d/memlock.conf", "[Service]\nLimitMEMLOCK=16777216"),)


@pytest.mark.parametrize(
    ("node", "found"),
    [
        (Node(drop_ins=(), daemon=8 * MIB), ["QP-MEM-001 fail"]),
        (Node(drop_ins=PAPER, daemon=16 * MIB), ["QP-MEM-001 fail"]),
        (Node(daemon=8 * MIB), ["QP-MEM-002 fail"]),
        (Node(envoy=container(memlock=8 * MIB)), ["QP-MEM-003 fail", "QP-MEM-006 warn"]),
        (Node(envoy=container(memlock=8 * MIB, uid=0, caps="4000")), []),
        (
            Node(drop_ins=(("containerd.service.d/a.conf", "[Service]\nLimitMEMLOCK=256MB"),), daemon=8 * MIB),
            ["QP-MEM-001 fail", "QP-MEM-004 warn"],
        ),
        (Node(drop_ins=(("service.d/a.conf", "[Service]\nLimitMEMLOCK=256M"),)), ["QP-MEM-002 warn"]),
        (Node(more=file("/etc/systemd/system.conf", MANAGER), drop_ins=()), ["QP-MEM-002 warn"]),
    ],
    ids=[
        "systemd's default", "the paper's 16 MiB", "not restarted", "pod from before", "root with IPC_LOCK", "256MB",
        "a drop-in for every service", "the manager's default",
    ],
)  # fmt: skip
def test_memlock(node: Node, found: list[str]) -> None:
    assert short(node) == found


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (None, ["QP-RT-001 fail"]),
        ("version = 2\n", ["QP-RT-001 fail"]),
        ("version = \n", ["QP-RT-002 fail"]),
        (OWNED.replace("true", '"true"'), ["QP-RT-002 fail"]),
        (OWNED.replace("context =", "contxt ="), ["QP-RT-005 warn", "QP-RT-001 fail"]),
        (OWNED + 'disabled_plugins = ["cri"]\n', []),  # swallowed by the table above it: TOML
        ('disabled_plugins = ["cri"]\n', ["QP-RT-004 fail", "QP-RT-001 fail"]),
        (V2_IN_V3, ["QP-RT-005 warn", "QP-RT-001 fail"]),
    ],
    ids=["no file", "not set", "broken", "a word", "misspelt", "in the wrong place", "CRI off", "v2's table in v3"],
)  # fmt: skip
def test_device_ownership(config: str | None, found: list[str]) -> None:
    assert short(Node(config=config)) == found


def test_a_file_nothing_imports() -> None:
    node = Node(config="version = 2\n", more=file("/etc/containerd/conf.d/qat.toml", OWNED))
    assert short(node) == ["QP-RT-005 warn", "QP-RT-001 fail"]
    other = Node(more=file("/etc/containerd/conf.d/nvidia.toml", "version = 2\n[debug]\nlevel = 'info'"))
    assert short(other) == []


def test_k3s_has_its_own_unit_and_its_own_option() -> None:
    generated = "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  device_ownership_from_security_context = "
    place = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
    for state, found in (("true", []), ("false", ["QP-RT-001 warn"])):
        text = (
            file("/etc/systemd/system/k3s.service", f"[Service]\nLimitMEMLOCK={ENOUGH}")
            + process(900, "k3s-server", "/system.slice/k3s.service", memlock=ENOUGH, argv="/usr/local/bin/k3s server")
            + process(901, "containerd-shim", "/system.slice/k3s.service")
            + file(place, generated + state)
        )
        report = judge(BASE, text)
        told = [
            f"{f.id} {f.status}"
            for f in report.findings
            if f.id.startswith(("QP-MEM", "QP-RT")) and f.status in ("fail", "warn")
        ]
        assert told == found
        assert facts(BASE, text).runtime.unit.unit == "k3s.service"  # type: ignore[union-attr]


def test_crio_counts_its_own_ulimits() -> None:
    text = (
        file("/usr/lib/systemd/system/crio.service", "[Service]")
        + process(900, "crio", "/system.slice/crio.service", argv="/usr/bin/crio")
        + file("/etc/crio/crio.conf.d/q.conf", '[crio.runtime]\ndefault_ulimits = ["memlock=268435456:268435456"]')
    )
    report = judge(BASE, text)
    assert [f.id for f in report.findings if f.id.startswith(("QP-MEM", "QP-RT")) and f.status in ("fail", "warn")] == [
        "QP-RT-001"
    ]


# -- Kubernetes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("services", "name"),
    [
        ("sym;asym", "cy"), ("asym;sym", "cy"), ("asym", "asym"), ("dc", "dc"), ("sym;dc", "sym-dc"),
        ("dc;sym", "dc-sym"), ("asym;dc", "asym-dc"), ("dcc", "dcc"),
        ("asym;sym;dc", "asym-sym-dc"), ("cy", "cy"), ("", "generic"),
    ],
)  # fmt: skip
def test_resource_names(services: str, name: str) -> None:
    assert resource_name(services) == f"qat.intel.com/{name}"


def test_fewer_devices_than_vfs() -> None:
    node = Node(registered={"cy": every_vf()[:-16]})
    assert short(node) == ["QP-K8S-001 fail"]
    assert "112 of 128 devices qat.intel.com/cy" in findings(node)[0].title


def test_the_plugins_limit_cuts_whole_pfs_off() -> None:
    node = Node(registered={"cy": every_vf()[:64]}, plugin="intel_qat_device_plugin -allocation-policy=balanced")
    assert short(node) == ["QP-K8S-002 fail"]
    assert findings(node)[0].title == "the device plugin stops at 64 of this node's 128 VFs"


def test_an_older_name_is_still_registered() -> None:
    node = Node(registered={"cy": every_vf(), "dc": ["0000:f7:00.1"]})
    assert short(node) == ["QP-K8S-001 warn"]


def test_no_plugin_but_a_checkpoint() -> None:
    node = Node(plugin="", registered={"cy": []})
    assert short(node) == ["QP-K8S-002 fail", "QP-K8S-001 fail"]
    assert "No device plugin runs on this node" in findings(node)[1].cause


def test_qatlibs_own_service_beside_the_plugin() -> None:
    node = Node(more=process(333, "qatmgr", "/system.slice/qat.service"))
    assert short(node) == ["QP-K8S-004 fail"]


def test_dc_instead_of_cy() -> None:
    """PFs that offer only compression: nothing in them can sign (appendix 1, 1d)."""
    buses = ("6b", "70", "75", "7a", "e8", "ed", "f2", "f7")
    change = "".join(f"/sys/devices/pci0000:{b}/0000:{b}:00.0/qat/cfg_services = dc\n" for b in buses)
    text = Node(registered={"dc": every_vf()}, given=None).text() + change
    blocked = {f.id: f for f in judge(BASE, text).findings}["QP-K8S-003"]
    assert (blocked.status, blocked.blocked_by) == ("blocked", ("QP-SVC-001",))
    configured = judge(BASE, text, parse("devices: {services: dc}", "config"))
    assert "QP-K8S-003" in configured.ids(Status.FAIL)


def test_cpu_manager() -> None:
    assert short(Node(kubelet="cpuManagerPolicy: none\n")) == ["QP-K8S-007 warn"]
    assert short(Node(kubelet="")) == ["QP-K8S-007 warn"]
    state = file(
        "/var/lib/kubelet/cpu_manager_state", '{"policyName": "static", "defaultCpuSet": "0-1", "checksum": 1}'
    )
    assert short(Node(kubelet="", more=state)) == []


def test_two_vfs_of_one_pf() -> None:
    assert short(Node(given=["0000:6b:00.1", "0000:6b:00.2"])) == ["QP-K8S-009 warn"]
    assert short(Node(given=["0000:6b:00.1", "0000:70:00.1"])) == []


def test_broken_checkpoint_is_unknown() -> None:
    text = file("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", "not json")
    assert short(Node(more=text)) == ["QP-K8S-001 unknown"]


class WithKubectl(Capture):
    """A recorded node whose kubectl answers."""

    answer = RunResult((), 127, Foreign(""), Foreign(""))
    asked: tuple[str, ...] = ()

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if argv[0] != "kubectl":
            return super().run(argv, deadline=deadline)
        self.asked = tuple(argv)
        return self.answer


def ask(
    labels: dict[str, str], allocatable: dict[str, str], rc: int = 0, stderr: str = ""
) -> tuple[WithKubectl, Report]:
    extra = "/etc/kubernetes/kubelet.conf = secret\n/proc/sys/kernel/hostname = Node7\n"
    host = WithKubectl(tree(BASE, Node(registered={"cy": every_vf()[:16]}).text() + extra), "x")
    document = {"metadata": {"name": "node7", "labels": labels}, "status": {"allocatable": allocatable}}
    host.answer = RunResult((), rc, Foreign(json.dumps(document)), Foreign(stderr))
    return host, evaluate(gather(host), NodeConfig(), Profile.QAT)


def test_the_api_server_is_asked_for_this_node_alone() -> None:
    host, report = ask({"intel.feature.node.kubernetes.io/qat": "true"}, {"qat.intel.com/cy": "16", "cpu": "64"})
    assert host.asked[-2:] == ("--raw", "/api/v1/nodes/node7")
    assert host.asked[1:3] == ("--kubeconfig", "/etc/kubernetes/kubelet.conf")
    found = next(f for f in report.findings if f.id == "QP-K8S-001")
    assert found.evidence[-1].value == "qat.intel.com/cy: 16"
    assert "QP-K8S-012" not in report.ids(Status.WARN)


def test_a_node_without_the_label() -> None:
    assert "QP-K8S-012" in ask({}, {})[1].ids(Status.WARN)


def test_an_api_server_that_does_not_answer() -> None:
    report = ask({}, {}, rc=1, stderr="Unable to connect to the server: timeout")[1]
    found = next(f for f in report.findings if f.id == "QP-K8S-012")
    assert found.status == "unknown" and "Unable to connect" in found.cause


def test_workers_against_cpus() -> None:
    assert short(Node(envoy=container(workers=64))) == ["QP-ENVOY-010 warn"]
    assert short(Node(envoy=container(workers=1))) == ["QP-ENVOY-010 warn"]


def test_shared_cpus() -> None:
    other = process(5000, "app", f"/kubepods.slice/cri-containerd-{'cd' * 32}.scope", status=status(cpus="2-3"))
    assert short(Node(more=other)) == ["QP-ENVOY-011 warn"]
