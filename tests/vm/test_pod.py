"""A pod on a node that bootstrap prepared signs as an ordinary user, on VFs of two PFs; and what each missing thing does.

containerd's CRI is asked over its socket, as the kubelet does. Nothing comes from a registry: the images are made of Debian
packages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from . import containers
from .conftest import Boot, full
from .machine import HERE, Guest, Hardware
from .node import PF0, PF1, Node, vf
from .rig import cache
from .test_emulated import signatures

pytestmark = [pytest.mark.vm, full]

USER = 101
CONFIG = """\
apiVersion: qatprep/v1
devices: {services: asym}
containers:
  device_ownership: true
  restart: containerd.service
"""
SIGN = (
    "ulimit -l; ls -ln /dev/vfio; cd /tmp && openssl genrsa -out key 2048 2>/dev/null && openssl rsa -in key -pubout -out pub"
    " 2>/dev/null && echo text >text && openssl dgst -engine qatengine -sha256 -sign key -out signature text"
    " && openssl dgst -sha256 -verify pub -signature signature text"
)


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
    text = guest.check(
        f"PYTHONPATH={containers.FOLDER}/python python3 {HERE}/guest/cri.py run /root/pod.json", timeout=300
    )
    ended: dict[str, Any] = json.loads(text)
    return ended
