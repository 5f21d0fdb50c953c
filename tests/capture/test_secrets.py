"""Whatever secret is wherever on a host: it is not in the capture, and not in anything that can be decoded of it."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qatprep.host.keep import plain, shape
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep, some
from tests.simulator.hosts import simulated

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SECRETS = st.one_of(
    st.text(LETTERS + "0123456789", min_size=10, max_size=40),
    st.text(LETTERS + "0123456789+/", min_size=12, max_size=40).map(lambda s: base64.b64encode(s.encode()).decode()),
    st.uuids().map(str),
    st.binary(min_size=10, max_size=24).map(bytes.hex),
    st.from_regex(r"[a-z]{3,8}[0-9]{1,4}[!#%_-][A-Za-z0-9]{4,8}", fullmatch=True),
    st.from_regex(r"eyJ[A-Za-z0-9_-]{10,30}\.[A-Za-z0-9_-]{10,30}\.[A-Za-z0-9_-]{10,30}", fullmatch=True),
).filter(lambda s: not shape(s) and re.search(r"[0-9]", s) and re.search(r"[A-Za-z]", s))
"""Tokens as machines make them, and passwords as people do. A word of letters alone is no secret that could be told
from a word, where it is none of a key's value."""
PLACES = (
    "/proc/cmdline bare", "/proc/cmdline value", "/proc/cmdline after", "log value", "log sentence", "log command line",
    "kubelet flag", "kubelet word", "kubelet after", "holder", "environ", "unit environment", "unit command",
    "unit comment", "modprobe comment", "modprobe options", "toml password", "toml comment", "toml section",
    "toml value", "toml key", "pem", "os-release", "grub", "entries", "udev", "rc.local", "journal", "journal done",
    "checkpoint", "node labels", "program output", "program error", "configuration comment", "driverctl", "ours",
    "group",     "kubelet.yaml", "proof", "cpu manager", "build option", "config dump",
)  # fmt: skip

WITH_IDS = ("kubelet flag", "kubelet word", "kubelet after", "checkpoint", "cpu manager")
"""Where UUIDs stay: those of pods are in cgroups and in the kubelet's files."""


def plant(host: SimulatedHost, place: str, secret: str) -> None:
    tree = host.tree

    def add(path: str, text: str) -> None:
        node = tree.find(path) or tree.file(path)
        node.data = node.data.rstrip(b"\n") + (b"\n" if node.data else b"") + text.encode() + b"\n"

    match place:
        case "/proc/cmdline bare" | "/proc/cmdline value" | "/proc/cmdline after":
            more = {"bare": secret, "value": f"iommu={secret} x={secret}", "after": f"-- --token {secret} lastword"}
            node = tree.get("/proc/cmdline")
            node.data = node.data.rstrip() + f" {more[place.split()[1]]}\n".encode()
        case "log value":
            add("/.qatprep/dmesg", f"<3>4xxx 0000:6b:00.0: password={secret} psk {secret}")
        case "log sentence":
            add("/.qatprep/dmesg", f"<3>4xxx 0000:6b:00.0: it said {secret} and 'x{secret}'")
        case "log command line":
            add("/.qatprep/dmesg", f"<6>Command line: ro foo -- --token {secret} lastword")
        case "kubelet flag" | "kubelet word" | "kubelet after":
            more = {"flag": f"--psk={secret}\0--x-pw\0{secret}\0--hostname-override={secret}", "word": secret,
                    "after": f"--\0--config={secret}"}  # fmt: skip
            tree.file("/proc/800/comm", b"kubelet\n")
            tree.file("/proc/800/cmdline", f"/usr/bin/kubelet\0{more[place.split()[1]]}\0".encode())
            tree.file("/proc/800/cgroup", f"0::/system.slice/kubelet.service/{secret}\n".encode())
            tree.dir("/proc/800/fd", 0o500)
        case "holder" | "environ":
            tree.file("/proc/801/comm", f"containerd-{secret}\n".encode())
            tree.file("/proc/801/cmdline", f"/opt/{secret}\0{secret}\0".encode())
            tree.file("/proc/801/cgroup", f"0::/kubepods/{'a' * 64}\n".encode())
            tree.file("/proc/801/environ", f"DB_PASS={secret}\0".encode())
            tree.dir("/proc/801/fd", 0o500)
        case "unit environment" | "unit command" | "unit comment":
            more = {"environment": f"Environment=DB_PASS={secret}", "comment": f"# {secret}",
                    "command": f"ExecStart=/bin/sh -c 'echo {secret} > sriov_numvfs; qat {secret}'"}  # fmt: skip
            add("/etc/systemd/system/containerd.service", f"[Service]\n{more[place.split()[1]]}")
            add("/etc/systemd/system/evil.service", f"[Service]\n{more[place.split()[1]]}")
            tree.link("/etc/systemd/system/multi-user.target.wants/evil.service", "/etc/systemd/system/evil.service")
        case "modprobe comment":
            add("/etc/modprobe.d/x.conf", f"# {secret}\nblacklist foo # {secret}")
        case "modprobe options":
            add("/etc/modprobe.d/x.conf", f"options vfio_pci ids={secret}\noptions wifi psk={secret}")
        case "toml password" | "toml comment" | "toml section" | "toml value" | "toml key":
            more = {"password": f'password = "{secret}"', "comment": f"# {secret}",
                    "value": f'imports = ["/{secret}"]', "section": f'[plugins."{secret}"]\nx = 1',
                    "key": f'{secret.replace("/", "_")[:20]} = 1'}  # fmt: skip
            add("/etc/containerd/config.toml", f"version = 2\n{more[place.split()[1]]}")
        case "config dump" | "program output" | "program error" | "node labels":
            labelled = {
                "metadata": {"labels": {f"qat-{secret}": secret}},
                "status": {"allocatable": {f"qat{secret}": secret}},
            }
            program = {"argv": ["containerd", "--version"], "rc": 0, "stdout": "", "stderr": ""}
            if place == "config dump":
                program |= {
                    "argv": ["containerd", "--config", "/x", "config", "dump"],
                    "stdout": f'password = "{secret}"',
                }
            elif place == "node labels":
                program["stdout"] = json.dumps(labelled)
            else:
                program["stdout" if "output" in place else "stderr"] = f"failed with {secret}"
            add("/.qatprep/programs", json.dumps(program))
        case "pem":
            body = base64.b64encode((secret * 20).encode()).decode()
            add(
                "/etc/crio/crio.conf",
                f"-----BEGIN PRIVATE KEY-----\n{body[:64]}\n{body[64:128]}\n-----END PRIVATE KEY-----",
            )
            add("/etc/containerd/config.toml", f"# -----BEGIN PRIVATE KEY-----\n# {body[:64]}")
        case "os-release":
            add("/etc/os-release", f'ID="{secret}"\nNAME="{secret}"\nSUPPORT="{secret}"')
        case "grub":
            add("/etc/default/grub", f'GRUB_CMDLINE_LINUX="iommu={secret} {secret} -- {secret}"\nX={secret}')
        case "entries":
            add("/boot/loader/entries/a.conf", f"title {secret}\noptions ro {secret}={secret} {secret}")
        case "udev":
            add("/etc/udev/rules.d/60-x.rules", f'ATTR{{sriov_numvfs}}="{secret}", ENV{{X}}="{secret}" # qat {secret}')
        case "rc.local":
            tree.file("/etc/rc.local", f"#!/bin/sh\nPASS={secret}\necho {secret} > qat/state\n".encode(), 0o755)
        case "journal" | "journal done":
            assert qatprep("bootstrap", "--no-smoke", host=host).code == 0
            path = next(path for path, _ in tree.walk() if path.startswith("/var/lib/qatprep/runs/"))
            encoded = base64.b64encode(f"password={secret}".encode()).decode()
            change = {"kind": "edit-file", "old": encoded, "new": encoded, "note": secret, "path": f"/etc/{secret}"}
            if place == "journal":
                add(path, json.dumps({"event": "intent", "n": 900, "lane": "", "change": change}))
            else:
                add(
                    path,
                    json.dumps({"event": "done", "n": 900, "outcome": {"made": {**change, "x": [secret, encoded]}}}),
                )
        case "checkpoint":
            name = f"qat.intel.com/{secret}"
            entry = {"PodUID": secret, "ContainerName": secret, "ResourceName": name, "DeviceIDs": [secret]}
            entry["AllocResp"] = secret
            data = {"Data": {"PodDeviceEntries": [entry], "RegisteredDevices": {name: [secret]}}}
            tree.file("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", json.dumps(data).encode())
        case "configuration comment":
            tree.file("/etc/qatprep.yaml", f"# {secret}\nnodes: {{group: qat}} # {secret}\n".encode())
        case "driverctl":
            tree.file("/usr/lib/udev/rules.d/05-driverctl.rules", b"x\n")
            tree.file("/etc/driverctl.d/pci-0000:6b:00.0", f"{secret}\n".encode())
        case "ours":
            tree.file("/etc/modules-load.d/qatprep.conf", f"# Written by qatprep\n# {secret}\nkey={secret}\n".encode())
        case "group":
            add("/etc/group", f"{secret}:x:5000:{secret}\nqat:{secret}:996:{secret}")
        case "kubelet.yaml":
            tree.file("/proc/800/comm", b"kubelet\n")
            tree.file("/proc/800/cmdline", b"/usr/bin/kubelet\0")
            tree.file("/proc/800/cgroup", b"0::/system.slice/kubelet.service\n")
            add("/var/lib/kubelet/config.yaml", f"cpuManagerPolicy: {secret}\nauth: {secret}\n# {secret}")
        case "proof":
            tree.file("/run/qatprep/proof.json", json.dumps({"schema": secret, "devices": {secret: secret}}).encode())
        case "cpu manager":
            state = {"policyName": secret, "defaultCpuSet": secret, "entries": {secret: {secret: secret}}}
            tree.file("/var/lib/kubelet/cpu_manager_state", json.dumps(state).encode())
        case "build option":
            path = next(path for path, _ in tree.walk() if path.startswith("/boot/config-"))
            add(path, f'CONFIG_SYSTEM_TRUSTED_KEYS="{secret}"\n# {secret}')
        case _:
            raise AssertionError(place)


def forms(text: str) -> str:
    """The text, and whatever in it can be decoded, and that again."""
    out = [text]
    for word in set(re.findall(r"[A-Za-z0-9+/_-]{8,}={0,2}", text)):
        for cut in range(4):
            piece = word[cut:]
            try:
                out.append(base64.b64decode(piece + "=" * (-len(piece) % 4), validate=False).decode("latin-1"))
            except ValueError:
                continue
        if re.fullmatch(r"(?:[0-9a-f]{2})+", word):
            out.append(bytes.fromhex(word).decode("latin-1"))
    return "\n".join(out)


@pytest.mark.parametrize("place", some(PLACES, 2))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(secret=SECRETS)
def test_no_planted_secret_is_found(place: str, secret: str) -> None:
    if place in WITH_IDS and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", secret):
        return
    host = simulated("spr-2s")
    plant(host, place, secret)
    called = qatprep("capture", host=host)
    assert called.code == 0, called.err
    assert secret not in forms(called.out)
    assert "lastword" not in called.out


@given(SECRETS)
def test_a_secret_has_no_shape(secret: str) -> None:
    count: Counter[str] = Counter()
    text = plain(f"a {secret} 'b={secret}'", count)
    assert secret not in text
    assert count["words that could be secrets"] >= 1
