"""Kubernetes nodes whose files cannot be read, are gone, or hold what their programs never write.

Every path that a k0s, a CRI-O or a kubespray node adds to a host is spoiled, one at a time, and the verbs that only
look are run: what is not known is said to be unknown, and no verb ends in an error of its own.
"""

from __future__ import annotations

import copy
import errno
import json
from collections.abc import Iterator
from typing import Any

import pytest

from qatprep.facts import gather, kubernetes
from qatprep.facts.base import Unknown
from qatprep.host.capture import Capture
from qatprep.host.tree import Tree
from tests.checks.hosts import tree
from tests.conftest import EVERYTHING, Called, qatprep
from tests.runtime.test_node import BASE, ENOUGH, ID, OWNED, POD, Node, checkpoint, every_vf, file, process, status

EACH = 1 if EVERYTHING else 5
"""Of what is spoiled, one in so many is looked at; in the full run all verbs on all garbage, and the paths of the host
below, too."""
LOOKS = ("doctor --profile qat", "plan --set containers.device_ownership=true")
"""Run on everything: between them they use every fact."""
OTHERS = ("status", "features", "metrics", "device list", "capture", "status --as-config", "plan", "gen-conf")
"""One of them on everything, in turn."""
GARBAGE = (
    b"", b"7", b"[7]", b"zz\n", b"{}", b"9" * 5000, b"\xff\xfea\0", b"\0", b'{"Data": 7}', "²\n".encode(), b"[",
    b"- a\n- [",
    b"Uid:\t\nCapEff:\tzz\nCpus_allowed_list:\t9-3,a\n", b"Uid:\tx\nCpus_allowed_list:\t-\n", b"crio = 3\n",
    b"[Service]\nLimitMEMLOCK=" + b"9" * 5000, b"imports = 7\nplugins = []\n", b"a" * 70000,
    b"Max locked memory         " + b"9" * 5000 + b"            x            bytes\n",
)  # fmt: skip


def unit(name: str, directory: str = "/usr/lib/systemd/system") -> str:
    return file(f"{directory}/{name}", "[Service]\nExecStart=/usr/bin/x")


def pods(unit_name: str, shim: str, prefix: str) -> str:
    """A shim of the unit, and an Envoy it has started."""
    cgroup = f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/{prefix}-{ID}.scope"
    return (
        process(950, shim, f"/system.slice/{unit_name}")
        + process(4000, "envoy", cgroup, memlock=ENOUGH, status=status())
        + "/proc/4000/task/4000/comm = envoy\n/proc/4000/task/4001/comm = wrk:worker_0\n"
    )


CPUS = json.dumps({"policyName": "static", "defaultCpuSet": "0-1", "entries": {POD: {"envoy": "2-3"}}})
API = json.dumps(
    {"metadata": {"labels": {kubernetes.PREFIX + "x": "1"}}, "status": {"allocatable": {"qat.intel.com/cy": "16"}}}
)
KUBECTL = {
    "argv": [
        "kubectl", "--kubeconfig", "/etc/kubernetes/kubelet.conf", "--request-timeout=3s", "get", "--raw",
        "/api/v1/nodes/node7",
    ],
    "rc": 0, "stdout": API, "stderr": "",
}  # fmt: skip
IMPORTS = 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml", "/etc/containerd/extra.toml"]\n'
HOSTS = {
    "kubespray": Node(
        config=IMPORTS,
        more=file("/etc/containerd/conf.d/10-kubespray.toml", OWNED)
        + file("/etc/containerd/extra.toml", "version = 2\n")
        + file("/var/lib/kubelet/cpu_manager_state", CPUS)
        + file("/etc/systemd/system.conf", "[Manager]\nDefaultLimitMEMLOCK=64M")
        + "/etc/kubernetes/kubelet.conf = x\n/proc/sys/kernel/hostname = node7\n"
        + file("/.qatprep/programs", json.dumps(KUBECTL)),
    ).text(),
    "crio": unit("crio.service")
    + process(900, "crio", "/system.slice/crio.service", argv="/usr/bin/crio")
    + process(960, "kubelet", "/system.slice/kubelet.service", argv="/usr/bin/kubelet --config=/k.yaml")
    + file("/k.yaml", "cpuManagerPolicy: static\ncontainerRuntimeEndpoint: unix:///var/run/crio/crio.sock")
    + file("/etc/crio/crio.conf", '[crio.runtime]\ndefault_ulimits = ["memlock=1:1"]')
    + file("/etc/crio/crio.conf.d/10.conf", "[crio.runtime]\ndevice_ownership_from_security_context = true")
    + file("/usr/share/containers/crio/crio.conf.d/00.conf", "[crio.runtime]\n")
    + file("/etc/systemd/system/crio.service.d/memlock.conf", "[Service]\nLimitMEMLOCK=64M")
    + checkpoint({"cy": every_vf()}, ["0000:6b:00.1"])
    + pods("crio.service", "conmon", "crio"),
    "k0s": unit("k0sworker.service", "/etc/systemd/system")
    + process(
        900, "containerd", "/system.slice/k0sworker.service",
        argv="/var/lib/k0s/bin/containerd --config=/etc/k0s/containerd.toml",
    )
    + process(
        960, "kubelet", "/system.slice/k0sworker.service",
        argv="/var/lib/k0s/bin/kubelet --root-dir=/var/lib/k0s/kubelet --config=/var/lib/k0s/kubelet-config.yaml",
    )
    + file("/etc/k0s/containerd.toml", OWNED)
    + file("/var/lib/k0s/kubelet-config.yaml", "reservedSystemCPUs: 3")
    + file("/var/lib/k0s/kubelet/cpu_manager_state", CPUS)
    + checkpoint({"cy": every_vf()}, ["0000:6b:00.1"]).replace("/var/lib/kubelet", "/var/lib/k0s/kubelet")
    + pods("k0sworker.service", "containerd-shim", "cri-containerd"),
}  # fmt: skip


def paths_of(name: str) -> list[str]:
    """What the node adds to the host below it; with EVERYTHING also what that host has (of its VFs the first)."""
    bare = {path for path, _ in tree(BASE).walk()}
    mine = [path for path, _ in tree(BASE, HOSTS[name]).walk() if path not in bare and "/.qatprep" not in path]
    below = [path for path in sorted(bare) if "/virtfn" not in path and path.count("/") <= 6] if EVERYTHING else []
    return [path for path in (*mine, *below) if path.count("/") > 1 or path == "/k.yaml"]


def spoiled(host: Capture, path: str) -> Iterator[str]:
    """The host with the path unreadable, absent, and full of garbage, one after the other, and then as it was."""
    parent, name = path.rsplit("/", 1)
    home = host.tree.find(parent or "/", follow=False)
    assert home is not None and home.children
    node = home.children[name]
    error, data, show, size = node.error, node.data, node.show, node.size
    node.error = errno.EACCES
    yield "EACCES"
    node.error = error
    del home.children[name]
    yield "absent"
    home.children[name] = node
    if node.kind == "file":
        few = GARBAGE if EVERYTHING else (GARBAGE[sum(path.encode()) % len(GARBAGE)],)
        for garbage in few:
            node.data, node.show, node.size = garbage, None, None
            yield repr(garbage[:60])
        node.data, node.show, node.size = data, show, size


def fine(called: Called) -> bool:
    return "QP-CRASH" not in called.out and "internal error" not in called.err and called.code in (0, 3)


@pytest.mark.parametrize("name", ["kubespray", "crio"])
def test_the_host_itself_is_seen_whole(name: str) -> None:
    """Otherwise what is spoiled below would be spoiled already. Of k0s the runtime is not known yet."""
    host = Capture(tree(BASE, HOSTS[name]), name)
    called = qatprep("doctor", "--profile", "qat", "-o", "json", host=host)
    assert fine(called)
    seen = {f["id"]: f["status"] for f in called.json["findings"]}
    assert "unknown" not in seen.values()
    facts = gather(host)
    assert facts.kubernetes.registered == {"qat.intel.com/cy": tuple(sorted(every_vf()))}
    assert [container.pod for container in facts.runtime.containers] == [POD]


@pytest.mark.parametrize("name", HOSTS)
def test_a_verb_that_looks_gets_by_with_what_it_sees(name: str) -> None:
    host = Capture(tree(BASE, HOSTS[name]), name)
    turn = 0
    for path in paths_of(name):
        for act in spoiled(host, path):
            turn += 1
            if turn % EACH:
                continue
            for verb in (*LOOKS, *(OTHERS if EVERYTHING else (OTHERS[turn // EACH % len(OTHERS)],))):
                called = qatprep(*verb.split(), host=host)
                assert fine(called), (verb, act, path, called.code, called.err)


@pytest.mark.parametrize(
    ("name", "path", "finding"),
    [
        ("kubespray", "/etc/containerd/config.toml", "QP-RT-001"),
        ("kubespray", "/etc/containerd/conf.d", "QP-RT-001"),
        ("kubespray", "/etc/containerd/conf.d/10-kubespray.toml", "QP-RT-001"),
        ("kubespray", "/etc/systemd/system/containerd.service.d/90-qatprep-memlock.conf", "QP-MEM-001"),
        ("kubespray", "/proc/900/limits", "QP-MEM-002"),
        ("kubespray", "/proc/4000/limits", "QP-MEM-003"),
        ("kubespray", "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", "QP-K8S-001"),
        ("kubespray", "/k.yaml", "QP-K8S-007"),
        ("crio", "/etc/crio/crio.conf.d/10.conf", "QP-RT-001"),
        ("crio", "/etc/crio/crio.conf.d", "QP-RT-001"),
    ],
)
def test_what_may_not_be_read_is_unknown(name: str, path: str, finding: str) -> None:
    """Never "off", "none" or a failure; and for an ordinary user the way out is named."""
    changed: Tree = tree(BASE, HOSTS[name])
    node = changed.find(path, follow=False)
    assert node
    node.error = errno.EACCES
    called = qatprep("doctor", "--profile", "qat", "-o", "json", host=Capture(changed, name))
    found = next(f for f in called.json["findings"] if f["id"] == finding)
    assert found["status"] == "unknown"
    assert "no permission" in found["cause"] and path in found["cause"]


STRANGE: tuple[Any, ...] = (None, 7, "x", [], {}, [7], {"0": None}, True)


def variants(document: Any) -> Iterator[Any]:
    """The document with each of its values in turn replaced by each of STRANGE."""
    yield from STRANGE
    keys = document.keys() if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        for value in variants(document[key]):
            changed = copy.copy(document)
            changed[key] = value
            yield changed


CHECKPOINT = checkpoint({"cy": ["0000:6b:00.1"]}, ["0000:6b:00.1"]).partition("| ")[2]
FILES = {
    "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint": CHECKPOINT,
    "/var/lib/kubelet/cpu_manager_state": CPUS,
    "/k.yaml": json.dumps({"cpuManagerPolicy": "static", "reservedSystemCPUs": "0-1"}),
    "/.qatprep/programs": API,
}


@pytest.mark.parametrize("path", FILES)
def test_any_form_of_a_kubelet_file_is_understood_or_unknown(path: str) -> None:
    host = Capture(tree("no-qat", HOSTS["kubespray"]), "kubespray")
    node = host.tree.find(path)
    assert node
    understood = 0
    for document in variants(json.loads(FILES[path])):
        if path == "/.qatprep/programs":
            document = {**KUBECTL, "stdout": json.dumps(document)}
        node.data = json.dumps(document).encode()
        facts = kubernetes.gather(host, "/usr/bin/kubelet --config=/k.yaml")
        mine = {
            "/k.yaml": facts.kubelet,
            "/var/lib/kubelet/cpu_manager_state": facts.cpus,
            "/.qatprep/programs": facts.node,
        }
        fact = mine.get(path, facts.registered)
        if isinstance(fact, Unknown):
            assert path in fact.reason or "kubectl" in fact.reason
            assert facts.pods == () if fact is facts.registered else facts.pods
        else:
            understood += 1
    assert understood  # null where Go writes it for an empty list


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"PodDeviceEntries": 7}, "data.Data.PodDeviceEntries must be array or null"),
        ({"PodDeviceEntries": {"a": 1}}, "data.Data.PodDeviceEntries must be array or null"),
        ({"RegisteredDevices": []}, "data.Data.RegisteredDevices must be object or null"),
        ([{"0": None}], "data.Data.PodDeviceEntries[0].DeviceIDs.0 must be array"),
        (["0000:6b:00.1"], "data.Data.PodDeviceEntries[0].DeviceIDs must be array or object or null"),
    ],
)
def test_the_reason_names_the_place(given: Any, reason: str) -> None:
    data = given
    if isinstance(given, list):
        entry = {"PodUID": "a", "ContainerName": "b", "ResourceName": "qat.intel.com/cy", "DeviceIDs": given[0]}
        data = {"PodDeviceEntries": [entry]}
    text = file("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", json.dumps({"Data": data}))
    facts = kubernetes.gather(Capture(tree("no-qat", text), "x"))
    assert isinstance(facts.registered, Unknown)
    assert facts.registered.reason.endswith(f"kubelet_internal_checkpoint: {reason}")


def test_a_capability_set_that_is_no_number_is_unknown() -> None:
    host = Capture(tree(BASE, HOSTS["kubespray"]), "x")
    node = host.tree.find("/proc/4000/status")
    assert node
    node.data = b"Name:\tenvoy\nUid:\tx\nCapEff:\tzz\nCpus_allowed_list:\t9-3,a\n"
    (container,) = gather(host).runtime.containers
    assert isinstance(container.ipc_lock, Unknown) and "'zz'" in container.ipc_lock.reason
    assert isinstance(container.uid, Unknown) and "'x'" in container.uid.reason
