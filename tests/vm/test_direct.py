"""The direct proof where the kernel's own PF driver answers the mailbox and its firmware counters are asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.direct.sequence import of_one_pair, without_ring_map, written

from . import cdev_modules
from .conftest import Boot, full
from .emulated import EmulatedGuest
from .machine import REPOSITORY, Guest, Hardware
from .node import PF0, Node, vf
from .rig import cache
from .test_emulated import COUNTED, SIGNED, signatures

pytestmark = pytest.mark.vm

VFS = 4
ONE_PF = Hardware(kind="emulated", pfs=1, vfs=VFS, memory=1024)
STATE = f"/sys/bus/pci/devices/{PF0}/qat/state"


def codes(document: Any) -> list[str]:
    return [found["code"] for found in document["vfs"]]


def node_of(guest: Guest, bdf: str) -> str:
    group = guest.check(f"basename $(readlink /sys/bus/pci/devices/{bdf}/iommu_group)").strip()
    return f"/dev/vfio/{group}"


def recorded(guest: Guest) -> list[str]:
    """What drivers have done to the PF and its VFs so far."""
    assert isinstance(guest, EmulatedGuest)
    with open(guest.emulators[0].record, encoding="utf-8") as f:
        return [line for line in f if line.endswith("\n")]


def user_of(events: list[str]) -> str:
    """The VF whose doorbell was rung."""
    (function,) = {event["function"] for event in map(json.loads, events) if event.get("register") == "TAIL0"}
    return str(function)


def same_writes(guest: Guest, node: Node, as_libqat: Callable[[list[str]], list[str]]) -> str:
    """Hold what the direct proof writes to a VF against what libqat writes to it; what libqat's smoke said."""
    before = len(recorded(guest))
    assert codes(node.json("smoke --direct")) == ["passed"]
    direct = recorded(guest)[before:]
    out = " ".join(node.qatprep("smoke --provider qat").out.split())
    libqat = recorded(guest)[before + len(direct) :]
    ours, theirs = (of_one_pair(written(events, user_of(events)), 1) for events in (direct, libqat))
    assert "1 TAIL0 0x40" in theirs
    assert as_libqat(ours) == theirs
    return out


def test_vfs_of_a_real_pf_driver(boot: Boot, kernel: str) -> None:
    with boot(kernel, ONE_PF) as guest:
        assert isinstance(guest, EmulatedGuest)
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke --set devices.services='asym;dc'")

        document = node.json("smoke --direct --all")
        assert codes(document) == ["passed"] * VFS
        assert document["fw_counters"]["responses"] == document["fw_counters"]["requests"] == VFS
        assert signatures(guest) == VFS
        assert document["vfs"][0]["services"] == ["dc", "asym", "dc", "asym"]
        assert {found["ring_pair"] for found in document["vfs"]} == {1}

        doctor = node.json("doctor --profile qat --prove --set devices.services='asym;dc'")
        assert doctor["verdicts"][0]["state"] == "ready"
        (signed,) = (found for found in doctor["findings"] if found["id"] == "QP-PROOF-003")
        assert signed["evidence"] == [{"path": "fw_counters", "value": "1 responses for 1 requests"}]

        out = same_writes(guest, node, without_ring_map)
        assert SIGNED in out
        assert COUNTED in out
        assert codes(node.json("smoke --direct --all")) == ["passed"] * VFS

        # A VF that somebody holds is left alone and its holder named; the others sign.
        holder = guest.start(f"exec 9<>{node_of(guest, vf(PF0, 0))}; echo held; sleep 1000")
        holder.wait_for("held")
        document = node.json("smoke --direct --all")
        assert codes(document) == ["held", *["passed"] * (VFS - 1)]
        assert "sleep" in document["vfs"][0]["summary"]
        holder.kill()
        holder.wait()

        # An ordinary user of the group, with less memlock than this needs, and with less than libqat needs.
        direct = f"{guest.qatprep_command} smoke --direct --output json"
        user = f"setpriv --reuid 65534 --regid qat --clear-groups prlimit --memlock=%d:%d {direct}"
        said = guest.run(user % (8192, 8192))
        (found,) = json.loads(said.out)["vfs"]
        assert (said.status, found["code"]) == (3, "memlock")
        assert found["evidence"] == {"needs": 12288, "limit": 8192}
        said = guest.run(user % (12288, 12288))
        assert (said.status, codes(json.loads(said.out))) == (0, ["passed"])
        assert "libqat will not start: memlock is 12 KiB" in json.loads(said.out)["notes"][0]

        # The PF goes down while a request is under way: the VF is given up at once.
        guest.emulators[0].tell("fault", "lost=1")
        wait = 'until grep -q \'"step": "sign"\' /tmp/record; do sleep 0.01; done'
        job = guest.start(f"{direct} --record /tmp/record")
        guest.check(f"{wait}; echo down > {STATE}", timeout=60)
        assert codes(json.loads(job.wait().out)) == ["pf-restarting"]

        # With the PF its VFs are gone.
        document = node.json("smoke --direct --all", status=3)
        assert document["vfs"] == []
        assert document["pfs_without_vfs"] == [{"bdf": PF0, "state": "down"}]

        log = guest.check("dmesg")
        for words in ("Some VFs are still running", "Failed to send", "DMAR: [DMA"):
            assert words not in log
        assert not node.complaints()


def test_vfs_with_device_nodes_of_their_own(boot: Boot, kernel: str) -> None:
    """A kernel with iommufd: by either node, and held through the one while it is asked for by the other."""
    with boot(kernel, ONE_PF) as guest:
        node = Node(guest)
        guest.check("modprobe irqbypass")
        for module in cdev_modules.modules(cache(), guest.kit):
            place = f"/tmp/{os.path.basename(module)}"
            with open(module, "rb") as f:
                guest.put(place, f.read())
            guest.check(f"insmod {place}")
        node.qatprep("bootstrap --yes --no-smoke")
        assert guest.check("ls /dev/vfio/devices").split() == [f"vfio{n}" for n in range(VFS)]
        first = vf(PF0, 0)

        def proof(way: str) -> dict[str, Any]:
            command = f"cd {REPOSITORY}; {guest.python} -m tests.direct.here {first} 0 {way}"
            return dict(json.loads(guest.check(command)))

        for way in ("cdev", "group", "cdev"):
            assert (proof(way)["cause"], proof(way)["seen"]["way"]) == (None, way)
        assert SIGNED in node.qatprep("smoke --provider qat").out

        holder = guest.start(f"exec 9<>{node_of(guest, first)}; echo held; sleep 1000")
        holder.wait_for("held")
        assert proof("cdev")["cause"] == "held"
        holder.kill()
        holder.wait()

        # Without group nodes, as on a kernel without VFIO_GROUP, the device's own node is taken.
        guest.check(f"rm {node_of(guest, first)}")
        assert proof("")["seen"]["way"] == "cdev"
        assert not node.complaints()


@full
def test_the_writes_of_libqat_26(boot: Boot, kernel: str) -> None:
    """All of them; test_vfs_of_a_real_pf_driver has 24.02."""
    with boot(kernel, ONE_PF, suite="sid") as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke --set devices.services='asym;dc'")
        assert SIGNED in same_writes(guest, node, list)


def test_a_pf_without_asym(boot: Boot, kernel: str) -> None:
    with boot(kernel, ONE_PF) as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke --set devices.services=dc")
        (found,) = node.json("smoke --direct", status=3)["vfs"]
        assert (found["code"], found["evidence"]["services"]) == ("no-asym", ["dc"] * 4)
        assert signatures(guest) == 0
