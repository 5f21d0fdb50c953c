"""Which daemon runs the containers of a node: told by what runs, whatever its unit is called."""

from __future__ import annotations

import pytest

from qatprep.assess import assess
from qatprep.config import parse
from qatprep.findings import Finding, Status
from qatprep.persist.units import USERS
from qatprep.plan.containers import plan
from qatprep.runtime.units import KUBELETS, UNITS, Daemon, Shim, choose
from tests.checks.hosts import facts, judge
from tests.runtime.test_node import BASE, ENOUGH, MIB, OWNED, checkpoint, container, every_vf, file, process

CONTAINERD = Daemon("containerd", 1, "containerd.service", socket="/run/containerd/containerd.sock")
K3S = Daemon("k3s", 2, "k3s.service")
CRIO = Daemon("crio", 3, "crio.service")
DOCKER = Daemon("docker", 4, "docker.service")
OWN = Daemon("containerd", 5, "node-runtime.service", socket="/run/own/containerd.sock")
BY_HAND = Daemon("containerd", 6)


@pytest.mark.parametrize(
    ("daemons", "shims", "endpoint", "kubelet", "unit", "kind"),
    [
        ((CONTAINERD, K3S), (Shim("containerd", "k3s.service"),), "", True, "k3s.service", "k3s"),
        ((CONTAINERD, CRIO), (Shim("containerd", "containerd.service"),), "", True, "containerd.service", "containerd"),
        ((CONTAINERD, CRIO), (), "unix:///var/run/crio/crio.sock", True, "crio.service", "crio"),
        (
            (CONTAINERD, DOCKER, CRIO),
            (Shim("containerd", "containerd.service", docker=True), Shim("crio")),
            "",
            True,
            "crio.service",
            "crio",
        ),
        (
            (CONTAINERD, DOCKER, CRIO),
            (Shim("containerd", "containerd.service"),),
            "unix:///run/crio/crio.sock",
            True,
            "crio.service",
            "crio",
        ),
        ((CONTAINERD, DOCKER), (), "unix:///run/containerd/containerd.sock", True, "containerd.service", "containerd"),
        ((CONTAINERD, OWN), (), "unix:///run/own/containerd.sock", True, "node-runtime.service", "containerd"),
        ((CONTAINERD, OWN), (Shim("containerd", OWN.unit),), "", True, "node-runtime.service", "containerd"),
        ((BY_HAND, CONTAINERD), (), "", True, "containerd.service", "containerd"),
        ((BY_HAND,), (), "", True, "", "containerd"),
        ((CONTAINERD, DOCKER), (), "", False, "containerd.service", "docker"),
        (
            (CONTAINERD, DOCKER),
            (Shim("containerd", "containerd.service", docker=True),),
            "",
            False,
            "containerd.service",
            "docker",
        ),
        ((), (Shim("containerd", "containerd.service"),), "", True, "containerd.service", "containerd"),
    ],
    ids=[
        "k3s by its shim", "containerd by its shim", "CRI-O by the endpoint", "Docker's shims beside CRI-O",
        "shims of nobody knows whom beside CRI-O", "containerd by the endpoint", "any unit by its socket",
        "any unit by its shim", "in a service before by hand", "by hand", "Docker", "Docker's containers",
        "the daemon is being restarted",
    ],
)  # fmt: skip
def test_the_daemon_that_runs_containers(
    daemons: tuple[Daemon, ...], shims: tuple[Shim, ...], endpoint: str, kubelet: bool, unit: str, kind: str
) -> None:
    chosen = choose(daemons, shims, kubelet=kubelet, endpoint=endpoint)
    assert chosen is not None
    assert (chosen.unit, chosen.kind) == (unit, kind)


def test_no_runtime_at_all() -> None:
    assert choose() is None


def test_where_nothing_runs_the_installed_units_count() -> None:
    chosen = choose(installed=("k0sworker.service",))
    assert chosen is not None and chosen.daemon is None
    assert (chosen.kind, chosen.why) == ("containerd", "k0sworker.service is installed and does not run")


def test_the_boot_unit_is_before_all_of_them() -> None:
    assert {*UNITS, *KUBELETS} <= set(USERS)


def node(unit: str, *, limit: int = 8 * MIB, binary: str = "/usr/bin/containerd", config: str = "", more: str = "",
         directory: str = "/etc/systemd/system", shim: str = "", kubelet: str = "kubelet") -> str:  # fmt: skip
    """A Kubernetes node with pods, whose containerd and kubelet are in `unit`."""
    cgroup = f"/system.slice/{unit}"
    return "".join(
        (
            file(f"{directory}/{unit}", "[Service]\nExecStart=/x") if directory else "",
            process(900, "containerd", cgroup, memlock=limit, argv=f"{binary} {config}".strip()),
            process(950, "containerd-shim", shim or cgroup, argv="/usr/bin/containerd-shim-runc-v2 -namespace k8s.io"),
            process(960, kubelet, cgroup, argv=f"/x/{kubelet} --root-dir=/var/lib/kubelet"),
            process(970, "intel_qat_devic", "/kubepods.slice/x", argv="intel_qat_device_plugin -max-num-devices=512"),
            checkpoint({"cy": every_vf()}, ["0000:6b:00.1"]),
            file("/var/lib/kubelet/config.yaml", "cpuManagerPolicy: static"),
            container(memlock=limit),
            more,
        )
    )


def told(text: str) -> list[Finding]:
    mine = ("QP-MEM-", "QP-RT-", "QP-K8S-", "QP-CRASH")
    return [f for f in judge(BASE, text).findings if f.id.startswith(mine) and f.status != Status.OK]


K0S = "/etc/k0s/containerd.toml"
NOT_OWNED = 'version = 3\nimports = ["/etc/k0s/containerd.d/*.toml"]\n'


def test_the_name_of_the_unit_changes_no_finding() -> None:
    seen = {}
    for unit in ("containerd.service", "k0sworker.service", "node-runtime.service"):
        text = node(unit, config=f"--config={K0S}", more=file(K0S, NOT_OWNED))
        runtime = facts(BASE, text).runtime
        assert runtime.runtime is not None and runtime.runtime.unit == unit and runtime.daemon_pid == 900
        assert runtime.plugin and runtime.kubelet
        seen[unit] = [(f.id, str(f.status), f.title.replace(unit, "UNIT")) for f in told(text)]
    assert seen["containerd.service"] == seen["k0sworker.service"] == seen["node-runtime.service"]
    assert [id for id, status, _ in seen["k0sworker.service"] if status == "fail"] == [
        "QP-MEM-001",
        "QP-MEM-003",
        "QP-RT-001",
    ]


@pytest.mark.parametrize(
    ("unit", "config"),
    [
        ("k0sworker.service", f"--config={K0S}"),
        ("snap.microk8s.daemon-containerd.service", "--config /var/snap/microk8s/7000/args/containerd.toml"),
        ("snap.k8s.containerd.service", "--config /etc/containerd/config.toml"),
        ("any.service", "-c /opt/own.toml"),
    ],
)
def test_a_node_that_is_right_under_any_unit(unit: str, config: str) -> None:
    path = config.replace("=", " ").split()[-1]
    text = node(unit, limit=ENOUGH, config=config, more=file(path, OWNED))
    text += file(f"/etc/systemd/system/{unit}.d/a.conf", f"[Service]\nLimitMEMLOCK={ENOUGH}")
    assert [f.id for f in told(text) if f.status in ("fail", "warn")] == []
    configuration = facts(BASE, text).runtime.containerd
    assert configuration is not None and configuration.main.path == path  # type: ignore[union-attr]


def test_the_root_directory_of_the_kubelet_is_followed_without_a_runtime() -> None:
    text = process(960, "kubelet", "/system.slice/kubelet.service", argv="/x/kubelet --root-dir=/var/lib/k0s/kubelet")
    text += process(970, "intel_qat_devic", "/kubepods.slice/x", argv="intel_qat_device_plugin")
    text += checkpoint({"cy": every_vf()}).replace("/var/lib/kubelet", "/var/lib/k0s/kubelet")
    seen = facts(BASE, text)
    assert seen.runtime.runtime is None and seen.runtime.plugin == "intel_qat_device_plugin"
    assert seen.kubernetes.registered


def test_a_daemon_that_systemd_did_not_start() -> None:
    text = node("containerd.service", directory="", more=file("/etc/containerd/config.toml", OWNED))
    found = next(f for f in told(text) if f.id == "QP-MEM-001")
    assert found.status == "fail" and "no unit file" in found.cause and f"ulimit -l {ENOUGH // 1024}" in found.fix[0]


def test_conmon_in_a_scope_is_crios_and_podmans_is_not() -> None:
    crio = (
        file("/usr/lib/systemd/system/crio.service", "[Service]")
        + file("/usr/lib/systemd/system/containerd.service", "[Service]\nLimitMEMLOCK=infinity")
        + process(900, "containerd", "/system.slice/containerd.service", argv="/usr/bin/containerd")
        + process(901, "crio", "/system.slice/crio.service", argv="/usr/bin/crio")
    )
    scope = f"crio-conmon-{'ab' * 32}.scope"
    text = crio + process(950, "conmon", f"/system.slice/{scope}", argv="/usr/bin/conmon -b /x")
    assert facts(BASE, text).runtime.runtime.unit == "crio.service"  # type: ignore[union-attr]
    podman = process(950, "conmon", f"/machine.slice/libpod-conmon-{'ab' * 32}.scope", argv="/usr/bin/conmon -b /x")
    assert facts(BASE, podman).runtime.runtime is None


def test_daemons_in_containers_and_in_sessions_are_not_the_nodes() -> None:
    inside = process(900, "containerd", f"/docker/{'ab' * 32}/system.slice/containerd.service", argv="containerd")
    rootless = process(901, "containerd", "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service")
    assert facts(BASE, inside + rootless).runtime.runtime is None


def test_microk8s_keeps_the_flags_of_its_kubelet_in_a_file() -> None:
    arguments = "/var/snap/microk8s/7000/args/kubelet"
    text = process(
        960, "kubelite", "/system.slice/snap.microk8s.daemon-kubelite.service",
        argv=f"/snap/microk8s/7000/kubelite --kubelet-args-file={arguments}",
    )  # fmt: skip
    text += file(arguments, "# a comment\n--root-dir=${SNAP_COMMON}/var/lib/kubelet\n--cluster-domain=cluster.local")
    text += '/proc/960/environ == "SNAP_COMMON=/var/snap/microk8s/common\\u0000A=B\\u0000"\n'
    line = facts(BASE, text).runtime.kubelet
    assert line is not None and "--root-dir=/var/snap/microk8s/common/var/lib/kubelet" in line and "#" not in line


@pytest.mark.parametrize(
    ("unit", "path", "text", "hint"),
    [
        (
            "snap.microk8s.daemon-containerd.service",
            "/var/snap/microk8s/7000/args/containerd.toml",
            "version = 2\n",
            "containerd-template.toml",
        ),
        ("k0sworker.service", K0S, "# k0s_managed=true\nversion = 2\n", "/etc/k0s/containerd.d"),
    ],
)
def test_a_file_that_is_made_at_every_start_is_not_edited(unit: str, path: str, text: str, hint: str) -> None:
    host = facts(BASE, node(unit, limit=ENOUGH, config=f"--config {path}", more=file(path, text)))
    changes, skipped = plan(assess(host, parse("containers: {device_ownership: true, memlock: keep}", "config")))
    assert changes == [] and hint in skipped[0].reason
