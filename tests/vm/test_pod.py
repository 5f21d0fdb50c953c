"""A pod on a node that bootstrap prepared signs as an ordinary user on VFs of two PFs; what each missing thing does.

containerd's CRI is asked over its socket, as the kubelet does. Nothing comes from a registry: the images are made of
Debian packages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from . import containers, lines, userland
from .conftest import Boot, full
from .emulated import EmulatedGuest
from .machine import HERE, Guest, Hardware
from .node import PF0, PF1, Node, vf
from .rig import cache
from .test_emulated import signatures, signing_services

pytestmark = [pytest.mark.vm, full]

USER = 101
CRI = f"PYTHONPATH={containers.FOLDER}/python python3 {HERE}/guest/cri.py"
WANTED = (
    "containers.memlock=128M",
    "containers.device_ownership=true",
    "containers.restart=containerd.service",
)
SIGN = """\
ulimit -l
ls -ln /dev/vfio
cd /tmp
openssl genrsa -out key 2048 2>/dev/null
openssl rsa -in key -pubout -out pub 2>/dev/null
echo text >text
openssl dgst -engine qatengine -sha256 -sign key -out signature text
openssl dgst -sha256 -verify pub -signature signature text
timeout 6 openssl speed -engine qatengine -async_jobs 4 -seconds 5 rsa2048 >/dev/null 2>&1
true
"""


def group(guest: Guest, device: str) -> str:
    """The device node of a VF."""
    return "/dev/vfio/" + guest.check(f"basename $(readlink /sys/bus/pci/devices/{device}/iommu_group)").strip()


def pod(guest: Guest, **more: Any) -> dict[str, Any]:
    """Run a pod that signs, as USER with a VF of each PF."""
    spec = {
        "image": containers.IMAGE,
        "command": ["bash", "-c", SIGN],
        "uid": USER,
        "gid": USER,
        "groups": [],
        "devices": ["/dev/vfio/vfio", group(guest, vf(PF0, 0)), group(guest, vf(PF1, 0))],
        **more,
    }
    guest.put("/root/pod.json", json.dumps(spec))
    ended: dict[str, Any] = json.loads(guest.check(f"{CRI} run /root/pod.json", timeout=300))
    return ended


def restarted(guest: Guest, change: str) -> None:
    """Restart containerd with another configuration."""
    guest.check(f"{change}; systemctl daemon-reload; systemctl restart containerd", timeout=240)


def warned(node: Node) -> set[str]:
    """Findings that the doctor warns of or fails, but for the kernel log: it keeps what libqat's broken starts left."""
    bad = {name for name, status in node.findings().items() if status in ("warn", "fail")}
    return bad - {"QP-LOG-001"}


@pytest.fixture
def guest(boot: Boot, kernel: str) -> Iterator[Guest]:
    """A node with containerd and a pod, before qatprep has done anything."""
    hardware = Hardware(kind="emulated", pfs=2, sockets=2, vfs=2, memory=2048)
    arguments = "systemd.mask=systemd-tmpfiles-setup.service"
    extra = containers.build(cache())
    with boot(kernel, hardware, boot="systemd", extra=extra, arguments=arguments, seconds=300) as guest:
        # An overlay cannot be the upper part of another, which the root is.
        guest.check("mkdir -p /var/lib/containerd && mount -t tmpfs tmpfs /var/lib/containerd")
        guest.check("systemctl start containerd", timeout=240)
        for image in ("pause", "qat"):
            guest.check(f"ctr -n k8s.io images import {containers.FOLDER}/{image}.tar", timeout=240)
        guest.check(f"{CRI} pod")
        yield guest


def test_a_pod_signs_on_vfs_of_two_pfs(guest: Guest, kernel: str) -> None:
    """What bootstrap sets up is enough; without each part of it the doctor names that part and no other."""
    node = Node(guest)
    wanted = (f"devices.services={signing_services(kernel)}", *WANTED)
    settings = " ".join(f"--set {setting}" for setting in wanted)
    node.qatprep(f"bootstrap --yes --no-smoke {settings}", timeout=300)
    assert warned(node) == set()

    ended = pod(guest)
    limit, *devices = ended["log"].splitlines()
    assert limit == "131072"  # KiB
    assert [line.split()[2:4] for line in devices if line.startswith("c")] == [[str(USER), str(USER)]] * 3
    assert "Verified OK" in ended["log"]
    assert all(signed > 0 for signed in on_each_pf(guest)), ended["log"]

    # Intel's guide, "Service Mesh - Crypto Accelerations in Istio and Envoy" (January 2023), 3.1.2: 16777216.
    drop_in = "/etc/systemd/system/containerd.service.d/zzz.conf"
    restarted(guest, f"printf '[Service]\\nLimitMEMLOCK=16777216\\n' >{drop_in}")
    assert refused(guest, "memlock 16777216") == "VFIO_IOMMU_MAP_DMA failed"
    assert warned(node) == {"QP-MEM-001"}
    restarted(guest, f"rm {drop_in}")

    restarted(guest, "sed -i /device_ownership/d /etc/containerd/config.toml")
    assert refused(guest, "no device ownership") == "No device found"
    assert warned(node) == {"QP-RT-001"}

    # The other way: the group that the host's nodes have.
    qat = int(guest.check("getent group qat | cut -d: -f3"))
    before = signatures(guest)
    assert "Verified OK" in pod(guest, groups=[qat])["log"]
    assert signatures(guest) > before


def on_each_pf(guest: Guest) -> list[int]:
    """Answers of the VFs of each PF."""
    assert isinstance(guest, EmulatedGuest)
    return [sum(v["answers"] for name, v in e.counts().items() if name != "pf") for e in guest.emulators]


def refused(guest: Guest, scenario: str) -> str:
    """Run a pod that must not reach the device; what libqat says of it."""
    before = signatures(guest)
    ended = pod(guest)
    lines.keep(guest.kit.kernel.series, userland.DEFAULT, f"pod: {scenario}", "libqat", ended["log"])
    assert signatures(guest) == before
    assert "Verified OK" in ended["log"], "qatengine signs in software where it has no device"
    known = ("VFIO_IOMMU_MAP_DMA failed", "No device found")
    return next((text for text in known if text in ended["log"]), ended["log"])
