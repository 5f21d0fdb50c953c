"""The recorded hosts: whole, in agreement with the model that made them, and with stories that can be told."""

from __future__ import annotations

import re

import pytest

from fixtures.make import path_of, text_of
from fixtures.stories import STORIES
from qatprep.host import manifest
from qatprep.host.capture import Capture
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.kernel import Kernel
from qatprep.simulator.scenarios import Findings, scenario, scenarios
from qatprep.simulator.testing.fingerprint import fingerprint
from tests.conftest import some
from tests.simulator.hosts import recorded, tree_of

KERNELS = ("5.17", "6.1", "6.6", "6.12", "6.17", "7.2")
NAMES = [entry.name for entry in scenarios()]
LINKS = re.compile(r"/(driver|physfn|virtfn\d+|iommu_group|module)$|^/sys/bus/pci/|^/sys/class/|/iommu_groups/")
LEFT_ALONE = "/sys/bus/pci/drivers/"
"""Drivers built in have no directory in /sys/module to link to."""


def entries(text: str) -> dict[str, list[str]]:
    """The lines of each path."""
    found: dict[str, list[str]] = {}
    here: list[str] = []
    for line in text.splitlines()[1:]:
        if line.startswith("/"):
            here = found.setdefault(line.split(" ", 1)[0], [])
        here.append(line)
    return found


def differing(one: str, other: str) -> list[str]:
    if one == other:
        return []
    a, b = entries(one), entries(other)
    return [path for path in sorted({*a, *b}) if a.get(path) != b.get(path)]


def test_every_folder_is_a_story_and_every_story_a_folder() -> None:
    assert sorted(STORIES) == NAMES
    assert len(NAMES) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_make_writes(name: str) -> None:
    with open(path_of(name), encoding="utf-8") as f:
        written = f.read()
    assert written == text_of(STORIES[name]), f"run: python -m fixtures.make {name}"


@pytest.mark.parametrize("name", some(NAMES, 3))
def test_it_is_read_back_as_written(name: str) -> None:
    text = recorded(name)[1]
    assert manifest.dump(manifest.parse(text, name)) == text


LOST = {"pf-leaving-its-slot": tuple(f"virtfn{n}" for n in range(6, 16)), "vfs-half-made": ()}
"""Hosts on which sriov_numvfs counts VFs that are gone, and the links that they left."""


@pytest.mark.parametrize("name", NAMES)
def test_no_link_leads_nowhere(name: str) -> None:
    tree = recorded(name)[0]
    builtin = name == "spr-2s-builtin"
    for path, node in tree.walk():
        lost = path.rpartition("/")[2] in LOST.get(name, ())
        if node.kind == "link" and LINKS.search(path) and not (builtin and path.startswith(LEFT_ALONE)) and not lost:
            assert tree.find(path) is not None, f"{path} -> {node.target}"


@pytest.mark.parametrize("name", NAMES)
def test_groups_nodes_and_drivers_agree(name: str) -> None:
    tree = recorded(name)[0]
    host = Capture(tree, name)
    bound = 0
    for bdf in host.listdir("/sys/bus/pci/devices"):
        device = f"/sys/bus/pci/devices/{bdf}"
        if tree.find(f"{device}/iommu_group") is not None:
            assert bdf in host.listdir(f"{device}/iommu_group/devices")
        if tree.find(f"{device}/driver") is not None:
            assert bdf in host.listdir(f"{device}/driver")
            if host.readlink(f"{device}/driver").endswith(("/vfio-pci", "/qat_vfio_pci")):
                group = host.readlink(f"{device}/iommu_group").rsplit("/", 1)[-1]
                assert {group, f"noiommu-{group}"} & set(host.listdir("/dev/vfio"))
                bound += 1
        if tree.find(f"{device}/sriov_numvfs") is not None:
            links = [entry for entry in host.listdir(device) if entry.startswith("virtfn")]
            if name in LOST and bdf == "0000:6b:00.0":
                assert host.read_text(f"{device}/sriov_numvfs") == "16\n"
                links = [link for link in links if link not in LOST[name]]
                assert len(links) == (6 if LOST[name] else 15)
            assert host.read_text(f"{device}/sriov_numvfs") == f"{len(links)}\n" or name in LOST
            assert all(host.readlink(f"{device}/{link}/physfn") == f"../{bdf}" for link in links)
    if tree.find("/dev/vfio") is not None:
        nodes = [entry for entry in host.listdir("/dev/vfio") if entry not in ("vfio", "devices")]
        assert len(nodes) == bound or name in ("acs-missing", "pf-leaving-its-slot")


@pytest.mark.parametrize("name", NAMES)
def test_the_model_takes_it_over_unchanged(name: str) -> None:
    story = scenario(name)
    host = SimulatedHost(tree_of(name), story.kernel)
    assert differing(recorded(name)[1], manifest.dump(host.tree)) == []
    assert host.operations == []


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["spr-2s-ready", "vf-variant-driver", "gen6-6xxx", "gnr-2s", "out-of-tree"])
def test_every_kernel_can_be_put_under_it(name: str, kernel: str) -> None:
    host = SimulatedHost(tree_of(name), kernel)
    release = Kernel(kernel).release
    assert host.read_text("/proc/sys/kernel/osrelease") == f"{release}\n"
    assert host.exists(f"/lib/modules/{release}/modules.dep")
    assert host.exists(f"/boot/config-{release}")
    # No file of another version stays.
    for bdf in host.listdir("/sys/bus/pci/devices"):
        there = host.exists(f"/sys/bus/pci/devices/{bdf}/qat/num_rps")
        assert not there or host.kernel.has_num_rps
        assert not there or host.exists(f"/sys/bus/pci/devices/{bdf}/driver")


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_put_under_another_kernel_looks_as_if_booted_with_it(kernel: str) -> None:
    host = SimulatedHost(tree_of("spr-2s-rebooted"), kernel)
    booted = host.reboot()
    assert fingerprint(booted.tree) == fingerprint(host.tree)


def test_two_sockets_and_eight() -> None:
    for name, pfs, sockets in (("spr-2s-ready", 8, 2), ("spr-8s-ready", 32, 8)):
        host = Capture(tree_of(name), name)
        devices = host.listdir("/sys/bus/pci/devices")
        ids = [host.read_text(f"/sys/bus/pci/devices/{bdf}/device").raw.strip() for bdf in devices]
        assert (ids.count("0x4940"), ids.count("0x4941")) == (pfs, 16 * pfs)
        nodes = {host.read_text(f"/sys/bus/pci/devices/{bdf}/numa_node") for bdf in devices}
        assert len(nodes) == sockets
        assert sum(name.isdigit() for name in host.listdir("/dev/vfio")) == 16 * pfs


def test_group_numbers_follow_no_order() -> None:
    host = Capture(tree_of("spr-2s-ready"), "")
    pf = "/sys/bus/pci/devices/0000:6b:00.0"
    numbers = [int(host.readlink(f"{pf}/virtfn{index}/iommu_group").rsplit("/", 1)[-1]) for index in range(16)]
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("name", NAMES)
def test_the_words(name: str) -> None:
    story = scenario(name)
    assert story.story[-1] in '.:!"' and len(story.story) > 40
    assert story.title[-1] not in "." and len(story.title) < 80
    assert story.source
    for findings in (story.findings, story.after or Findings()):
        ids = [*findings.fail, *findings.warn, *findings.unknown]
        assert all(re.fullmatch(r"QP-[A-Z][A-Z0-9]*-\d{3}", one) for one in ids)
        assert len(set(ids)) == len(ids)
    if story.after is not None:
        assert story.after != story.findings or name == "vf-override-elsewhere"
