"""Hostile text in every fact of a host, and in everything else that comes from outside: none of it in any output."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from io import StringIO
from pathlib import Path

import pytest

from qatprep import config
from qatprep.__main__ import main
from qatprep.cli.capture import survey
from qatprep.cli.session import Session
from qatprep.errors import InputError
from qatprep.host import manifest
from qatprep.host.base import Host
from qatprep.host.capture import Capture
from qatprep.host.record import Recorder
from qatprep.host.tree import Tree
from qatprep.simulator.disk import copy
from qatprep.simulator.host import SimulatedHost
from qatprep.version import VERSION
from tests.conftest import qatprep, some
from tests.simulator.hosts import simulated, tree_of

HOSTILE = "<\x1b[2J\x07\r\u202e\x9b31m\u2028\x7f>"
"""ESC, BEL, CR, a mark of direction, C1, a line separator, DEL."""
INJECTED = f"{HOSTILE}\nINJECTED"
PF, VF = "0000:6b:00.0", "0000:6b:00.1"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SEEN = r"<\x1b[2J\x07"
"""How it is shown."""

VERBS = (
    ["doctor", "--all", "--verbose"],
    ["doctor", "-o", "json"],
    ["doctor", "--profile", "qat", "--short"],
    ["plan", "--diff"],
    ["plan", "-o", "json"],
    ["status"],
    ["status", "-o", "json"],
    ["status", "--as-config"],
    ["device", "list", "--all"],
    ["device", "list", "--vfs"],
    ["device", "list", "-o", "json"],
    ["device", "unbind", VF],
    ["device", "bind", VF],
    ["device", "down", PF],
    ["device", "reset", PF, "--check"],
    ["device", "take-over", "--check"],
    ["bootstrap", "--no-smoke"],
    ["bootstrap", "--check", "--diff"],
    ["bootstrap", "--check", "-o", "json"],
    ["rollback", "--list"],
    ["rollback", "--list", "-o", "json"],
    ["rollback", "--check"],
    ["metrics"],
    ["features"],
    ["features", "-o", "json"],
    ["report", "--html", "-"],
    ["report", "--markdown", "-"],
    ["config", "show"],
    ["config", "show", "-o", "json"],
    ["config", "init"],
    *(["gen-conf", "--format", form] for form in ("files", "butane", "ignition", "cloud-init", "kernel-arguments")),
    ["capture"],
    ["-v", "doctor"],
)
"""Every verb that looks at a host, in each form that it prints."""


def clean(text: str, what: str) -> str:
    """The text, of which nothing controls a terminal and no line is injected."""
    odd = {c for c in text if not (c.isprintable() or c in "\n\t")}
    assert odd == set(), f"{what}: {odd} in {next(line for line in text.splitlines() if odd & set(line))!r}"
    assert re.search(r"(?<!\\n)INJECTED", text) is None, what
    return text


def call(host: Host | None, *args: str, terminal: bool = False) -> str:
    """stdout and stderr of a call that neither crashes nor lets anything through."""
    out, err = StringIO(), StringIO()
    if terminal:
        out.isatty = err.isatty = lambda: True  # type: ignore[method-assign]
    env = {"TERM": "xterm-256color", "COLUMNS": "1000"}
    main(list(args), Session(out, err, env, host))
    text = out.getvalue() + err.getvalue()
    assert "mistake in qatprep" not in text and "Traceback" not in text and "QP-CRASH" not in text, text[-2000:]
    return clean(COLOURS.sub("", text) if terminal else text, " ".join(args))


def _append(tree: Tree, path: str, text: str) -> None:
    node = tree.find(path) or tree.file(path)
    node.data += text.encode()


def planted() -> SimulatedHost:
    """A node of Kubernetes with a VF in use, and hostile text wherever it can be without breaking a format."""
    tree = tree_of("vf-held")
    holder = next(
        path.split("/")[2]
        for path, node in tree.walk()
        if re.match(r"/proc/\d+/fd/", path) and node.target.startswith("/dev/vfio")
    )
    tree.file(f"/proc/{holder}/cmdline", f"/opt/{INJECTED}\0--x{INJECTED}\0".encode())
    tree.file(f"/proc/{holder}/comm", f"{INJECTED}\n".encode())
    tree.file(f"/proc/{holder}/cgroup", f"0::/kubepods/pod{HOSTILE}/{HOSTILE}\n".encode())
    for pid, comm, line, cgroup in (
        (701, "containerd", "/usr/bin/containerd\0--config\0/etc/c" + HOSTILE, f"/system.slice/c{HOSTILE}.service"),
        (702, "kubelet", f"/usr/bin/kubelet\0--cpu-manager-policy={INJECTED}", "/system.slice/kubelet.service"),
        (703, "intel_qat_devic" + HOSTILE, f"/p\0-mode\0{INJECTED}", f"/kubepods/{'a' * 64}"),
        (704, f"envoy{INJECTED}", "envoy\0" + HOSTILE, f"/kubepods/{HOSTILE}/{'b' * 64}"),
    ):
        tree.file(f"/proc/{pid}/comm", f"{comm}\n".encode())
        tree.file(f"/proc/{pid}/cmdline", f"{line}\0".encode())
        tree.file(f"/proc/{pid}/cgroup", f"0::{cgroup}\n".encode())
        tree.file(
            f"/proc/{pid}/status", f"Uid:\t{HOSTILE}\nCapEff:\t{HOSTILE}\nCpus_allowed_list:\t{HOSTILE}\n".encode()
        )
        tree.dir(f"/proc/{pid}/fd", 0o500)
    node = next(
        node for path, node in tree.walk() if path.startswith("/dev/vfio/") and node.kind == "char" and node.gid
    )
    _append(tree, "/etc/group", f"evil{HOSTILE}:x:{node.gid}:\nother{HOSTILE}:x:7:a{HOSTILE}\n")
    _append(tree, "/proc/cmdline", f" vfio_pci.{HOSTILE}={HOSTILE} module_blacklist={HOSTILE} intel_iommu={HOSTILE}")
    for line in (f"<3>4xxx {PF}: told {HOSTILE}", f"<4>{HOSTILE} intel_qat: {HOSTILE}", f"<3>vfio-pci {VF}: {HOSTILE}",
                 f"<3>4xxx {PF}: Failed to load MMP firmware qat_4xxx_mmp.bin{HOSTILE}"):  # fmt: skip
        _append(tree, "/.qatprep/dmesg", f"{line}\n")
    tree.file("/etc/modprobe.d/x.conf", f"blacklist qat_4xxx {HOSTILE}\noptions vfio_pci ids={HOSTILE}\n".encode())
    tree.file(f"/etc/modprobe.d/n{HOSTILE}.conf", b"blacklist vfio\n")
    tree.file("/usr/lib/udev/rules.d/05-driverctl.rules", b"x\n")
    tree.file(f"/etc/driverctl.d/pci-{PF}", f"{INJECTED}\n".encode())
    tree.file("/usr/lib/udev/rules.d/60-x.rules", f'ATTR{{sriov_numvfs}}="{HOSTILE}" {PF}\n'.encode())
    tree.file("/etc/rc.local", f"#!/bin/sh\necho {HOSTILE} > /sys/bus/pci/devices/{PF}/sriov_numvfs\n".encode(), 0o755)
    unit = f"[Service]\nExecStart=/bin/sh -c 'echo {HOSTILE} > {PF}/sriov_numvfs'\nLimitMEMLOCK={HOSTILE}\n"
    tree.file("/etc/systemd/system/evil.service", unit.encode())
    tree.link("/etc/systemd/system/multi-user.target.wants/evil.service", "/etc/systemd/system/evil.service")
    tree.file("/etc/systemd/system/containerd.service", unit.encode())
    tree.file("/etc/systemd/system.conf", f"[Manager]\nDefaultLimitMEMLOCK={HOSTILE}\n".encode())
    tree.link("/etc/systemd/system/multi-user.target.wants/qat.service", "/usr/lib/systemd/system/qat.service")
    tree.file("/etc/sysconfig/qat", f"ServicesEnabled={HOSTILE}\nPOLICY={HOSTILE}\n".encode())
    tree.file("/etc/os-release", f'ID={HOSTILE}\nPRETTY_NAME="{HOSTILE}"\nID_LIKE=debian\n'.encode())
    tree.file("/etc/default/grub", f'GRUB_CMDLINE_LINUX="intel_iommu={HOSTILE}"\n'.encode())
    tree.file("/proc/sys/kernel/version", f"#1 {HOSTILE}\n".encode())
    tree.file("/sys/class/dmi/id/sys_vendor", f"{INJECTED}\n".encode())
    tree.file("/sys/class/dmi/id/product_name", f"{HOSTILE}\n".encode())
    cpuinfo = tree.get("/proc/cpuinfo")
    cpuinfo.data = re.sub(rb"(model name\s*:).*", rb"\1 CPU " + HOSTILE.encode(), cpuinfo.data)
    escaped = json.dumps(INJECTED)[1:-1]
    tree.file("/etc/containerd/config.toml", f'version = "{escaped}"\nimports = ["/e{escaped}"]\n'.encode())
    ids = {f"qat.intel.com/generic{INJECTED}": [INJECTED, VF]}
    entry = {
        "PodUID": INJECTED,
        "ContainerName": INJECTED,
        "ResourceName": f"qat.intel.com/{HOSTILE}",
        "DeviceIDs": [VF],
    }
    checkpoint = {"Data": {"PodDeviceEntries": [entry], "RegisteredDevices": ids}}
    tree.file("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", json.dumps(checkpoint).encode())
    state = {"policyName": INJECTED, "defaultCpuSet": INJECTED, "entries": {INJECTED: {INJECTED: INJECTED}}}
    tree.file("/var/lib/kubelet/cpu_manager_state", json.dumps(state).encode())
    tree.file(
        "/var/lib/kubelet/config.yaml", f'cpuManagerPolicy: "{escaped}"\nreservedSystemCPUs: "{escaped}"\n'.encode()
    )
    program = {"argv": ["containerd", "--version"], "rc": 1, "stdout": INJECTED, "stderr": INJECTED}
    tree.file("/.qatprep/programs", f"{json.dumps(program)}\n".encode())
    tree.file("/.qatprep/program", json.dumps([f"/usr/bin/qatprep{HOSTILE}"]).encode())
    tree.file("/.qatprep/program-doubt", f"{HOSTILE} may write it\n".encode())
    tree.file("/run/qatprep/proof.json", json.dumps({"schema": INJECTED}).encode())
    return SimulatedHost(tree)


@pytest.mark.parametrize("args", VERBS, ids=" ".join)
def test_no_verb_lets_it_through(args: list[str]) -> None:
    call(planted(), *args)


def test_what_is_planted_is_shown() -> None:
    """Escaped, in findings of each kind: else the host above proves nothing."""
    text = call(planted(), "doctor", "--all", "--verbose") + call(planted(), "device", "unbind", VF)
    for place in ("told ", "ATTR{sriov_numvfs}=\"", "blacklist qat_4xxx ", "echo ", "/opt/"):  # fmt: skip
        assert f"{place}{SEEN}" in text or f"{place.rsplit('/')[-1]}{SEEN}" in text, place


@pytest.mark.parametrize("args", [["doctor", "--all", "--verbose"], ["plan"], ["status"], ["device", "list", "--vfs"],
                                  ["bootstrap", "--no-smoke"]], ids=" ".join)  # fmt: skip
def test_a_terminal(args: list[str]) -> None:
    call(planted(), *args, terminal=True)


@pytest.mark.parametrize("name", ["k8s-as-the-paper-says", "vm-with-containers", "spr-2s-ready", "boot-systemd-boot"])
def test_every_file_that_is_read(name: str) -> None:
    """One kind of file after the other has hostile text at the end of each line, whatever that breaks."""
    recorder = Recorder(simulated(name))
    recorder.prefetch()
    survey(recorder, config.load(recorder, "", ()))
    kinds = defaultdict(list)
    for path in recorder.touched:
        node = recorder.tree.find(path, follow=False)
        if node is not None and node.kind == "file" and node.size is None and not node.error:
            kinds[re.sub(r"[0-9a-f:.]*\d[0-9a-f:.]*", "#", path)].append(path)
    assert len(kinds) > 20
    for kind, paths in kinds.items():
        tree = Tree()
        tree.root = copy(recorder.tree.root)
        for path in paths:
            node = tree.get(path, follow=False)
            node.data = node.data.rstrip(b"\n").replace(b"\n", HOSTILE.encode() + b"\n") + HOSTILE.encode() + b"\n"
        text = call(Capture(tree, "x"), "doctor", "--all", "--verbose")
        assert text, kind


def test_journals() -> None:
    """What a run says of itself: its command, and every text of its changes."""
    host = simulated("spr-2s")
    assert qatprep("bootstrap", "--no-smoke", host=host).code == 0
    path = next(path for path, _ in host.tree.walk() if path.startswith("/var/lib/qatprep/runs/"))
    lines = host.tree.get(path).data.decode().splitlines()
    texts = sorted({text for line in lines for text in re.findall(r'"([^"\\]{3,})"(?!:)', line)})
    texts.sort(key=len)
    assert len(texts) > 20 and VERSION in texts
    for text in [VERSION, *some(texts, max(1, len(texts) // 12))]:
        tree = Tree()
        tree.root = copy(host.tree.root)
        escaped = json.dumps(text + INJECTED)
        tree.get(path).data = ("\n".join(lines) + "\n").replace(f'"{text}"', escaped, 1).encode()
        for args in (["rollback", "--list"], ["rollback", "--check"], ["status"], ["rollback", "--list", "-o", "json"]):
            call(Capture(tree, "x"), *args)


FILES = {
    "log": f"qat: {HOSTILE}\n[2026] [error] {HOSTILE} private key {HOSTILE}\n<3>4xxx {PF}: {HOSTILE}\n{HOSTILE}\n",
    "manifest": "kind: Pod\nmetadata: {name: \"a%\", namespace: \"%\"}\nspec: {containers: [{name: \"%\", image: \"%\","
    " resources: {limits: {\"qat.intel.com/%\": \"%\"}}}]}\n",
    "stats": f"cryptomb.{HOSTILE}: 1\nlistener.{HOSTILE}.ssl.handshake: {HOSTILE}\n",
    "config-dump": json.dumps({"configs": [{"dynamic_active_secrets": [{"name": INJECTED}], INJECTED: 1}]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("output", ["human", "json"])
def test_what_is_inspected(kind: str, output: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(FILES[kind].replace("%", json.dumps(HOSTILE)[1:-1]).encode())
    call(None, "inspect", kind, str(file), "-o", output)


def test_names_that_a_user_gives() -> None:
    """Command lines are often put together by others."""
    for args in (["--simulate", HOSTILE], ["--root", f"/{HOSTILE}"], ["--set", f"nodes.group={HOSTILE}"], [HOSTILE],
                 ["--config", f"/{HOSTILE}"], ["--device", HOSTILE]):  # fmt: skip
        call(None, "plan", *args)
    call(None, HOSTILE)
    call(None, "inspect", "log", f"/{HOSTILE}")
    call(None, "render", "envoy", "-p", "qat", "--name", HOSTILE)


def test_a_host_file() -> None:
    for text in (f"# qatprep host 1\n{HOSTILE}\n", f"# qatprep host 1\n/a{HOSTILE} = b\n/a [9999] x\n", HOSTILE):
        try:
            manifest.parse(text, f"x{HOSTILE}")
        except InputError as e:
            out = StringIO()
            Session(err=out).say(e.message)
            clean(out.getvalue(), "host file")
