"""qatprep is killed, or the power fails, at any moment: the next run converges, or puts everything back."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from . import disks
from .conftest import Boot, full
from .kernels import DEFAULT
from .node import Node

pytestmark = [pytest.mark.vm, full]

KILLS = int(os.environ.get("QATPREP_VM_KILLS", "50"))
CUTS = int(os.environ.get("QATPREP_VM_CUTS", "8"))
READY = ["660 root:qat"] * 32


def test_killed_at_any_moment(boot: Boot, kernel: str) -> None:
    seed = random.randrange(1 << 16)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with boot(kernel) as guest:
        node = Node(guest)
        untouched = node.picture()
        whole = node.qatprep("bootstrap --yes --no-smoke").seconds
        assert node.nodes() == READY
        node.put_back()
        assert node.picture() == untouched
        cut_off = 0
        kills = KILLS if kernel == DEFAULT else min(KILLS, 10)
        for round in range(kills):
            job = guest.start("echo $$ >/root/pid; exec qatprep bootstrap --yes --no-smoke")
            after = chance.uniform(0.1, 1.0) * whole
            time.sleep(after)
            guest.run("kill -9 $(cat /root/pid)")
            cut_off += job.wait().status == 137
            where = f"seed {seed}, round {round}, killed after {after:.2f} s of {whole:.2f}"
            if round % 2:
                node.put_back()
                assert node.picture() == untouched, where
            else:
                node.qatprep("bootstrap --yes --no-smoke")
                assert node.nodes() == READY, where
                assert node.failed() == set(), where
                node.put_back()
                assert node.picture() == untouched, where
        assert cut_off > kills // 3, "the kills came too late to mean anything"
        assert not node.complaints()


def test_power_cut_at_any_moment(boot: Boot, tmp_path: Path) -> None:
    seed = random.randrange(1 << 16)
    print(f"seed {seed}")
    chance = random.Random(seed)
    disk = disks.make(str(tmp_path))
    with boot(disk=disk) as guest:
        node = Node(guest)
        untouched = node.picture()
        whole = node.qatprep("bootstrap --yes --no-smoke").seconds
        node.put_back()
        guest.shut_down()
    for round in range(CUTS):
        where = f"seed {seed}, round {round}"
        with boot(disk=disk) as guest:
            guest.start("qatprep bootstrap --yes --no-smoke")
            time.sleep(chance.uniform(0.2, 1.0) * whole)
            guest.cut_power()
        with boot(disk=disk) as guest:
            node = Node(guest)
            if round % 2:
                node.put_back()
                assert node.picture() == untouched, where
            else:
                node.qatprep("bootstrap --yes --no-smoke")
                assert node.nodes() == READY, where
                assert node.failed() == set(), where
                node.put_back()
                assert node.picture() == untouched, where
            guest.shut_down()
