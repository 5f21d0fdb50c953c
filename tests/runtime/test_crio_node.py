"""CRI-O's configuration directory as CRI-O walks it, and the kubelet's."""

from __future__ import annotations

import pytest

from qatprep.assess import assess
from qatprep.config import parse
from qatprep.facts.kubernetes import Kubelet
from qatprep.plan.containers import plan
from qatprep.runtime.containerd import KEY
from tests.checks.hosts import facts, judge
from tests.runtime.test_node import BASE, ENOUGH, Node, every_vf, file, process, short

ON, OFF = (f"[crio.runtime]\n{KEY} = {word}\n" for word in ("true", "false"))
DIRECTORY = "/etc/crio/crio.conf.d"


def node(*files: tuple[str, str], argv: str = "/usr/bin/crio") -> str:
    return (
        file("/usr/lib/systemd/system/crio.service", f"[Service]\nLimitMEMLOCK={ENOUGH}")
        + process(900, "crio", "/system.slice/crio.service", memlock=ENOUGH, argv=argv)
        + process(960, "kubelet", "/system.slice/kubelet.service", argv="/usr/bin/kubelet")
        + "".join(file(path, text) for path, text in files)
    )


@pytest.mark.parametrize(
    ("files", "on"),
    [
        (((f"{DIRECTORY}/01-devices", ON), (f"{DIRECTORY}/10-crio.conf", "[crio.image]\n")), True),
        (((f"{DIRECTORY}/01.conf", ON), (f"{DIRECTORY}/99-no-ownership.toml", OFF)), False),
        (((f"{DIRECTORY}/50.d/a", ON), (f"{DIRECTORY}/40.conf", OFF)), True),
        (((f"{DIRECTORY}/50.d/a", ON), (f"{DIRECTORY}/60.conf", OFF)), False),
        ((("/etc/crio/crio.conf", ON),), True),
        ((("/usr/share/containers/crio/crio.conf.d/00.conf", ON),), False),
    ],
    ids=["no ending", "another ending", "a folder, last", "a folder, first", "the main file", "not one of its places"],
)
def test_every_file_counts_in_cri_os_order(files: tuple[tuple[str, str], ...], on: bool) -> None:
    found = [f for f in judge(BASE, node(*files)).findings if f.id == "QP-RT-001"]
    assert [str(f.status) for f in found] == ["ok" if on else "warn"]


def test_a_file_of_any_name_that_is_read_after_ours_is_not_overruled() -> None:
    asked = parse("containers: {device_ownership: true}", "config")
    changes, skipped = plan(assess(facts(BASE, node((f"{DIRECTORY}/99-no-ownership.toml", OFF))), asked))
    assert changes == [] and "99-no-ownership.toml sorts after ours" in skipped[0].reason


@pytest.mark.parametrize(
    "text", ["crio = 3", "[crio]\nruntime = []", ON.replace("true", '"true"'), "[crio.runtime]\ndefault_ulimits = [1]"]
)
def test_a_value_of_another_type_stops_cri_o(text: str) -> None:
    path = f"{DIRECTORY}/10.conf"
    titles = [f.title for f in judge(BASE, node((path, text))).findings if f.id == "QP-RT-002" and f.status == "fail"]
    assert len(titles) == 1 and titles[0].startswith(f"CRI-O does not start with {path}: ")
    changes, skipped = plan(assess(facts(BASE, node((path, text))), parse("containers: {device_ownership: true}", "x")))
    assert changes == [] and path in skipped[0].reason


def test_places_that_are_given_on_the_command_line() -> None:
    argv = "/usr/bin/crio --config /opt/crio.conf --config-dir=/opt/crio.d"
    text = node(("/opt/crio.conf", OFF), ("/opt/crio.d/a", ON), (f"{DIRECTORY}/z.conf", OFF), argv=argv)
    files = facts(BASE, text).runtime.crio
    assert [item.path for item in files] == ["/opt/crio.conf", "/opt/crio.d/a"]  # type: ignore[union-attr]
    asked = parse("containers: {device_ownership: true}", "config")
    off = node(("/opt/crio.d/a", OFF), argv=argv)
    changes, skipped = plan(assess(facts(BASE, off), asked))
    assert changes == [] and "--config-dir /opt/crio.d" in skipped[0].reason


def test_the_kubelets_configuration_directory() -> None:
    argv = "/usr/bin/kubelet --config=/etc/kubelet.json --config-dir=/etc/kubelet.d"
    text = (
        process(960, "kubelet", "/system.slice/kubelet.service", argv=argv)
        + file("/etc/kubelet.json", '{"kind": "KubeletConfiguration", "cpuManagerPolicy": "none"}')
        + file("/etc/kubelet.d/40-node.conf", '{"cpuManagerPolicy": "static", "reservedSystemCPUs": "0-1"}')
        + file("/etc/kubelet.d/50-other.yaml", "cpuManagerPolicy: none")
    )
    kubelet = facts(BASE, text).kubernetes.kubelet
    assert isinstance(kubelet, Kubelet)
    assert (kubelet.cpu_manager, kubelet.reserved_cpus, kubelet.source) == ("static", "0-1", "/etc/kubelet.json")


def test_the_checkpoint_knows_better_than_the_plugins_command_line() -> None:
    assert short(Node(plugin="/usr/bin/qat_plugin", registered={"cy": every_vf()})) == []
    fewer = Node(plugin="/usr/bin/qat_plugin", registered={"cy": every_vf()[:96]})
    assert short(fewer) == ["QP-K8S-001 fail"]
